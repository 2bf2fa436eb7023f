"""Bytes that stop in the middle: what has begun and does not go on is given up, and says why (T4)."""

from __future__ import annotations

import pytest
import trio

from tests.common import warnings_of
from tests.raw_peer import read_to_end
from tests.trust.hostile import open_scene
from trioton.errors import ProtocolError
from trioton.protocol.frames import PREFACE, FrameKind, encode_prefix
from trioton.protocol.limits import Limits
from trioton.protocol.session import Role, Session
from trioton.transports.address import parse_address


@pytest.mark.parametrize("cut", [1, 7, 20, 60])
async def test_r40_half_a_frame_and_then_silence(autojump_clock: object, cut: int) -> None:
    """Whoever is silent in the middle of a frame is silent, and has ten seconds."""
    async with open_scene() as scene:
        peer = await scene.intrude()
        begin = trio.current_time()
        await peer.stream.send_all(peer.package(b"\x81" + b"\x58\xff" + bytes(255))[:cut])
        await read_to_end(peer.stream)
        assert 9.5 < trio.current_time() - begin < 11


async def test_r40_half_a_frame_and_then_the_end(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        peer = await scene.intrude()
        connection = scene.server.connection("raw")
        await peer.stream.send_all(peer.package(b"\x81\x01")[:-1])
        await peer.stream.send_eof()
        await connection.wait_closed()
        assert connection.close_reason == "the connection ended in the middle of a frame"


async def test_r40_the_same_before_the_peer_is_known(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        stream = await scene.net.host("evil").dial(parse_address("a:1"))
        begin = trio.current_time()
        await stream.send_all(PREFACE + encode_prefix(FrameKind.HELLO, 0, 4096, 0) + bytes(100))
        await read_to_end(stream)
        assert trio.current_time() - begin == pytest.approx(Limits().hello_deadline, abs=0.1)
    assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize(
    "garbage", [b"\0" * 100_000, PREFACE + b"\1\0\x0f\xff" + bytes(100_000)], ids=["zeros", "a long greeting"]
)
def test_t04_r43_a_stranger_makes_us_keep_less_than_four_kibibytes(garbage: bytes) -> None:
    session = Session(Role.SERVER, Limits())
    kept = 0
    with pytest.raises(ProtocolError):
        for position in range(0, len(garbage), 100):
            session.receive_data(garbage[position : position + 100])
            kept = position + 100
    assert kept <= 8 + 8 + 4096


@pytest.mark.parametrize("kind", sorted(set(FrameKind) - {FrameKind.HELLO}))
def test_t04_nothing_but_a_greeting_comes_first(kind: FrameKind) -> None:
    """It is refused by the first eight bytes behind the preface: nothing is allocated for what they announce."""
    session = Session(Role.SERVER, Limits())
    with pytest.raises(ProtocolError):
        session.receive_data(PREFACE + encode_prefix(kind, 0, 4000, 2**32 - 1))
