"""What all contexts listen to: put together from records that may come in any order, twice, or with some missing.

Of each origin we know the newest record of each slot, and a number up to which we have *all* records. A slot of which we know
nothing was never listened to up to that number, or was withdrawn; so a withdrawal is remembered only until that number has
passed it, and nothing that is older can come back afterwards. Whatever the order in which two contexts learn the same, they end
up with the same.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView
from typing import Final, NamedTuple

from .policies import Mode
from .records import MAX_SLOTS, InterestRecord, InterestSnapshot

MAX_EARLY: Final = 1024
"""Numbers of one origin that are noted while one before them is missing. With more, only a snapshot fills the gap."""


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


class _Known:
    """What is known of one origin.

    Attributes:
        covered: All records up to this number are known.
        slots: The newest record of each slot; withdrawals only if they are newer than that.
        early: The numbers of other records that are known.
    """

    __slots__ = ("covered", "early", "slots")

    def __init__(self) -> None:
        self.covered = 0
        self.slots: dict[str, InterestRecord] = {}
        self.early: set[int] = set()

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
            self.cover(self.covered)
        elif len(self.early) > MAX_EARLY:
            self.early.clear()

    def cover(self, number: int) -> None:
        """All up to this number is known, and what follows it without a gap; withdrawals among that need not be remembered."""
        while number + 1 in self.early:
            number += 1
        self.covered = number
        self.early = {early for early in self.early if early > number}
        past = [slot for slot, record in self.slots.items() if not record.count and record.record <= number]
        for slot in past:
            del self.slots[slot]

    def has_room(self) -> bool:
        """Whether one more slot may be remembered; the oldest withdrawal makes room for it."""
        if len(self.slots) < MAX_SLOTS:
            return True
        withdrawn = (record for record in self.slots.values() if not record.count)
        oldest = min(withdrawn, key=lambda record: record.record, default=None)
        if oldest is not None:
            del self.slots[oldest.slot]
        return oldest is not None

    def is_news(self, record: InterestRecord) -> bool:
        """Whether a record says something about its slot that is newer than what is known."""
        known = self.slots.get(record.slot)
        return record.record > (self.covered if known is None else known.record)


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
        before = {slot: record for slot, record in known.slots.items() if record.count}
        # What it leaves out goes first: otherwise there might be no room for what it has instead.
        if snapshot.record > known.covered:
            named = {record.slot for record in snapshot.interests}
            for slot, record in list(known.slots.items()):
                if slot not in named and record.record <= snapshot.record:
                    self._drop(known, record)
        taken = [record for record in snapshot.interests if known.is_news(record) and self._put(known, record)]
        if snapshot.record > known.covered:
            known.cover(snapshot.record)
        for record in taken:
            known.note(record.record)
        after = {slot: record for slot, record in known.slots.items() if record.count}
        return sorted(slot for slot in before.keys() | after.keys() if before.get(slot) != after.get(slot))

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
        known.slots[record.slot] = record
        return True

    def _drop(self, known: _Known, record: InterestRecord) -> None:
        del known.slots[record.slot]
        listeners = self._by_slot.get(record.slot)
        if listeners is not None and listeners.pop(record.origin, None) is not None and not listeners:
            del self._by_slot[record.slot]
