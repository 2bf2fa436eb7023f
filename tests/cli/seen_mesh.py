"""What the tests of `trioton top` and `trioton graph` look at: a star, and a ring with a tail, with traffic, in simulated time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import trio

import trioton
from trioton.cli.view import View, Viewer
from trioton.network import inspection
from trioton.testing import Network, run_simulation

GOLDEN = Path(__file__).parent / "golden"

RING = ["north", "east", "south", "west", "tail"]

REWRITE = "TRIOTON_GOLDEN"
"""The variable that makes the tests write the files anew instead of comparing with them."""


async def _publish(pub: trioton.PubChannel[str], first: float, pause: float) -> None:
    """Publish until the context closes, at moments that are not those of a report."""
    await trio.sleep(first)
    with contextlib.suppress(trio.ClosedResourceError):
        while True:
            await pub.send("x" * 100)
            await trio.sleep(pause)


async def _take(sub: trioton.SubChannel[str], count: int) -> None:
    for _ in range(count):
        await sub.receive()


class Arm(trioton.RepChannel):
    """Answers requests, and takes its time."""

    async def move(self, seconds: float) -> None:
        """Be busy."""
        await trio.sleep(seconds)


Seen = list[tuple[View, str, float]]
"""What a viewer knows, the identity of the context that it is connected to, and when that was."""

Scenario = Callable[[Network, Seen, Sequence[str]], Awaitable[None]]


async def _look(net: Network, seen: Seen, addresses: Sequence[str]) -> None:
    async with trioton.open_context("viewer", network=net.host("viewer")) as context:
        viewer = Viewer(context)
        connection, *_ = [await context.connect(address) for address in addresses]
        context.start_soon(viewer.run)
        await trio.sleep(2.3)
        view = await viewer.wait_complete(connection)
        seen.append((view, f"{connection.peer.id:032x}", trio.current_time()))


async def _star(net: Network, seen: Seen, addresses: Sequence[str]) -> None:
    async with (
        trioton.open_context("hub", network=net.host("hub")) as hub,
        trioton.open_context("camera", network=net.host("camera")) as camera,
        trioton.open_context("disk", network=net.host("disk")) as disk,
        trioton.open_context("", network=net.host("nameless")) as nameless,
    ):
        await hub.bind("hub:9000")
        for leaf in (camera, disk, nameless):
            await leaf.connect("hub:9000")
        await camera.bind("camera:9000")
        await disk.bind("disk:9000")
        frames = trioton.PubChannel(camera, "frames")
        # The context that is looked at hears from all, sends to all, and holds up the disk's news.
        hub.start_soon(_take, trioton.SubChannel(hub, "frames", policy=trioton.DropOldest(5)), 7)
        trioton.SubChannel(hub, "news", policy=trioton.Block(20))
        news, orders = trioton.PubChannel(disk, "news"), trioton.PubChannel(hub, "orders")
        disk.start_soon(_take, trioton.SubChannel(disk, "orders"), 1000)
        trioton.SubChannel(nameless, "orders", policy=trioton.Latest())
        trioton.PubChannel(hub, "unheard").send_nowait("in the backlog")
        Arm(hub, "arm")
        arm = trioton.ReqChannel(camera, "arm")
        moves = [arm.move(seconds) for seconds in (1.0, 1000.0, 1000.0)]
        position = trioton.StateChannel(hub, "position", trioton.OBJECT)
        trioton.StateChannel(disk, "position", trioton.OBJECT)
        position.send_nowait([1, 2, 3])
        for pub in (frames, news):
            await pub.wait_subscribers()
        await orders.wait_subscribers(2)
        camera.start_soon(_publish, frames, 0.11, 0.25)
        disk.start_soon(_publish, news, 0.13, 0.2)
        hub.start_soon(_publish, orders, 0.17, 0.5)
        await trio.sleep(8)
        await _look(net, seen, addresses)
        for move in moves:
            move.cancel()


async def _ring_with_tail(net: Network, seen: Seen, addresses: Sequence[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        contexts = {
            name: await stack.enter_async_context(trioton.open_context(name, network=net.host(name))) for name in RING
        }
        for name, context in contexts.items():
            await context.bind(f"{name}:9000")
        for here, there in (*pairwise(RING[:4]), ("west", "north"), ("tail", "south")):
            await contexts[here].connect(f"{there}:9000")
        north, tail = contexts["north"], contexts["tail"]
        # The way from the north to the tail leads over two others.
        tail.start_soon(_take, trioton.SubChannel(tail, "ticks"), 1000)
        trioton.SubChannel(contexts["east"], "ticks", policy=trioton.Latest())
        ticks = trioton.PubChannel(north, "ticks")
        await ticks.wait_subscribers(2)
        north.start_soon(_publish, ticks, 0.13, 0.2)
        await trio.sleep(8)
        await _look(net, seen, addresses)


def _see(monkeypatch: pytest.MonkeyPatch, scenario: Scenario, hosts: Sequence[str], addresses: Sequence[str]) -> Seen:
    monkeypatch.setattr(inspection, "__version__", "1.2.3")
    monkeypatch.delenv("TRIOTON_SEED", raising=False)
    seen: Seen = []
    run_simulation(
        lambda net: scenario(net, seen, addresses), seeds=[1], hosts=[*hosts, "viewer"], network={"latency": 0.005}
    )
    assert len(seen) == 2, "one seed in twenty runs twice"
    return seen


def see_star(monkeypatch: pytest.MonkeyPatch, *neighbours: str) -> tuple[View, str, float]:
    """What a viewer with these neighbours knows after some seconds, the identity of the first of them, and when that was."""
    hosts = ["hub", "camera", "disk", "nameless"]
    return _see(monkeypatch, _star, hosts, [f"{neighbour}:9000" for neighbour in neighbours])[0]


def see_ring_with_tail(monkeypatch: pytest.MonkeyPatch) -> tuple[View, str, float]:
    """The same of a viewer at the north of a ring; at its south hangs a tail."""
    return _see(monkeypatch, _ring_with_tail, RING, ["north:9000"])[0]


def check_golden(name: str, text: str) -> None:
    """Compare with a file that was looked at; with ``TRIOTON_GOLDEN=1`` in the environment, write it anew."""
    path = GOLDEN / name
    if os.environ.get(REWRITE):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"if it is right, {REWRITE}=1 pytest tests/cli writes it anew"
