"""What is said to contexts that are no neighbours: it comes back as it was, goes on as it came, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import control
from trioton.protocol.codec import encode_header
from trioton.protocol.control import CONTROL_KINDS, Control, control_kind
from trioton.protocol.frames import PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.routed import (
    HOP_SHIFT,
    MOST_HOPS,
    ROUTED_KINDS,
    RoutedReceived,
    encode_routed,
    parse_routed,
    pass_on,
)
from trioton.protocol.trees import MAX_HOPS

A, B = bytes(range(16)), bytes(range(16, 32))

MESSAGES: list[Control] = [
    control.Sync(3, 2, 1),
    control.Synced(),
    control.Offer(A, "slot", 1),
    control.Credit(A, "slot", 1, None, 7),
    control.Credit(A, "slot", 1, 5, 7),
    control.Started(A, "slot", 1, 5, None),
    control.Kept(A, "slot", 1, 7),
    control.Flush(A, "slot", 1, 7),
    control.Unreachable(A, "slot", 1, "nobody receives there"),
    control.Position("slot", 1, None),
    control.Position("slot", 1, MAX_SEQUENCE - 1),
    control.AskState("slot"),
    control.Denied(A, "slot", 1, 0, B),
    control.StateKnown("slot", 0, b"", b""),
    control.StateKnown("slot", MAX_SEQUENCE - 1, bytes(16), bytes(8)),
]
LINK_KINDS = CONTROL_KINDS.keys() - ROUTED_KINDS
"""What is said to neighbours only."""

IDENTITIES = st.binary(min_size=16, max_size=16)
NUMBERS = st.integers(0, MAX_SEQUENCE - 1)


def parts_of(frame: bytes) -> tuple[int, bytes]:
    """The flags and the header of a ROUTED frame."""
    kind, flags, header_size, body_size = PREFIX.unpack_from(frame)
    assert (kind, header_size, body_size) == (FrameKind.ROUTED, len(frame) - PREFIX_SIZE, 0)
    return flags, frame[PREFIX_SIZE:]


# --------------------------------------------------------------------------------------------------- written and read


def test_there_is_a_message_of_each_kind() -> None:
    assert {control_kind(message) for message in MESSAGES} == ROUTED_KINDS
    assert {kind.name for kind in LINK_KINDS} == {"CLOSE", "PING", "PONG", "BEAT", "SUBSCRIBE", "UNSUBSCRIBE"}


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_a_message_comes_back_as_it_was(message: Control) -> None:
    flags, header = parts_of(encode_routed(A, B, 9, message))
    assert flags == 0
    assert header == cbor2.dumps([A, B, 9, int(control_kind(message)), *message])
    event = parse_routed(header, flags)
    assert event == RoutedReceived(A, B, 9, 0, header, [control_kind(message), *message])
    again = event.message()
    assert type(again) is type(message)
    assert again == message


@given(IDENTITIES, IDENTITIES, NUMBERS, st.sampled_from(MESSAGES), st.integers(0, MOST_HOPS))
def test_whatever_goes_on_stays_as_it_was(
    source: bytes, destination: bytes, number: int, message: Control, hops: int
) -> None:
    flags, header = parts_of(encode_routed(source, destination, number, message))
    for passed in range(hops):
        event = parse_routed(header, flags)
        assert event.hops == passed
        flags, further = parts_of(pass_on(event.header, event.hops))
        assert further == header
    event = parse_routed(header, flags)
    assert event[:4] == (source, destination, number, hops)
    assert event.message() == message


def test_the_longest_way_ends_where_trees_end() -> None:
    flags, _ = parts_of(pass_on(b"\x80", MOST_HOPS - 1))
    assert flags == MOST_HOPS << HOP_SHIFT == 0xF0
    assert MOST_HOPS + 1 == MAX_HOPS  # the first link is there before anybody has passed anything on


@given(st.integers(0, 255))
def test_only_the_upper_half_of_the_flags_counts_hops(flags: int) -> None:
    _, header = parts_of(encode_routed(A, B, 0, control.Synced()))
    assert parse_routed(header, flags).hops == flags // 16


# ------------------------------------------------------------------------------------------------------------ refused

GOOD: list[Any] = [A, B, 9, int(FrameKind.SYNCED)]
NO_IDENTITIES: list[object] = [b"", A[:15], A + b"x", "x" * 16, None, 5, [A]]
NO_NUMBERS: list[object] = [-1, MAX_SEQUENCE, 2**64 - 1, "9", None, True, 9.0, [9]]
WRONG_HEADERS: list[list[Any]] = [
    [],
    *(GOOD[:count] for count in (1, 2, 3)),
    *([wrong, *GOOD[1:]] for wrong in NO_IDENTITIES),
    *([A, wrong, *GOOD[2:]] for wrong in NO_IDENTITIES),
    *([A, B, wrong, *GOOD[3:]] for wrong in NO_NUMBERS),
]


@pytest.mark.parametrize("fields", WRONG_HEADERS, ids=repr)
def test_a_header_that_says_not_whose_it_is_for_whom_is_refused(fields: list[Any]) -> None:
    with pytest.raises(ProtocolError, match="the header of a ROUTED is wrong"):
        parse_routed(encode_header(fields), 0)


@pytest.mark.parametrize("data", [b"", b"\x60", b"\x84\x40", cbor2.dumps(GOOD) + b"\x00", cbor2.dumps({1: 2})])
def test_what_is_no_array_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_routed(data, 0)


@pytest.mark.parametrize(
    "kind", [-1, 0, 4, 255, MAX_SEQUENCE, "9", None, True, 9.0, [9], *LINK_KINDS, FrameKind.ROUTED]
)
def test_what_may_not_be_routed_goes_on_and_is_not_heard(kind: object) -> None:
    number = int(kind) if isinstance(kind, FrameKind) else kind
    event = parse_routed(encode_header([A, B, 9, number, 1]), 0)  # whoever passes it on does not look at it
    with pytest.raises(ProtocolError, match="cannot be routed"):
        event.message()


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        (FrameKind.SYNCED, [1], "a SYNCED has 1 fields instead of 0"),
        (FrameKind.SYNC, [], "a SYNC has 0 fields instead of 3"),
        (FrameKind.SYNC, [0, -1, 0], "announced"),
        (FrameKind.POSITION, ["slot", None, 1], "stream"),
        (FrameKind.POSITION, ["slot", 1, True], "expected"),
        (FrameKind.OFFER, [A[:15], "slot", 1], "source"),
        (FrameKind.UNREACHABLE, [A, "slot", 1, b"reason"], "reason"),
    ],
)
def test_wrong_fields_are_not_heard(kind: FrameKind, fields: list[object], error: str) -> None:
    event = parse_routed(encode_header([A, B, 9, int(kind), *fields]), 0)
    with pytest.raises(ProtocolError, match=error):
        event.message()


@given(
    st.binary(max_size=60) | st.lists(st.integers() | st.binary(max_size=17) | st.none(), max_size=6).map(cbor2.dumps)
)
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        event = parse_routed(data, 0)
        event.message()
    except ProtocolError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
    else:
        assert event.header == data
