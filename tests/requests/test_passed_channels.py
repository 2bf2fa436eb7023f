"""Ends of channels among the arguments: they arrive with the request, wherever it goes in the end."""

from __future__ import annotations

import pytest
import trio

import trioton
from tests.conftest import Pair
from tests.requests.conftest import Asking
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import RepChannel, ReqChannel, Sender, open_channel


async def test_a_handler_sends_into_a_channel_that_came_with_the_request(asking: Asking) -> None:
    sender, receiver = open_channel(asking.here)
    future = asking.req.send_into(sender, [1, 2, 3])
    assert [item async for item in receiver] == [1, 2, 3]
    assert await future == 3
    sender.close()


async def test_a_channel_goes_on_to_the_next_replier_if_the_first_is_busy(pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        full = Handlers(pair.a, "math", max_running=1)
        busy, req = ReqChannel(third, "math"), ReqChannel(pair.b, "math")
        await busy.wait_repliers(1)
        await req.wait_repliers(1)
        long = busy.work("long", 50)
        await trio.sleep(1)
        for _ in range(3):
            sender, receiver = open_channel(pair.b)
            future = req.send_into(sender, [1, 2, 3])
            await trio.sleep(0.5)  # it is turned away meanwhile
            other = Handlers(third, "math")
            assert [item async for item in receiver] == [1, 2, 3]
            assert await future == 3
            async with req.stream("count", 3) as items:
                assert [item async for item in items] == [0, 1, 2]
            other.close()
            await trio.sleep(1)
        long.cancel()
        await trio.sleep(5)
        assert full.statistics().started == 1
        check_rest(req, busy, full)


async def test_requests_that_travel_together_keep_their_channels_apart(pair: Pair) -> None:
    """Of many that come at once most are turned away, and none of these may take the channels of others with it."""
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        rep = Handlers(pair.a, "math", max_running=8)
        busy, req = ReqChannel(third, "math"), ReqChannel(pair.b, "math")
        await busy.wait_repliers(1)
        await req.wait_repliers(1)
        blockers = [busy.work(number, 1) for number in range(5)]
        await trio.sleep(0.2)
        pairs = [open_channel(pair.b) for _ in range(20)]
        futures = [req.send_into(sender, list(range(number))) for number, (sender, _) in enumerate(pairs)]
        for number, (_, receiver) in enumerate(pairs):
            with trio.fail_after(30):
                assert [item async for item in receiver] == list(range(number))
                assert await futures[number] == number
        for blocker in blockers:
            await blocker
        await trio.sleep(2)
        check_rest(req, busy, rep)
        assert not [slot for slot in pair.a._traffic.outlets.open if slot.endswith(".one")]


async def test_a_handler_that_lets_a_channel_go_ends_it_by_closing_it_only(asking: Asking) -> None:
    sender, receiver = open_channel(asking.here)
    with pytest.raises(TypeError):
        await asking.req.send_into(sender)
    with trio.move_on_after(5) as scope:
        await receiver.receive()
    assert scope.cancelled_caught


async def test_a_result_may_be_a_channel(pair: Pair) -> None:
    class Target:
        async def give_sender(self) -> Sender[object]:
            sender, receiver = open_channel(pair.a)

            async def receive() -> None:
                async for item in receiver:
                    got.append(item)  # noqa: PERF401  # as they come

            pair.a.start_soon(receive)
            return sender

    got: list[object] = []
    RepChannel(pair.a, "x", target=Target(), methods=["give_sender"])
    async with await ReqChannel(pair.b, "x").give_sender() as sender:
        for number in range(3):
            await sender.send(number)
    await trio.sleep(1)
    assert got == [0, 1, 2]


async def test_a_channel_stays_usable_where_a_request_was_cancelled_before_it_was_sent(pair: Pair) -> None:
    sender, receiver = open_channel(pair.b)
    future = ReqChannel(pair.b, "math").send_into(sender, [1])
    future.cancel()
    async with sender:
        await sender.send("own")
    assert [item async for item in receiver] == ["own"]
