"""Bytes go in, events come out: the same for any cut, and whatever the damage, nothing but events or a `ProtocolError`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import control
from trioton.protocol.codec import encode_header
from trioton.protocol.control import encode_control
from trioton.protocol.frames import (
    FLAG_END,
    LARGE_BODY,
    PREFACE,
    PREFIX,
    FrameKind,
    encode_frame,
    encode_prefix,
)
from trioton.protocol.handshake import Hello, encode_refusal
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, MAX_RUN_BYTES, MIN_FRAGMENT, Limits
from trioton.protocol.packages import PackageHeader, PackageTemplate
from trioton.protocol.session import Event, PackageReceived, Refused, Role, Session

KIB = 1024
SOURCE = bytes(range(16))
LIMITS = Limits(max_package=200 * KIB, reassembly_bytes=300 * KIB, max_header=600)
HELLO = Hello(
    id=ContextId(1),
    name="client",
    pid=1,
    host=bytes(16),
    max_package=1,
    window_bytes=1,
    reassembly_bytes=1,
    lease=1.0,
    session=SOURCE,
)
FIRST = {Role.SERVER: FrameKind.HELLO, Role.CLIENT: FrameKind.WELCOME}


def open_session(limits: Limits = LIMITS, role: Role = Role.SERVER) -> Session:
    """A session behind the handshake."""
    session = Session(role, limits)
    assert session.receive_data(HELLO.to_frame(FIRST[role])) == [HELLO]
    assert session.accept_peer() == []
    return session


def refusal(session: Session, data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        session.receive_data(data)
    return str(caught.value)


def package_header(stream: int = 1, count: int = 1) -> bytes:
    return PackageTemplate(SOURCE, "slot", stream).header(5, count)


def package(body: bytes, *, count: int = 1, flags: int = 0) -> bytes:
    header = package_header(count=count)
    return encode_prefix(FrameKind.PACKAGE, flags, len(header), len(body)) + header + body


def opening(tag: int, size: int, part: bytes, *, flags: int = 0) -> bytes:
    header = encode_header([tag, size, package_header(tag)])
    return encode_prefix(FrameKind.OPENING, flags, len(header), len(part)) + header + part


def fragment(tag: int, part: bytes) -> bytes:
    header = encode_header([tag])
    return encode_prefix(FrameKind.FRAGMENT, 0, len(header), len(part)) + header + part


def as_sent(event: Event) -> Event:
    """A package with its whole body, whether or not the reader took a lone byte string out of it."""
    if isinstance(event, PackageReceived) and event.is_lone_bytes:
        return event._replace(body=b"\x81\x5a" + len(event.body).to_bytes(4, "big") + event.body, is_lone_bytes=False)
    return event


# -------------------------------------------------------------------------------------------------------- the handshake


@pytest.mark.parametrize("role", Role)
def test_a_handshake_gives_one_event_and_the_rest_waits(role: Role) -> None:
    session = Session(role, LIMITS)
    ping = control.Ping(1)
    assert session.receive_data(HELLO.to_frame(FIRST[role]) + encode_control(ping)) == [HELLO]
    assert session.is_mid_frame
    assert session.accept_peer() == [ping]
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


# --------------------------------------------------------------------------------------------------- packages and limits


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


PARTS = [bytes([number]) * MIN_FRAGMENT for number in range(3)]


def test_a_large_package_is_put_together() -> None:
    session = open_session()
    assert session.receive_data(opening(7, 2 * MIN_FRAGMENT + 10, PARTS[0], flags=FLAG_END)) == []
    assert session.receive_data(encode_control(control.Ping(1)) + fragment(7, PARTS[1])) == [control.Ping(1)]
    (event,) = session.receive_data(fragment(7, b"0123456789"))
    header = PackageHeader(0, SOURCE, 7, 5, "slot", 1, None)
    assert event == PackageReceived(header, is_last=True, body=PARTS[0] + PARTS[1] + b"0123456789")
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


# ---------------------------------------------------------------------------------------------------------------- cuts


@attrs.frozen(repr=False)
class Item:
    """Frames that together make one event."""

    frames: list[bytes]
    event: Event
    tag: int | None = None


@attrs.frozen
class Stream:
    """The bytes of a peer, and the events that they give."""

    data: bytes = attrs.field(repr=lambda data: f"{data[:100].hex()}... {len(data)} bytes")
    events: list[Event] = attrs.field(repr=lambda events: repr([type(event).__name__ for event in events]))


IDENTITIES = st.sampled_from([SOURCE, SOURCE[::-1]])
NUMBERS = st.one_of(st.integers(0, 30), st.integers(0, 2**62 - 1))
TEXTS = st.sampled_from(["", "slot", "ünïcode", "x" * 200])
CONTROLS: st.SearchStrategy[Any] = st.one_of(
    st.builds(control.Ping, NUMBERS),
    st.builds(control.Pong, NUMBERS),
    st.builds(control.Beat, NUMBERS),
    st.builds(control.Sync),
    st.builds(control.Synced),
    st.builds(control.Subscribe, TEXTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS),
    st.builds(control.Unsubscribe, TEXTS, NUMBERS),
    st.builds(control.Offer, IDENTITIES, TEXTS, NUMBERS),
    st.builds(control.Credit, IDENTITIES, TEXTS, NUMBERS, st.none() | NUMBERS, NUMBERS),
    st.builds(control.Started, IDENTITIES, TEXTS, NUMBERS, NUMBERS),
    st.builds(control.Kept, IDENTITIES, TEXTS, NUMBERS, NUMBERS),
    st.builds(control.Flush, IDENTITIES, TEXTS, NUMBERS, NUMBERS),
    st.builds(control.Unreachable, IDENTITIES, TEXTS, NUMBERS, TEXTS),
)


@st.composite
def packages(draw: st.DrawFn) -> Item:
    destination = draw(st.sampled_from([None, None, SOURCE]))
    header = PackageHeader(
        int(destination is not None),
        draw(IDENTITIES),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(TEXTS),
        1,
        destination,
    )
    template = PackageTemplate(header.source, header.slot, header.stream, destination)
    encoded = template.header(header.first, 1)
    flags = draw(st.sampled_from([0, FLAG_END]))
    content = draw(st.sampled_from([0, 10, 5000, LARGE_BODY - 7, LARGE_BODY + 10]))
    body = b"\x81\x5a" + content.to_bytes(4, "big") + bytes([draw(st.integers(0, 255))]) * content
    event = PackageReceived(header, bool(flags), body)
    if content < 5000 or draw(st.booleans()):
        return Item([encode_prefix(FrameKind.PACKAGE, flags, len(encoded), len(body)) + encoded + body], event)
    tag = draw(st.integers(0, 2**63))
    size = draw(st.sampled_from([MIN_FRAGMENT, 5001, LARGE_BODY]))
    parts = [body[position : position + size] for position in range(0, len(body), size)]
    if len(parts) == 1:
        parts = [body[:-1], body[-1:]]
    head = encode_header([tag, len(body), encoded])
    first = encode_prefix(FrameKind.OPENING, flags, len(head), len(parts[0])) + head + parts[0]
    return Item([first, *(fragment(tag, part) for part in parts[1:])], event, tag)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """The bytes of a peer that does all right, and the events that they give."""
    items = draw(st.lists(CONTROLS.map(lambda m: Item([encode_control(m)], m)) | packages(), max_size=8))
    tags = [item.tag for item in items if item.tag is not None]
    assume(len(set(tags)) == len(tags))
    waiting = [(iter(item.frames), len(item.frames), item.event) for item in items]
    frames: list[bytes] = []
    events: list[Event] = []
    while waiting:
        # A few may be under way at once, each in its own order.
        index = draw(st.integers(0, min(2, len(waiting) - 1)))
        rest, missing, event = waiting[index]
        frames.append(next(rest))
        waiting[index] = rest, missing - 1, event
        if missing == 1:
            events.append(event)
            del waiting[index]
    if draw(st.booleans()):
        frames.append(encode_control(control.Close("bye")))
        events.append(control.Close("bye"))
    return Stream(b"".join(frames), events)


def feed(session: Session, data: bytes, cuts: list[int], *, into_buffer: bool) -> Iterator[Event]:
    """Give a session bytes in pieces, where `into_buffer` says whether to fill the buffer that it wants."""
    position = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        while position < end:
            buffer = session.wanted_buffer() if into_buffer else None
            if buffer is None:
                piece, position = data[position:end], end
                yield from session.receive_data(piece)
            else:
                count = min(end - position, len(buffer))
                buffer[:count] = data[position : position + count]
                buffer.release()
                position += count
                yield from session.buffer_filled(count)


ROOMY = Limits(max_package=200 * KIB, reassembly_bytes=4000 * KIB, max_header=600)


@given(streams(), st.lists(st.integers(min_value=0), max_size=12), st.booleans())
def test_any_cut_gives_the_same_events(stream: Stream, cuts: list[int], into_buffer: bool) -> None:
    data, events = stream.data, stream.events
    session = open_session(ROOMY)
    assert [as_sent(event) for event in feed(session, data, cuts, into_buffer=into_buffer)] == events
    session.receive_end()
    assert session.bytes_received == len(data) + len(HELLO.to_frame(FrameKind.HELLO))


@settings(max_examples=settings().max_examples // 6)
@given(streams())
def test_byte_by_byte_gives_the_same_events(stream: Stream) -> None:
    assume(len(stream.data) < 20_000)
    data, events = stream.data, stream.events
    session = Session(Role.CLIENT, ROOMY)
    received: list[Event] = []
    welcome = HELLO.to_frame(FrameKind.WELCOME)
    for position in range(len(welcome)):
        received += session.receive_data(welcome[position : position + 1])
    assert session.accept_peer() == []
    for position in range(len(data)):
        received += session.receive_data(data[position : position + 1])
    assert received == [HELLO, *events]


# -------------------------------------------------------------------------------------------------------------- damage


@st.composite
def damaged(draw: st.DrawFn) -> Stream:
    """The bytes of a peer that does all right but for some of them."""
    data = bytearray(HELLO.to_frame(FrameKind.HELLO) + draw(streams()).data)
    for _ in range(draw(st.integers(1, 3))):
        # Most of the bytes are bodies, where damage changes nothing; the front is where it hurts.
        limit = draw(st.sampled_from([300, len(data)]))
        start = draw(st.integers(0, min(limit, len(data))))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 100])))
        way = draw(st.sampled_from(["flip", "cut", "insert", "delete", "swap", "repeat"]))
        if way == "flip" and start < len(data):
            data[start] ^= draw(st.integers(1, 255))
        elif way == "cut":
            del data[start:]
        elif way == "insert":
            data[start:start] = draw(st.binary(max_size=20) | st.just(PREFIX.pack(48, 0, 0xFFFF, 0xFFFFFFFF)))
        elif way == "delete":
            del data[start:end]
        elif way == "swap":
            data[start:end] = data[start:end][::-1]
        else:
            data[start:start] = data[start:end]
    return Stream(bytes(data), [])


def hear_all(data: bytes, cuts: list[int], limits: Limits, *, into_buffer: bool) -> list[Any]:
    """What a session makes of any bytes: events, and at last the error or nothing."""
    session = Session(Role.SERVER, limits)
    events: list[Any] = []
    try:
        events.extend(feed_all(session, data, cuts, into_buffer=into_buffer))
        session.receive_end()
    except ProtocolError as error:
        assert len(str(error)) < 500
        events.append(ProtocolError)
    return events


def feed_all(session: Session, data: bytes, cuts: list[int], *, into_buffer: bool) -> Iterator[Event]:
    for event in feed(session, data, cuts, into_buffer=into_buffer):
        yield as_sent(event)
        if isinstance(event, Hello):
            for more in session.accept_peer():
                yield as_sent(more)


@given(damaged(), st.lists(st.integers(min_value=0), max_size=6), st.booleans())
def test_damage_gives_events_or_an_error_and_the_same_for_any_cut(
    stream: Stream, cuts: list[int], into_buffer: bool
) -> None:
    """Events in front of the damage may be lost with the piece that brought both, as the link ends anyhow."""
    whole = hear_all(stream.data, [], LIMITS, into_buffer=False)
    in_pieces = hear_all(stream.data, cuts, LIMITS, into_buffer=into_buffer)
    assert whole[-1:] == in_pieces[-1:] or ProtocolError not in (*whole, *in_pieces)
    shorter, longer = sorted(([e for e in each if e is not ProtocolError] for each in (whole, in_pieces)), key=len)
    assert longer[: len(shorter)] == shorter


@settings(max_examples=settings().max_examples // 4)
@given(damaged(), st.lists(st.integers(min_value=0), max_size=6))
def test_damage_never_costs_more_memory_than_the_limits_allow(stream: Stream, cuts: list[int]) -> None:
    data = stream.data
    tracemalloc.start()
    try:
        hear_all(data, cuts, LIMITS, into_buffer=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # What came, once as pieces and once as events; a frame's body; and what is being put together, with its last step.
    assert peak < 3 * len(data) + LARGE_FRAGMENT + 2 * 300 * KIB + 200_000


def peak_of(pieces: Iterator[bytes], limits: Limits) -> int:
    """Bytes that a session takes at most over these pieces; it may refuse any of them."""
    session = open_session(limits)
    tracemalloc.start()
    try:
        for piece in pieces:
            session.receive_data(piece)
    except ProtocolError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_claims_alone_cost_nothing() -> None:
    """Sixteen packages of 100 MiB are announced, and of each only the first bytes come."""
    limits = Limits(max_package=100 << 20, reassembly_bytes=1 << 40)
    claims = (opening(tag, 100 << 20, PARTS[0]) for tag in range(MAX_OPEN_FRAGMENTED))
    assert peak_of(claims, limits) < 500_000


def test_tiny_fragments_do_not_take_more_than_they_bring() -> None:
    limits = Limits(max_package=1 << 20, reassembly_bytes=1 << 20)

    def pieces() -> Iterator[bytes]:
        yield opening(1, 1 << 20, PARTS[0])
        for number in range(100_000):
            yield fragment(1, number.to_bytes(2, "big"))

    assert peak_of(pieces(), limits) < 100_000


def test_flows_that_are_made_up_are_not_remembered_for_ever() -> None:
    def pieces() -> Iterator[bytes]:
        for stream in range(3000):
            header = PackageTemplate(SOURCE, "x" * 500, stream).header(0, 0)
            yield encode_prefix(FrameKind.PACKAGE, 0, len(header), 1) + header + b"\x80"

    assert peak_of(pieces(), LIMITS) < 700_000


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
