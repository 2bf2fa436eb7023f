"""Memory transports: back-pressure, and the names behind mem://."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from trioton.errors import BindError, ConnectError
from trioton.transports import memory
from trioton.transports.address import parse_address
from trioton.transports.memory import CAPACITY, MemoryTransport, memory_transport_pair
from trioton.transports.system import SystemNetwork

NAME = parse_address("mem://name")


async def test_no_more_than_its_capacity_is_underway() -> None:
    left, right = memory_transport_pair(10)
    assert left.try_send([b"1234", b"5678", b"90ab", b"cd"]) == 10
    assert left.try_send([b"x"]) == 0
    assert await right.receive_some(3) == b"123"
    assert left.try_send([b"abcdef"]) == 3
    assert await right.receive_some() == b"4567890abc"
    assert left.try_send([b"", memoryview(b"ab").cast("H")]) == 2
    assert await right.receive_some(10**9) == b"ab"


async def test_a_sender_waits_for_room_and_only_for_that(mock_clock: trio.testing.MockClock) -> None:
    left, right = memory_transport_pair(4)
    sent = trio.Event()

    async def send() -> None:
        await left.send_all(b"12345678")
        sent.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert await right.receive_some(3) == b"123"
        await trio.testing.wait_all_tasks_blocked()
        assert not sent.is_set()
        assert await right.receive_some() == b"4567"
        await trio.testing.wait_all_tasks_blocked()
        assert sent.is_set()
    assert await right.receive_some() == b"8"


def test_the_default_capacity() -> None:
    left, _ = memory_transport_pair()
    assert left.try_send([bytes(10**6)]) == CAPACITY == 64 * 1024


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="capacity must be 1 byte or more, not 0"):
        memory_transport_pair(0)


async def test_what_was_sent_before_the_close_arrives_and_what_was_unread_is_gone() -> None:
    left, right = memory_transport_pair()
    await left.send_all(b"last words")
    await right.send_all(b"unread")
    left.close()
    assert await right.receive_some() == b"last words"
    assert await right.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError, match="mem://left broke: the other end was closed"):
        right.try_send([b"x"])
    with pytest.raises(trio.ClosedResourceError):
        await left.receive_some()
    await right.send_eof()


async def test_an_end_that_is_closed_while_the_other_waits_for_room() -> None:
    left, right = memory_transport_pair(1)

    async def expect_broken() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"1234")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_broken)
        await trio.testing.wait_all_tasks_blocked()
        right.close()


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
async def test_wrong_numbers_of_bytes(value: int, error: type[Exception]) -> None:
    left, _ = memory_transport_pair()
    with pytest.raises(error, match="max_bytes must be"):
        await left.receive_some(value)


def test_the_pair_is_one_process() -> None:
    left, right = memory_transport_pair(addresses=("mem://a", "mem://b"))
    assert left.peer_uid == right.peer_uid == os.geteuid()
    assert left.local_address == right.remote_address == "mem://a"
    assert repr(left) == "<MemoryTransport mem://a to mem://b>"


# Names


async def test_dial_and_accept(network: SystemNetwork) -> None:
    async with await network.listen(NAME) as listener:
        assert listener.address == "mem://name"
        assert listener.port is None
        assert repr(listener) == "<MemoryListener mem://name>"
        dialled = await network.dial(NAME)  # before anybody accepts
        await dialled.send_all(b"x")
        accepted = await listener.accept()
        assert isinstance(accepted, MemoryTransport)
        assert await accepted.receive_some() == b"x"
        assert dialled.remote_address == accepted.local_address == "mem://name"
        assert dialled.local_address == accepted.remote_address == "client 1 of mem://name"

        async def accept() -> None:
            (await listener.accept()).close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await listener.accept()
            assert await (await network.dial(NAME)).receive_some() == b""
    assert "closed" in repr(listener)


async def test_a_name_is_listened_on_once(network: SystemNetwork) -> None:
    async with await network.listen(NAME):
        with pytest.raises(BindError, match="cannot listen on mem://name: somebody listens there already"):
            await network.listen(NAME)
        async with await SystemNetwork().listen(NAME):
            pass  # each network has names of its own
    async with await network.listen(NAME):
        pass


async def test_a_name_that_nobody_listens_on(network: SystemNetwork) -> None:
    with pytest.raises(ConnectError, match="cannot connect to mem://name: nobody listens there"):
        await network.dial(NAME)
    (await network.listen(NAME)).close()
    with pytest.raises(ConnectError, match="nobody listens there"):
        await network.dial(NAME)


async def test_closing_a_listener(network: SystemNetwork) -> None:
    listener = await network.listen(NAME)
    dialled = await network.dial(NAME)
    await listener.aclose()
    assert await dialled.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await dialled.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    listener.close()

    listener = await network.listen(NAME)

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        listener.close()


async def test_a_cancelled_accept_loses_no_connection(network: SystemNetwork) -> None:
    async with await network.listen(NAME) as listener:
        await network.dial(NAME)
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.accept()
        with trio.testing.assert_checkpoints():
            await listener.accept()


async def test_too_many_wait_to_be_accepted(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_PENDING", 2)
    async with await network.listen(NAME) as listener:
        await network.dial(NAME)
        await network.dial(NAME)
        with pytest.raises(ConnectError, match="2 connections wait to be accepted"):
            await network.dial(NAME)
        await listener.accept()
        await network.dial(NAME)
