"""A session's bytes cut anywhere give the same events; damaged in any way, nothing but events or a `ProtocolError`, for little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import control
from trioton.protocol.codec import encode_header
from trioton.protocol.control import control_kind, encode_control
from trioton.protocol.frames import FLAG_END, FLAG_RETAINED, FLAG_SKIPPED, LARGE_BODY, PREFIX, FrameKind, encode_prefix
from trioton.protocol.handshake import Hello
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, MIN_FRAGMENT, Limits
from trioton.protocol.packages import Fragments, PackageHeader, PackageKind, PackageTemplate
from trioton.protocol.records import encode_batch
from trioton.protocol.retained import RetainedPackage
from trioton.protocol.routed import HOP_SHIFT, MOST_HOPS, ROUTED_KINDS, encode_routed, parse_routed, pass_on
from trioton.protocol.session import Event, PackageReceived, RecordsReceived, RetainedReceived, Role, Session

from .session_bytes import HELLO, KIB, LIMITS, PARTS, SOURCE, as_sent, fragment, open_session, opening

# ----------------------------------------------------------------------------------------------------------------- cuts


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
    st.builds(control.Sync, NUMBERS, NUMBERS, NUMBERS),
    st.builds(control.Synced),
    st.builds(control.Subscribe, TEXTS, *[NUMBERS] * 4, *[st.none() | NUMBERS] * 3),
    st.builds(control.Unsubscribe, TEXTS, NUMBERS),
    st.builds(control.Offer, IDENTITIES, TEXTS, NUMBERS),
    st.builds(control.Credit, IDENTITIES, TEXTS, NUMBERS, st.none() | NUMBERS, NUMBERS),
    st.builds(control.Started, IDENTITIES, TEXTS, NUMBERS, NUMBERS, st.none() | NUMBERS),
    st.builds(control.Kept, IDENTITIES, TEXTS, NUMBERS, NUMBERS),
    st.builds(control.Flush, IDENTITIES, TEXTS, NUMBERS, NUMBERS),
    st.builds(control.Unreachable, IDENTITIES, TEXTS, NUMBERS, TEXTS),
)


@st.composite
def records(draw: st.DrawFn) -> Item:
    batch = draw(st.lists(st.binary(max_size=300), max_size=5) | st.just([bytes(LARGE_BODY)]))
    body = b"".join(encode_batch(batch)) or b"\x80"
    return Item([encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body], RecordsReceived(batch))


@st.composite
def routed(draw: st.DrawFn) -> Item:
    message = draw(CONTROLS.filter(lambda message: control_kind(message) in ROUTED_KINDS))
    frame = encode_routed(draw(IDENTITIES), draw(IDENTITIES), draw(NUMBERS), message)
    hops = draw(st.integers(0, MOST_HOPS))
    if hops:
        frame = pass_on(frame[PREFIX.size :], hops - 1)
    return Item([frame], parse_routed(frame[PREFIX.size :], hops << HOP_SHIFT))


@st.composite
def packages(draw: st.DrawFn) -> Item:
    destination = draw(st.sampled_from([None, None, SOURCE]))
    kind = (
        PackageKind.PUBLISH if destination is None else draw(st.sampled_from([PackageKind.DIRECT, PackageKind.AGAIN]))
    )
    header = PackageHeader(
        int(kind),
        draw(IDENTITIES),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(TEXTS),
        1,
        destination,
    )
    template = PackageTemplate(header.source, header.slot, header.stream, destination, kind)
    encoded = template.header(header.first, 1)
    flags = draw(st.sampled_from([0, FLAG_END, FLAG_SKIPPED, 0xF0, 0xFF & ~FLAG_RETAINED]))
    content = draw(st.sampled_from([0, 10, 5000, LARGE_BODY - 7, LARGE_BODY + 10]))
    body = b"\x81\x5a" + content.to_bytes(4, "big") + bytes([draw(st.integers(0, 255))]) * content
    event = PackageReceived(header, bool(flags & FLAG_END), body, flags=flags)
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
def retained(draw: st.DrawFn) -> Item:
    package = RetainedPackage([draw(st.binary(min_size=1, max_size=100)), bytes(draw(st.sampled_from([0, 9000])))], 2)
    event = RetainedReceived(b"".join(map(bytes, package.body)))
    if draw(st.booleans()) or package.body_size < 2 * MIN_FRAGMENT:
        return Item([package.frame()], event)
    fragments = Fragments(package, draw(st.integers(0, 2**63)))
    frames = []
    while fragments.remaining:
        frames.append(b"".join(map(bytes, fragments.next_buffers(MIN_FRAGMENT))))
    return Item(frames, event, fragments.tag)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """The bytes of a peer that does all right, and the events that they give."""
    controls = CONTROLS.map(lambda m: Item([encode_control(m)], m))
    items = draw(st.lists(controls | packages() | records() | retained() | routed(), max_size=8))
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


# --------------------------------------------------------------------------------------------------------------- damage


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
