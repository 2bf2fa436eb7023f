"""What a context makes of the records of others: who there is, which way a package takes, and who listens."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest

import trioton.protocol.topology as topology_module
from trioton.protocol.interests import MergedInterest
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.policies import Mode
from trioton.protocol.records import MAX_PARTINGS, Digest, InterestSnapshot, LinkRecord
from trioton.protocol.topology import Changes, Topology
from trioton.protocol.trees import MAX_HOPS

from .topology_worlds import came_from, ident, interest, node, nodes_of, numbers, tell, topology_of

LINE = [(1, 2), (2, 3), (3, 4)]
RING = [(1, 2), (2, 3), (3, 4), (4, 1)]
LONG = [(number, number + 1) for number in range(1, MAX_HOPS + 3)]

# The links, those of them that are suspended, a source, a destination, and the path that a package takes.
PATHS = {
    "line": (LINE, [], 1, 4, [1, 2, 3, 4]),
    "line back": (LINE, [], 4, 1, [4, 3, 2, 1]),
    "to oneself": (LINE, [], 2, 2, [2]),
    "ring, smaller parent": (RING, [], 1, 3, [1, 2, 3]),
    "ring, from the other side": (RING, [], 3, 1, [3, 2, 1]),
    "two paths, the shorter": ([*LINE, (1, 5), (5, 4)], [], 1, 4, [1, 5, 4]),
    "a suspended link is avoided": ([*LINE, (1, 4)], [(1, 4)], 1, 4, [1, 2, 3, 4]),
    "whoever says so": ([*LINE, (1, 4)], [(4, 1)], 1, 4, [1, 2, 3, 4]),
    "nothing else is left": (LINE, [(2, 3)], 1, 4, [1, 2, 3, 4]),
    "the fewest suspended": ([*RING, (2, 4)], [(1, 4), (1, 2), (2, 3)], 1, 3, [1, 4, 3]),
    "the longest": (LONG, [], 1, MAX_HOPS + 1, list(range(1, MAX_HOPS + 2))),
    "too long": (LONG, [], 1, MAX_HOPS + 2, []),
    "nobody there": (LINE, [], 1, 99, []),
    "from nobody": (LINE, [], 99, 1, []),
    "not connected": ([*LINE, (8, 9)], [], 1, 9, []),
}


@pytest.mark.parametrize("name", PATHS)
def test_all_agree_on_the_path(name: str) -> None:
    pairs, suspended, source, destination, path = PATHS[name]
    nodes = nodes_of(pairs, suspended)
    for own in {number for pair in pairs for number in pair if number < 8}:
        topology = topology_of(own, nodes)
        assert numbers(topology.path(ident(source), ident(destination))) == path
        is_way = topology.way(ident(source), ident(destination)) is not None
        assert is_way == bool(path)
        following = dict(pairwise(path))
        hop = topology.next_hop(ident(source), ident(destination))
        assert hop == (ident(following[own]) if own in following else None)
        assert topology.next_hop(ident(source), ident(destination)) == hop
        if path[-1:] == [own]:
            assert came_from(topology, ident(source)) == (ident(path[-2]) if len(path) > 1 else None)


def test_packages_come_from_the_parent() -> None:
    topology = topology_of(3, nodes_of([*LINE, (8, 9)]))
    for _ in range(2):
        assert [came_from(topology, ident(source)) for source in (1, 2, 4, 3, 9, 99)] == [
            *(ident(2), ident(2), ident(4)),
            *(None, None, None),
        ]
    far = topology_of(MAX_HOPS + 2, nodes_of(LONG))
    assert came_from(far, ident(1)) is None
    assert came_from(far, ident(2)) == ident(MAX_HOPS + 1)


def test_only_the_near_are_contexts() -> None:
    topology = topology_of(1, nodes_of(LONG))
    assert numbers(topology.contexts()) == list(range(2, MAX_HOPS + 2))
    assert [topology.hops(ident(number)) for number in (1, 2, MAX_HOPS + 1)] == [0, 1, MAX_HOPS]
    with pytest.raises(ValueError, match="cannot be reached"):
        topology.hops(ident(MAX_HOPS + 2))
    assert topology.node(ident(MAX_HOPS + 2)) is None
    assert topology.node(ident(2)) == node(2, [1, 3])
    assert topology.node(ident(1)) is topology.own
    # For the one in the middle all are near enough, and it passes on between any two of them that are.
    middle = topology_of(9, nodes_of(LONG))
    assert middle.next_hop(ident(2), ident(MAX_HOPS + 2)) == ident(10)


def test_a_link_counts_when_both_ends_know_it() -> None:
    topology = Topology(node(1))
    assert topology.learn_node(node(2, [1, 3]))
    assert topology.learn_node(node(3, [2]))
    assert topology.update() == Changes([], [])
    assert topology.set_link(ident(2), is_suspended=False, generation=1)
    assert topology.update() == Changes([ident(2), ident(3)], [])
    assert topology.learn_node(node(2, [3], number=2))
    assert topology.update() == Changes([], [ident(2), ident(3)])
    assert topology.own == node(1, [2], number=2)


def test_parts_of_a_network_come_together_and_part_again() -> None:
    left, right = topology_of(1, nodes_of([(1, 2)])), topology_of(3, nodes_of([(3, 4)]))
    left.set_link(ident(3), is_suspended=False, generation=1)
    right.set_link(ident(1), is_suspended=False, generation=1)
    mine, yours = left.digest(), right.digest()
    to_right, to_left = left.lacking(yours), right.lacking(mine)
    assert numbers(record.origin for record in to_right) == [1, 2]
    tell(right, to_right)
    for record in to_left:
        tell(left, [record])
    assert numbers(left.contexts()) == [2, 3, 4]
    assert numbers(right.contexts()) == [1, 2, 4]
    assert left.digest() == right.digest()
    assert left.lacking(right.digest()) == right.lacking(left.digest()) == []
    assert left.remove_link(ident(3))
    assert not left.remove_link(ident(3))
    assert left.update() == Changes([], [ident(3), ident(4)])
    assert left.path(ident(3), ident(4)) == ()
    assert left.digest().known[ident(4)] == (1, 0), "it may come back"
    left.forget_unreachable()
    assert left.digest().known.keys() == {ident(1), ident(2)}


def test_a_link_that_comes_and_goes_between_two_looks_was_never_there() -> None:
    topology = topology_of(1, nodes_of([(1, 2)]))
    for record in (node(3, [2]), node(2, [1, 3], number=2), node(2, [1], number=3)):
        assert topology.learn_node(record)
    assert topology.update() == Changes([], [])
    assert numbers(topology.contexts()) == [2]


def test_more_links_grow_the_tree_as_if_it_were_new() -> None:
    topology = topology_of(1, nodes_of([*LINE, (1, 5)]))
    version = topology.version
    tell(topology, [node(4, [3, 5], number=2), node(5, [1, 4], number=2)])
    assert topology.version > version
    assert numbers(topology.path(ident(1), ident(4))) == [1, 5, 4]
    tell(topology, [node(4, [2, 3, 5], number=3), node(2, [1, 3, 4], number=2)])
    assert numbers(topology.path(ident(1), ident(4))) == [1, 2, 4], "of equal ways the one over the smaller parent"


# ------------------------------------------------------------------------------------------------- what we say ourselves


def test_only_news_makes_a_new_own_record() -> None:
    topology = Topology(node(1))
    assert topology.set_link(ident(2), is_suspended=False, generation=1)
    assert not topology.set_link(ident(2), is_suspended=False, generation=1)
    assert topology.set_link(ident(2), is_suspended=True, generation=1)
    assert topology.set_parting(ident(3), 1)
    assert not topology.set_parting(ident(3), 1)
    assert topology.own.number == 4
    assert topology.own.links == {ident(2): LinkRecord(True, 1)}
    assert topology.own.partings == {ident(3): 1}


def test_own_records_stay_within_what_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology(node(1))
    for wrong in (b"short", ident(1)):
        with pytest.raises(ValueError, match="neighbour must be the identity of another context"):
            topology.set_link(wrong, is_suspended=False, generation=1)
    with pytest.raises(ValueError, match="number of own must be positive, not 0"):
        Topology(node(1, number=0))
    for number in range(MAX_PARTINGS + 1):
        topology.set_parting(ident(number), 1)
    assert len(topology.own.partings) == MAX_PARTINGS
    assert ident(0) not in topology.own.partings
    monkeypatch.setattr(topology_module, "MAX_LINKS", 1)
    topology.set_link(ident(2), is_suspended=False, generation=1)
    with pytest.raises(ValueError, match="one too many: there may be 1"):
        topology.set_link(ident(3), is_suspended=False, generation=1)


def test_who_speaks_in_our_name_is_outdone() -> None:
    topology = Topology(node(1, [2], number=5))
    assert not topology.learn_node(node(1, [2], number=5)), "it is ours"
    assert not topology.learn_node(node(1, [9], number=4))
    assert topology.learn_node(node(1, [9], number=5))
    assert topology.own == node(1, [2], number=6)
    assert topology.learn_node(node(1, [9], number=50))
    assert topology.own == node(1, [2], number=51)
    assert topology.digest().known[ident(1)] == (51, 0)
    assert not topology.learn_node(node(1, [9], number=MAX_SEQUENCE - 1))


def test_a_digest_may_be_of_those_only_whom_the_neighbour_knows() -> None:
    topology = topology_of(1, nodes_of(LINE))
    tell(topology, [interest(9, "s", 1)])
    assert topology.digest([ident(3), ident(9), ident(50)]) == Digest(
        {ident(1): (1, 0), ident(3): (1, 0), ident(9): (0, 1)}
    )
    assert topology.digest().known.keys() == {ident(number) for number in (1, 2, 3, 4, 9)}


def test_of_our_own_interest_we_learn_from_nobody() -> None:
    topology = topology_of(1, nodes_of([(1, 2)]))
    assert not topology.learn_interest(interest(1, "b", 9))
    assert not topology.is_news(InterestSnapshot(ident(1), 19, (interest(1, "b", 9),)))
    assert topology.learn_snapshot(InterestSnapshot(ident(1), 19, (interest(1, "b", 9),))) == []
    assert topology.slots_of(ident(1)) == []
    assert topology.digest().known[ident(1)] == (1, 0)


# ------------------------------------------------------------------------------------------------------------- interest


def test_branches_lead_to_those_who_listen() -> None:
    #  1 - 2 - 3 - 4        5, 6 and 7 hang on 3
    topology = topology_of(3, nodes_of([*LINE, (3, 5), (5, 6), (3, 7)]))
    tell(topology, [interest(1, "s", 1, size=9), interest(4, "s", 1, mode=1, size=7), interest(9, "s", 1)])
    tell(topology, [interest(5, "s", 1, mode=2, size=90, count=2), interest(6, "s", 1, mode=1, size=8, count=3)])
    tell(topology, [interest(3, "s", 1)])
    to_4 = (ident(4), MergedInterest(Mode.DROP_OLDEST, 7, 1))
    to_5 = (ident(5), MergedInterest(Mode.DROP_OLDEST, 8, 5))
    to_2 = (ident(2), MergedInterest(Mode.BLOCK, 9, 1))
    for _ in range(2):
        assert topology.branches(ident(1), "s") == (to_4, to_5)
        assert topology.branches(ident(4), "s") == (to_2, to_5)
        assert topology.branches(ident(3), "s") == (to_2, to_4, to_5)
        assert topology.branches(ident(99), "s") == ()
        assert topology.branches(ident(1), "t") == ()
    assert numbers(record.origin for record in topology.interested("s")) == [1, 4, 5, 6]
    tell(topology, [interest(4, "s", 2, count=0), interest(4, "t", 3)])
    assert topology.branches(ident(1), "s") == (to_5,)
    assert [neighbour for neighbour, _ in topology.branches(ident(1), "t")] == [ident(4)]
    tell(topology, [node(3, [2, 4, 5, 7], number=1), node(5, [3], number=2)])
    assert topology.branches(ident(1), "s") == ((ident(5), MergedInterest(Mode.DROP_NEWEST, 90, 2)),)


def test_branches_follow_a_snapshot() -> None:
    topology = topology_of(1, nodes_of([(1, 2)]))
    assert topology.branches(ident(1), "s") == ()
    tell(topology, [InterestSnapshot(ident(2), 1, (interest(2, "s", 1),))])
    assert topology.branches(ident(1), "s") == ((ident(2), MergedInterest(Mode.BLOCK, 5, 1)),)
    tell(topology, [InterestSnapshot(ident(2), 2, ())])
    assert topology.branches(ident(1), "s") == ()


def test_interest_of_those_who_cannot_be_reached_waits() -> None:
    topology = Topology(node(1, [2]))
    tell(topology, [interest(2, "s", 1)])
    assert topology.interest(ident(2), "s") is None
    assert topology.slots_of(ident(2)) == []
    assert list(topology.interested("s")) == []
    assert topology.branches(ident(1), "s") == ()
    tell(topology, [node(2, [1])])
    assert topology.interest(ident(2), "s") == interest(2, "s", 1)
    assert topology.slots_of(ident(2)) == ["s"]
    assert len(topology.branches(ident(1), "s")) == 1


def test_records_of_one_origin_may_come_in_any_order() -> None:
    said = [
        interest(2, "a", 1),
        interest(2, "b", 2),
        interest(2, "a", 3, count=0),
        interest(2, "b", 4, size=9),
        interest(2, "c", 5),
    ]
    for order in permutations(said):
        topology = Topology(node(1, [2]))
        tell(topology, [node(2, [1]), *order, *order])
        assert topology.slots_of(ident(2)) == ["b", "c"]
        assert topology.interest(ident(2), "b") == said[3]
        assert topology.digest().known[ident(2)] == (1, 5)
        assert topology.lacking(Digest({ident(1): (9, 9), ident(2): (1, 0)})) == [
            InterestSnapshot(ident(2), 5, (said[3], said[4]))
        ]


def test_a_withdrawal_is_not_undone_by_what_is_older() -> None:
    topology = Topology(node(1, [2]))
    tell(topology, [node(2, [1])])
    assert topology.learn_interest(interest(2, "a", 6, count=0))
    assert not topology.learn_interest(interest(2, "a", 5))
    assert topology.learn_snapshot(InterestSnapshot(ident(2), 5, (interest(2, "a", 5), interest(2, "b", 4)))) == ["b"]
    assert topology.digest().known[ident(2)] == (1, 6)
    assert topology.slots_of(ident(2)) == ["b"]
    assert not topology.learn_interest(interest(2, "a", 5))
    assert not topology.learn_interest(interest(2, "c", 6)), "the snapshot would have had it"
    assert topology.learn_interest(interest(2, "c", 7))


def test_a_snapshot_replaces_what_is_older_only() -> None:
    topology = Topology(node(1, [2]))
    tell(topology, [node(2, [1]), interest(2, "a", 1), interest(2, "b", 2), interest(2, "c", 9)])
    snapshot = InterestSnapshot(ident(2), 7, (interest(2, "b", 6, size=1), interest(2, "d", 7)))
    assert topology.is_news(snapshot)
    assert topology.learn_snapshot(snapshot) == ["a", "b", "d"]
    assert not topology.is_news(snapshot)
    assert topology.learn_snapshot(snapshot) == []
    assert topology.slots_of(ident(2)) == ["b", "c", "d"]
    assert topology.digest().known[ident(2)] == (1, 7)
    assert topology.learn_snapshot(InterestSnapshot(ident(2), 3, (interest(2, "e", 3),))) == []
    assert topology.learn_interest(interest(2, "x", 8))
    assert topology.digest().known[ident(2)] == (1, 9)
    only_number = InterestSnapshot(ident(2), 10, tuple(topology._interests.snapshot(ident(2)).interests))
    assert topology.is_news(only_number)
    assert topology.learn_snapshot(only_number) == []
    assert topology.digest().known[ident(2)] == (1, 10)


def test_who_has_a_gap_does_not_hide_it() -> None:
    """One knows record 2 and lacks 1; its snapshot must not take 1 from somebody else."""
    gap, whole = Topology(node(1, [3])), Topology(node(2, [3]))
    tell(gap, [node(3, [1, 2]), interest(3, "b", 2)])
    tell(whole, [node(3, [1, 2]), interest(3, "a", 1)])
    (passed_on,) = [record for record in gap.lacking(whole.digest()) if isinstance(record, InterestSnapshot)]
    back = [record for record in whole.lacking(gap.digest()) if isinstance(record, InterestSnapshot)]
    assert whole.learn_snapshot(passed_on) == ["b"]
    tell(gap, back)
    assert gap.digest().known[ident(3)] == whole.digest().known[ident(3)] == (1, 2)


def test_an_outdated_record_does_not_lead_anywhere() -> None:
    """Who is back has another record than before: until that has come, the old one must not seem to lead to others."""
    topology = topology_of(1, nodes_of([(1, 2), (2, 3)]))
    tell(topology, [interest(2, "s", 1)])
    topology.remove_link(ident(2))
    topology.update()
    topology.outdate(ident(2), 1)  # it is known already
    topology.outdate(ident(2), 2)
    topology.set_link(ident(2), is_suspended=False, generation=2)
    assert topology.update() == ([], [])
    tell(topology, [node(2, [1], number=2)])
    assert topology.contexts() == [ident(2)]
    assert topology.slots_of(ident(2)) == ["s"]
    topology.outdate(ident(2), 3)  # it can be reached
    assert topology.contexts() == [ident(2)]


def test_nobody_is_told_of_those_who_cannot_be_reached() -> None:
    """What is known of them may be old, and would be no news where it is told again when they are back."""
    topology = topology_of(1, nodes_of([(1, 2), (2, 3)]))
    tell(topology, [interest(3, "s", 1)])
    tell(topology, [node(2, [1], number=2)])
    assert topology.node(ident(3)) is None
    told = topology.lacking(Topology(node(4, [])).digest())
    assert {record.origin for record in told} == {ident(1), ident(2)}


# --------------------------------------------------------------------------------------------------------------- bounds


def test_of_those_who_cannot_be_reached_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_module, "MOST_UNREACHABLE", 3)
    topology = topology_of(1, nodes_of([(1, 2), (2, 3)]))
    tell(topology, [node(5, [6]), interest(6, "s", 1), node(7, [5])])
    tell(topology, [node(2, [1], number=2)])
    assert numbers(sorted(topology.digest().known)) == [1, 2, 3, 6, 7]
    tell(topology, [node(8, [7]), interest(8, "s", 1)])
    assert numbers(sorted(topology.digest().known)) == [1, 2, 3, 7, 8]
    tell(topology, [node(2, [1, 3], number=3)])
    topology.forget_unreachable()
    assert numbers(sorted(topology.digest().known)) == [1, 2, 3]


def test_the_far_are_forgotten_when_they_are_cut_off() -> None:
    topology = topology_of(1, nodes_of(LONG))
    topology.forget_unreachable()
    assert len(topology.digest().known) == MAX_HOPS + 3, "the trees of others need them"
    tell(topology, [node(2, [1], number=2)])
    topology.forget_unreachable()
    assert numbers(topology.digest().known) in ([1, 2], [2, 1])


def test_one_origin_fills_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioton.protocol.interests.MAX_SLOTS", 2)
    monkeypatch.setattr("trioton.protocol.interests.MAX_EARLY", 2)
    topology = Topology(node(1, [2]))
    tell(topology, [node(2, [1]), interest(2, "a", 10, count=0), interest(2, "b", 12)])
    assert topology.learn_interest(interest(2, "c", 14))
    assert not topology.learn_interest(interest(2, "d", 16))
    assert topology.slots_of(ident(2)) == ["b", "c"]
    snapshot = InterestSnapshot(ident(2), 16, (interest(2, "c", 14), interest(2, "d", 16)))
    assert topology.learn_snapshot(snapshot) == ["b", "d"]
    assert topology.digest().known[ident(2)] == (1, 16)


def test_routes_that_are_kept_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_module, "MOST_ROUTES", 2)
    monkeypatch.setattr(topology_module, "MOST_PLACES", 9)
    topology = topology_of(2, nodes_of(LINE))
    tell(topology, [interest(4, "s", 1)])
    for _ in range(2):
        for source in (1, 3, 4, 2):
            assert topology.next_hop(ident(source), ident(99)) is None
            assert len(topology.branches(ident(source), "s")) == (source < 3)
    caches = (topology._next_hops, topology._branches)
    assert all(1 <= len(cache) <= 2 for cache in caches)
    assert len(topology._trees) == 2
    assert topology._places == 8
    tell(topology, [interest(4, "s", 2, count=0)])
    assert topology.branches(ident(1), "s") == ()


def test_a_way_is_another_after_a_new_session() -> None:
    topology = topology_of(1, nodes_of(LINE))
    way, version = topology.way(ident(1), ident(4)), topology.version
    tell(topology, [node(4, [3], number=2)])
    assert topology.way(ident(1), ident(4)) == way
    renewed = node(3, [2, 4], number=2)
    links = {**renewed.links, ident(4): LinkRecord(False, 2)}
    tell(topology, [renewed._replace(links=links)])
    assert topology.way(ident(1), ident(4)) != way
    assert topology.way(ident(4), ident(1)) is not None
    assert topology.way(ident(1), ident(3)) is not None
    assert topology.version > version
