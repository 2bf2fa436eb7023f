"""A mesh in which nothing happens does nothing but beat."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

from tests.network.mesh_shapes import open_mesh
from trioton import Block, DropOldest, Heartbeat, RepChannel, ReqChannel, StateChannel, open_channel
from trioton.testing import Network

SECONDS = 1000.0
LINKS = "ab bc cd da ae"


class Steps(trio.abc.Instrument):
    """Counts how often a task is run."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_an_idle_mesh_is_idle(autojump_clock: object) -> None:
    """One ping and one answer on each link in each interval, and no task has more to do than that takes."""
    net = Network(seed=7, latency=0.01, kept=100_000)
    async with open_mesh(LINKS, net=net) as mesh:
        pubs = [mesh.pub(name, slot) for name in "abe" for slot in ("blocks", "drops")]
        subs = [mesh.sub(name, "blocks", policy=Block(5)) for name in "cd"]
        subs += [mesh.sub(name, "drops", policy=DropOldest(5)) for name in "de"]
        state, copy = StateChannel(mesh["a"], "state"), StateChannel(mesh["c"], "state")
        req, rep = ReqChannel(mesh["a"], "math"), RepChannel(mesh["c"], "math")
        ends = open_channel(mesh["d"])
        for pub in pubs:
            await pub.wait_subscribers()
            await pub.send("hello")
        await state.send("hello")
        await copy.wait_value("hello")
        assert (await req.echo("hello"))[0] == "hello"
        for sub in subs:
            assert sub.pending <= 3
            sub.receive_all_nowait()
        await trio.sleep(100)

        begin = net.trace.total
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(SECONDS)
        trio.lowlevel.remove_instrument(steps)
        frames = Counter(event.what for event in net.trace if event.number > begin and event.kind == "frame")
        pings = len(LINKS.split()) * SECONDS / Heartbeat().interval
        assert set(frames) == {"PING", "PONG"}
        assert frames["PING"] == frames["PONG"] == pytest.approx(pings, rel=0.02)
        assert steps.count < 8 * pings
        assert rep is not None
        assert ends is not None
