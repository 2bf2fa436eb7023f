"""Control frames: each comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import control
from trioton.protocol.codec import encode_header
from trioton.protocol.control import CONTROL_KINDS, MAX_REASON, encode_control, parse_control, shorten_reason
from trioton.protocol.frames import BODY_KINDS, HANDSHAKE_KINDS, PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.packages import MAX_SEQUENCE

SOURCE = bytes(range(16))

# One good value and some bad ones for each name of a field.
NUMBER: tuple[object, list[object]] = (7, [-1, MAX_SEQUENCE, 2**64 - 1, "7", None, True, 7.0, b"7", [7]])
NUMBER_OR_NONE: tuple[object, list[object]] = (None, [-1, MAX_SEQUENCE, "7", False, 7.0, []])
TEXT: tuple[object, list[object]] = ("slot", [b"slot", None, 5, ["slot"]])
IDENTITY: tuple[object, list[object]] = (SOURCE, [SOURCE[:15], SOURCE + b"x", "x" * 16, None, 5])
VALUES: dict[str, tuple[object, list[object]]] = {
    "reason": TEXT,
    "slot": TEXT,
    "source": IDENTITY,
    "by": IDENTITY,
    "taken": NUMBER_OR_NONE,
    "agreed": NUMBER_OR_NONE,
    "blocks_since": NUMBER_OR_NONE,
    "expected": NUMBER_OR_NONE,
    "writer": (b"", [b"x", SOURCE + b"x", "", None, 5]),
    "check": (bytes(8), [bytes(9), "", None, 5]),
}
SUBSCRIBE_VALUES = {**VALUES, "stream": NUMBER_OR_NONE}


def values_of(kind: FrameKind) -> dict[str, tuple[object, list[object]]]:
    table = SUBSCRIBE_VALUES if kind is FrameKind.SUBSCRIBE else VALUES
    return {name: table.get(name, NUMBER) for name in CONTROL_KINDS[kind]._fields}


def header_of(frame: bytes) -> bytes:
    _, flags, header_size, body_size = PREFIX.unpack_from(frame)
    assert (flags, header_size, body_size) == (0, len(frame) - PREFIX_SIZE, 0)
    return frame[PREFIX_SIZE:]


def test_every_kind_of_frame_is_known_to_somebody() -> None:
    assert CONTROL_KINDS.keys() | BODY_KINDS | HANDSHAKE_KINDS | {FrameKind.ROUTED} == set(FrameKind)
    assert not CONTROL_KINDS.keys() & (BODY_KINDS | HANDSHAKE_KINDS)


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_a_message_comes_back_as_it_was(kind: FrameKind) -> None:
    message = CONTROL_KINDS[kind](*[good for good, _ in values_of(kind).values()])
    frame = encode_control(message)
    assert frame[0] == kind
    assert header_of(frame) == cbor2.dumps(list(message))
    again = parse_control(kind, header_of(frame))
    assert type(again) is type(message)
    assert again == message


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_fields_too_few_or_too_many_are_refused(kind: FrameKind) -> None:
    fields = [good for good, _ in values_of(kind).values()]
    for wrong in ([*fields, 0], fields[:-1] if fields else [None]):
        with pytest.raises(ProtocolError, match=f"{len(wrong)} fields instead of {len(fields)}"):
            parse_control(kind, cbor2.dumps(wrong))


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in CONTROL_KINDS for name in values_of(kind)], ids=str
)
def test_a_wrong_field_is_named(kind: FrameKind, name: str) -> None:
    values = values_of(kind)
    for wrong in values[name][1]:
        fields = [wrong if each == name else good for each, (good, _) in values.items()]
        with pytest.raises(ProtocolError, match=f"the field {name} of a {kind.name} is wrong"):
            parse_control(kind, cbor2.dumps(fields))


def test_numbers_may_take_the_place_of_none() -> None:
    message = control.Subscribe("slot", 1, 0, 5, 2, 3, MAX_SEQUENCE - 1, 0)
    assert parse_control(FrameKind.SUBSCRIBE, header_of(encode_control(message))) == message
    credit = control.Credit(SOURCE, "slot", 1, 0, 9)
    assert parse_control(FrameKind.CREDIT, header_of(encode_control(credit))) == credit
    position = control.Position("slot", 1, 0)
    assert parse_control(FrameKind.POSITION, header_of(encode_control(position))) == position


# -------------------------------------------------------------------------------------------------------------- reasons

REASONS = [
    ("", ""),
    ("plain", "plain"),
    ("two\r\nlines\t and\x0b more ", "two lines and more"),
    ("x" * MAX_REASON, "x" * MAX_REASON),
    ("x" * (MAX_REASON + 1), "x" * (MAX_REASON - 1) + "…"),
    ("half a pair: \ud800", "half a pair: ?"),
]


@pytest.mark.parametrize(
    ("reason", "short"), REASONS, ids=["empty", "plain", "lines", "longest", "too long", "surrogate"]
)
def test_a_reason_becomes_one_line(reason: str, short: str) -> None:
    assert shorten_reason(reason) == short


@given(st.text())
def test_any_reason_can_travel(reason: str) -> None:
    short = shorten_reason(reason)
    assert len(short) <= MAX_REASON
    assert shorten_reason(short) == short
    message = control.Close(short)
    assert parse_control(FrameKind.CLOSE, header_of(encode_control(message))) == message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(FrameKind.CLOSE, []), (FrameKind.UNREACHABLE, [SOURCE, "slot", 1])],
    ids=["CLOSE", "UNREACHABLE"],
)
def test_a_peer_cannot_write_lines_into_our_log(kind: FrameKind, fields: list[Any]) -> None:
    message: Any = parse_control(kind, encode_header([*fields, "one\n2026-01-01 CRITICAL two" + "x" * 5000]))
    assert "\n" not in message.reason
    assert len(message.reason) == MAX_REASON
