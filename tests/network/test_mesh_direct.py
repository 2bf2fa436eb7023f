"""One-to-one channels between contexts that are no neighbours: what passes, what a reference brings, and how either end hears of deaths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.network.mesh_shapes import Mesh, open_mesh, receive
from trioton import BINARY, Block, ContextDied, DeadError, Limits, Receiver, Sender, open_channel
from trioton.testing import check_at_rest

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

LINE = "ab bc cd"


async def hand_to(mesh: Mesh, giver: str, taker: str, sender: Sender[Any]) -> Sender[Any]:
    """Let a context send a sending end to another; gives the end that arrives."""
    async with mesh.sub(taker, "carrier") as hears, mesh.pub(giver, "carrier") as carrier:
        await carrier.wait_subscribers()
        await carrier.send(sender)
        (arrived,) = await receive(hears, 1)
        assert isinstance(arrived, Sender)
        return arrived


async def channel(mesh: Mesh, sends: str, receives: str, **options: Any) -> tuple[Sender[Any], Receiver[Any]]:
    """A channel whose ends are in these contexts."""
    sender, receiver = open_channel(mesh[receives], **options)
    return await hand_to(mesh, receives, sends, sender), receiver


# ---------------------------------------------------------------- messages


async def test_messages_in_both_directions_over_three_links(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh, trio.open_nursery() as nursery:
        there, arrives = await channel(mesh, "a", "d")
        back, comes_back = await channel(mesh, "d", "a")
        nursery.start_soon(there.send_many, range(500))
        nursery.start_soon(back.send_many, range(500))
        assert await receive(arrives, 500) == list(range(500))
        assert await receive(comes_back, 500) == list(range(500))
        await check_at_rest(*mesh.contexts.values())


async def test_back_pressure_over_three_links(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sender, receiver = await channel(mesh, "a", "d", size=10)
        await sender.send("the first")
        assert await receive(receiver, 1) == ["the first"]
        await trio.sleep(1)
        with trio.move_on_after(20):
            await sender.send_many(range(1000))
        assert receiver.statistics().pending == 10
        assert sender.statistics().sent == 11
        assert await receive(receiver, 10) == list(range(10))
        with trio.fail_after(1):
            await sender.send(10)


async def test_closing_the_sending_end_ends_the_channel_after_the_last_message(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sender, receiver = await channel(mesh, "a", "d")
        for number in range(10):
            await sender.send(number)
        await sender.aclose()
        with trio.fail_after(10):
            assert [number async for number in receiver] == list(range(10))


async def test_closing_the_receiving_end_is_heard_three_links_away(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sender, receiver = await channel(mesh, "a", "d", size=1)
        await sender.send("taken")
        await receive(receiver, 1)
        await receiver.aclose()
        await trio.sleep(1)
        with pytest.raises(trio.BrokenResourceError) as raised:
            await sender.send("lost")
        assert isinstance(raised.value.__cause__, DeadError)


async def test_a_sending_end_travels_on_to_a_third_context(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        first, receiver = await channel(mesh, "a", "d")
        second = await hand_to(mesh, "a", "c", first)
        third = await hand_to(mesh, "c", "b", second)
        for number in range(100):
            await third.send(number)
        await third.aclose()
        with trio.fail_after(10):
            assert [number async for number in receiver] == list(range(100))


async def test_a_sending_end_comes_home(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        away, receiver = await channel(mesh, "a", "d")
        home = await hand_to(mesh, "a", "d", away)
        await home.send("at home")
        assert await receive(receiver, 1) == ["at home"]


# ---------------------------------------------------------------- deaths


@pytest.mark.parametrize("crashes", [False, True], ids=["goodbye", "crash"])
async def test_the_sender_hears_that_the_receivers_context_is_gone(
    crashes: bool, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(LINE, limits=Limits(resume_window=5)) as mesh:
        heard = watch(mesh["a"])
        sender, receiver = await channel(mesh, "a", "d", size=5)
        await sender.send("taken")
        await receive(receiver, 1)
        if crashes:
            mesh.net.kill("d")
        else:
            await mesh["d"].aclose()
        with pytest.raises(trio.BrokenResourceError) as raised, trio.fail_after(60):
            while True:
                await sender.send("lost")
        assert isinstance(raised.value.__cause__, DeadError)
        await trio.sleep(100)
        assert [event.name for event in heard.all(ContextDied)] == ["d"]


@pytest.mark.parametrize("crashes", [False, True], ids=["goodbye", "crash"])
async def test_the_receiver_hears_after_the_last_message_that_the_senders_context_is_gone(
    crashes: bool, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(LINE, limits=Limits(resume_window=5)) as mesh:
        heard = watch(mesh["d"])
        sender, receiver = await channel(mesh, "a", "d")
        for number in range(10):
            await sender.send(number)
        await trio.sleep(1)
        if crashes:
            mesh.net.kill("a")
        else:
            await mesh["a"].aclose()
        assert await receive(receiver, 10) == list(range(10))
        with trio.fail_after(60):
            if crashes:
                with pytest.raises(trio.BrokenResourceError) as raised:
                    await receiver.receive()
                assert isinstance(raised.value.__cause__, DeadError)
            else:
                with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
                    await receiver.receive()
        await trio.sleep(100)
        assert [event.name for event in heard.all(ContextDied)] == ["a"]


async def test_a_router_between_both_ends_is_gone(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sender, receiver = await channel(mesh, "a", "d")
        await sender.send("before")
        assert await receive(receiver, 1) == ["before"]
        await mesh["b"].aclose()
        await trio.sleep(1)
        with pytest.raises(trio.BrokenResourceError) as raised_here:
            await sender.send("after")
        with pytest.raises(trio.BrokenResourceError) as raised_there:
            await receiver.receive()
        assert isinstance(raised_here.value.__cause__, DeadError)
        assert isinstance(raised_there.value.__cause__, DeadError)


async def test_a_reference_to_a_context_that_is_gone(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sender, _ = await channel(mesh, "b", "d")
        hears = mesh.sub("a", "news")
        carrier = mesh.pub("b", "news")
        await carrier.wait_subscribers()
        await carrier.send(sender)
        await trio.sleep(1)
        await mesh["d"].aclose()
        await trio.sleep(1)
        (arrived,) = await receive(hears, 1)
        with pytest.raises(trio.BrokenResourceError, match="no route") as raised:
            await arrived.send("lost")
        assert isinstance(raised.value.__cause__, DeadError)


# ---------------------------------------------------------------- what is refused


async def fails(sender: Sender[Any], reason: str) -> None:
    """What is sent there is refused, sooner or later, for this reason."""
    with pytest.raises(trio.BrokenResourceError, match=reason) as raised, trio.fail_after(10):
        while True:
            await sender.send("refused")
    assert isinstance(raised.value.__cause__, DeadError)


async def test_the_sender_hears_why_nobody_takes_what_it_sends(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        first, receiver = await channel(mesh, "a", "d")
        second = await hand_to(mesh, "a", "b", first)
        await second.send("mine")
        assert await receive(receiver, 1) == ["mine"]
        third = await hand_to(mesh, "b", "c", second)
        await fails(third, "another context sends on this channel already")
        await second.send("mine, too")
        assert await receive(receiver, 1) == ["mine, too"]
        await receiver.aclose()
        await fails(second, "nobody receives on this channel any more")


# ---------------------------------------------------------------- what is too large


@pytest.mark.parametrize("small", ["c", "d"], ids=["for a router", "for the subscriber"])
async def test_what_is_too_large_on_the_way_is_refused_where_it_is_sent(small: str, autojump_clock: object) -> None:
    async with open_mesh(LINE, options={small: {"limits": Limits(max_package=200_000)}}) as mesh:
        sub, pub = mesh.sub("d", "bytes", BINARY, policy=Block(100)), mesh.pub("a", "bytes", BINARY)
        sender, receiver = await channel(mesh, "a", "d")
        await pub.wait_subscribers()
        await pub.send(bytes(190_000))
        for sends in (pub, sender):
            with pytest.raises(ValueError, match=r"the message takes 300\d+ bytes; 'd' .* takes at most 200000"):
                await sends.send(bytes(300_000))
        await pub.send(b"goes on")
        await sender.send("goes on")
        assert await receive(sub, 2) == [bytes(190_000), b"goes on"]
        assert await receive(receiver, 1) == ["goes on"]
        assert all(
            connection.statistics().transports == 1
            for context in mesh.contexts.values()
            for connection in context.connections
        )


async def test_what_one_subscriber_cannot_take_goes_to_others_when_that_one_is_gone(autojump_clock: object) -> None:
    async with open_mesh("ab bc bd", options={"d": {"limits": Limits(max_package=200_000)}}) as mesh:
        large, small = mesh.sub("c", "bytes", BINARY), mesh.sub("d", "bytes", BINARY)
        pub = mesh.pub("a", "bytes", BINARY)
        await pub.wait_subscribers(2)
        with pytest.raises(ValueError, match="takes at most 200000"):
            await pub.send(bytes(300_000))
        await small.aclose()
        await trio.sleep(1)
        await pub.send(bytes(300_000))
        assert await receive(large, 1) == [bytes(300_000)]
