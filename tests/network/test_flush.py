"""`Context.flush` waits for those who block, and for nobody else."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trioton
import trioton.testing


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
