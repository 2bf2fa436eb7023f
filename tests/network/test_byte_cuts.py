"""Links that are cut behind a certain byte: each byte of the handshake, and bytes at random while messages pass both ways.

``TRIOTON_DROPS=1000 pytest tests/network/test_byte_cuts.py`` drops a link a thousand times during 100 000 messages each way, as
``nox -s soak`` does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trioton
from tests.common import FAST
from trioton import Block, PubChannel, SubChannel
from trioton.testing import Host, Network
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch
    from trioton.transports.base import Transport

DROPS: Final = int(os.environ.get("TRIOTON_DROPS", "50"))

MESSAGES_PER_DROP: Final = 100

PATIENCE: Final = 10_000.0
"""Seconds of simulated time after which something that should come has not."""

Allowance = tuple[int, int] | None
"""How many bytes pass forth and back before a connection is cut; None for all."""


class CuttingProxy:
    """Stands between two hosts, and ends each connection on both sides when it has passed on what is allowed.

    Args:
        host: Where it listens, at port 1.
        target: The address to which it passes on.
        draw: Asked for each connection what is allowed.

    Attributes:
        cut: How many connections it has cut.
        passed: The bytes that the newest connection has passed on, forth and back.
    """

    def __init__(self, host: Host, target: str, draw: Callable[[], Allowance]) -> None:
        self._host = host
        self._target = parse_address(target)
        self._draw = draw
        self.cut = 0
        self.passed = [0, 0]

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Pass on what comes."""
        listener = await self._host.listen(parse_address(f"{self._host.name}:1"))
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    nursery.start_soon(self._serve, await listener.accept())
        finally:
            listener.close()

    async def _serve(self, near: Transport) -> None:
        far = await self._host.dial(self._target)
        allowed = self._draw()
        passed = self.passed = [0, 0]
        try:
            async with trio.open_nursery() as nursery:
                for way, (source, sink) in enumerate([(near, far), (far, near)]):
                    rest = None if allowed is None else allowed[way]
                    nursery.start_soon(self._pass_on, source, sink, rest, passed, way, nursery.cancel_scope)
        finally:
            near.close()
            far.close()

    async def _pass_on(
        self,
        source: Transport,
        sink: Transport,
        allowed: int | None,
        passed: list[int],
        way: int,
        both: trio.CancelScope,
    ) -> None:
        try:
            while data := await source.receive_some():
                piece = data if allowed is None else data[: allowed - passed[way]]
                await sink.send_all(piece)
                passed[way] += len(piece)
                if passed[way] == allowed:
                    self.cut += 1
                    break
        except trio.BrokenResourceError:
            pass
        both.cancel()


# ---------------------------------------------------------------- the handshake


async def _connect_over(draw: Callable[[], Allowance], *, wait: bool) -> tuple[CuttingProxy, bool]:
    """Let b connect to a through a proxy, and exchange a message; gives the proxy, and whether there was an error at first."""
    net = Network(seed=1, latency=0.001)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        proxy = CuttingProxy(net.host("p"), "a:1", draw)
        await nursery.start(proxy.run)
        await a.bind("a:1")
        pub, sub = PubChannel(a, "hello"), SubChannel(b, "hello")
        failed = False
        with trio.fail_after(60):
            try:
                await b.connect("p:1", wait=wait, reconnect=FAST)
            except trioton.ConnectError as error:
                failed = True
                assert not wait
                assert str(error) == "tcp://p:1 closed the connection during the handshake"
                assert b.connections == []
                await b.connect("p:1", reconnect=FAST)
            await pub.wait_subscribers()
            await pub.send("hello")
            assert await sub.receive() == "hello"
            await a.flush()
            await trio.sleep(1)
        assert [each.is_connected for each in (*a.connections, *b.connections)] == [True, True]
        nursery.cancel_scope.cancel()
    return proxy, failed


@pytest.mark.long
@pytest.mark.parametrize("wait", [False, True], ids=["at once", "wait"])
@pytest.mark.parametrize("way", [0, 1], ids=["forth", "back"])
async def test_a_link_that_is_cut_behind_any_byte_of_its_beginning(
    autojump_clock: object, way: int, wait: bool
) -> None:
    """It ends in a session, or in an error which says that it was cut; and whoever dials again has a session."""
    proxy, _ = await _connect_over(lambda: None, wait=wait)
    begin = proxy.passed[way]
    failures = 0
    assert begin > 100
    for count in range(1, begin, 5 if wait else 1):
        allowed = [10**9, 10**9]
        allowed[way] = count
        allowances: Iterator[Allowance] = iter([(allowed[0], allowed[1])])
        proxy, failed = await _connect_over(partial(next, allowances, None), wait=wait)
        assert proxy.cut == 1
        failures += failed
    assert (failures == 0) is wait


# ---------------------------------------------------------------- messages both ways


async def test_drops_at_random_bytes_lose_double_and_reorder_nothing(autojump_clock: object, watch: MakeWatch) -> None:
    count = DROPS * MESSAGES_PER_DROP
    rng = random.Random("drops")
    left = DROPS

    def draw() -> Allowance:
        nonlocal left
        if not left:
            return None
        left -= 1
        # Now and then in the handshake, and mostly later: a message takes some 10 bytes.
        most = rng.choice([100, 1000, 2000])
        return rng.randint(1, most), rng.randint(1, most)

    net = Network(seed=5, latency=(0.001, 0.005), chunk=(1, 500))
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        proxy = CuttingProxy(net.host("p"), "a:1", draw)
        await nursery.start(proxy.run)
        await a.bind("a:1")
        channels: list[tuple[PubChannel[Any], SubChannel[Any]]] = []
        for sender, receiver in ((a, b), (b, a)):
            channels.append(
                (
                    PubChannel(sender, sender.name, trioton.OBJECT),
                    SubChannel(receiver, sender.name, trioton.OBJECT, policy=Block(50)),
                )
            )
        await b.connect("p:1", wait=True, reconnect=FAST)
        watches = [watch(a), watch(b)]

        async def receive_all(sub: SubChannel[Any]) -> None:
            for number in range(count):
                assert await sub.receive() == number

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as work:
                for pub, sub in channels:
                    await pub.wait_subscribers()
                    work.start_soon(pub.send_many, range(count))
                    work.start_soon(receive_all, sub)
        assert proxy.cut >= DROPS
        for each in watches:
            assert each.all(trioton.ContextDied) == each.all(trioton.SessionLost) == each.all(trioton.Gap) == []
        assert [pub.statistics().sent for pub, _ in channels] == [count, count]
        nursery.cancel_scope.cancel()
