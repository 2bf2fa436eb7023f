"""Cuts and partitions at random moments: nothing on a blocking channel is lost, doubled or out of order, and every gap is told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, send_numbers
from trioton import Block, DropOldest, Limits, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair


@pytest.mark.parametrize("seed", range(12))
async def test_random_cuts_lose_double_and_reorder_nothing(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    rng = random.Random(seed)
    latencies: list[float | tuple[float, float]] = [0.0, 0.003, (0.001, 0.02)]
    latency = rng.choice(latencies)
    chunk = rng.choice([None, (1, 40), (1, 1500)])
    net = Network(seed=seed, latency=latency, chunk=chunk)
    count = 300
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        ways = []
        for number, (sender, receiver) in enumerate([(pair.a, pair.b), (pair.b, pair.a), (pair.a, pair.b)]):
            pub = PubChannel(sender, f"way {number}", trioton.OBJECT)
            sub = SubChannel(receiver, f"way {number}", trioton.OBJECT, policy=Block(rng.choice([1, 3, 16, 1024])))
            await pub.wait_subscribers()
            ways.append((pub, sub))
            nursery.start_soon(send_numbers, pub, count, rng.choice([0.0, 0.0005]))
        received: list[list[object]] = [[] for _ in ways]

        async def receive(number: int, pause: float) -> None:
            while len(received[number]) < count:
                received[number].append(await ways[number][1].receive())
                if pause:
                    await trio.sleep(pause)

        async def cut() -> None:
            for _ in range(25):
                await trio.sleep(rng.expovariate(15))
                net.cut("a", "b")

        nursery.start_soon(cut)
        with trio.move_on_after(300):
            async with trio.open_nursery() as receivers:
                for number in range(len(ways)):
                    receivers.start_soon(receive, number, rng.choice([0.0, 0.001]))
        assert received == [list(range(count))] * len(ways)
        with trio.fail_after(60):
            await pair.a.flush()
            await pair.b.flush()
        assert [pub.statistics().unconfirmed for pub, _ in ways] == [0, 0, 0]
        assert [sub.pending for _, sub in ways] == [0, 0, 0]
        assert pair.to_a.is_connected or pair.to_a.statistics().state == "suspended"


@pytest.mark.parametrize("seed", range(6))
async def test_no_silent_gap_over_random_cuts(
    autojump_clock: object, open_pair: OpenPair, seed: int, watch: MakeWatch
) -> None:
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.02), buffer_size=2000)
    policies: list[trioton.Policy] = [DropOldest(20), trioton.DropNewest(20), trioton.Latest()]
    policy = rng.choice(policies)
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        events = watch(pair.b)
        pub = PubChannel(pair.a, "chat", trioton.OBJECT)
        sub = SubChannel(pair.b, "chat", trioton.OBJECT, policy=policy)
        await pub.wait_subscribers()
        nursery.start_soon(send_numbers, pub, 1000, 0.001)
        received: list[int] = []

        async def receive() -> None:
            while True:
                received.append(await sub.receive())
                await trio.sleep(rng.choice([0, 0, 0, 0.02]))

        nursery.start_soon(receive)
        for _ in range(15):
            await trio.sleep(rng.expovariate(15))
            net.cut("a", "b")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert received == sorted(set(received))
    assert len(received) + sub.statistics().dropped == 1000
    assert sum(gap.count for gap in events.all(trioton.Gap)) == sub.statistics().dropped


@pytest.mark.parametrize("seed", range(5))
async def test_random_partitions_within_the_window_lose_nothing(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.05))
    async with open_pair(net) as pair, trio.open_nursery() as nursery:
        pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
        sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(50))
        await pub.wait_subscribers()
        nursery.start_soon(send_numbers, pub, 1000, 0.1)

        async def part(scope: trio.CancelScope) -> None:
            with scope:
                while True:
                    await trio.sleep(rng.uniform(0, 15))
                    net.partition("a", "b", oneway=rng.random() < 0.5)
                    await trio.sleep(rng.uniform(0, 25))
                    net.heal()

        scope = trio.CancelScope()
        nursery.start_soon(part, scope)
        with trio.fail_after(10_000):
            assert [await sub.receive() for _ in range(1000)] == list(range(1000))
        scope.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_random_partitions_beyond_the_window_leave_working_sessions(open_pair: OpenPair, seed: int) -> None:
    """Sessions are lost again and again, on one side sooner than on the other; nothing comes twice, and all goes on in the end."""
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.0, 0.05))
    windows = [{"limits": Limits(resume_window=rng.choice([1, 5]))} for _ in range(2)]
    beat = trioton.Heartbeat(interval=0.5, timeout=1, lease=2)
    async with (
        open_pair(net, heartbeat=beat, a_options=windows[0], b_options=windows[1]) as pair,
        trio.open_nursery() as nursery,
    ):
        sent, received = [0] * 3, [[] for _ in range(3)]  # type: ignore[var-annotated]
        policies: list[trioton.Policy] = [Block(3), Block(100), DropOldest(10)]

        async def send(number: int, pub: PubChannel[object]) -> None:
            while True:
                await pub.send(sent[number])
                sent[number] += 1
                await trio.sleep(0.1)

        async def receive(number: int, sub: SubChannel[object]) -> None:
            async for message in sub:
                received[number].append(message)

        for number, policy in enumerate(policies):
            sender, receiver = (pair.a, pair.b) if number else (pair.b, pair.a)
            pub = PubChannel(sender, str(number), trioton.OBJECT)
            nursery.start_soon(receive, number, SubChannel(receiver, str(number), trioton.OBJECT, policy=policy))
            nursery.start_soon(send, number, pub)
        for _ in range(5):
            await trio.sleep(rng.uniform(0, 8))
            net.partition("a", "b", oneway=rng.random() < 0.3)
            await trio.sleep(rng.uniform(0, 15))
            net.heal()
            if rng.random() < 0.3:
                net.cut("a", "b")
        await trio.sleep(40)
        before = [len(messages) for messages in received]
        await trio.sleep(10)
        for number, messages in enumerate(received):
            assert messages == sorted(set(messages))
            assert len(messages) - before[number] >= 90
            assert messages[-1] >= sent[number] - 3
        assert pair.a.statistics().connections == pair.b.statistics().connections == 1
        nursery.cancel_scope.cancel()
