"""Retained values: the newest value of each state slot, which every context keeps as bytes that only channels look into.

Each value has a version: a counter, who wrote it, and a check of its bytes. Versions are ordered, and a larger one replaces a smaller one
wherever they meet. So it does not matter in which order, how often or by which way values come: contexts that have heard the same end up
with the same, also after they were parted, and also if somebody lies.

On a link values travel in RETAINED frames. The body of such a frame is an array of rows, which are arrays again, and start with a
`RowKind`. See `retained_lane` for who says what when.
"""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import ProtocolError
from . import codec
from .frames import FLAG_RETAINED, FrameKind, encode_prefix
from .limits import MAX_RUN_MESSAGES
from .packages import MAX_SEQUENCE, Package
from .records import MAX_SLOT, is_identity
from .scan import scan
from .shown import shown

CHECK_BYTES: Final = 8

OVERHEAD: Final = 256
"""Bytes that count for a value besides its slot and its data: about what Python needs to hold it."""

MAX_ROW_HEAD: Final = 1024
"""Bytes of a row in front of its data, at most: a little more than those of the longest slot that anybody may have."""

MOST_AHEAD: Final = 1 << 40
"""How far the counter of a value may be ahead of the one that is known. Honest counters never get there at all."""

MOST_GIVEN_WAY: Final = 65_536
"""Values that have given way, and of which the version is remembered: they are not taken again when they come by another way."""

_DEPTH: Final = 2  # the rows, and a row


class Version(NamedTuple):
    """Which of two values of a slot is newer: the one with the larger version."""

    counter: int
    writer: bytes
    """The 16 bytes of the identity of who wrote it; decides between contexts that wrote at the same time."""
    check: bytes
    """Of the value's bytes; so two values never have the same version, whoever made them up."""


UNKNOWN: Final = Version(0, b"", b"")
"""The version of a slot that nobody has written."""


class RowKind(enum.IntEnum):
    """What a row of a RETAINED frame starts with."""

    VALUE = 0
    KNOWN = 1
    ALL_NAMED = 2
    NOTHING_LACKS = 3
    ALL_TOLD = 4
    INSTALLED = 5


class Value(NamedTuple):
    """A value of a slot: the row ``[0, slot, counter, writer, data]``."""

    slot: str
    counter: int
    writer: bytes
    data: bytes

    @property
    def version(self) -> Version:
        """Its version."""
        return Version(self.counter, self.writer, check_of(self.data))


class Known(NamedTuple):
    """The version of a slot that is known to who says it: the row ``[1, slot, counter, writer, check]``; asks for what is newer."""

    slot: str
    version: Version


class Mark(NamedTuple):
    """A step in the talk with which a link begins: the row ``[kind]``."""

    kind: RowKind


Row: TypeAlias = Value | Known | Mark


def check_of(data: bytes) -> bytes:
    """The check of a value's bytes."""
    return hashlib.blake2b(data, digest_size=CHECK_BYTES).digest()


# -------------------------------------------------------------------------------------------------------------- writing


def encode_value_head(slot: str, version: Version, size: int) -> bytes:
    """Give what stands before the data of a `Value`, which has `size` bytes."""
    return _row_head(5, RowKind.VALUE, slot, version) + codec.bytes_head(size)


def encode_known(slot: str, version: Version) -> bytes:
    """Give the row of a `Known`."""
    return _row_head(5, RowKind.KNOWN, slot, version) + codec.bytes_head(len(version.check)) + version.check


def encode_mark(kind: RowKind) -> bytes:
    """Give the row of a `Mark`."""
    return codec.array_head(1) + codec.uint(kind)


def _row_head(size: int, kind: RowKind, slot: str, version: Version) -> bytes:
    text, writer = slot.encode(), version.writer
    return b"".join(
        (
            codec.array_head(size),
            codec.uint(kind),
            codec.text_head(len(text)),
            text,
            codec.uint(version.counter),
            codec.bytes_head(len(writer)),
            writer,
        )
    )


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Give the body of a RETAINED frame with these rows."""
    return codec.array_head(len(rows)) + b"".join(map(_encode_row, rows))


def _encode_row(row: Row) -> bytes:
    if isinstance(row, Value):
        return encode_value_head(row.slot, row.version, len(row.data)) + row.data
    return encode_known(row.slot, row.version) if isinstance(row, Known) else encode_mark(row.kind)


class RetainedPackage(Package):
    """Rows on their way out. They travel as packages do: behind what was sent before them, and in fragments if there is much.

    Args:
        rows: The encoded rows, each of which may be in several parts.
        count: How many rows they are.
    """

    __slots__ = ()

    kind = FrameKind.RETAINED

    def __init__(self, rows: Sequence[bytes], count: int) -> None:
        body = (codec.array_head(count), *rows)
        super().__init__(codec.array_head(0), body, sum(map(len, body)), 0, 0, flags=FLAG_RETAINED)

    def frame(self) -> bytes:
        """All of it in one frame."""
        return b"".join(
            (encode_prefix(self.kind, self.flags, len(self.header), self.body_size), self.header, *self._body)
        )


# -------------------------------------------------------------------------------------------------------------- reading


def _is_slot(value: object) -> bool:
    return type(value) is str and value != ""


def _is_version(kind: RowKind, counter: object, writer: object, check: object) -> bool:
    if kind is RowKind.KNOWN and (counter, writer, check) == UNKNOWN:
        return True
    return type(counter) is int and 0 < counter < MAX_SEQUENCE and is_identity(writer) and type(check) is bytes


def parse_rows(body: bytes, *, slot_length: int = MAX_SLOT) -> list[Row]:
    """Read and check the rows of a RETAINED frame.

    Args:
        body: Its bytes.
        slot_length: Bytes that the name of a slot may have.

    Raises:
        ProtocolError: They are not what the module's text describes.
    """
    scan(body, max_items=1 + 6 * MAX_RUN_MESSAGES, max_depth=_DEPTH, tags=())
    rows = codec.load(body, _DEPTH)
    if type(rows) is not list or len(rows) > MAX_RUN_MESSAGES:
        raise ProtocolError(f"what is retained is not an array of at most {MAX_RUN_MESSAGES} rows: {shown(rows)}")
    return [_parse_row(row, slot_length) for row in rows]


def _parse_row(row: Any, slot_length: int) -> Row:
    if type(row) is not list or not row or type(row[0]) is not int or not 0 <= row[0] <= max(RowKind):
        raise ProtocolError(f"a row of an unknown kind: {shown(row)}")
    kind = RowKind(row[0])
    if kind >= RowKind.ALL_NAMED:
        if len(row) != 1:
            raise ProtocolError(f"a row {kind.name} has {len(row)} fields instead of 1")
        return Mark(kind)
    if len(row) != 5:
        raise ProtocolError(f"a row {kind.name} has {len(row)} fields instead of 5")
    _, slot, counter, writer, rest = row
    if not _is_slot(slot) or len(slot.encode()) > slot_length or not _is_version(kind, counter, writer, rest):
        raise ProtocolError(f"a row {kind.name} is wrong: {shown(row, 200)}")
    if kind is RowKind.KNOWN:
        if len(rest) not in {0, CHECK_BYTES}:
            raise ProtocolError(f"a row {kind.name} has a check of {len(rest)} bytes")
        return Known(slot, Version(counter, writer, rest))
    if not rest:
        raise ProtocolError(f"the value of slot {slot!r} has no bytes")
    return Value(slot, counter, writer, rest)


# -------------------------------------------------------------------------------------------------------------- keeping


class Retained:
    """What is known of one slot.

    Attributes:
        slot: The slot.
        version: The version of its value.
        data: The value, encoded; None if it has given way to others.
        is_told: Whether anybody else has heard of this version.
    """

    __slots__ = ("data", "is_told", "slot", "version")

    def __init__(self, slot: str, version: Version, data: bytes | None) -> None:
        self.slot = slot
        self.version = version
        self.data = data
        self.is_told = False

    @property
    def size(self) -> int:
        """Bytes that count for it."""
        return 0 if self.data is None else len(self.data) + len(self.slot) + OVERHEAD


class RetainedStore:
    """The newest value of each slot that a context knows.

    Args:
        own: The 16 bytes of the context's identity.
        limit: Bytes that it may hold. When they are full, the value that has not changed for longest gives way, unless it is in use here.

    Attributes:
        bytes: Bytes that count for what is held.
        given_way: How many values have given way so far.
    """

    def __init__(self, own: bytes, limit: int) -> None:
        self._own = own
        self._limit = limit
        self._known: OrderedDict[str, Retained] = OrderedDict()  # those that have changed last stand last
        self._gone: OrderedDict[str, Retained] = OrderedDict()  # the same for those that have given way
        self._used: dict[str, int] = {}
        self.bytes = 0
        self.given_way = 0

    def __len__(self) -> int:
        return len(self._known)

    def slots(self) -> list[str]:
        """The slots whose values are held."""
        return list(self._known)

    def get(self, slot: str) -> Retained | None:
        """The value of a slot, if it is held."""
        return self._known.get(slot)

    def version(self, slot: str) -> Version:
        """The version of a slot that is known, even if its value has given way."""
        known = self._known.get(slot) or self._gone.get(slot)
        return UNKNOWN if known is None else known.version

    def tell(self, slot: str) -> Version:
        """The version of a slot, as `version`; it is told to somebody, or remembered, and must not get another value."""
        retained = self._known.get(slot)
        if retained is not None:
            retained.is_told = True
        return self.version(slot)

    def put(self, slot: str, data: bytes) -> bool:
        """Write a value; gives whether it is another than before.

        Raises:
            ValueError: The versions of the slot are used up.
        """
        known = self._known.get(slot)
        if known is not None and known.data == data:
            return False
        counter, writer, _ = self.version(slot)
        # As long as nobody has heard of the last one, its number does for this one, too: so bursts do not use up numbers.
        if known is None or writer != self._own or known.is_told:
            counter += 1
        if counter >= MAX_SEQUENCE:
            raise ValueError(f"slot {slot!r} cannot change any more: somebody has used up its versions")
        self._install(Retained(slot, Version(counter, self._own, check_of(data)), data))
        return True

    def objection(self, value: Value) -> str | None:
        """Why a value that has come is not believed, or None.

        Otherwise one single value could have the largest counter there is, and nobody could replace it any more.
        """
        known = self.version(value.slot).counter
        if value.counter - known <= MOST_AHEAD:
            return None
        return f"the version {value.counter} of a state is too far ahead of {known}, which is known"

    def learn(self, value: Value) -> bool:
        """Take a value that has come; gives whether it is news that is held now, and should be passed on."""
        slot, version = value.slot, value.version
        gone = self._gone.get(slot)
        comes_back = gone is not None and gone.version == version and slot in self._used
        if not comes_back and (version <= self.version(slot) or self.objection(value) is not None):
            return False
        retained = Retained(slot, version, value.data)
        retained.is_told = True
        self._install(retained)
        return retained.data is not None

    def _install(self, retained: Retained) -> None:
        slot = retained.slot
        before = self._known.pop(slot, None)
        if before is not None:
            self.bytes -= before.size
        self._gone.pop(slot, None)
        self._known[slot] = retained
        self.bytes += retained.size
        self._make_room()

    def _make_room(self) -> None:
        while self.bytes > self._limit:
            slot = next((slot for slot in self._known if slot not in self._used), None)
            if slot is None:
                return
            self._give_way(self._known.pop(slot))

    def _give_way(self, retained: Retained) -> None:
        self.bytes -= retained.size
        self.given_way += 1
        retained.data = None
        self._gone[retained.slot] = retained
        if len(self._gone) > MOST_GIVEN_WAY:
            self._gone.popitem(last=False)

    def use(self, slot: str) -> bool:
        """The slot is in use here from now on, once more. Gives whether its value has given way, and must be asked for."""
        self._used[slot] = self._used.get(slot, 0) + 1
        return slot in self._gone

    def release(self, slot: str) -> None:
        """The slot is in use here once less."""
        self._used[slot] -= 1
        if not self._used[slot]:
            del self._used[slot]
            self._make_room()

    def names(self) -> Iterator[Retained]:
        """All of which a version is known. Whoever asks is going to tell others of it."""
        for retained in (*self._known.values(), *self._gone.values()):
            retained.is_told = True
            yield retained
