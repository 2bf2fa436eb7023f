"""Networks of any shape, with records that come late, twice, out of order or never: in the end all agree, and packages arrive once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trioton.protocol.interests import merge_interests
from trioton.protocol.records import (
    Digest,
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    Record,
    encode_record,
    parse_record,
)
from trioton.protocol.topology import Topology
from trioton.protocol.trees import MAX_HOPS

from .topology_worlds import Listener, came_from, ident, node, topology_of

COUNT = 6
CONTEXTS = [ident(number) for number in range(1, COUNT + 1)]
SLOTS = ["a", "b"]

contexts = st.sampled_from(CONTEXTS)


class TopologyWorld(RuleBasedStateMachine):
    """Some contexts, their links, and records on the way between them in no order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = {ident(number): Topology(node(number)) for number in range(1, COUNT + 1)}
        self.listeners = {context: Listener(context) for context in CONTEXTS}
        self.bases = dict.fromkeys(CONTEXTS, 1)
        self.on_the_way: list[tuple[bytes, bytes, bytes]] = []
        self.seen: dict[bytes, set[bytes]] = {context: set() for context in CONTEXTS}

    # ------------------------------------------------------------------------------ what the network does

    def send(self, sender: bytes, receiver: bytes, record: Record) -> None:
        self.on_the_way.append((sender, receiver, encode_record(record)))

    def flood(self, context: bytes, record: Record, but: bytes | None = None) -> None:
        for neighbour in self.world[context].own.links:
            if neighbour != but:
                self.send(context, neighbour, record)

    def flood_own(self, context: bytes) -> None:
        own = self.world[context].own
        if own.number > self.bases[context]:
            self.flood(context, self.world[context].own_news(self.bases[context]))
            self.bases[context] = own.number

    def arrive(self, sender: bytes, receiver: bytes, data: bytes) -> None:
        topology = self.world[receiver]
        record = parse_record(data)
        assert not isinstance(record, Digest)
        if isinstance(record, NodeRecord):
            is_news = topology.learn_node(record)
        elif isinstance(record, NodeChange):
            is_news = topology.learn_change(record)
            assert not topology.learn_change(record)
            assert record.origin != receiver or not is_news, "it has said so itself"
        elif isinstance(record, InterestSnapshot):
            is_news = topology.is_news(record)
            before = {slot: topology._interests.get(record.origin, slot) for slot in SLOTS}
            changed = topology.learn_snapshot(record)
            assert changed == [s for s in SLOTS if before[s] != topology._interests.get(record.origin, s)]
            assert is_news or not changed
            assert not topology.is_news(record)
        else:
            assert isinstance(record, InterestRecord)
            is_news = topology.learn_interest(record)
        if is_news:
            self.flood(receiver, record, but=sender)
        self.update(receiver)

    def update(self, context: bytes) -> None:
        topology, seen = self.world[context], self.seen[context]
        changes = topology.update()
        assert not set(changes.joined) & seen
        assert set(changes.gone) <= seen
        seen |= set(changes.joined)
        seen -= set(changes.gone)
        assert topology.contexts() == sorted(seen)

    def compare(self, a: bytes, b: bytes) -> None:
        """A link is up: its first end tells how much it knows, the other as much of that, and each gives the other what that lacks."""
        mine = self.world[a].digest()
        yours = self.world[b].digest(mine.known)
        for sender, receiver, digest in ((a, b, yours), (b, a, mine)):
            read = parse_record(encode_record(digest))
            assert isinstance(read, Digest)
            for record in self.world[sender].lacking(read):
                if record.origin != receiver:
                    self.send(sender, receiver, record)
            snapshot = self.listeners[sender].snapshot()
            if self.world[receiver].is_news(snapshot):
                self.send(sender, receiver, snapshot)

    # --------------------------------------------------------------------------------------- what happens

    @rule(a=contexts, b=contexts, generation=st.integers(1, 3), suspended=st.booleans())
    def link(self, a: bytes, b: bytes, generation: int, suspended: bool) -> None:
        if a != b:
            self.world[a].set_link(b, is_suspended=suspended, generation=generation)
            self.world[b].set_link(a, is_suspended=False, generation=generation)
            self.compare(a, b)
            for context, neighbour in ((a, b), (b, a)):
                self.send(context, neighbour, self.world[context].own)
                self.flood_own(context)
                self.update(context)

    @rule(a=contexts, b=contexts)
    def cut(self, a: bytes, b: bytes) -> None:
        for context, neighbour in ((a, b), (b, a)):
            if self.world[context].remove_link(neighbour):
                self.flood_own(context)
                self.update(context)
        self.on_the_way = [each for each in self.on_the_way if {each[0], each[1]} != {a, b}]

    @rule(context=contexts, slot=st.sampled_from(SLOTS), mode=st.integers(0, 2), count=st.integers(0, 2))
    def listen(self, context: bytes, slot: str, mode: int, count: int) -> None:
        self.flood(context, self.listeners[context].listen(slot, mode=mode, size=mode + 1, count=count))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data(), again=st.booleans())
    def deliver(self, data: st.DataObject, again: bool) -> None:
        for _ in range(data.draw(st.integers(1, 8))):
            if self.on_the_way:
                index = data.draw(st.integers(0, len(self.on_the_way) - 1))
                self.arrive(*(self.on_the_way[index] if again else self.on_the_way.pop(index)))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1)))

    @rule(context=contexts)
    def forget(self, context: bytes) -> None:
        self.world[context].forget_unreachable()

    # --------------------------------------------------------------------------------------- what must be

    @rule(newest_first=st.booleans())
    def all_agree_in_the_end(self, newest_first: bool) -> None:
        for _ in range(2 * COUNT):
            while self.on_the_way:
                self.arrive(*self.on_the_way.pop(-1 if newest_first else 0))
            for a in CONTEXTS:
                for b in self.world[a].own.links:
                    self.compare(a, b)
        assert not self.on_the_way, "they have nothing more to tell each other"
        for context in CONTEXTS:
            self.check_what_is_known(context)
            for slot in SLOTS:
                self.check_publishing(context, slot)
            for destination in self.world[context].contexts():
                self.check_sending(context, destination)

    def check_what_is_known(self, own: bytes) -> None:
        topology = self.world[own]
        linked = {own}
        while more := {other for each in linked for other in self.world[each].own.links} - linked:
            linked |= more
        assert topology.contexts() == sorted(linked - {own})
        for context in linked:
            assert topology.node(context) == self.world[context].own
            if context != own:
                listener = self.listeners[context]
                assert topology.slots_of(context) == sorted(listener.slots)
                for slot in SLOTS:
                    assert topology.interest(context, slot) == listener.slots.get(slot)
        anew = topology_of(int.from_bytes(own, "big"), [self.world[context].own for context in linked])
        for source in linked:
            assert came_from(topology, source) == came_from(anew, source)
            for destination in linked:
                path = topology.path(source, destination)
                assert path == anew.path(source, destination) == self.world[source].path(source, destination)
                assert topology.way(source, destination) == self.world[source].way(source, destination)

    def check_publishing(self, source: bytes, slot: str) -> None:
        wanted = {record.origin for record in self.world[source].interested(slot)}
        visits = Counter({source: 1})
        to_go = [source]
        while to_go:
            context = to_go.pop()
            topology = self.world[context]
            branches = topology.branches(source, slot)
            assert branches or context in wanted or context == source, "nobody is sent what nobody behind it wants"
            for neighbour, merged in branches:
                behind = [
                    record for record in topology.interested(slot) if neighbour in topology.path(source, record.origin)
                ]
                assert merged == merge_interests(behind)
                assert came_from(self.world[neighbour], source) == context
                visits[neighbour] += 1
                to_go.append(neighbour)
        assert set(visits.values()) == {1}
        assert wanted <= visits.keys()

    def check_sending(self, source: bytes, destination: bytes) -> None:
        path = self.world[source].path(source, destination)
        assert path[0] == source
        assert len(path) - 1 <= MAX_HOPS
        for context, following in zip(path, [*path[1:], None], strict=True):
            assert self.world[context].next_hop(source, destination) == following
        assert path[-1] == destination

    @invariant()
    def nobody_goes_back(self) -> None:
        for topology in self.world.values():
            for context in topology.contexts():
                known = topology.node(context)
                assert known is not None
                assert known.number <= self.world[context].own.number
                for slot in SLOTS:
                    said: InterestRecord | None = topology.interest(context, slot)
                    assert said is None or said.record <= self.listeners[context].record


TestTopology = TopologyWorld.TestCase


class ChangesWorld(TopologyWorld):
    """The same, where records are never told whole when something has changed in them if a change says it."""

    def __init__(self) -> None:
        super().__init__()
        for topology in self.world.values():
            topology._few_entries = 0


TestChanges = ChangesWorld.TestCase


@given(
    pairs=st.sets(st.tuples(st.integers(1, 24), st.integers(1, 24)), max_size=40),
    suspended=st.sets(st.integers(0, 39)),
    order=st.randoms(use_true_random=False),
)
def test_whoever_learns_the_same_in_another_order_computes_the_same(
    pairs: set[tuple[int, int]],
    suspended: set[int],
    order: st.random_module,  # type: ignore[valid-type]
) -> None:
    links: dict[bytes, dict[bytes, LinkRecord]] = {ident(number): {} for number in range(1, 25)}
    for index, (a, b) in enumerate(sorted(pairs)):
        if a != b:
            links[ident(a)][ident(b)] = LinkRecord(index in suspended, index)
            links[ident(b)][ident(a)] = LinkRecord(False, index)
    nodes = [node(number)._replace(links=links[ident(number)]) for number in range(1, 25)]
    together = topology_of(1, nodes)
    one_by_one = Topology(nodes[0])
    shuffled = nodes[1:] + [each._replace(number=0, links={}) for each in nodes[1:]]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    joined: list[bytes] = []
    for record in shuffled:
        one_by_one.learn_node(record)
        joined += one_by_one.update().joined
    assert sorted(joined) == together.contexts() == one_by_one.contexts()
    for source in together.contexts():
        for destination in together.contexts():
            assert together.path(source, destination) == one_by_one.path(source, destination)
    assert [together.hops(each) for each in together.contexts()] == [
        one_by_one.hops(each) for each in together.contexts()
    ]
    assert all(together.path(ident(1), each) == one_by_one.path(ident(1), each) for each in together.contexts()), (
        "the tree of its own grew link by link"
    )


@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 12), st.integers(1, 12), st.sampled_from(["plain", "suspended", "gone"]), st.booleans()
        ),
        max_size=60,
    )
)
def test_trees_follow_what_changes_as_if_they_were_made_anew(steps: list[tuple[int, int, str, bool]]) -> None:
    links: dict[bytes, dict[bytes, LinkRecord]] = {ident(number): {} for number in range(1, 13)}
    topology = Topology(node(1))
    for index, (a, b, what, is_settled) in enumerate(steps):
        near, far = ident(a), ident(b)
        if a == b:
            continue
        for one, other in ((near, far), (far, near)):
            if what == "gone":
                links[one].pop(other, None)
            else:
                links[one][other] = LinkRecord(what == "suspended", 1)
            if one == topology.own.origin and what == "gone":
                topology.remove_link(other)
            elif one == topology.own.origin:
                topology.set_link(other, is_suspended=what == "suspended", generation=1)
            else:
                topology.learn_node(node(a if one == near else b, number=index + 1)._replace(links=dict(links[one])))
        if not is_settled:
            continue
        known = set(topology.contexts())
        changes = topology.update()
        assert set(topology.contexts()) == (known | set(changes.joined)) - set(changes.gone)
        assert known.isdisjoint(changes.joined)
        assert known.issuperset(changes.gone)
        anew = topology_of(1, [node(number)._replace(links=links[ident(number)]) for number in range(1, 13)])
        assert topology.contexts() == anew.contexts()
        for source in [ident(1), *anew.contexts()[:3]]:
            for destination in anew.contexts():
                assert topology.path(source, destination) == anew.path(source, destination)
