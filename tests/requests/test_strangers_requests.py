"""What one meets who uses requests and jobs for the first time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

import trioton
from trioton import MessageTypeError, PushChannel, RepChannel, ReqChannel
from trioton.testing import Network


class Odd(RepChannel):
    async def unsendable(self) -> object:
        return object()

    async def unsendable_items(self) -> AsyncIterator[object]:
        yield object()

    async def stop(self) -> str:
        await self.aclose()
        return "stopped"

    async def stop_at_once(self) -> str:
        await trio.lowlevel.checkpoint()
        self.close()
        return "stopped"


@pytest.fixture
async def pair(autojump_clock: trio.testing.MockClock) -> AsyncIterator[tuple[trioton.Context, trioton.Context]]:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        yield a, b


async def test_a_result_that_cannot_be_sent_is_an_error_of_its_own_type(
    pair: tuple[trioton.Context, trioton.Context],
) -> None:
    Odd(pair[0], "odd")
    req = ReqChannel(pair[1], "odd")
    with pytest.raises(MessageTypeError, match="what 'unsendable' has returned cannot be sent"):
        await req.unsendable()
    async with req.stream("unsendable_items") as items:
        with pytest.raises(MessageTypeError, match="an item of 'unsendable_items' cannot be sent"):
            await anext(items)


@pytest.mark.parametrize("method", ["stop", "stop_at_once"])
async def test_a_handler_may_close_its_own_channel(pair: tuple[trioton.Context, trioton.Context], method: str) -> None:
    rep = Odd(pair[0], "odd")
    req = ReqChannel(pair[1], "odd")
    start = trio.current_time()
    assert await req.call(method) == "stopped"
    assert trio.current_time() - start < 1
    assert rep.closed


async def test_a_wrong_name_of_a_method_is_named(pair: tuple[trioton.Context, trioton.Context]) -> None:
    with pytest.raises(ValueError, match="names of public methods of Odd, not 'nix'"):
        Odd(pair[0], "odd", methods=["nix"])


async def test_who_fails_does_not_wait_for_the_work_of_others(
    pair: tuple[trioton.Context, trioton.Context], caplog: pytest.LogCaptureFixture
) -> None:
    start = trio.current_time()
    with pytest.raises(ValueError, match="out"):
        async with PushChannel(pair[0], "nobody") as push:
            await push.send("a")
            raise ValueError("out")
    assert trio.current_time() - start < 1
    assert push.statistics().dropped == 1
    assert "1 job" in caplog.text
