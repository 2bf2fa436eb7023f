"""What two neighbours tell each other of retained values over one link.

A link begins with a talk. Each side names all versions that it knows (`Known`), and says ALL_NAMED behind the last. The other answers with
the values that are newer and says ALL_TOLD behind them, which is answered by INSTALLED; or it says NOTHING_LACKS. From then on each side
tells what changes.

What is to be told is noted by slot, and the values are looked up only when there is room on the link. So of a slot that changes faster
than the link takes it, only the newest value leaves, and a slow link costs no memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from ..errors import ProtocolError
from .limits import MAX_RUN_BYTES, MAX_RUN_MESSAGES
from .retained import (
    UNKNOWN,
    Known,
    Mark,
    RetainedPackage,
    RetainedStore,
    RowKind,
    Version,
    encode_known,
    encode_mark,
    encode_value_head,
)

FEW: Final = 1024
"""Slots that may be due without a look at whether their values are still there."""


class RetainedLane:
    """One side of one link.

    Args:
        store: What is known here.
        most: Bytes of the largest value that the neighbour takes.
        may_read: Whether the neighbour may know of a slot; None if it may know of all.
        may_tell: Whether the neighbour believes what a context, which is told of here, has written; None if it believes all.

    Attributes:
        has_all: Whether the neighbour has told all that it knew when the link began.
        peer_has_all: Whether it has heard all that was known here then.
        too_large: How many values were not told because the neighbour takes none of their size.
    """

    def __init__(
        self,
        store: RetainedStore,
        most: int,
        may_read: Callable[[str], bool] | None = None,
        may_tell: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._store = store
        self._most = most
        self._may_read = may_read
        self._may_tell = may_tell
        self._words: deque[bytes] = deque()
        self._due: dict[str, None] = {}
        self._most_due = FEW
        self._owed: dict[str, None] = {}  # what must be told before ALL_TOLD
        self._peer_knows: dict[str, Version] = {}
        self._was_named = False
        self._said_end: RowKind | None = None
        self.has_all = False
        self.peer_has_all = False
        self.too_large = 0
        named = [each for each in store.names() if self._is_read(each.slot) and self._tells(each.version)]
        self._words += [encode_known(retained.slot, retained.version) for retained in named]
        self._words.append(encode_mark(RowKind.ALL_NAMED))
        is_empty = not any(self._store.get(retained.slot) for retained in named)
        if is_empty:
            self._say_nothing_lacks()  # whatever the neighbour names

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._words or self._due)

    @property
    def is_settled(self) -> bool:
        """Whether both sides have what the other knew when the link began."""
        return self.has_all and self.peer_has_all

    # ---------------------------------------------------------------- telling

    def changed(self, slot: str) -> None:
        """A slot has a newer value: the neighbour must hear of it."""
        if not self._is_read(slot):
            return
        self._due[slot] = None
        if len(self._due) > self._most_due:
            # Of a neighbour that does not read, and many values that have given way meanwhile, nothing but the values that are left is due.
            self._due = {slot: None for slot in self._due if slot in self._owed or self._store.get(slot) is not None}
            self._most_due = 2 * len(self._due) + FEW

    def _is_read(self, slot: str) -> bool:
        return self._may_read is None or self._may_read(slot)

    def ask(self, slot: str) -> None:
        """Ask the neighbour for whatever it knows of a slot."""
        self._words.append(encode_known(slot, UNKNOWN))

    def next_package(self) -> RetainedPackage | None:
        """Take what is told next, with the values that there are now; None if there is nothing."""
        parts: list[bytes] = []
        count = size = 0
        while self._words and count < MAX_RUN_MESSAGES and size + len(self._words[0]) <= MAX_RUN_BYTES:
            parts.append(self._words.popleft())
            count += 1
            size += len(parts[-1])
        while self._due and not self._words and count < MAX_RUN_MESSAGES:
            slot = next(iter(self._due))
            row = self._row(slot)
            more = sum(map(len, row))
            if count and size + more > MAX_RUN_BYTES:
                break
            del self._due[slot]
            parts += row
            count += bool(row)
            size += more
            if slot in self._owed:
                self._was_told(slot)
        if self._words and count < MAX_RUN_MESSAGES:  # ALL_TOLD, right behind what it is about
            parts.append(self._words.popleft())
            count += 1
        return RetainedPackage(parts, count) if count else None

    def _row(self, slot: str) -> list[bytes]:
        """The row of a value, in its parts; nothing if the value has given way, or is too large for the neighbour."""
        retained = self._store.get(slot)
        if retained is None or retained.data is None or not self._tells(retained.version):
            return []
        if len(retained.data) > self._most:
            self.too_large += 1
            return []
        retained.is_told = True
        return [encode_value_head(slot, retained.version, len(retained.data)), retained.data]

    def _tells(self, version: Version) -> bool:
        return self._may_tell is None or self._may_tell(version.writer)

    def _was_told(self, slot: str) -> None:
        """A value that the neighbour lacked when the link began goes out."""
        del self._owed[slot]
        if not self._owed:
            self._said_end = RowKind.ALL_TOLD
            self._words.append(encode_mark(RowKind.ALL_TOLD))

    def _say_nothing_lacks(self) -> None:
        if self._said_end is None:
            self._said_end = RowKind.NOTHING_LACKS
            self._words.append(encode_mark(RowKind.NOTHING_LACKS))
            self.peer_has_all = True

    # ---------------------------------------------------------------- hearing

    def knows(self, known: Known) -> None:
        """The neighbour says which version of a slot it knows; once it has named all that it knows, that asks for what is newer."""
        version = self._store.version(known.slot)
        if not self._was_named:
            if version != UNKNOWN:  # all else is told by the neighbour, and needs no note
                self._peer_knows[known.slot] = known.version
        elif version > known.version:
            self.changed(known.slot)

    def hear(self, mark: Mark) -> None:
        """The neighbour has come to the next step of the talk.

        Raises:
            ProtocolError: It was there already, or cannot be there yet.
        """
        if mark.kind is RowKind.ALL_NAMED:
            if self._was_named:
                raise ProtocolError("the peer names all that it retains once more")
            self._was_named = True
            self._answer()
        elif mark.kind is RowKind.INSTALLED:
            if self._said_end is not RowKind.ALL_TOLD:
                raise ProtocolError("the peer has installed what it was not told")
            self.peer_has_all = True
        else:
            if self.has_all:
                raise ProtocolError("the peer has told all that it retains once more")
            self.has_all = True
            if mark.kind is RowKind.ALL_TOLD:
                self._words.append(encode_mark(RowKind.INSTALLED))

    def _answer(self) -> None:
        """Tell what the neighbour lacks, now that all is named that it knows."""
        peer_knows, self._peer_knows = self._peer_knows, {}
        lacking = {
            slot: None
            for slot in self._store.slots()
            if (version := self._store.version(slot)) > peer_knows.get(slot, UNKNOWN)
            and self._is_read(slot)
            and self._tells(version)
        }
        if lacking:
            self._due = {**lacking, **self._due}  # what the talk waits for goes first
        if self._said_end is None and lacking:
            self._owed = lacking.copy()
        else:
            self._say_nothing_lacks()
