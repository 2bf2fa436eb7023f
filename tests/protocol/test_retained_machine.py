"""Contexts that write the same few slots, over links that come, go, and lose what is under way: in the end all agree."""

from __future__ import annotations

from collections import deque

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trioton.protocol.retained import Known, RetainedStore, Row, Value, Version, parse_rows
from trioton.protocol.retained_lane import RetainedLane

SIZE = 4
CONTEXTS = st.integers(0, SIZE - 1)
SLOTS = st.sampled_from(["x", "y", "z"])
DATA = st.binary(min_size=1, max_size=2)


class End:
    """One end of a link: its lane, and what is on its way to it."""

    def __init__(self, store: RetainedStore) -> None:
        self.lane = RetainedLane(store, 1 << 20)
        self.coming: deque[list[Row]] = deque()


class Worlds(RuleBasedStateMachine):
    """Any graph of four contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = [RetainedStore(bytes([n]) * 12 + bytes(4), 1 << 20) for n in range(SIZE)]
        self.links: dict[tuple[int, int], End] = {}
        self.newest: list[dict[str, Version]] = [{} for _ in range(SIZE)]

    @initialize()
    def some_are_linked(self) -> None:
        self.link(0, 1)
        self.link(1, 2)

    @rule(a=CONTEXTS, b=CONTEXTS)
    def link(self, a: int, b: int) -> None:
        """A new link; if there was one, what was under way is lost."""
        if a != b:
            for here, there in ((a, b), (b, a)):
                self.links[here, there] = End(self.stores[here])

    @rule(a=CONTEXTS, b=CONTEXTS)
    def cut(self, a: int, b: int) -> None:
        self.links.pop((a, b), None)
        self.links.pop((b, a), None)

    @rule(who=CONTEXTS, slot=SLOTS, data=DATA)
    def write(self, who: int, slot: str, data: bytes) -> None:
        if self.stores[who].put(slot, data):
            self.spread(who, slot, None)

    @rule(who=CONTEXTS, slot=SLOTS, counter=st.integers(1, 9), writer=CONTEXTS, data=DATA)
    def lie(self, who: int, slot: str, counter: int, writer: int, data: bytes) -> None:
        """Somebody who is no part of the network makes up a value, perhaps in the name of another."""
        self.learn(who, Value(slot, counter, self.stores[writer]._own, data), None)

    @rule(a=CONTEXTS, b=CONTEXTS)
    def speak(self, a: int, b: int) -> None:
        if (a, b) in self.links:
            package = self.links[a, b].lane.next_package()
            if package is not None:
                self.links[b, a].coming.append(parse_rows(b"".join(map(bytes, package.body))))

    @rule(a=CONTEXTS, b=CONTEXTS)
    def hear(self, a: int, b: int) -> None:
        end = self.links.get((a, b))
        if end is not None and end.coming:
            for row in end.coming.popleft():
                if isinstance(row, Value):
                    self.learn(a, row, b)
                elif isinstance(row, Known):
                    end.lane.knows(row)
                else:
                    end.lane.hear(row)

    def learn(self, who: int, value: Value, heard_from: int | None) -> None:
        if self.stores[who].learn(value):
            self.spread(who, value.slot, heard_from)

    def spread(self, who: int, slot: str, heard_from: int | None) -> None:
        for (here, there), end in self.links.items():
            if here == who and there != heard_from:
                end.lane.changed(slot)

    @invariant()
    def nobody_goes_back(self) -> None:
        for store, newest in zip(self.stores, self.newest, strict=True):
            for slot in store.slots():
                version = store.version(slot)
                assert version.counter >= newest.get(slot, version).counter
                newest[slot] = version

    def teardown(self) -> None:
        """Let all that is under way come: those that are linked agree, and every talk has come to its end."""
        while any(end.coming or end.lane for end in self.links.values()):
            for a, b in list(self.links):
                self.speak(a, b)
                self.hear(b, a)
        for (a, b), end in self.links.items():
            assert end.lane.is_settled
            assert self.values(a) == self.values(b)

    def values(self, who: int) -> dict[str, tuple[Version, bytes | None]]:
        store = self.stores[who]
        found = {}
        for slot in store.slots():
            retained = store.get(slot)
            assert retained is not None
            found[slot] = retained.version, retained.data
        return found


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
