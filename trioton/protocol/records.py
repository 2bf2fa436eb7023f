"""Records: what every context of a network is told about every other, so that each can compute by itself how to reach it.

A context floods a `NodeRecord`, which says what it is and which neighbours it has. If these are many, a `NodeChange` says what is
another since. For each slot whose interest changes there is an `InterestRecord`; who comes later gets an `InterestSnapshot` in place
of the many records before it. A `Digest` lets two neighbours find out what the other lacks.

A record travels as the CBOR array ``[kind, head, *tables]``: the head is an array of fields, each table an array of rows, which
are arrays of fields and stand in the order of their first field. One description of each kind serves to write, to read and to
check. So there is one way only to write a record, and what was read and is passed on need not be written again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import ProtocolError
from . import codec
from .handshake import MAX_NAME
from .identity import ID_BYTES
from .limits import MAX_RUN_BYTES, MAX_RUN_MESSAGES
from .packages import MAX_SEQUENCE
from .policies import Mode
from .scan import scan
from .shown import shown

MAX_LINKS: Final = 16_384
"""Neighbours that one context may have: sixteen times the connections that it accepts by default, and a record of 400 KB."""

MAX_PARTINGS: Final = 4096
"""Contexts of which a record may say how often they parted: more than anybody loses and finds again while it matters."""

MAX_SLOTS: Final = 10_000
"""Slots that one context may listen to, as `Limits.subscriptions` has it for one peer."""

MAX_SLOT: Final = 512
"""Bytes of a slot's name, as `Limits.slot_length` has it, unless the reader says otherwise."""

BELOW: Final = 1
"""In the lower bits of `LinkRecord.bound`: the neighbour is believed what it says of itself and of those below it, its stubs."""

ITSELF: Final = 2
"""In the lower bits of `LinkRecord.bound`: the neighbour is believed what it says of itself only."""

BOUND_BITS: Final = 2
"""How many bits of `LinkRecord.bound` say for whom the neighbour may speak; those above say who it is."""

MAX_KNOWN: Final = 131_072
"""Contexts that a digest may name: far more than routes by whole records can serve."""

_DEPTH: Final = 3  # the record, a table, a row
_BATCH_HEAD: Final = 3  # the most that is written before the records of a batch
_STRING_HEAD: Final = 5  # the most that is written before one record


class LinkRecord(NamedTuple):
    """One end of a link, as the context at this end sees it.

    Attributes:
        is_suspended: Whether its transport is lost, and it may come back.
        generation: Another number for each session with this neighbour.
        bound: For whom the neighbour may speak, and so whether anything is routed through it: 0 for all; otherwise `BELOW` or `ITSELF`
            in the lower `BOUND_BITS` bits, and above them a check of the identity that it has proved, 0 for none.
    """

    is_suspended: bool
    generation: int
    bound: int = 0


class NodeRecord(NamedTuple):
    """What a context is and which neighbours it has.

    Attributes:
        origin: The 16 bytes of its identity.
        number: Grows with each change, from 1 on; a larger number replaces the whole record.
        name: Its name; may be empty.
        pid: Its process, as its host counts it.
        max_package: Bytes of the largest package that it takes.
        window_bytes: Bytes that a flow may be ahead of it.
        links: Its end of each of its links, by the neighbour's identity.
        partings: How often it has given up what it had in common with another context, by that one's identity.
    """

    origin: bytes
    number: int
    name: str
    pid: int
    max_package: int
    window_bytes: int
    links: Mapping[bytes, LinkRecord]
    partings: Mapping[bytes, int]


class NodeChange(NamedTuple):
    """What is another in the record of a context since an earlier number of it.

    Attributes:
        origin: The 16 bytes of its identity.
        since: Who knows its record of this number, or of any between this and `number`, knows it of that when it has learned this.
        number: The number that its record has after this; larger than `since`.
        links: Its ends of those links that are new or another, by the neighbour's identity.
        gone: The neighbours to which it has no link any more, in the order of their identities.
        partings: The counts of partings that are new or another.
    """

    origin: bytes
    since: int
    number: int
    links: Mapping[bytes, LinkRecord]
    gone: tuple[bytes, ...]
    partings: Mapping[bytes, int]


class InterestRecord(NamedTuple):
    """What a context listens to on one slot; the fields from `mode` on mean what they mean in `control.Subscribe`.

    Attributes:
        origin: The 16 bytes of its identity.
        slot: The slot.
        record: Counts the records of this origin over all its slots: each has one more than the one before, the first has 1.
        mode: What to do when it has no room, a `policies.Mode`.
        size: Messages that may wait for it.
        count: How many subscriptions stand behind it. If 0, it no longer listens; `mode` and `size` are 0 then.
        blocks_since: The record since which there has always been a subscription that blocks, or None if none blocks now.
    """

    origin: bytes
    slot: str
    record: int
    mode: int
    size: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    blocks_since: int | None


class InterestSnapshot(NamedTuple):
    """Everything that a context listens to.

    Attributes:
        origin: The 16 bytes of its identity.
        record: What this origin has said in its records up to this number is in here, or was withdrawn; 0 if it has said nothing.
        interests: What it listens to, in the order of the slots. Some may be newer than `record`, and then also withdrawals.
    """

    origin: bytes
    record: int
    interests: tuple[InterestRecord, ...]


class Digest(NamedTuple):
    """What somebody knows of all contexts.

    Attributes:
        known: For each context the number of its node record, and the number up to which all its interest records are known;
            0 for none.
    """

    known: Mapping[bytes, tuple[int, int]]


class Route(NamedTuple):
    """What a parent tells its stub of a context that the stub has to do with, in place of all that it told of it before.

    Attributes:
        origin: The 16 bytes of the context's identity.
        name: Its name; may be empty.
        pid: Its process, as its host counts it.
        max_package: Bytes of the largest package that it, and all on the way there, take.
        window_bytes: Bytes that a flow may be ahead of it.
        hops: How many links lead there from the parent; 0 for the parent itself.
        way: Another number for each way that leads there from the parent.
        partings: How often it has given up the stub, and those below that.
        interests: What it listens to of the slots that the stub wants to know about; not told of the parent itself.
    """

    origin: bytes
    name: str
    pid: int
    max_package: int
    window_bytes: int
    hops: int
    way: int
    partings: Mapping[bytes, int]
    interests: tuple[InterestRecord, ...]


class NoRoute(NamedTuple):
    """What a parent tells its stub of a context that cannot be reached, or not any more.

    Attributes:
        origin: The 16 bytes of the context's identity.
    """

    origin: bytes


class WantKind(enum.IntEnum):
    """Which contexts a stub wants to be told of."""

    SLOT = 0
    """Those that listen to a slot, from now on."""
    NAME = 1
    """Those that have a name, from now on."""
    CONTEXT = 2
    """The one with this identity, from now on."""
    ONCE = 3
    """The one with this identity: the answer, which is not awaited, is a ROUTE or a NO_ROUTE."""


class Want(NamedTuple):
    """What a stub wants its parent to tell it. The parent says the same when it has told all that it knew about a slot.

    Attributes:
        what: A `WantKind`.
        key: The slot, the name, or the 16 bytes of the identity.
        is_wanted: Whether it wants that, or does so no longer.
    """

    what: int
    key: str | bytes
    is_wanted: bool


Record: TypeAlias = NodeRecord | NodeChange | InterestRecord | InterestSnapshot
"""What is known of a context."""

Guidance: TypeAlias = Route | NoRoute | Want
"""What is only said between a stub and its parent."""


class RecordKind(enum.IntEnum):
    """What a record starts with."""

    NODE = 0
    INTEREST = 1
    SNAPSHOT = 2
    DIGEST = 3
    CHANGE = 4
    ROUTE = 5
    NO_ROUTE = 6
    WANT = 7


# --------------------------------------------------------------------------------------------------------------- checks


def is_identity(value: object) -> bool:
    """Whether it is the identity of a context as it travels."""
    return type(value) is bytes and len(value) == ID_BYTES


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_SEQUENCE


def _is_positive(value: object) -> bool:
    return _is_number(value) and value != 0


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_bound(value: object) -> bool:
    return type(value) is int and 0 < value < MAX_SEQUENCE and value % (1 << BOUND_BITS) in {BELOW, ITSELF}


def _is_name(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_NAME


def _is_slot(value: object) -> bool:
    return type(value) is str and value != ""


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_want(value: object) -> bool:
    return type(value) is int and 0 <= value <= max(WantKind)


def _is_key(value: object) -> bool:
    return is_identity(value) or type(value) is str


def _is_mode(value: object) -> bool:
    return type(value) is int and 0 <= value <= max(Mode)


_Checks: TypeAlias = Mapping[str, Callable[[object], bool]]


class _Table(NamedTuple):
    most: int
    row: _Checks


class _Shape(NamedTuple):
    head: _Checks
    tables: Mapping[str, _Table]


_INTEREST: Final[_Checks] = {
    "slot": _is_slot,
    "record": _is_positive,
    "mode": _is_mode,
    "size": _is_number,
    "count": _is_number,
    "blocks_since": _is_number_or_none,
}
_LINKS: Final = _Table(MAX_LINKS, {"neighbour": is_identity, "is_suspended": _is_flag, "generation": _is_number})
_BOUNDS: Final = _Table(MAX_LINKS, {"neighbour": is_identity, "bound": _is_bound})
_PARTINGS: Final = _Table(MAX_PARTINGS, {"context": is_identity, "count": _is_number})
_INTERESTS: Final = _Table(MAX_SLOTS, _INTEREST)
_SHAPES: Final[Mapping[RecordKind, _Shape]] = {
    RecordKind.NODE: _Shape(
        {
            "origin": is_identity,
            "number": _is_positive,
            "name": _is_name,
            "pid": _is_number,
            "max_package": _is_number,
            "window_bytes": _is_number,
        },
        {"links": _LINKS, "bounds": _BOUNDS, "partings": _PARTINGS},
    ),
    RecordKind.INTEREST: _Shape({"origin": is_identity, **_INTEREST}, {}),
    RecordKind.SNAPSHOT: _Shape({"origin": is_identity, "record": _is_number}, {"interests": _INTERESTS}),
    RecordKind.DIGEST: _Shape(
        {}, {"known": _Table(MAX_KNOWN, {"origin": is_identity, "number": _is_number, "record": _is_number})}
    ),
    RecordKind.CHANGE: _Shape(
        {"origin": is_identity, "since": _is_positive, "number": _is_positive},
        {
            "links": _LINKS,
            "bounds": _BOUNDS,
            "gone": _Table(MAX_LINKS, {"neighbour": is_identity}),
            "partings": _PARTINGS,
        },
    ),
    RecordKind.ROUTE: _Shape(
        {
            "origin": is_identity,
            "name": _is_name,
            "pid": _is_number,
            "max_package": _is_number,
            "window_bytes": _is_number,
            "hops": _is_number,
            "way": _is_number,
        },
        {"partings": _PARTINGS, "interests": _INTERESTS},
    ),
    RecordKind.NO_ROUTE: _Shape({"origin": is_identity}, {}),
    RecordKind.WANT: _Shape({"what": _is_want, "key": _is_key, "is_wanted": _is_flag}, {}),
}
# The record, its kind and its head; the rows with their fields; and the tables themselves.
_MAX_ITEMS: Final = {
    kind: 10 + len(shape.head) + sum(1 + table.most * (1 + len(table.row)) for table in shape.tables.values())
    for kind, shape in _SHAPES.items()
}


# -------------------------------------------------------------------------------------------------------------- writing


def encode_record(record: Record | Digest | Guidance) -> bytes:
    """Give the bytes of a record; it is not checked."""
    head: Sequence[object]
    tables: Sequence[list[Any]]
    if isinstance(record, NodeRecord):
        kind, head = RecordKind.NODE, record[:6]
        tables = [_link_rows(record.links), _bound_rows(record.links), list(record.partings.items())]
    elif isinstance(record, NodeChange):
        kind, head = RecordKind.CHANGE, record[:3]
        gone = [(neighbour,) for neighbour in record.gone]
        tables = [_link_rows(record.links), _bound_rows(record.links), gone, list(record.partings.items())]
    elif isinstance(record, InterestRecord):
        kind, head, tables = RecordKind.INTEREST, record, []
    elif isinstance(record, InterestSnapshot):
        kind, head, tables = RecordKind.SNAPSHOT, record[:2], [[interest[1:] for interest in record.interests]]
    elif isinstance(record, Route):
        kind, head = RecordKind.ROUTE, record[:7]
        tables = [list(record.partings.items()), [interest[1:] for interest in record.interests]]
    elif isinstance(record, NoRoute):
        kind, head, tables = RecordKind.NO_ROUTE, record, []
    elif isinstance(record, Want):
        kind, head, tables = RecordKind.WANT, record, []
    else:
        kind, head = RecordKind.DIGEST, ()
        tables = [[(origin, *numbers) for origin, numbers in record.known.items()]]
    parts = [codec.array_head(2 + len(tables)), codec.uint(kind), codec.encode_header(list(head))]
    for rows in tables:
        parts.append(codec.array_head(len(rows)))
        parts += [codec.encode_header(row) for row in sorted(rows, key=_first)]
    return b"".join(parts)


def _link_rows(links: Mapping[bytes, LinkRecord]) -> list[tuple[object, ...]]:
    return [(neighbour, link.is_suspended, link.generation) for neighbour, link in links.items()]


def _bound_rows(links: Mapping[bytes, LinkRecord]) -> list[tuple[object, ...]]:
    return [(neighbour, link.bound) for neighbour, link in links.items() if link.bound]


def _first(row: Sequence[Any]) -> Any:
    return row[0]


def encode_batch(records: Iterable[bytes], limit: int = MAX_RUN_BYTES) -> Iterator[bytes]:
    """Put encoded records together to bodies of at most `limit` bytes; one that is larger makes a body of its own."""
    batch: list[bytes] = []
    size = _BATCH_HEAD
    for record in records:
        more = len(record) + _STRING_HEAD
        if batch and (size + more > limit or len(batch) == MAX_RUN_MESSAGES):
            yield _join(batch)
            batch, size = [], _BATCH_HEAD
        batch.append(record)
        size += more
    if batch:
        yield _join(batch)


def _join(batch: list[bytes]) -> bytes:
    parts = [codec.array_head(len(batch))]
    for record in batch:
        parts += (codec.bytes_head(len(record)), record)
    return b"".join(parts)


# -------------------------------------------------------------------------------------------------------------- reading


def parse_batch(body: bytes) -> list[bytes]:
    """Take the records of a body apart, without a look into them.

    Raises:
        ProtocolError: It is not an array of at most `MAX_RUN_MESSAGES` byte strings.
    """
    scan(body, max_items=1 + MAX_RUN_MESSAGES, max_depth=1, tags=())
    batch = codec.load(body, 1)
    if type(batch) is not list or not all(type(record) is bytes for record in batch):
        raise ProtocolError(f"a batch of records is not an array of byte strings: {shown(batch)}")
    return batch


def parse_record(data: bytes, *, slot_length: int = MAX_SLOT) -> Record | Digest | Guidance:
    """Read and check a record.

    Args:
        data: Its bytes.
        slot_length: Bytes that the name of a slot may have.

    Raises:
        ProtocolError: Something is missing, too much, out of order, or of the wrong type or size.
    """
    kind = _kind_of(data)
    shape = _SHAPES[kind]
    scan(data, max_items=_MAX_ITEMS[kind], max_depth=_DEPTH, tags=())
    parts = codec.load(data, _DEPTH)
    if len(parts) != 2 + len(shape.tables):
        raise ProtocolError(f"a {kind.name} has {len(parts)} parts instead of {2 + len(shape.tables)}")
    head = _check_fields(kind.name, shape.head, parts[1])
    tables = [
        _check_table(kind.name, name, table, rows)
        for (name, table), rows in zip(shape.tables.items(), parts[2:], strict=True)
    ]
    if kind is RecordKind.NODE:
        origin, number, name, pid, max_package, window_bytes = head
        links = _links(kind.name, *tables[:2])
        return NodeRecord(origin, number, name, pid, max_package, window_bytes, links, dict(tables[2]))
    if kind is RecordKind.CHANGE:
        return _change(head, tables)
    if kind is RecordKind.INTEREST:
        return _interest(kind.name, head, slot_length)
    if kind is RecordKind.SNAPSHOT:
        origin, number = head
        interests = [_interest(kind.name, [origin, *row], slot_length) for row in tables[0]]
        return InterestSnapshot(origin, number, tuple(interests))
    if kind is RecordKind.ROUTE:
        interests = [_interest(kind.name, [head[0], *row], slot_length) for row in tables[1]]
        origin, name, pid, max_package, window_bytes, hops, way = head
        partings = dict(tables[0])
        return Route(origin, name, pid, max_package, window_bytes, hops, way, partings, tuple(interests))
    if kind is RecordKind.NO_ROUTE:
        return NoRoute(*head)
    if kind is RecordKind.WANT:
        return _want(head, slot_length)
    return Digest({origin: (number, record) for origin, number, record in tables[0]})


def _kind_of(data: bytes) -> RecordKind:
    """Say what a record is by its first two bytes, since that decides how much may follow."""
    if len(data) < 2 or not 0x80 <= data[0] < 0x98:
        raise ProtocolError(f"a record that is not a short array: it starts with {data[:2]!r}")
    try:
        return RecordKind(data[1])
    except ValueError:
        raise ProtocolError(f"a record of an unknown kind: {data[:2]!r}") from None


def _check_fields(what: str, checks: _Checks, fields: object) -> list[Any]:
    if type(fields) is not list:
        raise ProtocolError(f"the fields of a {what} are not an array: {shown(fields)}")
    if len(fields) != len(checks):
        raise ProtocolError(f"a {what} has {len(fields)} fields instead of {len(checks)}")
    for (name, check), value in zip(checks.items(), fields, strict=True):
        if not check(value):
            raise ProtocolError(f"the field {name} of a {what} is wrong: {shown(value)}")
    return fields


def _check_table(what: str, name: str, table: _Table, rows: object) -> list[list[Any]]:
    if type(rows) is not list or len(rows) > table.most:
        raise ProtocolError(f"the {name} of a {what} are not an array of at most {table.most}: {shown(rows)}")
    before = None
    for row in rows:
        first = _check_fields(f"row in the {name} of a {what}", table.row, row)[0]
        if before is not None and first <= before:
            raise ProtocolError(f"the {name} of a {what} are out of order, or name one twice: {shown(first)}")
        before = first
    return rows


_link = lru_cache(maxsize=1024)(LinkRecord)  # most links are alike


def _links(what: str, rows: list[list[Any]], bounds: list[list[Any]]) -> dict[bytes, LinkRecord]:
    links = {neighbour: _link(is_suspended, generation) for neighbour, is_suspended, generation in rows}
    for neighbour, bound in bounds:
        if neighbour not in links:
            raise ProtocolError(f"the bounds of a {what} name {neighbour.hex()}, to which it has no link")
        links[neighbour] = links[neighbour]._replace(bound=bound)
    return links


def _change(head: list[Any], tables: list[list[list[Any]]]) -> NodeChange:
    origin, since, number = head
    links, bounds, gone, partings = tables
    left = tuple(neighbour for (neighbour,) in gone)
    change = NodeChange(origin, since, number, _links("CHANGE", links, bounds), left, dict(partings))
    if change.since >= change.number:
        raise ProtocolError(f"the field since of a CHANGE is wrong: {change.since} is not before {change.number}")
    if not change.links.keys().isdisjoint(change.gone):
        raise ProtocolError("the gone of a CHANGE name a neighbour that is in its links, too")
    return change


def _want(fields: list[Any], slot_length: int) -> Want:
    want = Want(*fields)
    if isinstance(want.key, str):
        is_text = want.what in {WantKind.SLOT, WantKind.NAME}
        most = slot_length if want.what == WantKind.SLOT else 4 * MAX_NAME
        if is_text and 1 <= len(want.key.encode()) <= most:
            return want
    elif want.what in {WantKind.CONTEXT, WantKind.ONCE}:
        return want
    raise ProtocolError(f"the field key of a WANT is wrong: {shown(want.key)}")


def _interest(what: str, fields: list[Any], slot_length: int) -> InterestRecord:
    interest = InterestRecord(*fields)
    if len(interest.slot.encode()) > slot_length:
        raise ProtocolError(f"the field slot of a {what} is wrong: {len(interest.slot)} characters are too many")
    if interest.count == 0 and interest[3:] != (0, 0, 0, None):
        raise ProtocolError(f"the field count of a {what} is wrong: nobody listens, but {interest[3:]!r}")
    if interest.count and not interest.size:
        raise ProtocolError(f"the field size of a {what} is wrong: 0, but {interest.count} listen")
    return interest
