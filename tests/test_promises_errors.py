"""The last promises of `docs/explain/promises.rst`: which errors leave a call, and which leave a block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import Pair


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
