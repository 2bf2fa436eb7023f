"""Packages: headers that are read and refused, headers read the short way, and large packages in fragments."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.frames import FLAG_END, FLAG_SKIPPED, PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_RUN_MESSAGES, SMALL_FRAGMENT
from trioton.protocol.packages import (
    MAX_SEQUENCE,
    Fragments,
    Package,
    PackageHeader,
    PackageHeaderReader,
    PackageKind,
    PackageTemplate,
    parse_fragment,
    parse_opening,
    parse_package_header,
)

SOURCE = bytes(range(16))
OTHER = bytes(range(16, 32))

NUMBERS = st.one_of(
    st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, MAX_SEQUENCE - 1]),
    st.integers(0, MAX_SEQUENCE - 1),
)
HEADERS = st.builds(
    PackageHeader,
    kind=st.just(0),
    source=st.sampled_from([SOURCE, OTHER]),
    stream=NUMBERS,
    first=NUMBERS,
    slot=st.sampled_from(["", "a.txt.pub-sub", "ü", "x" * 300]),
    count=st.integers(0, MAX_RUN_MESSAGES),
    destination=st.none(),
)


def encode(header: PackageHeader) -> bytes:
    kind = PackageKind(header.kind)
    template = PackageTemplate(header.source, header.slot, header.stream, header.destination, kind)
    return template.header(header.first, header.count)


# -------------------------------------------------------------------------------------------------------------- headers


@given(HEADERS, st.sampled_from(PackageKind))
def test_a_header_comes_back_as_it_was(header: PackageHeader, kind: PackageKind) -> None:
    header = header._replace(destination=None if kind is PackageKind.PUBLISH else OTHER, kind=int(kind))
    data = encode(header)
    assert data == cbor2.dumps([field for field in header if field is not None])
    assert parse_package_header(data) == header
    assert PackageHeaderReader().read(data) == header


GOOD: list[Any] = [0, SOURCE, 1, 5, "slot", 3]
GOOD_DIRECT: list[Any] = [1, SOURCE, 1, 5, "slot", 3, OTHER]
WRONG_FIELDS = [
    [],
    [0],
    GOOD[:5],
    [*GOOD, OTHER],
    [*GOOD_DIRECT, None],
    [1, *GOOD[1:]],
    [2, *GOOD[1:]],
    [3, *GOOD_DIRECT[1:]],
    [False, *GOOD[1:]],
    [True, *GOOD_DIRECT[1:]],
    [*GOOD_DIRECT[:6], OTHER[:15]],
    [*GOOD_DIRECT[:6], None],
    [*GOOD_DIRECT[:6], "x" * 16],
    *([*GOOD[:1], source, *GOOD[2:]] for source in (b"", SOURCE[:15], SOURCE + b"x", "x" * 16, None, 5)),
    *([*GOOD[:2], stream, *GOOD[3:]] for stream in (-1, MAX_SEQUENCE, 2**64 - 1, "1", None, 1.0, True)),
    *([*GOOD[:3], first, *GOOD[4:]] for first in (-1, MAX_SEQUENCE, 2**64 - 1, "1", None, 1.0, True)),
    *([*GOOD[:4], slot, *GOOD[5:]] for slot in (b"slot", None, 5, ["slot"])),
    *([*GOOD[:5], count] for count in (-1, MAX_RUN_MESSAGES + 1, 2**62, "3", None, True)),
]


@pytest.mark.parametrize("fields", WRONG_FIELDS, ids=[repr(fields)[:60] for fields in WRONG_FIELDS])
def test_wrong_headers_are_refused(fields: list[Any]) -> None:
    reader = PackageHeaderReader()
    reader.read(cbor2.dumps(GOOD))
    for read in (parse_package_header, reader.read):
        with pytest.raises(ProtocolError):
            read(cbor2.dumps(fields))


@given(st.lists(HEADERS, min_size=1, max_size=8), st.data())
def test_the_short_way_reads_what_the_long_way_reads(headers: list[PackageHeader], data: st.DataObject) -> None:
    """Also of damaged headers, and of those of flows that it has met."""
    reader = PackageHeaderReader()
    for header in headers:
        encoded = bytearray(encode(header))
        for _ in range(data.draw(st.integers(0, 2))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        del encoded[len(encoded) - data.draw(st.sampled_from([0, 0, 0, 1, 5])) :]
        assert outcome(reader.read, bytes(encoded)) == outcome(parse_package_header, bytes(encoded))


def outcome(read: Any, data: bytes) -> object:
    try:
        return read(data)
    except ProtocolError:
        return None


def test_who_a_package_is_for_follows_from_its_destination_unless_said() -> None:
    published, direct = PackageTemplate(SOURCE, "slot", 1), PackageTemplate(SOURCE, "slot", 1, OTHER)
    assert parse_package_header(published.header(0, 1)).kind == PackageKind.PUBLISH
    assert parse_package_header(direct.header(0, 1)).kind == PackageKind.DIRECT


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("flags", [0, FLAG_SKIPPED, 0xF0, 0xF0 | FLAG_SKIPPED])
def test_the_flags_of_a_package_are_on_its_frames(flags: int, is_last: bool) -> None:
    header = PackageTemplate(SOURCE, "slot", 1).header(5, 1)
    body = b"\x81" + cbor2.dumps(bytes(9000))
    package = Package(header, (body,), len(body), 5, 1, is_last=is_last, flags=flags)
    assert package.flags == flags | (FLAG_END if is_last else 0)
    assert package.frame()[1] == package.flags
    fragments = Fragments(Package(header, (body,), len(body), 5, 1, is_last=is_last, flags=flags), 7)
    prefixes = []
    while fragments.remaining:
        prefixes.append(PREFIX.unpack_from(fragments.next_buffers(4096)[0]))
    assert prefixes[0][:2] == (FrameKind.OPENING, package.flags)


LONG = encode(PackageHeader(0, SOURCE, 300, 70_000, "slot", 300, None))


@pytest.mark.parametrize("size", range(len(LONG)))
def test_a_header_of_a_known_flow_that_ends_early_is_refused(size: int) -> None:
    reader = PackageHeaderReader()
    assert reader.read(LONG) == parse_package_header(LONG)
    with pytest.raises(ProtocolError):
        reader.read(LONG[:size])
    with pytest.raises(ProtocolError):
        reader.read(LONG + bytes(size + 1))


def test_numbers_may_be_longer_than_they_need_to_be() -> None:
    """CBOR allows it; and a receiver that takes the short way must not see another number than one that does not."""
    reader = PackageHeaderReader()
    head, tail = cbor2.dumps(GOOD)[:20], cbor2.dumps(["slot"])[1:]
    for first in ("05", "1805", "190005", "1a00000005", "1b0000000000000005"):
        for count in ("03", "1803", "190003"):
            data = head + bytes.fromhex(first) + tail + bytes.fromhex(count)
            assert PackageHeaderReader().read(data) == PackageHeader(*GOOD, None)  # type: ignore[call-arg]
            assert reader.read(data) == parse_package_header(data) == PackageHeader(*GOOD, None)  # type: ignore[call-arg]


def test_the_short_way_forgets_flows_when_there_are_too_many() -> None:
    reader = PackageHeaderReader()
    for stream in range(5000):
        header = PackageHeader(0, SOURCE, stream, 0, "slot", 1, None)
        assert reader.read(encode(header)) == header
    assert reader.read(encode(header._replace(stream=0))) == header._replace(stream=0)


# ------------------------------------------------------------------------------------------------------------- packages


@pytest.mark.parametrize(("count", "is_last", "end"), [(0, False, 7), (3, False, 10), (0, True, 8)])
def test_the_end_of_a_flow_takes_a_number(count: int, is_last: bool, end: int) -> None:
    package = Package(b"header", (b"ab", bytearray(b"c")), 3, 7, count, is_last=is_last)
    assert package.end == end
    assert package.flags == (FLAG_END if is_last else 0)
    assert package.frame() == PREFIX.pack(FrameKind.PACKAGE, package.flags, 6, 3) + b"headerabc"
    assert package.frame() is package.frame()
    assert repr(package) == f"<package of messages 7 to {end}, 3 bytes>"


# ------------------------------------------------------------------------------------------------------------ fragments


@given(
    st.lists(st.binary(max_size=50), min_size=1, max_size=5).filter(any),
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.integers(0, 2**62 - 1),
    st.booleans(),
)
@example(parts=[b"", b"ab", b""], sizes=[1], tag=0, is_last=True)
def test_fragments_hold_the_body_in_order(parts: list[bytes], sizes: list[int], tag: int, is_last: bool) -> None:
    body = b"".join(parts)
    fragments = Fragments(Package(b"inner", parts, len(body), 0, 1, is_last=is_last), tag)
    frames = []  # type: ignore[var-annotated]
    while fragments.remaining:
        frames.append(b"".join(fragments.next_buffers(sizes[len(frames) % len(sizes)])))
    collected = b""
    for number, frame in enumerate(frames):
        kind, flags, header_size, body_size = PREFIX.unpack_from(frame)
        header, part = frame[PREFIX_SIZE : PREFIX_SIZE + header_size], frame[PREFIX_SIZE + header_size :]
        assert len(part) == body_size
        assert 0 < body_size <= sizes[number % len(sizes)]
        assert bool(flags & FLAG_END) == is_last
        collected += part
        if len(frames) == 1:
            assert (kind, header) == (FrameKind.PACKAGE, b"inner")
        elif number:
            assert (kind, parse_fragment(header)) == (FrameKind.FRAGMENT, tag)
        else:
            assert (kind, parse_opening(header)) == (FrameKind.OPENING, (tag, len(body), b"inner"))
    assert collected == body
    assert fragments.size == len(body)


def test_fragments_do_not_copy_the_body() -> None:
    body = bytearray(LARGE_FRAGMENT + SMALL_FRAGMENT)
    fragments = Fragments(Package(b"", (body,), len(body), 0, 1), 0)
    for limit in (SMALL_FRAGMENT, LARGE_FRAGMENT):
        _, view = fragments.next_buffers(limit)
        assert isinstance(view, memoryview)
        assert view.obj is body


WRONG_OPENINGS: list[list[Any]] = [
    [],
    [1, 2],
    [1, 2, b"", None],
    [-1, 2, b""],
    [1, 0, b""],
    [1, -5, b""],
    [1, 2, ""],
    [1, 2, None],
    ["1", 2, b""],
    [1, "2", b""],
    [True, 2, b""],
    [1, 2.0, b""],
]


@pytest.mark.parametrize("fields", WRONG_OPENINGS, ids=repr)
def test_wrong_openings_are_refused(fields: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_opening(cbor2.dumps(fields))


@pytest.mark.parametrize("fields", [[], [1, 2], ["1"], [None], [True], [1.5]], ids=repr)
def test_wrong_fragments_are_refused(fields: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_fragment(cbor2.dumps(fields))
