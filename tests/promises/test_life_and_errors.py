"""Promises 8 to 11 of `docs/explain/promises.rst`, one short test each, named after its number; the depth is in the tests of each part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Block, PubChannel, SubChannel
from trioton.testing import Network, leak_check

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------- life


async def test_promise_8_nothing_outlives_its_owner(autojump_clock: object, open_pair: OpenPair) -> None:
    """Nothing outlives its owner: no task, no thread, no socket file."""
    async with leak_check(), open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        await pub.send("x")
        assert await sub.receive() == "x"
        pair.a.start_soon(trio.sleep_forever)


@pytest.mark.net
async def test_promise_8_nothing_outlives_its_owner_on_real_sockets() -> None:
    """Nothing outlives its owner: no task, no thread, no socket file."""
    with trio.fail_after(30):
        async with leak_check(), trioton.open_context("a") as a, trioton.open_context("b") as b:
            listener = await a.bind("127.0.0.1:0")
            connection = await b.connect(listener.address)
            assert connection.is_connected
            a.start_soon(trio.sleep_forever)


async def test_promise_9_every_wait_is_measured_by_the_clock_of_trio(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    """It can be cancelled and is measured by Trio's clock, so it is instant under `trio.testing.MockClock`."""
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
        sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(1))
        await pub.wait_subscribers()
        await pub.send(0)
        pair.net.partition("a", "b")
        waits: dict[str, Callable[[], Awaitable[object]]] = {
            "send": lambda: pub.send(1),
            "send_many": lambda: pub.send_many([1]),
            "wait_subscribers": lambda: pub.wait_subscribers(5),
            "receive": sub.receive,
            "receive_many": sub.receive_many,
            "flush": pair.a.flush,
            "flush a connection": pair.to_b.flush,
            "connect": lambda: pair.b.connect("a:99", wait=True),
            "wait_context": lambda: pair.b.wait_context("nobody"),
            "wait_closed": pair.to_a.wait_closed,
            "wait for an event": pair.b.events().receive,
            "aclose": pair.to_a.aclose,
        }
        for name, wait in waits.items():
            start = trio.current_time()
            with trio.move_on_after(0.3) as scope:
                await wait()
            assert scope.cancelled_caught, name
            assert trio.current_time() - start == pytest.approx(0.3), name


# ---------------- errors


async def test_promise_10_errors_are_those_of_trio(autojump_clock: object, pair: Pair) -> None:
    """``ClosedResourceError``: you closed it. ``BrokenResourceError``: the peer or the network did, and ``__cause__`` says why.

    ``EndOfChannel``: it has ended cleanly, and all has been received. ``WouldBlock``: there is nothing, or no room.
    """
    carrier = SubChannel(pair.b, "carrier", trioton.OBJECT)
    await (pub := PubChannel(pair.a, "carrier", trioton.OBJECT)).wait_subscribers()
    ends = []
    for _ in range(2):
        sender, receiver = trioton.open_channel(pair.a, trioton.OBJECT, size=1)
        await pub.send(sender)
        ends.append((await carrier.receive(), receiver))
    (ended_sender, ended), (broken, closed) = ends
    await trio.sleep(1)  # each sending end has heard how much room there is

    with pytest.raises(trio.WouldBlock):
        ended.receive_nowait()
    await ended_sender.send(1)
    with pytest.raises(trio.WouldBlock):
        ended_sender.send_nowait(2)
    await ended_sender.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ended_sender.send(3)
    assert await ended.receive() == 1
    with pytest.raises(trio.EndOfChannel):
        await ended.receive()

    closed.close()
    with pytest.raises(trio.ClosedResourceError):
        await closed.receive()
    with pytest.raises(trio.BrokenResourceError) as caught:
        for number in range(2):
            await broken.send(number)
            await trio.sleep(1)
    assert isinstance(caught.value.__cause__, trioton.DeadError)


async def test_promise_10_every_call_on_a_closed_end_says_so(autojump_clock: object, pair: Pair) -> None:
    """``ClosedResourceError``: you closed it, whatever is then called, and whether or not there would be something to do."""
    pub, sub = PubChannel(pair.b, "chat"), SubChannel(pair.a, "chat")
    await pub.wait_subscribers()
    await pub.send("never received")
    await trio.sleep(1)
    pub.close()
    sub.close()
    calls: dict[str, Callable[[], object]] = {
        "send": lambda: pub.send("x"),
        "send a large one": lambda: pub.send("x" * 100_000),
        "send_nowait": lambda: pub.send_nowait("x"),
        "send_many": lambda: pub.send_many(["x"]),
        "wait_subscribers": pub.wait_subscribers,
        "receive": sub.receive,
        "receive_nowait": sub.receive_nowait,
        "receive_many": sub.receive_many,
        "receive_all_nowait": sub.receive_all_nowait,
    }
    for name, call in calls.items():
        with pytest.raises(trio.ClosedResourceError):
            result = call()
            if isinstance(result, Awaitable):
                await result
            pytest.fail(name)


@pytest.mark.parametrize("background_fails", [False, True])
async def test_promise_11_an_exception_leaves_as_itself(autojump_clock: object, background_fails: bool) -> None:
    """An exception from the body of a block leaves it as itself, in a group only when a background task has failed too."""

    async def fail_too() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if background_fails:
                raise KeyError("background")

    error = ValueError("body")
    with pytest.raises(BaseExceptionGroup if background_fails else ValueError) as caught:
        async with trioton.open_context("a", network=Network(seed=1).host("a")) as a:
            a.start_soon(fail_too)
            await trio.testing.wait_all_tasks_blocked()
            raise error
    if background_fails:
        assert pytest.RaisesGroup(ValueError, KeyError, flatten_subgroups=True).matches(caught.value)
    else:
        assert caught.value is error
