"""Links over a transport that holds back what its own did not take at once: nothing may wait for ever, or change places."""

from __future__ import annotations

import pytest
import trio.testing

import trioton
from trioton.testing import Network


@pytest.mark.parametrize("chunk", [None, (1, 700)])
async def test_messages_of_all_sizes_pass_through_narrow_links(
    autojump_clock: trio.testing.MockClock, chunk: tuple[int, int] | None
) -> None:
    net = Network(seed=2, latency=0.005, buffer_size=3000, chunk=chunk)
    secret = trioton.Secret("known to both, and no one else")
    sizes = [1, 2500, 2990, 3000, 10, 7000, 140_000, 1, 300_000, 5]
    async with (
        trioton.open_context("a", network=net.host("a", uid=1), security=secret) as a,
        trioton.open_context("b", network=net.host("b", uid=2), security=secret) as b,
    ):
        await a.bind("a:1")
        connection = await b.connect("a:1")
        publisher, subscriber = trioton.PubChannel(b, "news"), trioton.SubChannel(a, "news")
        await publisher.wait_subscribers(1)
        # One by one, each with nothing behind it that would push it on; then all at once.
        for size in sizes:
            await publisher.send("x" * size)
            assert len(await subscriber.receive()) == size
        for size in sizes:
            await publisher.send("x" * size)
        await connection.flush()
        assert [len(await subscriber.receive()) for _ in sizes] == sizes
        assert connection.statistics().transports == 1


async def test_a_goodbye_leaves_behind_what_was_held_back(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=2, latency=0.005, buffer_size=3000)
    secret = trioton.Secret("known to both, and no one else")
    async with trioton.open_context("a", network=net.host("a", uid=1), security=secret) as a:
        subscriber = trioton.SubChannel(a, "news")
        await a.bind("a:1")
        async with trioton.open_context("b", network=net.host("b", uid=2), security=secret) as b:
            await b.connect("a:1")
            publisher = trioton.PubChannel(b, "news")
            await publisher.wait_subscribers(1)
            to_b = a.connection("b")
            for size in (5, 100_000):
                await publisher.send("x" * size)
        assert [len(await subscriber.receive()) for _ in range(2)] == [5, 100_000]
        await to_b.wait_closed()
        assert to_b.close_reason == "the context was closed"
