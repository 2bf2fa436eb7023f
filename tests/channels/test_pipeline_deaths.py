"""Pipelines when workers die, links are cut and networks part: no job is lost, and none comes again without a word of that."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioton
from tests.channels.pipeline_world import Workshop, open_pushers
from tests.common import warnings_of
from trioton import OBJECT, Limits, PullChannel, PushChannel
from trioton.errors import JobFailed
from trioton.testing import Host, Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair

WINDOW = Limits().resume_window


async def test_a_job_whose_worker_dies_is_done_by_another(autojump_clock: object) -> None:
    async with Network(seed=1, latency=0.01) as net, open_pushers(net) as (context,):
        shop = Workshop(net, seconds=lambda *_: 1.0)
        shop.hire("x", "y")
        async with PushChannel(context, "jobs", OBJECT) as push:
            await push.wait_pullers(2)
            await push.send_many(range(10))
            await trio.sleep(1.5)
            net.kill("x")
            await push.wait_done()
            assert push.statistics()[:6] == (10, 10, 0, 0, 1, 0)
        shop.check_marked(list(range(10)))
        assert [each.again for each in shop.begun].count(True) == 1


async def test_a_job_that_kills_is_given_up_and_the_others_are_done(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with Network(seed=2, latency=0.01) as net, open_pushers(net) as (context,):
        shop = Workshop(net, prefetch=4)

        def die(worker: str, job: int) -> None:
            if job in (3, 7):
                net.restart(worker, after=1.0)

        shop.trouble = die
        shop.hire("x", "y")
        push = PushChannel(context, "jobs", OBJECT)
        await push.wait_pullers(2)
        await push.send_many(range(12))
        with pytest.raises(JobFailed, match="3 pullers have died over a job") as caught:
            await push.wait_done()
        failures = [caught.value, *caught.value.others]
        assert sorted(failure.job for failure in failures) == [3, 7]  # type: ignore[type-var]
        for failure in failures:
            assert len(failure.deaths) == 3
            assert all(death.context for death in failure.deaths)
        assert push.statistics().done == 10
        assert len([line for line in warnings_of(caplog) if "is given up" in line]) == 2
        shop.check_marked([job for job in range(12) if job not in (3, 7)])
        assert {each.job: each.again for each in shop.begun}[3]
        await push.wait_done()


async def test_a_short_cut_is_not_noticed(autojump_clock: object) -> None:
    async with Network(seed=3, latency=0.01) as net, open_pushers(net, 2) as contexts:
        shop = Workshop(net, pushers=2, tasks=2, prefetch=1)
        shop.hire("x", "y")
        pushes = [PushChannel(context, "jobs", OBJECT) for context in contexts]
        async with trio.open_nursery() as nursery:
            for number, push in enumerate(pushes):
                await push.wait_pullers(2)
                nursery.start_soon(push.send_many, range(number, 200, 2))
            for _ in range(20):
                await trio.sleep(0.11)
                net.cut(random.Random(_).choice(["p0", "p1"]), random.Random(_).choice(["x", "y"]))
        for push in pushes:
            await push.wait_done()
        shop.check_once(list(range(200)))


async def test_jobs_do_not_wait_for_who_is_out_of_reach(autojump_clock: object) -> None:
    async with Network(seed=4, latency=0.01) as net, open_pushers(net) as (context,):
        shop = Workshop(net)
        shop.hire("x", "y")
        push = PushChannel(context, "jobs", OBJECT)
        await push.wait_pullers(2)
        net.partition("p0", "x")
        await trio.sleep(15)
        assert not context.connection("x").is_connected
        await push.send_many(range(20))
        with trio.fail_after(5):
            await push.wait_done()
        assert shop.begun_by("x") == []
        net.kill("y")
        await trio.sleep(1)
        await push.send("later")
        await trio.sleep(1)
        assert push.statistics().waiting == 1
        net.heal()
        with trio.fail_after(10):
            await push.wait_done()
        assert shop.begun_by("x") == ["later"]
        shop.check_marked([*range(20), "later"])


async def test_who_is_dead_for_a_while_is_not_heard_when_he_is_back(autojump_clock: object) -> None:
    """Its answer for a job that was moved on means nothing, and it gets jobs again."""
    async with Network(seed=5, latency=0.01) as net, open_pushers(net) as (context,):
        shop = Workshop(net, seconds=lambda worker, job: 3 * WINDOW if (worker, job) == ("x", "long") else 0.1)
        shop.hire("x")
        push = PushChannel(context, "jobs", OBJECT)
        await push.send("long")
        await trio.sleep(1)
        assert shop.begun_by("x") == ["long"]
        shop.hire("y")
        net.partition("p0", "x")
        await push.wait_done()
        assert [(each.worker, each.again) for each in shop.begun] == [("x", False), ("y", True)]
        net.heal()
        await trio.sleep(4 * WINDOW)
        assert ("x", "long") in shop.ended
        net.kill("y")
        await push.send("short")
        await push.wait_done()
        assert shop.begun_by("x") == ["long", "short"]
        assert push.statistics()[:6] == (2, 2, 0, 0, 1, 0)


async def test_who_pushes_may_die(autojump_clock: object) -> None:
    """What runs is run to its end; what waits is dropped, and the next who comes gets the workers."""
    async with Network(seed=6, latency=0.01) as net, open_pushers(net, 2) as contexts:
        shop = Workshop(net, pushers=2, prefetch=3, seconds=lambda _, job: WINDOW + 10 if job == 0 else 1.0)
        shop.hire("x")
        pushes = [PushChannel(context, "jobs", OBJECT) for context in contexts]
        for push in pushes:
            await push.wait_pullers(1)
        await pushes[0].send_many(range(4))
        await trio.sleep(0.5)
        assert pushes[0].statistics().running == 4
        net.kill("p0")
        await trio.sleep(WINDOW + 20)
        assert shop.ended == [("x", 0)]
        await pushes[1].send("next")
        await pushes[1].wait_done()
        assert shop.ended[-1] == ("x", "next")


@pytest.mark.parametrize("seed", range(50))
async def test_by_chance(autojump_clock: object, seed: int) -> None:
    """Two push, five pull; they are killed, cut off, held up and let go again."""
    draw = random.Random(f"pipeline {seed}")
    names = [f"w{number}" for number in range(5)]
    async with Network(seed=seed, latency=(0.001, 0.05)) as net, open_pushers(net, 2) as contexts:
        shop = Workshop(
            net,
            pushers=2,
            tasks=draw.choice((1, 2)),
            prefetch=draw.choice((0, 0, 3)),
            seconds=lambda *_: draw.choice((0.0, 0.01, 0.1, 0.5)),
        )
        shop.hire(*names)
        pushes = [PushChannel(context, "jobs", OBJECT, max_pending=draw.choice((5, 1000))) for context in contexts]

        async def trouble() -> None:
            for _ in range(12):
                await trio.sleep(draw.random())
                name, pusher = draw.choice(names), draw.choice(("p0", "p1"))
                match draw.randrange(4):
                    case 0:
                        net.restart(name, after=draw.random() * 3)
                    case 1:
                        net.cut(name, pusher)
                    case 2:
                        net.partition(name, pusher)
                    case _:
                        net.heal()
            await trio.sleep(draw.choice((0.0, WINDOW + 10)))
            net.heal()

        failed: set[Any] = set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            for number, push in enumerate(pushes):
                nursery.start_soon(push.send_many, range(number, 300, 2))
        for push in pushes:
            try:
                await push.wait_done()
            except JobFailed as error:
                failed |= {error.job, *(other.job for other in error.others)}
            assert push.statistics().done + push.statistics().failed == 150
            assert push.statistics()[2:4] == (0, 0)
        assert len(failed) <= 2
        shop.check_marked([job for job in range(300) if job not in failed or job in {job for _, job in shop.ended}])


WORKER = """
import sys, trio, trioton

async def main():
    async with trioton.open_context("worker") as context:
        await context.connect(f"localhost:{sys.argv[1]}")
        async for number in trioton.PullChannel(context, "numbers", trioton.OBJECT):
            print(number, flush=True)
            await trio.sleep(0.02 if sys.argv[2] == "well" else 1000)

trio.run(main)
"""


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_a_real_process_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(trioton.__file__).parents[1])}
    with trio.fail_after(30):
        async with trioton.open_context("here") as here:
            listener = await here.bind("localhost:0")
            push = PushChannel(here, "numbers", OBJECT)

            async def start(how: str) -> trio.Process:
                command = [sys.executable, "-c", WORKER, str(listener.port), how]
                return await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment)

            bad, well = await start("bad"), await start("well")
            try:
                await push.wait_pullers(2)
                await push.send_many(range(20))
                assert bad.stdout is not None
                first = int(await bad.stdout.receive_some())
                bad.send_signal(signal.SIGKILL)
                await push.wait_done()
                assert push.statistics()[:6] == (20, 20, 0, 0, 1, 0)
                assert first in range(20)
            finally:
                for process in (bad, well):
                    process.kill()
                    with trio.CancelScope(shield=True):
                        await process.wait()
                        assert process.stdout is not None
                        await process.stdout.aclose()


async def test_a_pull_channel_that_is_forgotten_gives_back_what_its_loop_had(autojump_clock: object) -> None:
    async with Network(seed=8, latency=0.01) as net, open_pushers(net) as (context,):
        async with trioton.open_context("w", network=net.host("w")) as worker:
            await worker.connect("p0:1")
            push, pull = PushChannel(context, "jobs", OBJECT), PullChannel(worker, "jobs", OBJECT)
            await push.send(1)
            loop = aiter(pull)
            assert await anext(loop) == 1
            del loop
            assert await pull.receive() == 1
            assert pull.redelivered
            await push.wait_done()


async def test_beyond_neighbours_all_is_the_same(autojump_clock: object) -> None:
    """Who pushes and who pulls know each other over two others; one of these fails, and later one who pulls dies."""
    async with Network(seed=9, latency=0.01) as net, trio.open_nursery() as nursery:
        shop = Workshop(net, seconds=lambda *_: 0.2)

        async def work(host: Host) -> None:
            async with trioton.open_context(host.name, network=host) as worker, trio.open_nursery() as dialling:
                for middle in ("m0", "m1"):
                    dialling.start_soon(shop._dial, worker, f"{middle}:1")
                await shop._loop(host.name, PullChannel(worker, "jobs", OBJECT))

        async def pass_on(host: Host) -> None:
            async with trioton.open_context(host.name, network=host) as context:
                await context.bind(f"{host.name}:1")
                await trio.sleep_forever()

        for name in ("m0", "m1"):
            net.start_soon(net.host(name).name, pass_on)
        for name in ("x", "y"):
            net.start_soon(net.host(name).name, work)
        async with trioton.open_context("boss", network=net.host("boss")) as boss:
            for name in ("m0", "m1"):
                nursery.start_soon(shop._dial, boss, f"{name}:1")
            push = PushChannel(boss, "jobs", OBJECT)
            await push.wait_pullers(2)
            await push.send_many(range(100))
            await trio.sleep(2)
            net.kill("m0")
            await trio.sleep(2)
            net.kill("x")
            with trio.fail_after(100):
                await push.wait_done()
            assert push.statistics().redelivered == 1
        shop.check_marked(list(range(100)))
        assert shop.begun_by("x")
        nursery.cancel_scope.cancel()


async def test_a_job_that_is_too_large_where_it_goes_is_given_up(open_pair: OpenPair) -> None:
    limits = {"limits": Limits(max_package=100_000)}
    async with open_pair(b_options=limits) as pair:
        push, pull = PushChannel(pair.a, "jobs"), PullChannel(pair.b, "jobs")
        await push.send_many(["small", "x" * 200_000, "last"])
        assert await pull.receive() == "small"
        assert await pull.receive() == "last"
        with pytest.raises(JobFailed, match=r"takes 2000.. bytes") as caught:
            await push.wait_done()
        assert caught.value.job == "x" * 200_000


async def test_a_worker_that_is_cancelled(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    """Without a job it leaves no unsent words; its job is done by the next."""
    async with Network(seed=10, latency=0.01) as net, open_pushers(net) as (context,):
        push = PushChannel(context, "jobs", OBJECT)
        for job in (None, 1):
            with trio.CancelScope() as scope:
                async with trioton.open_context("w", network=net.host("w")) as worker:
                    await worker.connect("p0:1")
                    pull = PullChannel(worker, "jobs", OBJECT)
                    await push.send(0)
                    assert await pull.receive() == 0
                    await push.wait_done()
                    if job is not None:
                        await push.send(job)
                        async for _ in pull:
                            scope.cancel()
                            await trio.sleep(1)
                    scope.cancel()
            assert job is not None or not warnings_of(caplog)
            await trio.sleep(1)
        assert push.statistics()[:5] == (3, 2, 1, 0, 1)
