"""The values of states: which of two is kept, what gives way, and what a row may look like."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cbor2
import pytest

from trioton import ProtocolError
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.retained import (
    MOST_AHEAD,
    MOST_GIVEN_WAY,
    OVERHEAD,
    UNKNOWN,
    Known,
    Mark,
    RetainedStore,
    RowKind,
    Value,
    Version,
    check_of,
    encode_known,
    encode_mark,
    encode_value_head,
    parse_rows,
)

A, B, C = (bytes([n]) * 12 + bytes(4) for n in (1, 2, 3))


def store(own: bytes = A, limit: int = 1 << 20) -> RetainedStore:
    return RetainedStore(own, limit)


def data_of(kept: RetainedStore, slot: str = "s") -> bytes | None:
    retained = kept.get(slot)
    return None if retained is None else retained.data


# ---------------------------------------------------------------------------------------------------------------- rows


def test_rows_come_back_as_they_were() -> None:
    version = Version(7, A, check_of(b"\x61x"))
    rows = [
        encode_value_head("s", version, 2) + b"\x61x",
        encode_known("long " * 50, version),
        encode_known("s", UNKNOWN),
        *(encode_mark(kind) for kind in RowKind if kind >= RowKind.ALL_NAMED),
    ]
    body = cbor2.dumps([cbor2.loads(row) for row in rows])
    assert body[1:] == b"".join(rows)
    assert parse_rows(body) == [
        Value("s", 7, A, b"\x61x"),
        Known("long " * 50, version),
        Known("s", UNKNOWN),
        *(Mark(kind) for kind in RowKind if kind >= RowKind.ALL_NAMED),
    ]


GOOD_VALUE: Sequence[object] = [0, "s", 1, A, b"\x01"]
GOOD_KNOWN: Sequence[object] = [1, "s", 1, A, bytes(8)]


@pytest.mark.parametrize(
    "row",
    [
        *([*GOOD_VALUE[:at], wrong, *GOOD_VALUE[at + 1 :]] for at, wrong in [
            (0, 6), (0, -1), (0, "0"), (0, None), (0, True),
            (1, ""), (1, b"s"), (1, "x" * 513), (1, None),
            (2, 0), (2, -1), (2, MAX_SEQUENCE), (2, 1.0), (2, True), (2, None),
            (3, A[1:]), (3, A + b"x"), (3, "x" * 16), (3, b""),
            (4, b""), (4, "x"), (4, None), (4, [b"x"]),
        ]),
        *([*GOOD_KNOWN[:at], wrong, *GOOD_KNOWN[at + 1 :]] for at, wrong in [
            (1, ""), (2, 0), (2, MAX_SEQUENCE), (3, b""), (4, bytes(7)), (4, bytes(9)), (4, "x" * 8),
        ]),
        GOOD_VALUE[:4], [*GOOD_VALUE, 0], GOOD_KNOWN[:4], [2, 0], [], {}, 5, None, [[0]],
    ],
    ids=lambda row: repr(row)[:40],
)  # fmt: skip
def test_a_row_that_makes_no_sense_is_refused(row: object) -> None:
    with pytest.raises(ProtocolError):
        parse_rows(cbor2.dumps([[2], row]))


@pytest.mark.parametrize(
    "body",
    [b"", b"\x80\x80", cbor2.dumps({}), cbor2.dumps([[2]] * 513), cbor2.dumps([cbor2.CBORTag(5, [2])]), b"\x9f\xff"],
    ids=repr,
)
def test_a_body_that_is_no_array_of_rows_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_rows(body)


def test_the_length_of_slots_is_that_of_the_context() -> None:
    body = cbor2.dumps([[0, "äöü", 1, A, b"\x01"]])
    assert parse_rows(body, slot_length=6)
    with pytest.raises(ProtocolError):
        parse_rows(body, slot_length=5)


# ------------------------------------------------------------------------------------------------------------ versions


def test_the_newest_is_kept_in_whatever_order_values_come() -> None:
    values = [Value("s", 1, A, b"1"), Value("s", 2, A, b"2"), Value("s", 2, B, b"3"), Value("s", 2, B, b"0")]
    for order in itertools.permutations(values * 2):
        if order[0] is values[0]:  # a sample
            kept = store(C)
            for value in order:
                kept.learn(value)
            assert data_of(kept) == max(values, key=lambda value: value.version).data
            assert kept.version("s") == max(value.version for value in values)


def test_who_writes_outdoes_what_is_known() -> None:
    kept = store(A)
    assert kept.learn(Value("s", 41, C, b"theirs"))
    assert kept.put("s", b"ours")
    assert kept.version("s")[:2] == (42, A)
    assert not kept.learn(Value("s", 41, C, b"theirs"))
    assert data_of(kept) == b"ours"


def test_the_same_bytes_are_no_change() -> None:
    kept = store()
    assert kept.put("s", b"x")
    before = kept.version("s")
    assert not kept.put("s", b"x")
    assert kept.version("s") == before


def test_bursts_use_up_no_numbers_until_somebody_has_heard() -> None:
    kept = store()
    for n in range(100):
        kept.put("s", b"%d" % n)
    assert kept.version("s").counter == 1
    list(kept.names())
    kept.put("s", b"next")
    assert kept.version("s").counter == 2
    assert kept.tell("s") == kept.version("s")
    kept.put("s", b"and next")
    assert kept.version("s").counter == 3
    assert kept.tell("unknown") == UNKNOWN


def test_a_counter_that_leaps_is_not_believed() -> None:
    kept = store()
    far = Value("s", MOST_AHEAD + 1, B, b"x")
    objection = kept.objection(far)
    assert objection is not None
    assert "too far ahead of 0" in objection
    assert not kept.learn(far)
    assert kept.version("s") == UNKNOWN
    assert kept.learn(Value("s", MOST_AHEAD, B, b"x"))
    assert kept.put("s", b"mine")
    assert data_of(kept) == b"mine"
    assert not kept.learn(Value("s", MAX_SEQUENCE - 1, B, b"x"))


def test_who_has_no_numbers_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "trioton.protocol.retained.MOST_AHEAD", MAX_SEQUENCE
    )  # else it takes a liar four million values
    kept = store()
    assert kept.learn(Value("s", MAX_SEQUENCE - 1, B, b"x"))
    with pytest.raises(ValueError, match="slot 's' cannot change any more"):
        kept.put("s", b"mine")
    assert data_of(kept) == b"x"


# -------------------------------------------------------------------------------------------------------------- limits


def test_what_has_not_changed_for_longest_gives_way() -> None:
    kept = store(limit=3 * (OVERHEAD + 11))
    for slot in "abc":
        assert kept.learn(Value(slot, 1, B, bytes(10)))
    assert kept.learn(Value("a", 2, B, bytes(10)))
    assert kept.learn(Value("d", 1, B, bytes(10)))
    assert kept.slots() == ["c", "a", "d"]
    assert kept.given_way == 1
    assert kept.bytes == 3 * (OVERHEAD + 11)
    assert kept.version("b").counter == 1, "it is known which version that was"
    assert not kept.learn(Value("b", 1, B, bytes(10))), "so it does not come back by another way"
    assert kept.learn(Value("b", 2, B, bytes(10)))


def test_what_is_used_here_never_gives_way() -> None:
    kept = store(limit=2 * OVERHEAD)
    kept.use("mine")
    kept.put("mine", bytes(10))
    for n in range(10):
        kept.learn(Value(f"other {n}", 1, B, bytes(10)))
    assert kept.slots()[0] == "mine"
    assert kept.put("mine", bytes(100_000)), "and it may be larger than all that is kept for others"
    assert kept.slots() == ["mine"]
    kept.release("mine")
    assert kept.slots() == []
    assert kept.given_way == 11


def test_what_is_too_large_to_be_kept_is_not_passed_on() -> None:
    kept = store(limit=1000)
    value = Value("s", 1, B, bytes(1000))
    assert not kept.learn(value)
    assert kept.bytes == 0
    assert not kept.learn(value)
    assert kept.given_way == 1, "the second time it is known, and not looked at"


def test_what_has_given_way_comes_back_for_who_uses_it() -> None:
    kept = store(limit=1000)
    value = Value("s", 3, B, bytes(1000))
    kept.learn(value)
    assert kept.use("s"), "it must be asked for"
    assert kept.learn(value)
    assert data_of(kept) == bytes(1000)
    assert not kept.learn(value)
    kept.put("s", b"x")
    assert kept.version("s").counter == 4


def test_who_writes_what_has_given_way_outdoes_it() -> None:
    kept = store(limit=1000)
    kept.learn(Value("s", 3, B, bytes(1000)))
    kept.use("s")
    kept.put("s", b"x")
    assert kept.version("s")[:2] == (4, A)


def test_a_flood_of_large_values_is_remembered_up_to_a_bound() -> None:
    kept = store(limit=1)
    for n in range(MOST_GIVEN_WAY + 10):
        kept.learn(Value(str(n), 1, B, b"x"))
    assert sum(1 for _ in kept.names()) == MOST_GIVEN_WAY
    assert kept.bytes == 0
