"""Records: each comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.limits import MAX_RUN_MESSAGES
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.records import (
    MAX_LINKS,
    MAX_SLOTS,
    Digest,
    Guidance,
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    NoRoute,
    Record,
    RecordKind,
    Route,
    Want,
    WantKind,
    encode_batch,
    encode_record,
    parse_batch,
    parse_record,
)

A, B, C, D = (bytes([number]) * 16 for number in (1, 2, 3, 4))
BIG = MAX_SEQUENCE - 1

RECORDS: list[Record | Digest | Guidance] = [
    NodeRecord(A, 1, "", 0, 0, 0, {}, {}),
    NodeRecord(A, BIG, "ä" * 256, 7, BIG, 8, {C: LinkRecord(True, BIG), B: LinkRecord(False, 0)}, {C: 0, B: 300}),
    InterestRecord(A, "slot", 1, 0, 5, 2, 1),
    InterestRecord(A, "s" * 512, BIG, 2, BIG, BIG, None),
    InterestRecord(A, "slot", 9, 0, 0, 0, None),
    InterestSnapshot(A, 0, ()),
    InterestSnapshot(A, 5, (InterestRecord(A, "a", 3, 1, 5, 1, None), InterestRecord(A, "b", 9, 0, 0, 0, None))),
    NodeChange(A, 1, 2, {}, (), {}),
    NodeChange(A, 7, BIG, {C: LinkRecord(True, BIG), B: LinkRecord(False, 0)}, (A, D), {C: 0, B: 300}),
    Digest({}),
    Digest({C: (0, 7), A: (3, 0)}),
    Route(A, "", 0, 0, 0, 0, 0, {}, ()),
    Route(A, "ä" * 256, 7, BIG, 8, 15, BIG, {C: 0, B: 300}, (InterestRecord(A, "a", 3, 1, 5, 1, None),)),
    NoRoute(A),
    Want(WantKind.SLOT, "s" * 512, True),
    Want(WantKind.NAME, "ä" * 256, False),
    Want(WantKind.CONTEXT, A, True),
    Want(WantKind.ONCE, A, True),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: Record | Digest | Guidance) -> None:
    data = encode_record(record)
    again = parse_record(data)
    assert type(again) is type(record)
    assert again == record
    assert encode_record(again) == data
    assert data == cbor2.dumps(cbor2.loads(data), canonical=True)


def test_a_large_snapshot_comes_back() -> None:
    names = sorted(str(number).zfill(512) for number in range(MAX_SLOTS))
    snapshot = InterestSnapshot(A, 5, tuple(InterestRecord(A, name, BIG, 0, BIG, BIG, BIG) for name in names))
    assert parse_record(encode_record(snapshot)) == snapshot


# --------------------------------------------------------------------------------------------------- what is refused

LINK = [B, False, 1]
NUMBER: list[object] = [-1, MAX_SEQUENCE, 2**64 - 1, "7", None, True, 7.0, b"7", [7]]
IDENTITY: list[object] = [A[:15], A + b"x", "x" * 16, None, 5]
HEADS: dict[RecordKind, dict[str, tuple[object, list[object]]]] = {
    RecordKind.NODE: {
        "origin": (A, IDENTITY),
        "number": (1, [0, *NUMBER]),
        "name": ("me", [b"me", None, "x" * 257]),
        "pid": (1, NUMBER),
        "max_package": (1, NUMBER),
        "window_bytes": (1, NUMBER),
    },
    RecordKind.INTEREST: {
        "origin": (A, IDENTITY),
        "slot": ("s", ["", b"s", None, "x" * 513, "ä" * 257]),
        "record": (1, [0, *NUMBER]),
        "mode": (1, [3, *NUMBER]),
        "size": (1, [0, *NUMBER]),
        "count": (1, [0, *NUMBER]),
        "blocks_since": (1, [each for each in NUMBER if each is not None]),
    },
    RecordKind.SNAPSHOT: {"origin": (A, IDENTITY), "record": (1, NUMBER)},
    RecordKind.DIGEST: {},
    RecordKind.CHANGE: {
        "origin": (A, IDENTITY),
        "since": (1, [0, 2, 3, *NUMBER]),
        "number": (2, [0, *NUMBER]),
    },
    RecordKind.ROUTE: {
        "origin": (A, IDENTITY),
        "name": ("me", [b"me", None, "x" * 257]),
        "pid": (1, NUMBER),
        "max_package": (1, NUMBER),
        "window_bytes": (1, NUMBER),
        "hops": (1, NUMBER),
        "way": (1, NUMBER),
    },
    RecordKind.NO_ROUTE: {"origin": (A, IDENTITY)},
    RecordKind.WANT: {
        "what": (0, [4, *NUMBER]),
        "key": ("s", ["", A, "x" * 513, A[:15], None, 5]),
        "is_wanted": (True, [0, 1, None]),
    },
}
ROWS: dict[tuple[RecordKind, int], tuple[list[list[object]], dict[str, list[object]]]] = {
    (RecordKind.NODE, 2): ([[A, False, 1]], {"neighbour": IDENTITY, "is_suspended": [0, None], "generation": NUMBER}),
    (RecordKind.NODE, 4): ([[A, 1]], {"context": IDENTITY, "count": NUMBER}),
    (RecordKind.SNAPSHOT, 2): (
        [["s", 1, 0, 1, 1, None]],
        {"slot": ["", b"s", 5], "record": [0, *NUMBER], "mode": [3, *NUMBER], "size": [0, *NUMBER], "count": NUMBER},
    ),
    (RecordKind.CHANGE, 2): ([[A, False, 1]], {"neighbour": IDENTITY, "is_suspended": [0, None], "generation": NUMBER}),
    (RecordKind.CHANGE, 4): ([[A]], {"neighbour": IDENTITY}),
    (RecordKind.CHANGE, 5): ([[A, 1]], {"context": IDENTITY, "count": NUMBER}),
    (RecordKind.ROUTE, 2): ([[A, 1]], {"context": IDENTITY, "count": NUMBER}),
    (RecordKind.ROUTE, 3): (
        [["s", 1, 0, 1, 1, None]],
        {"slot": ["", b"s", 5], "record": [0, *NUMBER], "mode": [3, *NUMBER], "size": [0, *NUMBER], "count": NUMBER},
    ),
    (RecordKind.DIGEST, 2): ([[A, 1, 1]], {"origin": IDENTITY, "number": NUMBER, "record": NUMBER}),
}
TABLES = {
    RecordKind.NODE: 3,
    RecordKind.INTEREST: 0,
    RecordKind.SNAPSHOT: 1,
    RecordKind.DIGEST: 1,
    RecordKind.CHANGE: 4,
    RecordKind.ROUTE: 2,
    RecordKind.NO_ROUTE: 0,
    RecordKind.WANT: 0,
}


def good(kind: RecordKind) -> list[Any]:
    return [int(kind), [value for value, _ in HEADS[kind].values()], *([] for _ in range(TABLES[kind]))]


def refused(value: object, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        parse_record(cbor2.dumps(value))


@pytest.mark.parametrize("kind", RecordKind)
def test_parts_and_fields_too_few_or_too_many_are_refused(kind: RecordKind) -> None:
    parse_record(cbor2.dumps(good(kind)))
    refused([*good(kind), []], f"a {kind.name} has {3 + TABLES[kind]} parts instead of {2 + TABLES[kind]}")
    refused(good(kind)[:1], "has 1 parts")
    refused([int(kind), [*good(kind)[1], 1], *good(kind)[2:]], f"a {kind.name} has .* fields instead of")
    refused([int(kind), {}, *good(kind)[2:]], f"the fields of a {kind.name} are not an array")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in RecordKind for name in HEADS[kind]], ids=str)
def test_a_wrong_field_is_named(kind: RecordKind, name: str) -> None:
    for wrong in HEADS[kind][name][1]:
        record = good(kind)
        record[1] = [wrong if each == name else value for each, (value, _) in HEADS[kind].items()]
        refused(record, f"the field {name} of a {kind.name} is wrong")


@pytest.mark.parametrize(("kind", "place"), ROWS, ids=str)
def test_a_wrong_row_is_refused(kind: RecordKind, place: int) -> None:
    rows, wrongs = ROWS[kind, place]
    record = good(kind)
    record[place] = rows
    parse_record(cbor2.dumps(record))
    for index, (name, values) in enumerate(wrongs.items()):
        for wrong in values:
            record[place] = [[wrong if each == index else value for each, value in enumerate(rows[0])]]
            why = (
                "nested more than 3 levels" if type(wrong) is list else f"the field {name} of a .*{kind.name} is wrong"
            )
            refused(record, why)
    record[place] = [rows[0], rows[0]]
    refused(record, f"of a {kind.name} are out of order, or name one twice")
    record[place] = [rows[0][:-1]]
    refused(record, "fields instead of")
    no_tables: list[object] = [{}, None, "x", 5]
    for no_table in no_tables:
        record[place] = no_table
        refused(record, f"of a {kind.name} are not an array")
    record[place] = [5]
    refused(record, "are not an array")


def test_rows_stand_in_order() -> None:
    refused([3, [], [[B, 1, 1], [A, 1, 1]]], "the known of a DIGEST are out of order")


def test_a_table_has_a_limit() -> None:
    slots = [[str(number).zfill(6), 1, 0, 1, 1, None] for number in range(MAX_SLOTS + 1)]
    refused([2, [A, 1], slots], f"not an array of at most {MAX_SLOTS}")


def test_a_change_has_a_limit_of_links_that_are_gone() -> None:
    gone = [[number.to_bytes(16, "big")] for number in range(MAX_LINKS + 1)]
    refused([4, [A, 1, 2], [], [], gone, []], f"the gone of a CHANGE are not an array of at most {MAX_LINKS}")


def test_a_link_is_not_new_and_gone_in_one_change() -> None:
    refused(
        [4, [A, 1, 2], [[B, False, 1]], [], [[B]], []], "the gone of a CHANGE name a neighbour that is in its links"
    )


@pytest.mark.parametrize(("kind", "links", "bounds"), [(RecordKind.NODE, 2, 3), (RecordKind.CHANGE, 2, 3)])
def test_bounds_are_those_of_links(kind: RecordKind, links: int, bounds: int) -> None:
    record = good(kind)
    record[links], record[bounds] = [[B, False, 1]], [[B, 1]]
    parse_record(cbor2.dumps(record))
    for wrong in (0, *NUMBER):
        refused([*record[:bounds], [[B, wrong]], *record[bounds + 1 :]], "nested more|the field bound of a .* is wrong")
    refused([*record[:bounds], [[B, 1], [B, 1]], *record[bounds + 1 :]], "out of order, or name one twice")
    refused(
        [*record[:bounds], [[C, 1]], *record[bounds + 1 :]],
        f"the bounds of a {kind.name} name {C.hex()}, to which it has no link",
    )


def test_one_who_does_not_listen_wants_nothing() -> None:
    for fields in ([1, 0, 0, None], [0, 5, 0, None], [0, 0, 0, 3]):
        refused([1, [A, "s", 1, *fields]], "the field count of a INTEREST is wrong: nobody listens")


def test_the_length_of_a_slot_may_be_another() -> None:
    data = encode_record(InterestRecord(A, "ääää", 1, 0, 1, 1, 1))
    assert parse_record(data, slot_length=8)
    with pytest.raises(ProtocolError, match="the field slot of a INTEREST is wrong: 4 characters"):
        parse_record(data, slot_length=7)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x00\x00",
        b"\x82\x05\x80",
        b"\x82\x18\x00",
        b"\x9f\x03\x80\x80\xff",
        b"\x83\x03\x80\x80\x00",
        b"\x83\x03\x80",
        b"\x83\x03\x80\x9f\xff",
        b"\x83\x03\x80\x81\x81\xc2\x41\x01",
        b"\x83\x03\x80\x81\x81\x81\x81\x00",
        b"\x83\x03\x80\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
    ids=lambda data: data.hex() or "empty",
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_record(data)


@given(record=st.sampled_from(RECORDS), data=st.data())
def test_a_record_that_was_damaged_is_read_or_refused(record: Record | Digest, data: st.DataObject) -> None:
    good_bytes = bytearray(encode_record(record)[:400])
    for _ in range(data.draw(st.integers(1, 3))):
        good_bytes[data.draw(st.integers(0, len(good_bytes) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = parse_record(bytes(good_bytes))
    except ProtocolError:
        return
    assert parse_record(encode_record(again)) == again


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (parse_record, parse_batch):
        try:
            read(data)
        except ProtocolError:
            pass


# -------------------------------------------------------------------------------------------------------------- batches


@given(sizes=st.lists(st.integers(0, 400), max_size=30), limit=st.integers(1, 1000))
def test_batches_keep_all_records_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    records = [bytes([index]) * size for index, size in enumerate(sizes)]
    bodies = list(encode_batch(records, limit))
    batches = [parse_batch(body) for body in bodies]
    assert [record for batch in batches for record in batch] == records
    for body, batch in zip(bodies, batches, strict=True):
        assert body == cbor2.dumps(batch)
        assert len(body) <= limit or len(batch) == 1
    for batch, following in pairwise(batches):
        assert sum(len(record) + 5 for record in [*batch, following[0]]) + 3 > limit


def test_a_batch_has_a_limit_of_records() -> None:
    bodies = list(encode_batch([b""] * (MAX_RUN_MESSAGES + 1)))
    assert [len(parse_batch(body)) for body in bodies] == [MAX_RUN_MESSAGES, 1]
    with pytest.raises(ProtocolError):
        parse_batch(cbor2.dumps([b""] * (MAX_RUN_MESSAGES + 1)))


@pytest.mark.parametrize("wrong", [{}, None, ["text"], [b"", 5], [[b""]], b"x"], ids=repr)
def test_what_is_no_batch_is_refused(wrong: object) -> None:
    with pytest.raises(ProtocolError):
        parse_batch(cbor2.dumps(wrong))


@pytest.mark.parametrize(
    ("what", "key", "is_good"),
    [
        (WantKind.SLOT, A, False),
        (WantKind.NAME, "", False),
        (WantKind.NAME, "n" * 1025, False),
        (WantKind.NAME, "n", True),
        (WantKind.CONTEXT, "n", False),
        (WantKind.CONTEXT, A, True),
        (WantKind.ONCE, "n", False),
    ],
)
def test_what_is_wanted_must_fit_its_kind(what: int, key: object, is_good: bool) -> None:
    record = [int(RecordKind.WANT), [int(what), key, True]]
    if is_good:
        assert parse_record(cbor2.dumps(record)) == (what, key, True)
    else:
        refused(record, "the field key of a WANT is wrong")
