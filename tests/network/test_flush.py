"""Flushing waits until a neighbour has everything, for those who block and for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
import trioton.testing
from trioton import BINARY, Block, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


@pytest.mark.parametrize("policy", [None, trioton.DropNewest(7), trioton.Latest()])
async def test_flush_does_not_wait_for_those_who_do_not_block(
    autojump_clock: trio.testing.MockClock, trioton_network: trioton.testing.Network, policy: trioton.Policy | None
) -> None:
    net = trioton_network
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        pub = trioton.PubChannel(a, "slot")
        sub = trioton.SubChannel(b, "slot", policy=policy or trioton.Block())
        await pub.wait_subscribers(1)
        if policy is None:
            await pub.send("first")
            await sub.aclose()  # from now on nobody listens
            await b.flush()
            await trio.sleep(1)
        for number in range(1000):
            await pub.send(f"{number}")
        with trio.fail_after(1):
            await a.flush()
        assert pub.statistics().unconfirmed == 0
        large = trioton.PubChannel(a, "slot", trioton.BINARY)
        trioton.SubChannel(b, "slot", trioton.BINARY, policy=trioton.Latest())
        await large.wait_subscribers(1)
        await large.send(bytes(1_000_000))
        with trio.fail_after(1):
            await a.flush()
        assert large.statistics().unconfirmed == 0


async def test_flush_waits_until_the_neighbour_has_everything(open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.2, buffer_size=5000)
    async with open_pair(net) as pair:
        pub, sub = PubChannel(pair.a, "n", BINARY), SubChannel(pair.b, "n", BINARY, policy=Block(1000))
        await pub.wait_subscribers()
        await pub.send_many([bytes(1000)] * 50)
        assert sub.pending == 0
        await pair.to_b.flush()
        assert sub.pending == 50


async def test_flush_of_a_quiet_connection_takes_a_round_trip(open_pair: OpenPair) -> None:
    async with open_pair(Network(seed=1, latency=0.2)) as pair:
        start = trio.current_time()
        await pair.to_b.flush()
        assert trio.current_time() - start == pytest.approx(0.4)


async def test_flush_goes_on_over_a_drop(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        await pub.send("hello")
        nursery.start_soon(pair.to_b.flush)
        await trio.testing.wait_all_tasks_blocked()
        pair.net.cut("a", "b")
    assert events.names == ["Suspended", "Resumed"]
    assert sub.pending == 1


async def test_flush_breaks_with_the_connection(pair: Pair) -> None:
    pair.net.partition("a", "b")
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with pytest.raises(trio.BrokenResourceError, match="ended: no answer"):
                await pair.to_a.flush()

        nursery.start_soon(flush)
        await trio.sleep(1)
        with trio.move_on_after(1):
            await pair.to_a.aclose("no answer")
    with pytest.raises(trio.BrokenResourceError, match="ended: no answer"):
        await pair.to_a.flush()
