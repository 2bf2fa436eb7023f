"""Hosts that pull jobs and may be killed, and a record of who has begun and ended which job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import attrs
import trio

import trioton
from trioton import OBJECT, PullChannel
from trioton.testing import Host, Network


class Begun(NamedTuple):
    """A job that somebody has got.

    Attributes:
        worker: The host.
        job: The job.
        again: What `PullChannel.redelivered` was.
        at: When it began.
    """

    worker: str
    job: Any
    again: bool
    at: float


@attrs.define(eq=False)
class Workshop:
    """Workers on hosts of a network, which dial the hosts ``p0``, ``p1`` ... and pull from the slot ``jobs``.

    Attributes:
        net: The network.
        pushers: How many hosts push.
        seconds: How long a worker takes over a job.
        tasks: How many tasks pull at each worker.
        prefetch: As `PullChannel` has it.
        begun: All that was begun, in order.
        ended: The jobs that were done, and where, in order.
        trouble: Called with the worker and the job while it has that.
    """

    net: Network
    pushers: int = 1
    seconds: Callable[[str, Any], float] = lambda _worker, _job: 0.1
    tasks: int = 1
    prefetch: int = 0
    begun: list[Begun] = attrs.field(factory=list)
    ended: list[tuple[str, Any]] = attrs.field(factory=list)
    trouble: Callable[[str, Any], None] = lambda _worker, _job: None

    def hire(self, *names: str) -> None:
        """Let workers come."""
        for name in names:
            self.net.host(name)
            self.net.start_soon(name, self._work)

    async def _work(self, host: Host) -> None:
        async with trioton.open_context(host.name, network=host) as context, trio.open_nursery() as nursery:
            for number in range(self.pushers):
                nursery.start_soon(self._dial, context, f"p{number}:1")
            pull = PullChannel(context, "jobs", OBJECT, prefetch=self.prefetch)
            for _ in range(self.tasks):
                nursery.start_soon(self._loop, host.name, pull)

    @staticmethod
    async def _dial(context: trioton.Context, address: str) -> None:
        await context.connect(address, wait=True)

    async def _loop(self, worker: str, pull: PullChannel[Any]) -> None:
        async for job in pull:
            self.begun.append(Begun(worker, job, pull.redelivered, trio.current_time()))
            self.trouble(worker, job)
            await trio.sleep(self.seconds(worker, job))
            self.ended.append((worker, job))

    def begun_by(self, worker: str) -> list[Any]:
        """The jobs that a worker has got, in order."""
        return [each.job for each in self.begun if each.worker == worker]

    def check_once(self, jobs: list[Any]) -> None:
        """Each job was begun once and ended once, and nobody was told that it had been begun before."""
        assert sorted(each.job for each in self.begun) == sorted(jobs)
        assert not any(each.again for each in self.begun)
        assert sorted(job for _, job in self.ended) == sorted(jobs)

    def check_marked(self, jobs: list[Any]) -> None:
        """No job is lost, and none was begun for a second time without a word of that."""
        assert {job for _, job in self.ended} == set(jobs)
        seen = set()
        for each in self.begun:
            assert each.again or each.job not in seen, each
            seen.add(each.job)


@asynccontextmanager
async def open_pushers(net: Network, count: int = 1) -> AsyncIterator[list[trioton.Context]]:
    """Contexts on the hosts ``p0``, ``p1`` ..., to which workers connect."""
    async with trio.open_nursery() as nursery:
        contexts: list[trioton.Context] = []

        async def live(name: str, task_status: trio.TaskStatus[trioton.Context]) -> None:
            async with trioton.open_context(name, network=net.host(name)) as context:
                await context.bind(f"{name}:1")
                task_status.started(context)
                await trio.sleep_forever()

        for number in range(count):
            contexts.append(await nursery.start(live, f"p{number}"))  # noqa: PERF401  # awaits
        with trio.fail_after(1000):
            yield contexts
        nursery.cancel_scope.cancel()
