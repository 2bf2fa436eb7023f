"""Contexts that may not speak for others: no way leads through them, and two reach each other, or neither the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.bounds import bounds_of
from trioton.protocol.records import BELOW, ITSELF, LinkRecord, NodeChange, NodeRecord
from trioton.protocol.topology import Topology
from trioton.protocol.trees import MAX_HOPS

from .topology_worlds import ident, node, numbers, topology_of

FREE = 0


@attrs.frozen
class World:
    """Links, and what either end of each believes of the other: ``{(one, other): how one binds other}``."""

    binds: Mapping[tuple[int, int], int]

    @property
    def contexts(self) -> list[int]:
        return sorted({one for one, _ in self.binds})

    def nodes(self) -> list[NodeRecord]:
        found = []
        for context in self.contexts:
            links = {ident(b): LinkRecord(False, 1, bound) for (a, b), bound in self.binds.items() if a == context}
            found.append(node(context)._replace(links=links))
        return found

    def topology(self, own: int) -> Topology:
        return topology_of(own, self.nodes())

    def may_pass(self, way: tuple[int, ...]) -> bool:
        """Whether each context on a way believes the one before it that this comes from the source, and so it is for the way back."""
        return self._climbs_and_goes_down(way) and self._climbs_and_goes_down(way[::-1])

    def _climbs_and_goes_down(self, way: tuple[int, ...]) -> bool:
        goes_down = False
        for index, (near, far) in enumerate(itertools.pairwise(way)):
            believes = self.binds[far, near]
            if believes == ITSELF and index > 0:
                return False
            goes_down = goes_down or self.binds[near, far] == BELOW
            if believes == BELOW and goes_down:
                return False
        return True

    def ways(self, source: int) -> Iterator[tuple[int, ...]]:
        to_go: list[tuple[int, ...]] = [(source,)]
        while to_go:
            way = to_go.pop()
            yield way
            to_go += [(*way, far) for near, far in self.binds if near == way[-1] and far not in way]

    def reached(self, source: int) -> set[int]:
        return {way[-1] for way in self.ways(source) if self.may_pass(way)} - {source}


def world_of(text: str) -> World:
    """Links as ``1-2``: ``<`` and ``>`` point from a leaf to who binds it, ``/`` from a stub up to its parent, ``x`` has two leaves."""
    binds: dict[tuple[int, int], int] = {}
    for one, kind, other in (part.partition(next(each for each in "-<>/x" if each in part)) for part in text.split()):
        a, b = int(one), int(other)
        forth, back = {"-": (0, 0), ">": (0, ITSELF), "<": (ITSELF, 0), "/": (0, BELOW), "x": (ITSELF, ITSELF)}[kind]
        binds[a, b], binds[b, a] = forth, back
    return World(binds)


@pytest.mark.parametrize(
    ("links", "reached"),
    [
        ("1-2 2-3", {1: {2, 3}, 2: {1, 3}}),
        ("1>2 2-3", {1: {2, 3}, 3: {1, 2}}),
        ("1x2 2-3", {1: {2}, 2: {1, 3}, 3: {2}}),
        ("1x2 2x3", {1: {2}, 2: {1, 3}, 3: {2}}),
        ("2>1 2>3", {1: {2}, 2: {1, 3}, 3: {2}}),  # a leaf is no bridge
        ("2>1 2-4 4>3", {1: {2}, 2: {1, 4}, 3: {4}, 4: {2, 3}}),
        ("1/2 2-3 5/1", {5: {1, 2, 3}, 3: {1, 2, 5}, 1: {2, 3, 5}}),
        ("1-6 6/2 2-3", {1: {6, 2, 3}, 3: {1, 6, 2}}),
        ("6>1 6-5 7>3 7-5 1-3", {1: {3, 6, 7}, 3: {1, 6, 7}, 6: {1, 3, 5, 7}, 5: {6, 7}}),
        ("6/1 6-7 7/3 1-2 2-3", {1: {2, 3, 6, 7}, 6: {1, 2, 3, 7}}),
    ],
)
def test_who_reaches_whom(links: str, reached: dict[int, set[int]]) -> None:
    world = world_of(links)
    for own, others in reached.items():
        assert world.reached(own) == others, own
        assert set(numbers(world.topology(own).contexts())) == others


def test_a_way_through_a_stub_that_pretends_to_be_a_bridge_is_not_taken() -> None:
    """Stubs of two parents say that they are linked: that were the shortest way between the parents."""
    world = world_of("8/1 8-9 9/5 1-2 2-3 3-4 4-5")
    topology = world.topology(1)
    assert numbers(topology.path(ident(1), ident(5))) == [1, 2, 3, 4, 5]
    assert numbers(topology.path(ident(8), ident(5))) == [8, 9, 5]


def test_a_trusted_way_is_taken_instead_of_a_shorter_one_to_a_leaf() -> None:
    topology = world_of("9>1 1-2 2-3 3-9 9-8").topology(1)
    assert numbers(topology.path(ident(1), ident(9))) == [1, 2, 3, 9]
    assert numbers(topology.path(ident(1), ident(8))) == [1, 2, 3, 9, 8]
    assert topology.hops(ident(9)) == 3


def test_a_leaf_is_reached_over_the_nearest_of_those_that_bind_it() -> None:
    topology = world_of("9>1 9>2 1-3 2-3 3-4").topology(4)
    assert numbers(topology.path(ident(4), ident(9))) == [4, 3, 1, 9]
    suspended = [
        each._replace(links={**each.links, ident(9): LinkRecord(True, 1, ITSELF)}) if each.origin == ident(1) else each
        for each in world_of("9>1 9>2 1-3 2-3 3-4").nodes()
    ]
    assert numbers(topology_of(4, suspended).path(ident(4), ident(9))) == [4, 3, 2, 9]


def test_a_leaf_that_is_near_is_reached_though_the_trusted_way_is_too_long() -> None:
    last = MAX_HOPS + 3
    chain = " ".join(f"{number}-{number + 1}" for number in range(1, last))
    topology = world_of(f"{chain} {last}>1").topology(1)
    assert numbers(topology.path(ident(1), ident(last))) == [1, last]
    assert not topology.reaches(ident(last - 1))


def test_a_bound_is_told_and_taken_back() -> None:
    own, other, far = ident(1), ident(2), ident(3)
    topology = topology_of(1, [node(1), node(2, [1, 3]), node(3, [2])])
    assert topology.set_link(other, is_suspended=False, generation=1, bound=ITSELF)
    assert topology.update().joined == [other]
    assert bounds_of(topology, [far]) == {far: set()}, "what one says who may not speak for others does not count"
    assert not topology.set_link(other, is_suspended=False, generation=1, bound=ITSELF)
    assert topology.set_link(other, is_suspended=False, generation=1)
    assert topology.update().joined == [far]
    assert bounds_of(topology, [far]) == {far: {0}}
    topology.learn_change(NodeChange(other, 1, 2, {own: LinkRecord(False, 1, ITSELF | 7 << 2)}, (), {}))
    assert topology.update() == ([], [])
    assert topology._graph.bounds == {other: {own: ITSELF}}
    known = topology.node(other)
    assert known is not None
    assert known.links[own].bound == ITSELF | 7 << 2
    assert topology.set_link(other, is_suspended=False, generation=1, bound=ITSELF)
    assert topology.update() == ([], [far])
    assert topology.is_linked(own, other)
    assert not topology.is_linked(own, far)
    assert topology.remove_link(other)
    assert topology.update() == ([], [other])
    assert not topology._graph.bounds


def test_who_is_linked_with_nobody_that_counts_binds_nobody() -> None:
    """The trees stay those that grow, whatever a stranger says of strangers."""
    bound = {ident(2): LinkRecord(False, 1, ITSELF), ident(3): LinkRecord(False, 1, ITSELF)}
    topology = topology_of(1, [node(1, [2]), node(2, [1]), node(3, [4])._replace(links=bound)])
    assert not topology._graph.bounds
    topology.forget_unreachable()
    assert numbers(topology.contexts()) == [2]


bounds = st.sampled_from([FREE, FREE, BELOW, ITSELF])
worlds = st.dictionaries(
    st.tuples(st.integers(1, 6), st.integers(1, 6)).filter(lambda pair: pair[0] < pair[1]),
    st.tuples(bounds, bounds),
    min_size=1,
    max_size=10,
).map(
    lambda drawn: World({way: bound for (a, b), (x, y) in drawn.items() for way, bound in (((a, b), x), ((b, a), y))})
)


@given(world=worlds)
def test_all_compute_the_same_ways_and_those_are_all_there_are(world: World) -> None:
    known = {own: world.topology(own) for own in world.contexts}
    for own, topology in known.items():
        reached = set(numbers(topology.contexts()))
        assert reached == world.reached(own)
        for other in reached:
            path = tuple(numbers(topology.path(ident(own), ident(other))))
            assert world.may_pass(path)
            assert own in numbers(known[other].contexts())
            for between in path[1:]:
                assert known[between].path(ident(own), ident(other)) == topology.path(ident(own), ident(other))


@given(world=worlds, order=st.randoms(use_true_random=False), later=worlds)
def test_it_does_not_matter_in_which_order_it_was_learned(world: World, order: object, later: World) -> None:
    """The same holds when each link, and each bound, is another at first."""
    own = world.contexts[0]
    nodes = {record.origin: record for record in world.nodes()}
    first = [each._replace(number=1) for each in later.nodes() if each.origin in nodes and each.origin != ident(own)]
    second = [each._replace(number=2) for each in nodes.values() if each.origin != ident(own)]
    order.shuffle(first)  # type: ignore[attr-defined]
    order.shuffle(second)  # type: ignore[attr-defined]
    topology = Topology(nodes[ident(own)])
    seen: set[bytes] = set()
    for record in first + second:
        topology.learn_node(record)
        changes = topology.update()
        seen = (seen | set(changes.joined)) - set(changes.gone)
        for source in topology.contexts():
            topology.path(source, ident(own))  # so that all trees must follow what comes next
    anew = world.topology(own)
    assert topology.contexts() == sorted(seen) == anew.contexts()
    assert topology._graph.bounds == anew._graph.bounds
    for source in [ident(own), *anew.contexts()]:
        for destination in anew.contexts():
            assert topology.path(source, destination) == anew.path(source, destination)
