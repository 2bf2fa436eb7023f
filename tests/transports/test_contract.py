"""Every transport keeps Trio's contract for streams, and what `Transport` adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trioton.testing import check_transport

if TYPE_CHECKING:
    from .conftest import Makers

pytestmark = pytest.mark.net


async def test_the_contract(makers: Makers) -> None:
    # Over real sockets, TLS cannot be clogged exactly; over memory it is.
    can_clog = not makers.two_way_only or type(makers).__name__ == "TlsOverMemory"
    clogged = makers.clogged if can_clog else None
    await check_transport(makers.pair, clogged, half_closeable=not makers.two_way_only)


async def test_what_a_transport_tells_of_itself(makers: Makers) -> None:
    left, right = await makers.pair()
    async with left, right:
        for transport in (left, right):
            assert transport.kind in {"tcp", "unix", "tls", "memory", "stdio"}
            assert transport.remote_address in repr(transport)
            assert transport.can_try_send is not makers.two_way_only
            assert transport.is_loopback is (transport.kind != "stdio")
        left.close()
        assert "closed" in repr(left)


async def test_a_read_takes_all_that_is_there(makers: Makers) -> None:
    left, right = await makers.pair()
    buffer = memoryview(bytearray(b"........"))
    async with left, right:
        await left.send_all(b"hello")
        assert await right.receive_into(buffer) == 5
        assert buffer.tobytes() == b"hello..."
        await left.send_all(b"0123456789")
        assert await right.receive_into(buffer[:4]) == 4
        assert await right.receive_into(buffer[4:]) == 4
        assert buffer.tobytes() == b"01234567"
        assert await right.receive_some() == b"89"
        if not makers.two_way_only:
            assert left.try_send([b"ab", bytearray(b"cd"), memoryview(b"ef"), b"", b"g"]) == 7
            assert await right.receive_some() == b"abcdefg"


async def test_closing_outside_of_trio(makers: Makers) -> None:
    left, right = await makers.pair()
    await trio.to_thread.run_sync(left.close)
    right.close()
