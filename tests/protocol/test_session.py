"""Bytes go in, events come out: the handshake, the ends, and packages within their limits."""

from __future__ import annotations

import pytest

from trioton.errors import ProtocolError
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import (
    FLAG_END,
    FLAG_RETAINED,
    FLAG_SKIPPED,
    LARGE_BODY,
    MAX_RECORDS,
    PREFACE,
    FrameKind,
    encode_frame,
    encode_prefix,
)
from trioton.protocol.handshake import encode_refusal
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, MAX_RUN_BYTES, MIN_FRAGMENT, Limits
from trioton.protocol.memory import MemoryBudget, MemoryScope, OverMemoryError
from trioton.protocol.packages import PackageHeader, PackageTemplate
from trioton.protocol.records import encode_batch
from trioton.protocol.routed import RoutedReceived, encode_routed, pass_on
from trioton.protocol.session import Event, PackageReceived, RecordsReceived, Refused, Role, Session

from .session_bytes import FIRST, HELLO, KIB, LIMITS, PARTS, SOURCE, fragment, open_session, opening, package, refusal

# -------------------------------------------------------------------------------------------------------- the handshake


@pytest.mark.parametrize("role", Role)
def test_a_handshake_gives_one_event_and_the_rest_waits(role: Role) -> None:
    session = Session(role, LIMITS)
    assert session.in_handshake
    assert not session.has_greeted
    ping = control.Ping(1)
    assert session.receive_data(HELLO.to_frame(FIRST[role]) + encode_control(ping)) == [HELLO]
    assert session.is_mid_frame
    assert session.has_greeted
    assert session.in_handshake
    assert session.accept_peer() == [ping]
    assert not session.in_handshake
    assert not session.is_mid_frame
    session.receive_end()


def test_a_client_hears_why_it_was_refused() -> None:
    assert Session(Role.CLIENT, LIMITS).receive_data(encode_refusal("too many", SOURCE)) == [
        Refused("too many", SOURCE)
    ]


@pytest.mark.parametrize(
    ("role", "data", "reason"),
    [
        (Role.SERVER, HELLO.to_frame(FrameKind.WELCOME), "a WELCOME is out of place here"),
        (Role.SERVER, encode_refusal("no", SOURCE), "a REFUSE is out of place here"),
        (Role.CLIENT, HELLO.to_frame(FrameKind.HELLO), "a HELLO is out of place here"),
        (Role.SERVER, PREFACE + package(b"\x80", count=0), "a frame of kind PACKAGE is out of place here"),
        (Role.SERVER, PREFACE + encode_control(control.Ping(1)), "a frame of kind PING is out of place here"),
        (Role.SERVER, PREFACE + encode_frame(FrameKind.HELLO, b"\x80"), "an array of one map"),
        (Role.SERVER, b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
    ],
)
def test_who_starts_otherwise_is_refused(role: Role, data: bytes, reason: str) -> None:
    assert reason in refusal(Session(role, LIMITS), data)


def test_nobody_says_hello_twice() -> None:
    hello = HELLO.to_frame(FrameKind.HELLO)
    session = Session(Role.SERVER, LIMITS)
    session.receive_data(hello)
    assert "a second HELLO" in refusal(session, hello[len(PREFACE) :])
    assert "out of place" in refusal(open_session(), hello[len(PREFACE) :])


# ------------------------------------------------------------------------------------------------------ the other kinds


def records(body: bytes, header: bytes = b"\x80") -> bytes:
    return encode_prefix(FrameKind.RECORDS, 0, len(header), len(body)) + header + body


def test_records_come_as_they_are() -> None:
    session = open_session()
    (body,) = encode_batch([b"one", b"", bytes(300)])
    assert session.receive_data(records(body) + encode_control(control.Ping(1))) == [
        RecordsReceived([b"one", b"", bytes(300)]),
        control.Ping(1),
    ]
    assert session.receive_data(records(b"\x80")) == [RecordsReceived([])]
    assert (session.packages_received, session.messages_received) == (0, 0)


def test_records_of_the_largest_frame_come_in_pieces() -> None:
    session = open_session()
    (body,) = encode_batch([bytes(LARGE_FRAGMENT - 6)])
    assert len(body) == LARGE_FRAGMENT
    data = records(body)
    assert session.receive_data(data[:1000]) == []
    assert session.is_mid_frame
    assert session.receive_data(data[1000:]) == [RecordsReceived([bytes(LARGE_FRAGMENT - 6)])]
    (body,) = encode_batch([bytes(MAX_RECORDS - 5)])
    assert f"a body of {MAX_RECORDS + 1} bytes is over the limit" in refusal(open_session(), records(body))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the data ends"),
        (b"\x40", "not an array of byte strings"),
        (b"\x81\x01", "not an array of byte strings"),
        (b"\x81\x60", "not an array of byte strings"),
        (b"\x81\x80", "not an array of byte strings"),
        (b"\x82\x40", "the data ends"),
        (b"\x80\x80", "data after"),
        (b"\x99\x02\x01" + b"\x40" * 513, "more than 513 values"),
    ],
)
def test_what_is_no_batch_of_records_is_refused(body: bytes, reason: str) -> None:
    assert reason in refusal(open_session(), records(body))


def test_what_is_said_to_others_comes_with_its_hops() -> None:
    session = open_session()
    frame = encode_routed(SOURCE, SOURCE[::-1], 3, control.Position("slot", 1, None))
    (first,) = session.receive_data(frame)
    assert isinstance(first, RoutedReceived)
    (second,) = session.receive_data(pass_on(first.header, first.hops))
    assert isinstance(second, RoutedReceived)
    assert (first.hops, second.hops) == (0, 1)
    assert first.message() == second.message() == control.Position("slot", 1, None)
    assert "the header of a ROUTED is wrong" in refusal(session, encode_frame(FrameKind.ROUTED, b"\x80"))


def test_a_position_is_not_for_neighbours() -> None:
    position = encode_control(control.Position("slot", 1, None))
    assert "a frame of kind POSITION is out of place here" in refusal(open_session(), position)


@pytest.mark.parametrize("flags", [0, FLAG_END, FLAG_SKIPPED, 0xF0, 0xFF & ~FLAG_RETAINED])
def test_a_package_comes_with_its_flags(flags: int) -> None:
    session = open_session()
    data = package(b"\x81\x01", flags=flags)
    header = opening(1, MIN_FRAGMENT + 1, PARTS[0], flags=flags)
    for events in (
        session.receive_data(data),
        session.receive_data(data[:9]) + session.receive_data(data[9:]),
        session.receive_data(header) + session.receive_data(fragment(1, b"x")),
    ):
        (event,) = events
        assert isinstance(event, PackageReceived)
        assert (event.flags, event.is_last) == (flags, bool(flags & FLAG_END))


# ------------------------------------------------------------------------------------------------------------- the ends


def test_nothing_follows_a_goodbye() -> None:
    session = open_session()
    close = encode_control(control.Close("bye"))
    assert session.receive_data(close) == [control.Close("bye")]
    session.receive_end()
    assert "after its goodbye" in refusal(session, encode_control(control.Ping(1)))
    assert "after its goodbye" in refusal(open_session(), close + close)


@pytest.mark.parametrize(
    "data",
    [b"\x00", encode_control(control.Sync())[:-1], opening(1, 8000, bytes(4096)), package(bytes(LARGE_BODY))[:-1]],
    ids=["a byte", "a frame", "a large package", "a large frame"],
)
def test_an_end_in_the_middle_of_something_is_none(data: bytes) -> None:
    session = open_session()
    if data == b"\x00":
        data = encode_control(control.Sync())[:1]
    assert session.receive_data(data) == []
    assert session.is_mid_frame
    with pytest.raises(ProtocolError, match="in the middle"):
        session.receive_end()


def test_counts() -> None:
    session = open_session()
    before = session.bytes_received
    data = package(b"\x82\x01\x02", count=2) + package(b"\x80", count=0, flags=FLAG_END) + package(bytes(100 * KIB))
    first = session.receive_data(data[:1000])
    assert [event.is_last for event in first if isinstance(event, PackageReceived)] == [False, True]
    buffer = session.wanted_buffer()
    assert buffer is not None
    assert len(buffer) == len(data) - 1000
    buffer.release()
    assert len(session.buffer_filled(len(data) - 1000)) == 1
    assert session.wanted_buffer() is None
    assert session.bytes_received - before == len(data)
    assert (session.packages_received, session.messages_received) == (3, 3)


# -------------------------------------------------------------------------------------------------- packages and limits


def test_the_limit_is_for_one_message_and_a_run_may_always_be_as_large_as_runs_are() -> None:
    small = open_session(Limits(max_package=1))
    assert small.receive_data(package(bytes(MAX_RUN_BYTES + 3)))
    assert "over the limit" in refusal(small, package(bytes(MAX_RUN_BYTES + 4)))
    session = open_session()
    assert session.receive_data(package(bytes(200 * KIB + 3)))
    assert f"a package of {200 * KIB + 4} bytes is over the limit" in refusal(session, package(bytes(200 * KIB + 4)))


@pytest.mark.parametrize("count", [0, 2])
def test_a_lone_byte_string_is_one_message(count: int) -> None:
    body = b"\x81\x5a" + LARGE_BODY.to_bytes(4, "big") + bytes(LARGE_BODY)
    session = open_session()
    data = package(body, count=1)
    assert session.receive_data(data[:100]) == []
    (event,) = session.receive_data(data[100:])
    assert isinstance(event, PackageReceived)
    assert event.is_lone_bytes
    assert event.body == bytes(LARGE_BODY)
    data = package(body, count=count)
    session.receive_data(data[:100])
    assert f"not an array of {count} messages" in refusal(session, data[100:])


def test_a_large_package_is_put_together() -> None:
    session = open_session()
    assert session.receive_data(opening(7, 2 * MIN_FRAGMENT + 10, PARTS[0], flags=FLAG_END)) == []
    assert session.receive_data(encode_control(control.Ping(1)) + fragment(7, PARTS[1])) == [control.Ping(1)]
    (event,) = session.receive_data(fragment(7, b"0123456789"))
    header = PackageHeader(0, SOURCE, 7, 5, "slot", 1, None)
    assert event == PackageReceived(header, is_last=True, body=PARTS[0] + PARTS[1] + b"0123456789", flags=FLAG_END)
    assert session.receive_data(opening(7, 2 * MIN_FRAGMENT, PARTS[0])) == []


WRONG_FRAGMENTS = [
    ("too large", opening(1, 200 * KIB + 4, PARTS[0]), "over the limit"),
    ("absurdly large", opening(1, 1 << 61, PARTS[0]), "over the limit"),
    ("whole", opening(1, MIN_FRAGMENT, PARTS[0]), "holds all of it"),
    ("empty", opening(1, 10_000, b""), "0 bytes is too small"),
    ("tiny", opening(1, 10_000, bytes(MIN_FRAGMENT - 1)), "is too small"),
    ("the same tag", opening(1, 10_000, PARTS[0]) * 2, "the tag 1 is under way already"),
    ("unknown tag", opening(1, 10_000, PARTS[0]) + fragment(2, PARTS[0]), "2, which is not under way"),
    ("a negative tag", fragment(-1, PARTS[0]), "-1, which is not under way"),
    ("empty fragment", opening(1, 10_000, PARTS[0]) + fragment(1, b""), "0 bytes is too small"),
    ("tiny fragment", opening(1, 10_000, PARTS[0]) + fragment(1, bytes(100)), "100 bytes is too small"),
    ("more than all", opening(1, 5000, PARTS[0]) + fragment(1, PARTS[0]), "exceeds the 904"),
    ("too much", opening(1, 200 * KIB, PARTS[0]) + opening(2, 101 * KIB, PARTS[0]), "take over 307200 bytes"),
    (
        "after the end",
        opening(1, MIN_FRAGMENT + 1, PARTS[0]) + fragment(1, b"x") + fragment(1, PARTS[0]),
        "not under way",
    ),
    (
        "too many",
        b"".join(opening(tag, MIN_FRAGMENT + 1, PARTS[0]) for tag in range(MAX_OPEN_FRAGMENTED + 1)),
        f"more than {MAX_OPEN_FRAGMENTED} packages",
    ),
]


@pytest.mark.parametrize(
    ("data", "reason"), [each[1:] for each in WRONG_FRAGMENTS], ids=[e[0] for e in WRONG_FRAGMENTS]
)
def test_wrong_fragments_are_refused(data: bytes, reason: str) -> None:
    assert reason in refusal(open_session(), data)


def test_one_large_package_may_always_be_under_way() -> None:
    session = open_session(Limits(max_package=100 * KIB, reassembly_bytes=1))
    assert session.receive_data(opening(1, 100 * KIB, PARTS[0])) == []
    assert "take over" in refusal(session, opening(2, 5000, PARTS[0]))


def outcome(session: Session, pieces: list[bytes]) -> list[Event] | str:
    try:
        return [event for piece in pieces for event in session.receive_data(piece)]
    except ProtocolError as error:
        return str(error)


@pytest.mark.parametrize("first", [0, 23, 24, 256, 65_536, 1 << 40])
@pytest.mark.parametrize("count", [1, 2])
def test_a_package_that_comes_alone_is_read_as_any_other(first: int, count: int) -> None:
    """There is a shorter way for it; any damage of a single byte has the same outcome on either way."""
    header = PackageTemplate(SOURCE, "slot", 1).header(first, count)
    body = bytes([0x80 + count]) + b"\x61x" * count
    frame = encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body
    cut = [frame[:3], frame[3:]]
    known = [[frame, frame], [*cut, *cut]]
    assert outcome(open_session(), known[0]) == outcome(open_session(), known[1])
    for position in range(len(frame)):
        for byte in {0, 1, 23, 24, 25, 26, 27, 28, 48, 0x60, 0x81, 0xFF, frame[position] ^ 1}:
            damaged = frame[:position] + bytes([byte]) + frame[position + 1 :]
            alone = outcome(open_session(), [*known[0], damaged])
            assert alone == outcome(open_session(), [*known[1], damaged[:3], damaged[3:]])


# ---------------------------------------------------------------- what is under way is counted, and must grow


def opened(limits: Limits, memory: MemoryScope | None = None, *, size: int = 100_000) -> Session:
    """A session with one large package under way, of which 4096 bytes have come."""
    session = open_session(limits)
    if memory is not None:
        session.charge_to(memory)
    session.receive_data(opening(1, size, PARTS[0]))
    return session


def test_a_large_package_is_charged_up_front() -> None:
    budget = MemoryBudget(1 << 30)
    scope = budget.scope(150_000)
    session = opened(Limits(), scope)
    assert budget.used == 100_000
    with pytest.raises(OverMemoryError, match="over the 150000 bytes for one link"):
        session.receive_data(opening(2, 60_000, PARTS[0]))
    assert budget.used == 100_000
    assert session.has_unfinished
    session.receive_data(fragment(1, bytes(100_000 - MIN_FRAGMENT)))
    assert budget.used == 0
    assert not session.has_unfinished


def test_a_link_that_ends_gives_back_what_was_charged() -> None:
    budget = MemoryBudget(1 << 30)
    session = opened(Limits())
    session.charge_to(budget.scope(1 << 20))  # it was known later who that is
    assert budget.used == 100_000
    session.release_memory()
    session.release_memory()
    assert budget.used == 0
    opened(Limits()).release_memory()


def test_what_is_there_when_the_peer_is_known_may_be_too_much_already() -> None:
    with pytest.raises(OverMemoryError):
        opened(Limits()).charge_to(MemoryBudget(1 << 30).scope(1000))


def test_a_large_package_must_grow() -> None:
    session = opened(Limits(reassembly_deadline=10))
    for now in (100, 105, 109.9):
        session.check_progress(now)
    session.receive_data(fragment(1, PARTS[1]))
    for now in (110, 115, 119):
        session.check_progress(now)
    with pytest.raises(ProtocolError, match="the package in fragments with the tag 1 has not grown for 11 s"):
        session.check_progress(121)


def test_what_comes_meanwhile_takes_its_time_on_a_slow_line() -> None:
    session = opened(Limits(reassembly_deadline=10), size=1 << 20)
    session.check_progress(0)
    session.receive_data(opening(2, 10_240, bytes(10_000)))  # ten seconds' worth
    session.check_progress(15)
    with pytest.raises(ProtocolError, match="with the tag 1 has not grown"):
        session.check_progress(20)
