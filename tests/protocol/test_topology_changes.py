"""Changes: who has many links tells what is another, and all who know what was before end up with the same."""

from __future__ import annotations

import pytest

import trioton.protocol.topology as topology_module
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.records import LinkRecord, NodeChange, NodeRecord, Route
from trioton.protocol.topology import FEW_ENTRIES, MOST_SAID, Changes, Topology

from .topology_worlds import ident, interest, node, nodes_of, topology_of


def many(count: int) -> Topology:
    """The topology of context 1, which has so many neighbours."""
    return Topology(node(1, range(2, 2 + count)))


def test_who_has_few_links_tells_all_of_them() -> None:
    topology = many(FEW_ENTRIES)
    base = topology.own.number
    topology.set_link(ident(2), is_suspended=True, generation=1)
    assert topology.own_news(base) == topology.own
    topology.set_link(ident(99), is_suspended=False, generation=1)
    assert isinstance(topology.own_news(base), NodeChange)


def test_a_change_says_what_is_another_since_a_number() -> None:
    topology = many(40)
    known = Topology(node(50))
    assert known.learn_node(topology.own)
    base = topology.own.number
    topology.set_link(ident(2), is_suspended=True, generation=1)
    topology.set_link(ident(99), is_suspended=False, generation=7)
    first = topology.own_news(base)
    assert first == NodeChange(
        ident(1), base, base + 2, {ident(2): LinkRecord(True, 1), ident(99): LinkRecord(False, 7)}, (), {}
    )
    topology.remove_link(ident(99))
    topology.remove_link(ident(3))
    topology.set_parting(ident(5), 2)
    together = topology.own_news(base)
    assert together == NodeChange(
        ident(1), base, base + 5, {ident(2): LinkRecord(True, 1)}, (ident(3), ident(99)), {ident(5): 2}
    )
    only_later = topology.own_news(base + 4)
    assert only_later == NodeChange(ident(1), base + 4, base + 5, {}, (), {ident(5): 2})
    assert isinstance(first, NodeChange)
    assert isinstance(together, NodeChange)
    assert isinstance(only_later, NodeChange)
    assert not known.learn_change(only_later), "what was between is not known"
    assert known.learn_change(first)
    assert not known.learn_change(first)
    assert known.learn_change(together), "it is for those who know a part of it, too"
    assert not known.learn_change(first)
    assert not known.learn_change(only_later)
    (record,) = [record for record in known.records_of(ident(1)) if isinstance(record, NodeRecord)]
    assert record == topology.own
    assert not Topology(node(51)).learn_change(together), "of one who is not known nothing can change"


def test_when_as_much_has_changed_as_there_is_all_is_told() -> None:
    topology = many(40)
    base = topology.own.number
    kinds = []
    for turn in range(90):
        topology.set_link(ident(2), is_suspended=turn % 2 == 0, generation=1)
        kinds.append(type(topology.own_news(base)))
        base = topology.own.number
    assert [turn for turn, kind in enumerate(kinds) if kind is NodeRecord] == [39, 79]


def test_partings_that_are_left_out_are_told_by_the_whole_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_module, "MAX_PARTINGS", 2)
    topology = many(40)
    base = topology.own.number
    topology.set_parting(ident(70), 1)
    topology.set_parting(ident(71), 1)
    assert isinstance(topology.own_news(base), NodeChange)
    topology.set_parting(ident(72), 1)
    assert topology.own_news(base) == topology.own
    assert topology.own.partings.keys() == {ident(71), ident(72)}


def test_changes_that_go_beyond_the_bounds_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = topology_of(1, nodes_of([(1, 2)]))
    monkeypatch.setattr(topology_module, "MAX_LINKS", 2)
    monkeypatch.setattr(topology_module, "MAX_PARTINGS", 1)
    links = {ident(number): LinkRecord(False, 1) for number in (3, 4)}
    change = NodeChange(ident(2), 1, 2, links, (), {})
    assert not topology.learn_change(change)
    assert not topology.learn_change(change._replace(links={}, partings={ident(3): 1, ident(4): 1}))
    assert topology.node(ident(2)) == node(2, [1])
    assert topology.learn_change(change._replace(gone=(ident(1),)))
    assert topology.update() == Changes([], [ident(2)])


def test_a_change_that_somebody_has_made_up_in_our_name_is_outdone() -> None:
    topology = many(40)
    base = topology.own.number
    topology.set_link(ident(99), is_suspended=False, generation=1)
    said = topology.own_news(base)
    assert isinstance(said, NodeChange)
    assert not topology.learn_change(said), "it comes back"
    for lie in (said._replace(links={}), said._replace(number=base + 50), NodeChange(ident(1), 1, 2, {}, (), {})):
        before = topology.own
        assert topology.learn_change(lie)
        assert topology.own == before._replace(number=max(before.number, lie.number) + 1)
        assert topology.own_news(before.number) == topology.own, "what they have been told may be wrong in any place"
    assert not topology.learn_change(said._replace(number=MAX_SEQUENCE - 1))


def test_of_the_changes_that_were_said_the_newest_are_remembered() -> None:
    topology = many(MOST_SAID + 10)
    base = topology.own.number
    changes = []
    for turn in range(MOST_SAID + 1):
        topology.set_link(ident(2), is_suspended=turn % 2 == 0, generation=1)
        changes.append(topology.own_news(base))
        base = topology.own.number
    newest, oldest = changes[-1], changes[0]
    assert isinstance(newest, NodeChange)
    assert isinstance(oldest, NodeChange)
    assert not topology.learn_change(newest)
    assert topology.learn_change(oldest), "it might be anything"


def test_a_link_may_go_and_come_and_go_again_before_conclusions_are_drawn() -> None:
    """One end said that it was gone, then that it was there, and then the other that it was gone: a branch was cut off twice."""
    topology = topology_of(1, nodes_of([(1, 2), (2, 3)]))
    for record in (node(2, [1], number=2), node(2, [1, 3], number=3), node(3, [], number=2)):
        assert topology.learn_node(record)
    assert topology.update() == Changes([], [ident(3)])
    assert topology.contexts() == [ident(2)]


def test_what_a_parent_tells_before_the_link_counts_is_not_forgotten_with_what_was_known_before() -> None:
    """It was, if the parent had led there before; and when the session was over nobody knew what to take back."""
    topology = Topology(node(1))
    routes = [Route(ident(number), "", 1, 1000, 2000, hops, 1, {}, ()) for number, hops in ((2, 0), (3, 1))]

    def end_session() -> None:
        topology.remove_link(ident(2))
        topology.remove_routes()
        topology.update()

    for route in routes:
        assert topology.learn_route(ident(2), route) == []
    topology.set_link(ident(2), is_suspended=False, generation=1)
    assert topology.update().joined == [ident(2), ident(3)]
    end_session()
    assert topology.contexts() == []
    for route in routes:
        topology.learn_route(ident(2), route)
    topology.learn_interest(interest(3, "slot", 1))
    topology.forget_unreachable()
    topology.set_link(ident(2), is_suspended=False, generation=2)
    assert topology.update().joined == [ident(2), ident(3)]
    end_session()
    assert topology.contexts() == []
