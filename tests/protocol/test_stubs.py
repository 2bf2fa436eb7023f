"""What a stub is told, as tables: who is in a view, and what a topology makes of routes."""

from __future__ import annotations

import pytest

from trioton.protocol.records import InterestRecord, LinkRecord, NodeRecord, NoRoute, Route, Want, WantKind
from trioton.protocol.stubs import View, Ways
from trioton.protocol.topology import Changes, Topology

P, S, T, X, Y, Z = (bytes([number]) * 16 for number in range(1, 7))
SLOT = "flow"


def node(
    origin: bytes, *links: bytes, number: int = 1, name: str = "", partings: dict[bytes, int] | None = None
) -> NodeRecord:
    return NodeRecord(
        origin, number, name, 7, 1000, 2000, {each: LinkRecord(False, 1) for each in links}, partings or {}
    )


def route(origin: bytes, hops: int, *interests: InterestRecord, way: int = 1, name: str = "x") -> Route:
    return Route(origin, name, 7, 900, 2000, hops, way, {}, interests)


def interest(origin: bytes, number: int = 1, slot: str = SLOT) -> InterestRecord:
    return InterestRecord(origin, slot, number, 0, 5, 1, number)


@pytest.fixture
def stub() -> Topology:
    """A stub S of P, with a stub T of its own."""
    topology = Topology(NodeRecord(S, 1, "s", 1, 1000, 2000, {}, {}))
    topology.learn_route(P, route(P, 0, name="p"))
    topology.learn_node(node(T, S))
    for other in (P, T):
        topology.set_link(other, is_suspended=False, generation=1)
    assert topology.update() == Changes([P, T], [])
    return topology


@pytest.fixture
def parent() -> Topology:
    """P with its stub S, below that T, and on the other side X and behind it Y."""
    topology = Topology(NodeRecord(P, 1, "p", 1, 1000, 2000, {}, {}))
    for record in (node(S, P, T), node(T, S), node(X, P, Y), node(Y, X, name="y", partings={T: 3, Z: 4})):
        topology.learn_node(record)
    for other in (S, X):
        topology.set_link(other, is_suspended=False, generation=1)
    topology.learn_interest(interest(Y))
    topology.update()
    return topology


# ---------------------------------------------------------------- the stub's side


def test_a_route_makes_a_context_reachable_behind_the_parent(stub: Topology) -> None:
    assert stub.learn_route(P, route(X, 3, interest(X))) == [SLOT]
    assert stub.update() == Changes([X], [])
    assert (stub.hops(X), stub.next_hop(S, X), stub.path(S, X)) == (4, P, (S, P, X))
    assert (stub.next_hop(T, X), stub.next_hop(X, T), stub.next_hop(P, X)) == (P, T, None)
    assert [neighbour for neighbour, _ in stub.branches(T, SLOT)] == [P]
    known = stub.node(X)
    assert known is not None
    assert (known.name, known.max_package) == ("x", 900)


def test_another_way_is_seen_and_the_same_is_not(stub: Topology) -> None:
    stub.learn_route(P, route(X, 3))
    stub.update()
    before, version = stub.way(S, X), stub.version
    stub.learn_route(P, route(X, 3, interest(X)))
    stub.update()
    assert (stub.way(S, X), stub.version) == (before, version)
    stub.learn_route(P, route(X, 3, way=2))
    stub.update()
    assert stub.way(S, X) != before
    assert stub.version > version


@pytest.mark.parametrize(("before", "after"), [(1, 5), (5, 1)])
def test_a_context_is_nearer_or_farther(stub: Topology, before: int, after: int) -> None:
    for hops in (before, after):
        stub.learn_route(P, route(X, hops))
        stub.update()
        assert stub.hops(X) == hops + 1
        assert stub.next_hop(X, T) == T


def test_what_a_route_leaves_out_is_over(stub: Topology) -> None:
    stub.learn_route(P, route(X, 1, interest(X, 5), interest(X, 6, "other")))
    stub.update()
    assert stub.learn_route(P, route(X, 1, interest(X, 6, "other"))) == [SLOT]
    assert stub.slots_of(X) == ["other"]
    assert stub.learn_route(P, route(X, 1, interest(X, 5), interest(X, 6, "other"))) == [SLOT], "it is wanted again"


def test_what_is_not_reached_any_more(stub: Topology) -> None:
    stub.learn_route(P, route(X, 1, interest(X)))
    stub.update()
    assert stub.remove_route(X)
    assert stub.node(X) is not None, "before conclusions are drawn"
    assert stub.update() == Changes([], [X])
    assert (stub.node(X), [*stub.interested(SLOT)]) == (None, [])
    assert not stub.remove_route(X)
    assert not stub.remove_route(P), "that takes more than a word"


def test_without_its_parent_only_what_is_below_remains(stub: Topology) -> None:
    for other in (X, Y):
        stub.learn_route(P, route(other, 2))
    stub.update()
    stub.remove_link(P)
    stub.remove_routes()
    assert stub.update() == Changes([], [P, X, Y])
    assert stub.contexts() == [T]
    assert stub.digest().known.keys() == {S, T}
    assert stub.learn_node(node(P, X)), "nothing is left of what was told of it"


def test_routes_are_not_told_of(stub: Topology) -> None:
    stub.learn_route(P, route(X, 2, interest(X)))
    stub.update()
    assert stub.digest().known.keys() == {S, T}
    assert {record.origin for record in stub.lacking(stub.digest([]))} == {T}


@pytest.mark.parametrize(
    "wrong", [route(S, 1), route(T, 1), route(X, 0), route(P, 1)], ids=["itself", "below", "no hops", "the parent"]
)
def test_routes_that_are_not_believed(stub: Topology, wrong: Route) -> None:
    assert stub.learn_route(P, wrong) is None
    assert stub.update() == Changes([], [])


def test_a_context_that_comes_below_speaks_for_itself(stub: Topology) -> None:
    stub.learn_route(P, route(X, 2, interest(X)))
    stub.update()
    stub.forget_route(X)
    stub.learn_node(node(X, S))
    stub.set_link(X, is_suspended=False, generation=1)
    stub.update()
    assert (stub.hops(X), stub.slots_of(X)) == (1, [])
    assert X in stub.digest().known


# ---------------------------------------------------------------- the parent's side


def test_a_view_tells_what_is_new_once(parent: Topology) -> None:
    view, ways = View(S, 10), Ways()
    number = ways.number(parent, Y)
    assert number == ways.number(parent, Y)
    told = view.update(parent, Y, number)
    assert told == Route(Y, "y", 7, 1000, 2000, 2, number, {T: 3}, ())
    assert view.update(parent, Y, number) is None
    view.hear(Want(WantKind.SLOT, SLOT, True))
    told = view.update(parent, Y, number)
    assert isinstance(told, Route)
    assert told.interests == (interest(Y),)


@pytest.mark.parametrize("context", [P, S, T, Z], ids=["itself", "the stub", "below it", "unknown"])
def test_a_view_has_only_what_is_elsewhere(parent: Topology, context: bytes) -> None:
    assert View(S, 10).update(parent, context, 1) is None


def test_a_view_tells_of_an_end(parent: Topology) -> None:
    view = View(S, 10)
    view.update(parent, Y, 1)
    parent.learn_node(node(X, P, number=2))
    parent.update()
    assert view.update(parent, Y, 1) == NoRoute(Y)
    assert view.update(parent, Y, 1) is None


@pytest.mark.parametrize(("context", "is_below"), [(S, True), (T, True), (Z, True), (X, False), (Y, False)])
def test_whom_a_stub_may_speak_for(parent: Topology, context: bytes, is_below: bool) -> None:
    assert View(S, 10).may_speak_for(parent, context) is is_below


def test_a_stub_may_want_so_much() -> None:
    view = View(S, 2)
    for _ in range(2):
        assert view.hear(Want(WantKind.SLOT, "a", True))
        assert view.hear(Want(WantKind.NAME, "a", True))
        assert view.hear(Want(WantKind.ONCE, X, True))
    assert not view.hear(Want(WantKind.CONTEXT, X, True))
    assert view.hear(Want(WantKind.CONTEXT, X, False))
    assert [*view.wishes] == [(WantKind.SLOT, "a"), (WantKind.NAME, "a")]


def test_what_is_not_wanted_again_over_a_new_link_is_not_wanted(parent: Topology) -> None:
    view = View(S, 10)
    for slot in (SLOT, "other"):
        view.hear(Want(WantKind.SLOT, slot, True))
    view.update(parent, Y, 1)
    assert view.begin() == [Y]
    told = view.update(parent, Y, 1)
    assert isinstance(told, Route)
    assert told.interests, "what was wanted counts until all is said"
    view.hear(Want(WantKind.SLOT, SLOT, True))
    assert view.settle() == [(WantKind.SLOT, "other")]
    assert [*view.wishes] == [(WantKind.SLOT, SLOT)]


def test_ways_are_numbered(parent: Topology) -> None:
    ways = Ways()
    first = ways.number(parent, Y)
    assert not ways.has_changed(parent, Y)
    parent.set_link(X, is_suspended=False, generation=2)
    parent.update()
    assert ways.has_changed(parent, Y)
    assert ways.number(parent, Y) > first
    assert not ways.has_changed(parent, Y)
    ways.forget(Y)
    assert not ways.has_changed(parent, Y)
