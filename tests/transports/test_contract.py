"""Every transport keeps Trio's contract for streams, and what `Transport` adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, check_half_closeable_stream, check_two_way_stream, wait_all_tasks_blocked

if TYPE_CHECKING:
    from trioton.transports.base import Buffer

    from .conftest import Makers

pytestmark = pytest.mark.net


async def test_trios_own_checks(makers: Makers) -> None:
    if makers.two_way_only:
        # Over real sockets, TLS cannot be clogged exactly; over memory it is.
        clogged = makers.clogged if type(makers).__name__ == "TlsOverMemory" else None
        await check_two_way_stream(makers.pair, clogged)
    else:
        await check_half_closeable_stream(makers.pair, makers.clogged)


async def test_receive_into_gets_what_receive_some_would(makers: Makers) -> None:
    left, right = await makers.pair()
    async with left, right:
        buffer = memoryview(bytearray(b"........"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, b"hello")
            with assert_checkpoints():
                assert await right.receive_into(buffer) == 5
        assert buffer.tobytes() == b"hello..."
        await left.send_all(b"0123456789")
        assert await right.receive_into(buffer[:4]) == 4
        assert await right.receive_into(buffer[4:]) == 4
        assert buffer.tobytes() == b"01234567"
        assert await right.receive_some() == b"89"
        with pytest.raises(ValueError):
            await right.receive_into(memoryview(b""))


async def test_receive_into_sees_the_end_and_the_close(makers: Makers) -> None:
    left, right = await makers.pair()
    buffer = memoryview(bytearray(10))
    async with right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.aclose)
            assert await right.receive_into(buffer) == 0
    with pytest.raises(trio.ClosedResourceError):
        await right.receive_into(buffer)


async def test_two_cannot_receive_at_once(makers: Makers) -> None:
    left, right = await makers.pair()
    async with left, right, trio.open_nursery() as nursery:
        nursery.start_soon(right.receive_some, 1)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await right.receive_into(memoryview(bytearray(1)))
        with pytest.raises(trio.BusyResourceError):
            await right.receive_some()
        nursery.cancel_scope.cancel()


async def test_close_wakes_whoever_waits_inside(makers: Makers) -> None:
    left, right = await makers.clogged() if not makers.two_way_only else await makers.pair()

    async def expect_closed(receive: bool) -> None:
        with pytest.raises(trio.ClosedResourceError):
            if receive:
                while True:
                    await left.receive_into(memoryview(bytearray(1_000_000)))
            else:
                await left.send_all(bytes(20_000_000))

    async with right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, True)
            nursery.start_soon(expect_closed, False)
            await wait_all_tasks_blocked()
            left.close()
        left.close()
        assert "closed" in repr(left)
        with pytest.raises(trio.ClosedResourceError):
            await left.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await left.receive_some()
        if left.can_try_send:
            with pytest.raises(trio.ClosedResourceError):
                left.try_send([b"x"])


async def test_large_data_arrives_whole_both_ways_at_once(makers: Makers) -> None:
    left, right = await makers.pair()
    data = bytes(range(256)) * 8192

    async def send(transport: trio.abc.SendStream) -> None:
        await transport.send_all(data)
        await transport.send_all(memoryview(data)[::1].cast("H"))  # items of two bytes are sent as bytes

    async def receive(transport: trio.abc.ReceiveStream) -> None:
        received = bytearray()
        while len(received) < 2 * len(data):
            received += await transport.receive_some()
        assert received == data * 2

    async with left, right, trio.open_nursery() as nursery:
        for transport in (left, right):
            nursery.start_soon(send, transport)
            nursery.start_soon(receive, transport)


async def test_what_a_transport_tells_of_itself(makers: Makers) -> None:
    left, right = await makers.pair()
    async with left, right:
        for transport in (left, right):
            assert transport.kind in {"tcp", "unix", "tls", "memory", "stdio"}
            assert transport.local_address
            assert transport.remote_address
            assert transport.remote_address in repr(transport)
            assert transport.can_try_send is not makers.two_way_only
            assert transport.is_loopback is (transport.kind != "stdio")


# try_send


async def test_try_send_writes_all_buffers_in_order(makers: Makers) -> None:
    left, right = await makers.pair()
    async with left, right:
        buffers: list[Buffer] = [b"ab", bytearray(b"cd"), memoryview(b"ef"), b"", b"g"]
        if makers.two_way_only:
            with pytest.raises(NotImplementedError):
                left.try_send(buffers)
            with pytest.raises(NotImplementedError):
                await left.send_eof()
            return
        assert left.try_send(buffers) == 7
        assert await right.receive_some() == b"abcdefg"
        assert left.try_send([]) == 0
        assert left.try_send([b""]) == 0


async def test_try_send_looks_at_512_buffers_and_tells_how_much_was_taken(makers: Makers) -> None:
    if makers.two_way_only:
        return
    left, right = await makers.pair()
    async with left, right:
        sent = left.try_send([b"x"] * 2000)
        assert 512 <= sent <= 2000
        received = 0
        while received < sent:
            received += len(await right.receive_some())
        assert received == sent


async def test_try_send_takes_a_part_under_back_pressure_and_loses_nothing(makers: Makers) -> None:
    if makers.two_way_only:
        return
    left, right = await makers.pair()
    data = bytes(range(251)) * 100_000
    received = bytearray()

    async def receive() -> None:
        while len(received) < len(data):
            received.extend(await right.receive_some())

    async with left, right, trio.open_nursery() as nursery:
        partial = 0
        rest = memoryview(data)
        while sent := left.try_send([rest[:70_000], rest[70_000:1_000_000]]):
            partial += sent < min(len(rest), 1_000_000)
            rest = rest[sent:]
        assert partial, "the transport took everything that it was offered, and then suddenly nothing"
        nursery.start_soon(receive)
        while rest:
            sent = left.try_send([rest[:70_000], rest[70_000:1_000_000]])
            if not sent:
                await left.wait_send_all_might_not_block()
            rest = rest[sent:]
    assert received == data


async def test_try_send_is_refused_while_a_task_sends_but_not_while_it_waits(makers: Makers) -> None:
    if makers.two_way_only:
        return
    left, right = await makers.clogged()
    async with left, right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, b"x")
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                left.try_send([b"x"])
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.wait_send_all_might_not_block)
            await wait_all_tasks_blocked()
            assert left.try_send([b"x"]) == 0
            nursery.cancel_scope.cancel()


async def test_try_send_after_the_end_and_to_a_peer_that_is_gone(makers: Makers) -> None:
    if makers.two_way_only:
        return
    left, right = await makers.pair()
    async with left, right:
        await left.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            left.try_send([b"x"])
        with pytest.raises(trio.ClosedResourceError):
            await left.wait_send_all_might_not_block()
        assert await right.receive_some() == b""
        left.close()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await right.wait_send_all_might_not_block()
                right.try_send([b"x"])


async def test_eof_of_a_closed_transport(makers: Makers) -> None:
    if makers.two_way_only:
        return
    left, right = await makers.pair()
    async with right:
        left.close()
        with pytest.raises(trio.ClosedResourceError):
            await left.send_eof()


async def test_closing_outside_of_trio(makers: Makers) -> None:
    left, right = await makers.pair()
    await trio.to_thread.run_sync(left.close)
    right.close()
