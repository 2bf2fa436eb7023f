"""Frames as a peer might send them: well formed more often than not, with numbers, names and values that somebody else has chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from trioton.protocol import codec
from trioton.protocol.control import CONTROL_KINDS
from trioton.protocol.frames import BODY_KINDS, FrameKind, encode_prefix
from trioton.protocol.limits import MIN_FRAGMENT
from trioton.protocol.records import RecordKind, WantKind, encode_batch
from trioton.protocol.retained import RowKind
from trioton.protocol.routed import ROUTED_KINDS
from trioton.protocol.scan import (
    DATETIME_TAG,
    DECIMAL_TAG,
    NEGATIVE_BIGNUM_TAG,
    POSITIVE_BIGNUM_TAG,
    SET_TAG,
    SPECIAL_DECIMAL_TAG,
    TUPLE_TAG,
    UUID_TAG,
)

from .chooser import Chooser

TEXTS: Final = (
    "",
    "a",
    "give",
    "add",
    "call",
    "close",
    "__init__",
    "ValueError",
    "ExceptionGroup",
    "x" * 300,
    "\u00e4\u2028",
    "name",
)
TAGS: Final = (
    *(DATETIME_TAG, POSITIVE_BIGNUM_TAG, NEGATIVE_BIGNUM_TAG, DECIMAL_TAG, UUID_TAG, SET_TAG, SPECIAL_DECIMAL_TAG),
    *(TUPLE_TAG, 54022, 54023, 54024, 1, 5, 25, 28, 29, 35, 256, 55799),
)
_GOOD_TAGS: Final = 11
_DATETIMES: Final = (
    b"2026-01-02T03:04:05.678+05:30",
    b"2026-01-02",
    b"2026-01-02T03:04:05Z",
    b"9999-12-31T23:59:59+00:00",
    b"",
)
_DEEPEST: Final = 40


def head(major: int, argument: int) -> bytes:
    """The head of an item, in its shortest form."""
    data = bytearray(codec.uint(argument))
    data[0] |= major << 5
    return bytes(data)


def text_item(text: str) -> bytes:
    """A text as an item."""
    data = text.encode("utf-8", "surrogatepass")
    return codec.text_head(len(data)) + data


def bytes_item(data: bytes) -> bytes:
    """A byte string as an item."""
    return codec.bytes_head(len(data)) + data


def array(items: Sequence[bytes]) -> bytes:
    """An array of items."""
    return codec.array_head(len(items)) + b"".join(items)


Role = Literal["peer", "stub", "parent"]


class Speech:
    """What a peer says, as a chooser has it.

    Args:
        choose: Decides about everything.
        sources: Identities in whose name the peer speaks.
        others: Identities of which it speaks, but in whose name it does not: of those it would be believed.
        slots: Names of slots.
        role: What the peer is to whom it speaks; decides which records it may tell.

    Attributes:
        choose: Decides about everything.
        is_polite: Whether all is well formed, so that the talk goes on; only what it says may make no sense.
    """

    def __init__(
        self,
        choose: Chooser,
        sources: Sequence[bytes],
        others: Sequence[bytes],
        slots: Sequence[str],
        role: Role = "peer",
    ) -> None:
        self.choose = choose
        self.is_polite = choose.byte() % 4 != 0
        self._sources = sources
        self._contexts = (*sources, *others)
        self._slots = tuple(slots) if self.is_polite else (*slots, "", "x" * 600)
        self._others = tuple(others) or tuple(sources)
        self._role = role
        self._has_said: set[object] = set()  # what may be said once only
        self._last = b""
        self._waiting: list[bytes] = []

    # ---------------------------------------------------------------- values

    def value(self, levels: int = 0) -> bytes:
        """An item of CBOR; now and then a wrong one."""
        choose = self.choose
        kind = choose.byte() % (17 if self.is_polite else 20)
        if levels > _DEEPEST or kind < 4:
            return codec.uint(choose.number())
        if kind < 6:
            return text_item(choose.one_of((*TEXTS, *self._slots)))
        if kind < 8:
            return bytes_item(choose.one_of((b"", choose.take(4), *self._contexts)))
        if kind < 10 and self.is_polite:
            return choose.one_of((b"\xf6", b"\xf5", b"\xf4", b"\xf9\x7e\x00", b"\xfb" + bytes(8), b"\x20"))
        if kind < 10:
            return choose.one_of(
                (b"\xf6", b"\xf5", b"\xf4", b"\xf7", b"\xf9\x7e\x00", b"\xfb" + bytes(8), b"\x20", b"\xff")
            )
        if kind < 13:
            return array([self.value(levels + 1) for _ in range(choose.below(6))])
        if kind < 14:
            pairs = choose.below(4)
            return head(5, pairs) + b"".join(self.value(levels + 1) for _ in range(2 * pairs))
        if kind < 17:
            return self._tagged(levels)
        if kind < 18:
            return bytes([choose.byte()]) + choose.take(9)  # any head
        return head(1, choose.number())

    def _tagged(self, levels: int) -> bytes:
        choose = self.choose
        number = choose.one_of(TAGS[:_GOOD_TAGS] if self.is_polite else TAGS)
        start = head(6, number)
        if choose.flag():
            return start + self.value(levels + 1)
        if number == DATETIME_TAG:
            text = choose.one_of(_DATETIMES)
            return start + codec.text_head(len(text)) + text
        if number in {POSITIVE_BIGNUM_TAG, NEGATIVE_BIGNUM_TAG}:
            return start + bytes_item(
                choose.one_of((b"", b"\1", b"\xff" * 9, b"\xff" * 512, b"\xff" * 4096, choose.take(8)))
            )
        if number == UUID_TAG:
            return start + bytes_item((choose.take(16) + bytes(16))[:16])
        if number in {SET_TAG, TUPLE_TAG}:
            return start + array([self.value(levels + 1) for _ in range(choose.below(5))])
        if number == 54022:
            return start + array([bytes_item(self.context()), text_item(self.slot())])
        if number == 54023:
            return start + text_item(self.slot())
        if number == 54024:
            return start + array(
                [bytes_item(self.context()), text_item(choose.one_of(TEXTS)), codec.uint(choose.number())]
            )
        if number in {DECIMAL_TAG, SPECIAL_DECIMAL_TAG} and self.is_polite:
            digits = [codec.uint(choose.below(256)), codec.uint(choose.number())]
            return start + array(digits if number == DECIMAL_TAG else [b"\0", b"\0", codec.uint(choose.below(6))])
        if number == DECIMAL_TAG:
            return start + array([self.value(levels + 1), self.value(levels + 1)])
        return start + self.value(levels + 1)

    def source(self) -> bytes:
        """An identity in whose name the peer speaks."""
        return self.choose.one_of(self._sources)

    def context(self) -> bytes:
        """An identity."""
        return self.choose.one_of(self._contexts)

    def slot(self) -> str:
        """The name of a slot."""
        return self.choose.one_of(self._slots)

    # ---------------------------------------------------------------- fields

    def fields(self, names: Sequence[str]) -> list[bytes]:
        """The fields of a message that has these names; now and then one too few or too many."""
        items = [self._field(name) for name in names]
        change = 0 if self.is_polite else self.choose.byte()
        if change == 1:
            items.append(self.value())
        elif change == 2 and items:
            items.pop()
        return items

    def _field(self, name: str) -> bytes:
        choose = self.choose
        if not self.is_polite and choose.byte() >= 250:
            return self.value()
        make = _FIELDS.get(name)
        return codec.uint(choose.legal()) if make is None else make(self)

    def number_or_none(self) -> bytes:
        """A number, or null."""
        return b"\xf6" if self.choose.flag() else codec.uint(self.choose.legal())

    # ---------------------------------------------------------------- frames

    def frame(self) -> bytes:
        """The next frame, or something that is none."""
        if self._waiting and self.choose.flag():
            return self._waiting.pop(0)
        kinds: list[Callable[[], bytes]] = [
            *(self.control, self.control, self.package, self.package, self.records, self.routed, self.retained),
            self.fragments,
        ]
        if not self.is_polite:
            kinds += [self._raw_frame, self._raw, lambda: self._last]
        self._last = self.choose.one_of(kinds)()
        return self._last

    def control(self) -> bytes:
        """A control message."""
        kinds = [kind for kind in CONTROL_KINDS if not self.is_polite or kind not in _RUDE_KINDS]
        kind = self.choose.one_of(kinds)
        fields = self.fields(CONTROL_KINDS[kind]._fields)
        if self.is_polite and CONTROL_KINDS[kind]._fields[:1] == ("source",):
            concerns_other = kind in {FrameKind.CREDIT, FrameKind.UNREACHABLE}
            fields[0] = bytes_item(self._others[0] if concerns_other else self._contexts[0])
        return _frame(kind, fields)

    def routed(self) -> bytes:
        """A control message for somebody who is no neighbour."""
        kind = self.choose.one_of(sorted(ROUTED_KINDS))
        start = [
            bytes_item(self.source()),
            bytes_item(self.context()),
            codec.uint(self.choose.legal()),
            codec.uint(kind),
        ]
        return _frame(FrameKind.ROUTED, start + self.fields(CONTROL_KINDS[kind]._fields), flags=self.choose.byte())

    def run(self) -> tuple[int, bytes]:
        """Messages, and how many they are."""
        count = self.choose.below(4)
        make = self.choose.one_of((self.value, self.ask, self.answer, self.push, self.pull))
        return count, array([make() for _ in range(count)])

    def header(self, count: int) -> bytes:
        """The header of a package of so many messages."""
        choose = self.choose
        kind = choose.below(3)
        number = choose.below(600) if choose.flag() else choose.legal()
        stream = choose.below(3) if not choose.flag() else choose.legal()
        items = [codec.uint(kind), bytes_item(self.source()), codec.uint(stream), codec.uint(number)]
        items += [text_item(self.slot()), codec.uint(count)]
        if kind:
            items.append(bytes_item(self.context()))
        return array(items)

    def package(self) -> bytes:
        """A package."""
        count, body = self.run()
        header = self.header(count if self.is_polite or not self.choose.flag() else self.choose.number())
        return encode_prefix(FrameKind.PACKAGE, self.choose.byte(), len(header), len(body)) + header + body

    def fragments(self) -> bytes:
        """The first part of a large package; the others follow later."""
        choose = self.choose
        size = MIN_FRAGMENT + choose.below(3 * MIN_FRAGMENT)
        body = b"\x81" + codec.bytes_head(size) + bytes(size)
        said = choose.number() if not self.is_polite and choose.flag() else len(body)
        tag, flags = choose.below(4), choose.byte()
        if self.is_polite:
            tag, flags = len(self._has_said) + 4, flags & 1
            self._has_said.add(tag)
        start = array([codec.uint(tag), codec.uint(said), bytes_item(self.header(1))])
        parts = [body[at : at + MIN_FRAGMENT] for at in range(0, len(body), MIN_FRAGMENT)]
        for part in parts[1:]:
            self._waiting.append(
                encode_prefix(FrameKind.FRAGMENT, 0, 1 + len(codec.uint(tag)), len(part))
                + array([codec.uint(tag)])
                + part
            )
        return encode_prefix(FrameKind.OPENING, flags, len(start), len(parts[0])) + start + parts[0]

    def _raw_frame(self) -> bytes:
        kind = self.choose.one_of(tuple(FrameKind))
        header = self.choose.piece()
        body = self.choose.piece() if kind in BODY_KINDS or self.choose.flag() else b""
        return encode_prefix(kind, self.choose.byte(), len(header), len(body)) + header + body

    def _raw(self) -> bytes:
        return self.choose.piece()

    # ---------------------------------------------------------------- records and values

    def records(self) -> bytes:
        """A frame of records."""
        bodies = list(encode_batch([self.record() for _ in range(1 + self.choose.below(3))]))
        body = bodies[0]
        return encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body

    def record(self) -> bytes:
        """One record."""
        if self.is_polite:
            return self._polite_record()
        kind = self.choose.below(9)
        if kind == 8:
            return self.choose.piece()
        tables = [array(self._rows(names)) for names in _RECORD_TABLES[kind]]
        return array([codec.uint(kind), array(self.fields(_RECORD_HEADS[kind])), *tables])

    def _rows(self, names: Sequence[str]) -> list[bytes]:
        rows = [array(self.fields(names)) for _ in range(self.choose.below(4))]
        return rows if self.choose.flag() else sorted(set(rows))

    def _polite_record(self) -> bytes:
        kind = self.choose.one_of(_KINDS_OF[self._role])
        if kind == RecordKind.DIGEST and kind in self._has_said and self._role != "parent":
            kind = RecordKind.WANT if self._role == "stub" else RecordKind.NODE  # the former is said once
        self._has_said.add(kind)
        head = self.fields(_RECORD_HEADS[kind])
        tables = [self._unique_rows(names) for names in _RECORD_TABLES[kind]]
        if kind == RecordKind.CHANGE:
            since = self.choose.below(6)
            head[1:] = [codec.uint(1 + since), codec.uint(2 + since + self.choose.below(3))]
            if tables[0]:
                tables[1] = []
        elif kind == RecordKind.WANT:
            what = self.choose.below(4)
            key = text_item(self.slot()) if what < WantKind.CONTEXT else bytes_item(self.context())
            head[:2] = [codec.uint(what), key]
        elif kind == RecordKind.ROUTE and self.choose.flag():
            head[0], head[5] = bytes_item(self._contexts[0]), b"\0"  # the parent itself
        return array([codec.uint(kind), array(head), *map(array, tables)])

    def _unique_rows(self, names: Sequence[str]) -> list[bytes]:
        rows = {}
        for _ in range(self.choose.below(4)):
            fields = self.fields(names)
            rows[fields[0]] = array(fields)
        # Slots are told in the order of their characters, identities in that of their bytes.
        return [rows[first] for first in sorted(rows, key=lambda item: item[1 if len(item) < 25 else 2 :])]

    def retained(self) -> bytes:
        """A frame of retained values."""
        body = self.rows()
        return encode_prefix(FrameKind.RETAINED, 0, 1, len(body)) + b"\x80" + body

    def rows(self) -> bytes:
        """The body of such a frame."""
        rows = []
        for _ in range(self.choose.below(4)):
            kind = self.choose.below(6 if self.is_polite else 7)
            if self.is_polite and kind >= RowKind.ALL_NAMED:
                kind = RowKind.ALL_NAMED if kind == RowKind.ALL_NAMED else RowKind.NOTHING_LACKS
                kind = kind if ("row", kind) not in self._has_said else RowKind.KNOWN
                self._has_said.add(("row", kind))
            start = codec.uint(kind)
            if kind >= RowKind.ALL_NAMED:
                rows.append(array([start]))
            else:
                data = bytes_item(self.value() if kind == RowKind.VALUE else self.choose.take(8).ljust(8, b"c"))
                rows.append(array([start, *self.fields(("slot", "counter", "writer")), data]))
        return array(rows)

    # ---------------------------------------------------------------- what channels say to each other

    def ask(self) -> bytes:
        """What a requester says."""
        choose, request = self.choose, codec.uint(self.choose.below(5))
        kind = choose.below(4)
        if kind == 1:
            return array([codec.uint(1), request])
        if kind == 2:
            return array([codec.uint(2)])
        if kind == 3:
            return self.value()
        method = text_item(choose.one_of(TEXTS))
        arguments = array([self.value() for _ in range(choose.below(3))])
        keywords = b"\xa0" if not choose.flag() else self.value()
        seconds = choose.one_of((b"\xf6", b"\xfb\x3f\xf0" + bytes(6), b"\xfb" + choose.take(8).ljust(8, b"\0")))
        stream = b"\xf6" if not choose.flag() else self.value()
        return array([codec.uint(0), request, seconds, stream, array([method, arguments, keywords])])

    def answer(self) -> bytes:
        """What a replier says."""
        kind, request = self.choose.below(7), codec.uint(self.choose.below(5))
        start = [codec.uint(kind)]
        if kind == 1:
            return array([*start, request, self.failure()])
        if kind == 3:
            return array(start)
        if kind == 2:
            return array([*start, request])
        return array([*start, request, self.value()])

    def failure(self, levels: int = 0) -> bytes:
        """What a handler is said to have raised."""
        choose = self.choose
        if levels > 10 or choose.byte() == 255:
            return self.value()
        name = choose.one_of(
            (
                "ValueError",
                "ExceptionGroup",
                "OSError",
                "UnicodeDecodeError",
                "SyntaxError",
                "KeyError",
                "Exception",
                "x.Y",
            )
        )
        arguments = b"\xf6" if choose.flag() else array([self.value() for _ in range(choose.below(6))])
        notes = array([text_item("a note") if not choose.flag() else self.value() for _ in range(choose.below(3))])
        cause = self.failure(levels + 1) if choose.flag() else b"\xf6"
        group = array([self.failure(levels + 1) for _ in range(choose.below(3))]) if choose.flag() else b"\xf6"
        return array([text_item(name), arguments, text_item("why"), notes, text_item("where"), cause, group])

    def push(self) -> bytes:
        """What a pusher says."""
        choose = self.choose
        if choose.flag():
            return array([codec.uint(choose.below(3))])
        flag = choose.one_of((b"\xf4", b"\xf5"))
        return array([codec.uint(0), codec.uint(choose.below(6)), codec.uint(choose.below(6)), flag, self.value()])

    def pull(self) -> bytes:
        """What a puller says."""
        kind = self.choose.below(9)
        return array([codec.uint(kind), *self.fields(_PULL_FIELDS[kind])])


def _frame(kind: FrameKind, items: list[bytes], flags: int = 0) -> bytes:
    header = array(items)
    return encode_prefix(kind, flags, len(header), 0) + header


_RUDE_KINDS: Final = {FrameKind.CLOSE, FrameKind.POSITION}
_FIELDS: Final[dict[str, Callable[[Speech], bytes]]] = {
    "slot": lambda speech: text_item(speech.slot()),
    "source": lambda speech: bytes_item(speech.context()),
    "origin": lambda speech: bytes_item(speech.source()),
    "neighbour": lambda speech: bytes_item(speech.context()),
    "context": lambda speech: bytes_item(speech.context()),
    "writer": lambda speech: bytes_item(speech.context()),
    "reason": lambda speech: text_item(speech.choose.one_of(TEXTS)),
    "name": lambda speech: text_item(speech.choose.one_of(TEXTS)[: 200 if speech.is_polite else None]),
    "number": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "counter": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "since": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "mode": lambda speech: codec.uint(speech.choose.below(3 if speech.is_polite else 5)),
    "record": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "size": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "count": lambda speech: codec.uint(max(int(speech.is_polite), speech.choose.legal())),
    "check": lambda speech: bytes_item(speech.choose.take(8).ljust(8, b"c")),
    "what": lambda speech: codec.uint(speech.choose.below(4 if speech.is_polite else 5)),
    "stream": lambda speech: codec.uint(speech.choose.below(3)),
    "is_suspended": lambda speech: b"\xf5" if speech.choose.flag() else b"\xf4",
    "is_wanted": lambda speech: b"\xf4" if speech.choose.flag() else b"\xf5",
    "started": lambda speech: b"\xf5" if speech.choose.flag() else b"\xf4",
    "hops": lambda speech: codec.uint(speech.choose.below(18)),
    "key": lambda speech: text_item(speech.slot()) if speech.choose.flag() else bytes_item(speech.context()),
    "taken": Speech.number_or_none,
    "agreed": Speech.number_or_none,
    "expected": Speech.number_or_none,
    "blocks_since": Speech.number_or_none,
}

_INTEREST: Final = ("slot", "record", "mode", "size", "count", "blocks_since")
_LINKS: Final = ("neighbour", "is_suspended", "generation")
_PARTINGS: Final = ("context", "parted")
_RECORD_HEADS: Final[Any] = (
    ("origin", "number", "name", "pid", "max_package", "window_bytes"),
    ("origin", *_INTEREST),
    ("origin", "record"),
    (),
    ("origin", "since", "number"),
    ("origin", "name", "pid", "max_package", "window_bytes", "hops", "way"),
    ("origin",),
    ("what", "key", "is_wanted"),
)
_RECORD_TABLES: Final[Any] = (
    (_LINKS, _PARTINGS),
    (),
    (_INTEREST,),
    (("origin", "number", "record"),),
    (_LINKS, ("neighbour",), _PARTINGS),
    (_PARTINGS, _INTEREST),
    (),
    (),
)
_KINDS_OF: Final[dict[Role, tuple[RecordKind, ...]]] = {
    "peer": (RecordKind.NODE, RecordKind.INTEREST, RecordKind.SNAPSHOT, RecordKind.DIGEST, RecordKind.CHANGE),
    "stub": (
        *(RecordKind.NODE, RecordKind.INTEREST, RecordKind.SNAPSHOT, RecordKind.CHANGE),
        RecordKind.WANT,
        RecordKind.DIGEST,
    ),
    "parent": (RecordKind.ROUTE, RecordKind.NO_ROUTE, RecordKind.WANT, RecordKind.DIGEST),
}
_PULL_FIELDS: Final = (
    ("number", "room", "heard"),
    ("number", "room", "heard", "started"),
    ("number", "room", "heard"),
    ("room", "heard"),
    ("number",),
    ("number",),
    ("number", "room", "heard", "reason"),
    ("heard",),
    ("number", "number"),
)
