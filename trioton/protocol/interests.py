"""What all contexts listen to: put together from records that may come in any order, twice, or with some missing.

Of each origin we know the newest record of each slot, and a number up to which we have *all* records. A slot of which we know
nothing was never listened to up to that number, or was withdrawn; so a withdrawal is remembered only until that number has
passed it, and nothing that is older can come back afterwards. Whatever the order in which two contexts learn the same, they end
up with the same.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from .policies import Mode
from .records import MAX_SLOTS, InterestRecord, InterestSnapshot

MAX_EARLY: Final = 1024
"""Numbers of one origin that are noted while one before them is missing. With more, only a snapshot fills the gap."""

FEW_STALE: Final = 64
"""Entries of what is not known any more that are never worth a look."""


class MergedInterest(NamedTuple):
    """What the contexts behind one neighbour want of a slot, as if they were one.

    Attributes:
        mode: The strictest of their modes: if one blocks, all block.
        size: The largest of the sizes that go with this mode.
        count: How many subscriptions stand behind it.
    """

    mode: Mode
    size: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


def merge_interests(interests: Iterable[InterestRecord]) -> MergedInterest:
    """Make one interest of several, at least one."""
    interests = list(interests)
    mode = min(interest.mode for interest in interests)
    size = max(interest.size for interest in interests if interest.mode == mode)
    return MergedInterest(Mode(mode), size, sum(interest.count for interest in interests))


class _ByNumber:
    """Records of one origin, the smallest number first; without it every record would take a look at all others.

    What is not known any more stays in here until it comes to the front, or until half of all is of that kind.

    Args:
        slots: The records that are known.
        is_of_withdrawals: Whether those are in here that withdraw an interest, or the others.
    """

    __slots__ = ("_heap", "_is_of_withdrawals", "_slots")

    def __init__(self, slots: Mapping[str, InterestRecord], *, is_of_withdrawals: bool) -> None:
        self._slots = slots
        self._is_of_withdrawals = is_of_withdrawals
        self._heap: list[tuple[int, str]] = []

    def add(self, record: InterestRecord) -> None:
        """A record is known from now on."""
        if len(self._heap) > 2 * len(self._slots) + FEW_STALE:
            self._heap = [entry for entry in dict.fromkeys(self._heap) if self._is_known(entry)]
            heapify(self._heap)
        heappush(self._heap, (record.record, record.slot))

    def pop(self, most: int | None = None) -> InterestRecord | None:
        """Take out the record with the smallest number, if that is not above `most`."""
        heap = self._heap
        while heap and (most is None or heap[0][0] <= most):
            entry = heappop(heap)
            if self._is_known(entry):
                return self._slots[entry[1]]
        return None

    def _is_known(self, entry: tuple[int, str]) -> bool:
        number, slot = entry
        record = self._slots.get(slot)
        return record is not None and record.record == number and (not record.count) is self._is_of_withdrawals


class _Known:
    """What is known of one origin.

    Attributes:
        covered: All records up to this number are known.
        slots: The newest record of each slot; withdrawals only if they are newer than that.
        early: The numbers of other records that are known.
        withdrawn: The withdrawals among the records, by number.
        wanted: The others.
    """

    __slots__ = ("covered", "early", "slots", "wanted", "withdrawn")

    def __init__(self) -> None:
        self.covered = 0
        self.slots: dict[str, InterestRecord] = {}
        self.early: set[int] = set()
        self.withdrawn = _ByNumber(self.slots, is_of_withdrawals=True)
        self.wanted = _ByNumber(self.slots, is_of_withdrawals=False)

    @property
    def newest(self) -> int:
        """The largest number of all that is known."""
        return max(
            (record.record for record in self.slots.values() if record.record > self.covered), default=self.covered
        )

    def note(self, number: int) -> None:
        """The record with this number is known."""
        if number <= self.covered:
            return
        self.early.add(number)
        if self.covered + 1 in self.early:
            self._go_on()
        elif len(self.early) > MAX_EARLY:
            self.early.clear()

    def cover(self, number: int) -> None:
        """All up to this number is known, and what follows it without a gap; withdrawals among that need not be remembered."""
        self.covered = number
        if self.early:
            self.early = {early for early in self.early if early > number}
        self._go_on()

    def _go_on(self) -> None:
        while self.covered + 1 in self.early:
            self.covered += 1
            self.early.remove(self.covered)
        while (past := self.withdrawn.pop(self.covered)) is not None:
            del self.slots[past.slot]

    def has_room(self) -> bool:
        """Whether one more slot may be remembered; the oldest withdrawal makes room for it."""
        if len(self.slots) < MAX_SLOTS:
            return True
        oldest = self.withdrawn.pop()
        if oldest is not None:
            del self.slots[oldest.slot]
        return oldest is not None

    def put(self, record: InterestRecord) -> None:
        """Remember a record in place of what is known of its slot."""
        if self.slots.get(record.slot) != record:
            self.slots[record.slot] = record
            (self.wanted if record.count else self.withdrawn).add(record)

    def is_news(self, record: InterestRecord) -> bool:
        """Whether a record says something about its slot that is newer than what is known."""
        known = self.slots.get(record.slot)
        return record.record > (self.covered if known is None else known.record)

    def left_out(self, snapshot: InterestSnapshot) -> list[InterestRecord]:
        """What a snapshot says to be over by leaving it out."""
        named = {record.slot for record in snapshot.interests}
        old: dict[str, InterestRecord] = {}
        for records in (self.wanted, self.withdrawn):
            found: dict[
                str, InterestRecord
            ] = {}  # by slot, since one that was forgotten and learned anew is found twice
            while (record := records.pop(snapshot.record)) is not None:
                found[record.slot] = record
            for slot, record in found.items():
                if slot in named:
                    records.add(record)
                else:
                    old[slot] = record
        return list(old.values())


class Interests:
    """The interests of all contexts, by origin and by slot."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._by_slot: dict[str, dict[bytes, InterestRecord]] = {}

    def origins(self) -> KeysView[bytes]:
        """Who has said anything."""
        return self._known.keys()

    def covered(self, origin: bytes) -> int:
        """The number up to which all records of an origin are known."""
        known = self._known.get(origin)
        return 0 if known is None else known.covered

    def newest(self, origin: bytes) -> int:
        """The largest number of a record of an origin that is known."""
        known = self._known.get(origin)
        return 0 if known is None else known.newest

    def of_slot(self, slot: str) -> Iterable[InterestRecord]:
        """Who listens to a slot."""
        return self._by_slot.get(slot, {}).values()

    def get(self, origin: bytes, slot: str) -> InterestRecord | None:
        """What an origin wants of a slot."""
        return self._by_slot.get(slot, {}).get(origin)

    def slots_of(self, origin: bytes) -> list[str]:
        """What an origin listens to, in order."""
        known = self._known.get(origin)
        return [] if known is None else sorted(slot for slot, record in known.slots.items() if record.count)

    def snapshot(self, origin: bytes) -> InterestSnapshot:
        """All that is known of an origin that has said anything."""
        known = self._known[origin]
        return InterestSnapshot(origin, known.covered, tuple(known.slots[slot] for slot in sorted(known.slots)))

    def learn(self, record: InterestRecord) -> bool:
        """Take one record; gives whether it was news about its slot."""
        known = self._of(record.origin)
        is_news = known.is_news(record)
        if is_news and not self._put(known, record):
            return False
        known.note(record.record)
        return is_news

    def is_news(self, snapshot: InterestSnapshot) -> bool:
        """Whether a snapshot says anything that is not known."""
        known = self._known.get(snapshot.origin) or _Known()
        return snapshot.record > known.covered or any(known.is_news(record) for record in snapshot.interests)

    def learn_snapshot(self, snapshot: InterestSnapshot) -> list[str]:
        """Take all that a snapshot says, and what it says by leaving it out; gives the slots that are another now."""
        known = self._of(snapshot.origin)
        before: dict[str, InterestRecord | None] = {}
        # What it leaves out goes first: otherwise there might be no room for what it has instead.
        if snapshot.record > known.covered:
            for record in known.left_out(snapshot):
                before[record.slot] = self._wanted(record)
                self._drop(known, record)
        taken = []
        for record in snapshot.interests:
            if known.is_news(record):
                before.setdefault(record.slot, self._wanted(known.slots.get(record.slot)))
                if self._put(known, record):
                    taken.append(record)
        if snapshot.record > known.covered:
            known.cover(snapshot.record)
        for record in taken:
            known.note(record.record)
        return sorted(slot for slot, record in before.items() if record != self._wanted(known.slots.get(slot)))

    @staticmethod
    def _wanted(record: InterestRecord | None) -> InterestRecord | None:
        return record if record is not None and record.count else None

    def replace(self, origin: bytes, interests: Iterable[InterestRecord]) -> list[str]:
        """Take what an origin listens to, in place of all that was known of that; gives the slots that are another now."""
        known = self._known.get(origin)
        before = {} if known is None else {slot: record for slot, record in known.slots.items() if record.count}
        after = {record.slot: record for record in interests if record.count}
        if before == after:
            return []
        self.forget(origin)
        for record in after.values():
            self.learn(record)
        return sorted(slot for slot in before.keys() | after.keys() if before.get(slot) != after.get(slot))

    def forget(self, origin: bytes) -> list[str]:
        """Forget an origin; gives what it listened to."""
        slots = self.slots_of(origin)
        known = self._known.pop(origin, None)
        if known is not None:
            for record in list(known.slots.values()):
                self._drop(known, record)
        return slots

    def _of(self, origin: bytes) -> _Known:
        known = self._known.get(origin)
        if known is None:
            known = self._known[origin] = _Known()
        return known

    def _put(self, known: _Known, record: InterestRecord) -> bool:
        """Note a record under its slot; gives whether there was room for it."""
        if record.slot not in known.slots and not known.has_room():
            return False
        if record.count:
            self._by_slot.setdefault(record.slot, {})[record.origin] = record
        elif record.slot in known.slots:
            self._drop(known, known.slots[record.slot])
        known.put(record)
        return True

    def _drop(self, known: _Known, record: InterestRecord) -> None:
        del known.slots[record.slot]
        listeners = self._by_slot.get(record.slot)
        if listeners is not None and listeners.pop(record.origin, None) is not None and not listeners:
            del self._by_slot[record.slot]
