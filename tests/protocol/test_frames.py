"""Frames: where they begin and end, however the network cut them, and what is refused before it costs memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.frames import (
    BODY_KINDS,
    HANDSHAKE_KINDS,
    LARGE_BODY,
    MAX_RECORDS,
    PREFACE,
    PREFIX,
    Frame,
    FrameKind,
    FrameReader,
    encode_frame,
    encode_prefix,
)
from trioton.protocol.limits import LARGE_FRAGMENT, Limits

LIMITS = Limits(max_header=100, max_handshake=200)
OTHER_KINDS = frozenset(FrameKind) - HANDSHAKE_KINDS - {FrameKind.POSITION}
CONTROL_KINDS = OTHER_KINDS - BODY_KINDS
MIB = 1 << 20


def open_reader(limits: Limits = LIMITS) -> FrameReader:
    """A reader behind the handshake."""
    reader = FrameReader(limits)
    assert not reader.receive_data(PREFACE)
    reader.accept_all_kinds()
    return reader


def to_bytes(frame: Frame) -> bytes:
    return encode_prefix(frame.kind, frame.flags, len(frame.header), len(frame.body)) + frame.header + frame.body


def as_sent(frame: Frame) -> Frame:
    """A frame whose body is the whole body, whether or not the reader took a lone byte string out of it."""
    if not frame.is_lone_bytes:
        return frame
    assert len(frame.body) >= LARGE_BODY - 6
    return frame._replace(body=b"\x81\x5a" + len(frame.body).to_bytes(4, "big") + frame.body, is_lone_bytes=False)


def refusal(reader: FrameReader, data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        reader.receive_data(data)
    return str(caught.value)


def test_a_prefix_has_eight_bytes() -> None:
    assert encode_frame(FrameKind.PING, b"\x81\x07", flags=1).hex() == "0601000200000000" + "8107"
    assert encode_prefix(FrameKind.PACKAGE, 0, 258, 65537).hex() == "3000010200010001"


# -------------------------------------------------------------------------------------------------------- the preface


STRANGERS = [
    (b"GET / HTTP/1.1\r\n", "HTTP"),
    (b"PRI * HTTP/2.0\r\n", "HTTP"),
    (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
    (b"\x00" * 20, "not Trioton"),
    (b"Trioton\x01", "not Trioton"),
    (b"trioton\x02", "version 2"),
    (b"trioton\x00", "version 0"),
]


@pytest.mark.parametrize(("data", "seems"), STRANGERS, ids=[repr(data[:8]) for data, _ in STRANGERS])
def test_strangers_are_told_what_they_seem_to_be(data: bytes, seems: str) -> None:
    assert seems in refusal(FrameReader(LIMITS), data)


@pytest.mark.parametrize(("data", "seems"), STRANGERS, ids=[repr(data[:8]) for data, _ in STRANGERS])
def test_strangers_are_refused_as_soon_as_they_can_be(data: bytes, seems: str) -> None:
    reader = FrameReader(LIMITS)
    common = next(n for n in range(8) if data[n] != PREFACE[n])
    for position in range(common):
        assert not reader.receive_data(data[position : position + 1])
        assert reader.is_mid_frame
    assert "the peer" in refusal(reader, data[common : common + 1])


def test_a_preface_alone_is_nothing_begun() -> None:
    reader = FrameReader(LIMITS)
    assert not reader.is_mid_frame
    assert not reader.receive_data(PREFACE)
    assert not reader.is_mid_frame


# ------------------------------------------------------------------------------------------------- what is allowed when


@pytest.mark.parametrize("kind", sorted(FrameKind))
def test_only_a_handshake_comes_first_and_only_once(kind: FrameKind) -> None:
    frame = encode_frame(kind, b"\x80")
    before, after = FrameReader(LIMITS), open_reader()
    if kind in HANDSHAKE_KINDS:
        assert before.receive_data(PREFACE + frame) == [Frame(kind, 0, b"\x80", b"")]
        assert "out of place" in refusal(after, frame)
    else:
        assert "out of place" in refusal(before, PREFACE + frame)
        if kind not in OTHER_KINDS:
            assert "out of place" in refusal(after, frame)
            return
        assert after.receive_data(frame) == [Frame(kind, 0, b"\x80", b"")]


def test_what_follows_a_handshake_waits_for_its_owner() -> None:
    reader = FrameReader(LIMITS)
    frames = [encode_frame(FrameKind.WELCOME, b"\x80"), encode_frame(FrameKind.SYNC, b"\x80")]
    assert [frame.kind for frame in reader.receive_data(PREFACE + b"".join(frames))] == [FrameKind.WELCOME]
    assert reader.is_mid_frame
    reader.accept_all_kinds()
    assert [frame.kind for frame in reader.receive_data(b"")] == [FrameKind.SYNC]
    assert not reader.is_mid_frame


def test_unknown_flags_are_kept_and_do_no_harm() -> None:
    assert open_reader().receive_data(encode_frame(FrameKind.PING, b"\x81\x00", flags=255))[0].flags == 255


# --------------------------------------------------------------------------------------------------------------- limits

TOO_MUCH = [
    ("unknown kind", PREFIX.pack(0, 0, 0, 0), "unknown kind of frame 0"),
    ("unknown kind with lengths", PREFIX.pack(255, 0, 0xFFFF, 0xFFFFFFFF), "unknown kind of frame 255"),
    ("header", PREFIX.pack(FrameKind.PING, 0, 101, 0), "header of 101 bytes is over the limit of 100"),
    ("longest header", PREFIX.pack(FrameKind.PACKAGE, 0, 0xFFFF, 0), "header of 65535 bytes"),
    ("body", PREFIX.pack(FrameKind.PACKAGE, 0, 0, LARGE_FRAGMENT + 1), f"body of {LARGE_FRAGMENT + 1} bytes"),
    ("body of 2 GiB", PREFIX.pack(FrameKind.FRAGMENT, 0, 0, 1 << 31), "body of 2147483648 bytes"),
    ("body of 4 GiB", PREFIX.pack(FrameKind.OPENING, 0, 100, 0xFFFFFFFF), "body of 4294967295 bytes"),
    ("control with a body", PREFIX.pack(FrameKind.CREDIT, 0, 0, 1), "CREDIT has a body of 1 bytes"),
]


@pytest.mark.parametrize(("data", "reason"), [each[1:] for each in TOO_MUCH], ids=[each[0] for each in TOO_MUCH])
def test_a_prefix_is_judged_before_anything_follows(data: bytes, reason: str) -> None:
    reader = open_reader()
    tracemalloc.start()
    try:
        assert reason in refusal(reader, data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", sorted(HANDSHAKE_KINDS))
def test_a_handshake_has_limits_of_its_own(kind: FrameKind) -> None:
    assert FrameReader(LIMITS).receive_data(PREFACE + encode_frame(kind, bytes(200)))
    assert "over the limit of 200" in refusal(FrameReader(LIMITS), PREFACE + PREFIX.pack(kind, 0, 201, 0))
    assert "over the limit of 0" in refusal(FrameReader(LIMITS), PREFACE + PREFIX.pack(kind, 0, 0, 1))


def test_a_frame_at_the_limits_is_taken() -> None:
    frame = Frame(FrameKind.PACKAGE, 0, bytes(100), bytes(LARGE_FRAGMENT))
    assert open_reader().receive_data(to_bytes(frame)) == [frame]


def test_the_memory_of_a_large_body_is_that_of_one_frame() -> None:
    """A body is given its memory when its header is there; that is bounded by what one frame may bring."""
    reader = open_reader()
    tracemalloc.start()
    try:
        reader.receive_data(PREFIX.pack(FrameKind.PACKAGE, 0, 10, LARGE_FRAGMENT) + bytes(11))
        assert tracemalloc.get_traced_memory()[1] < 2 * LARGE_FRAGMENT + 100_000
    finally:
        tracemalloc.stop()


# ----------------------------------------------------------------------------------------------------------------- cuts


def bodies() -> st.SearchStrategy[bytes]:
    """Bodies of any size, with the interesting ones around `LARGE_BODY`, and those which are one byte string."""

    def lone_bytes(size: int) -> bytes:
        return b"\x81\x5a" + size.to_bytes(4, "big") + bytes(size)

    around = st.integers(LARGE_BODY - 8, LARGE_BODY + 8)
    return st.one_of(
        st.binary(max_size=40),
        around.map(lambda size: b"\x99" * size),
        around.map(lone_bytes),
        around.map(lambda size: lone_bytes(size) + b"\x00"),
    )


FRAMES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(BODY_KINDS)), st.sampled_from([0, 1]), st.binary(max_size=30), bodies()),
        st.tuples(st.sampled_from(sorted(CONTROL_KINDS)), st.just(0), st.binary(max_size=30), st.just(b"")),
    ).map(lambda fields: Frame(*fields)),
    max_size=6,
)


def feed(reader: FrameReader, data: bytes, cuts: list[int], *, into_buffer: bool) -> list[Frame]:
    """Give a reader bytes in pieces, where `into_buffer` says whether to fill the buffer that it wants."""
    frames: list[Frame] = []
    position = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        while position < end:
            buffer = reader.wanted_buffer() if into_buffer else None
            if buffer is None:
                frames += reader.receive_data(data[position:end])
                position = end
            else:
                count = min(end - position, len(buffer))
                buffer[:count] = data[position : position + count]
                buffer.release()
                frames += reader.buffer_filled(count)
                position += count
    return frames


@given(FRAMES, st.lists(st.integers(min_value=0), max_size=10), st.booleans())
def test_any_cut_gives_the_same_frames(sent: list[Frame], cuts: list[int], into_buffer: bool) -> None:
    reader = open_reader()
    received = feed(reader, b"".join(map(to_bytes, sent)), cuts, into_buffer=into_buffer)
    assert [as_sent(frame) for frame in received] == sent
    assert not reader.is_mid_frame
    assert reader.wanted_buffer() is None


@given(FRAMES)
def test_byte_by_byte_gives_the_same_frames(sent: list[Frame]) -> None:
    small = [frame for frame in sent if len(frame.body) < LARGE_BODY - 8]
    data = PREFACE + b"".join(map(to_bytes, small))
    reader = FrameReader(LIMITS)
    received = []
    for position in range(len(data)):
        received += reader.receive_data(data[position : position + 1])
        if position == len(PREFACE) - 1:
            reader.accept_all_kinds()
    assert received == small


@given(st.integers(LARGE_BODY - 8, LARGE_BODY + 8), st.sampled_from(sorted(BODY_KINDS)), st.integers(0, 20))
def test_a_lone_byte_string_is_taken_out_only_of_a_package(size: int, kind: FrameKind, start: int) -> None:
    """And only if enough of it has come in time to see that it is one; `body` is exactly its content then."""
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sent = Frame(kind, 0, b"header", b"\x81\x5a" + size.to_bytes(4, "big") + content)
    reader = open_reader()
    data = to_bytes(sent)
    assert not reader.receive_data(data[: 14 + start])
    (frame,) = reader.receive_data(data[14 + start :])
    if frame.is_lone_bytes:
        assert kind is FrameKind.PACKAGE
        assert frame.body == content
    assert as_sent(frame) == sent


def test_a_body_is_filled_in_place_and_not_copied() -> None:
    reader = open_reader()
    content = b"x" * MIB
    tracemalloc.start()
    try:
        reader.receive_data(encode_prefix(FrameKind.PACKAGE, 0, 0, MIB))
        buffer = reader.wanted_buffer()
        assert buffer is not None
        assert len(buffer) == MIB
        buffer[:] = content
        buffer.release()
        (frame,) = reader.buffer_filled(MIB)
        assert tracemalloc.get_traced_memory()[1] < MIB + 100_000
    finally:
        tracemalloc.stop()
    assert frame.body == content


def test_who_announces_many_records_takes_no_memory_before_they_come() -> None:
    body = bytes(range(256)) * (MAX_RECORDS // 256)
    frame = encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80"
    for fills in (False, True):
        reader = FrameReader(Limits())
        reader.receive_data(PREFACE)
        reader.accept_all_kinds()
        tracemalloc.start()
        try:
            assert reader.receive_data(frame + body[:100]) == []
            most = 2 * 1024 * 1024
            assert tracemalloc.get_traced_memory()[1] < most
        finally:
            tracemalloc.stop()
        rest = memoryview(body)[100:]
        frames: list[Frame] = []
        while rest:
            if fills:
                buffer = reader.wanted_buffer()
                assert buffer is not None
                count = min(len(buffer), 300_000)
                buffer[:count] = rest[:count]
                buffer.release()
                frames += reader.buffer_filled(count)
            else:
                count = min(len(rest), 1_300_000)
                frames += reader.receive_data(bytes(rest[:count]))
            rest = rest[count:]
        assert frames == [Frame(FrameKind.RECORDS, 0, b"\x80", body)]
