"""Meshes on real sockets, in real time: a network that falls silent without a word, and routers and publishers that are killed or stopped.

Between contexts that shall lose sight of each other stands a proxy which goes silent: it neither passes bytes on nor closes anything, as a
cable that was pulled out. Namespaces of a network would show the same, and need rights that a test cannot count on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio

import trioton
from tests.common import FAST
from trioton import Block, ContextDied, ContextJoined, Heartbeat, Limits, PubChannel, SubChannel
from trioton.testing import leak_check

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, Watch

PATIENCE: Final = 30.0
"""Seconds of real time after which a test has failed."""

BEAT: Final = Heartbeat(interval=0.1, timeout=0.3, lease=0.8)

SECRET: Final = trioton.Secret("who knows this may route in these tests")

WINDOW: Final = 1.5
"""Seconds in which a session may be resumed."""

SLACK: Final = 1.5
"""Seconds by which a busy machine may be late."""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

pytestmark = [pytest.mark.net, pytest.mark.slow]


# ---------------------------------------------------------------- what all have in common


@asynccontextmanager
async def open_contexts(names: str, **options: Any) -> AsyncIterator[list[trioton.Context]]:
    """Open contexts with short times, and see that nothing is left of them."""
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with AsyncExitStack() as stack:
                limits = Limits(resume_window=WINDOW)
                given = {"heartbeat": BEAT, "limits": limits, "security": SECRET, **options}
                yield [await stack.enter_async_context(trioton.open_context(name, **given)) for name in names]


async def link(dialling: trioton.Context, listening: trioton.Context) -> trioton.Connection:
    """Connect one context to another."""
    listener = await listening.bind("127.0.0.1:0")
    return await dialling.connect(listener.address, reconnect=FAST)


@attrs.define
class Process:
    """A context in another process.

    Attributes:
        process: The process.
        port: Where it listens.
        said: The numbers that it has said after that.
    """

    process: trio.Process
    port: int
    said: list[int] = attrs.field(factory=list)

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self.process.pid, number)


@asynccontextmanager
async def open_node(name: str, directory: Path, *, port: int | None = None) -> AsyncIterator[Process]:
    """Start a context in another process; see `tests/network/mesh_node.py`."""
    # What is killed cannot tidy up: let its socket file be where pytest does.
    places = {"TMPDIR": str(directory), "XDG_RUNTIME_DIR": str(directory)}
    environment = {**os.environ, **places, "PYTHONPATH": str(Path(trioton.__file__).parents[1])}
    numbers = [BEAT.interval, BEAT.timeout, BEAT.lease, WINDOW, *([] if port is None else [port])]
    command = [sys.executable, str(Path(__file__).with_name("mesh_node.py")), name, *map(str, numbers)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        async with trio.open_nursery() as nursery:
            lines = _lines(process.stdout)
            node = Process(process, int(await anext(lines)))
            nursery.start_soon(_listen, node, lines)  # noqa: ASYNC113  # the caller waits for the first line
            yield node
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for each in lines:
            yield each


async def _listen(node: Process, lines: AsyncIterator[bytes]) -> None:
    async for line in lines:
        node.said.append(int(line))


async def collect(sub: SubChannel[int], got: list[int], came: trio.lowlevel.ParkingLot) -> None:
    """Note what comes."""
    async for number in sub:
        got.append(number)
        came.unpark_all()


async def wait_for_number(got: list[int], came: trio.lowlevel.ParkingLot, number: int) -> None:
    """Wait until this number, or one after it, has come."""
    while not got or got[-1] < number:
        await came.park()


async def publish(pub: PubChannel[int]) -> None:
    """Send numbers, a few hundred a second at most."""
    number = 0
    while True:
        await pub.send(number)
        number += 1
        await trio.sleep(0.002)


@attrs.define
class Flow:
    """Numbers that go from one context to another for as long as a test takes.

    Attributes:
        got: The numbers that have come, in order.
        came: Where to wait for more.
    """

    got: list[int]
    came: trio.lowlevel.ParkingLot

    async def wait_for_more(self, count: int = 50) -> None:
        """Wait until so many numbers later than all so far have come."""
        await wait_for_number(self.got, self.came, (self.got[-1] if self.got else -1) + count)

    def check_nothing_lost(self) -> None:
        """Each number has come once, and in order."""
        assert self.got == list(range(len(self.got)))


@asynccontextmanager
async def open_flow(sender: trioton.Context, receiver: trioton.Context) -> AsyncIterator[Flow]:
    """Let one context send numbers to another, with a small window, so that the sender soon waits."""
    sub = SubChannel[int](receiver, "numbers", trioton.OBJECT, policy=Block(32))
    pub = PubChannel[int](sender, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    flow = Flow([], trio.lowlevel.ParkingLot())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, pub)
        nursery.start_soon(collect, sub, flow.got, flow.came)
        await flow.wait_for_more()
        yield flow
        nursery.cancel_scope.cancel()


def deaths(watch: Watch) -> list[str]:
    """The names of those who have died, in turn."""
    return [event.name for event in watch.all(ContextDied)]


def check_in_turn(watch: Watch) -> None:
    """Each death is told once, and then that the context has come back.

    That may happen again: one who has not noticed the outage still tells of a way which is over when its other end dials anew.
    """
    dead: set[int] = set()
    for event in watch.events:
        if isinstance(event, ContextDied):
            assert event.id not in dead
            dead.add(event.id)
        elif isinstance(event, ContextJoined):
            assert event.id in dead
            dead.remove(event.id)


# ---------------------------------------------------------------- a network that falls silent


class SilentProxy:
    """Passes on what comes to a port, until it is told to be silent: then it reads, writes and closes nothing.

    Attributes:
        port: Where to connect to.
        since: When it has fallen silent, by the clock of Trio.
    """

    port: int
    since: float

    def __init__(self, target: int) -> None:
        self._target = target
        self._talks = trio.Event()
        self._talks.set()

    def fall_silent(self) -> None:
        """Pass nothing on from now on; who connects is not answered."""
        self._talks = trio.Event()
        self.since = trio.current_time()

    def talk(self) -> None:
        """Pass everything on again, beginning with what has come meanwhile."""
        self._talks.set()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Stand between both ends."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def _serve(self, near: trio.SocketStream) -> None:
        await self._talks.wait()
        async with await trio.open_tcp_stream("127.0.0.1", self._target) as far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, near, far, nursery.cancel_scope)
            nursery.start_soon(self._pass_on, far, near, nursery.cancel_scope)

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
        try:
            async for data in source:
                await self._talks.wait()
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        both.cancel()


@pytest.mark.long
async def test_a_network_that_falls_silent_is_suspended_resumed_and_dead_at_the_promised_times(
    watch: MakeWatch,
) -> None:
    """From a to d over b and c; what lies between b and c falls silent."""
    async with open_contexts("abcd") as (a, b, c, d), trio.open_nursery() as nursery:
        listener = await c.bind("127.0.0.1:0")
        assert listener.port is not None
        proxy = SilentProxy(listener.port)
        await nursery.start(proxy.run)
        await link(a, b)
        await b.connect(f"127.0.0.1:{proxy.port}", reconnect=FAST, local_shortcut=False)
        await link(d, c)
        await a.wait_context(d.id)
        at = {context.name: watch(context) for context in (a, b, c, d)}
        async with open_flow(a, d) as flow:
            proxy.fall_silent()
            for name in "bc":
                await at[name].wait_for(trioton.TimedOut)
                assert BEAT.timeout - BEAT.interval < trio.current_time() - proxy.since < BEAT.timeout + SLACK
            for name in "bc":
                await at[name].wait_for(trioton.Suspended)
                assert BEAT.lease - BEAT.interval < trio.current_time() - proxy.since < BEAT.lease + SLACK
            proxy.talk()
            for name in "bc":
                await at[name].wait_for(trioton.Resumed)
            await flow.wait_for_more()
            flow.check_nothing_lost()
            for each in at.values():
                assert deaths(each) == each.all(trioton.SessionLost) == []

            proxy.fall_silent()
            for name, dead in {"b": ["c", "d"], "c": ["a", "b"], "a": ["c", "d"], "d": ["a", "b"]}.items():
                await at[name].wait_for(ContextDied, 2)
                took = trio.current_time() - proxy.since
                assert BEAT.lease + WINDOW - BEAT.interval < took < BEAT.lease + WINDOW + SLACK
                assert sorted(deaths(at[name])) == dead
            flow.check_nothing_lost()

            proxy.talk()
            for each in at.values():
                await each.wait_for(ContextJoined, 2)
            await flow.wait_for_more()
            assert flow.got == sorted(set(flow.got))
            for each in at.values():
                check_in_turn(each)
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- processes that are killed or stopped


@posix_only
@pytest.mark.long
async def test_a_router_that_is_killed_loses_nothing_if_there_is_another(
    tmp_path_factory: pytest.TempPathFactory, watch: MakeWatch
) -> None:
    directory = tmp_path_factory.mktemp("s")
    async with (
        open_contexts("ab") as (a, b),
        open_node("left", directory) as left,
        open_node("right", directory) as right,
    ):
        routers = {"left": left, "right": right}
        for router in routers.values():
            for context in (a, b):
                await context.connect(f"127.0.0.1:{router.port}", reconnect=FAST, local_shortcut=False)
        await a.wait_context(b.id)
        at_a, at_b = watch(a), watch(b)
        async with open_flow(a, b) as flow:
            used = max(a.connections, key=lambda connection: connection.statistics().bytes_sent).peer.name
            routers[used].signal(signal.SIGKILL)
            for each in (at_a, at_b):
                await each.wait_for(ContextDied)
            await flow.wait_for_more(200)
            flow.check_nothing_lost()
            assert deaths(at_a) == deaths(at_b) == [used]


@posix_only
@pytest.mark.long
async def test_a_router_that_is_stopped_within_the_window_loses_nothing_and_beyond_it_all_begin_anew(
    tmp_path_factory: pytest.TempPathFactory, watch: MakeWatch
) -> None:
    async with open_contexts("ab") as (a, b), open_node("router", tmp_path_factory.mktemp("s")) as router:
        for context in (a, b):
            await context.connect(f"127.0.0.1:{router.port}", reconnect=FAST)
        await a.wait_context(b.id)
        watches = [watch(a), watch(b)]
        async with open_flow(a, b) as flow:
            router.signal(signal.SIGSTOP)
            for each in watches:
                await each.wait_for(trioton.Suspended)
            router.signal(signal.SIGCONT)
            for each in watches:
                await each.wait_for(trioton.Resumed)
            await flow.wait_for_more()
            flow.check_nothing_lost()
            for each in watches:
                assert deaths(each) == []

            router.signal(signal.SIGSTOP)
            begin = trio.current_time()
            for each in watches:
                await each.wait_for(ContextDied, 2)
                assert BEAT.lease + WINDOW - BEAT.interval < trio.current_time() - begin < BEAT.lease + WINDOW + SLACK
            flow.check_nothing_lost()
            before = len(flow.got)
            router.signal(signal.SIGCONT)
            for each in watches:
                await each.wait_for(ContextJoined, 2)
            await flow.wait_for_more()
            assert flow.got == sorted(set(flow.got))
            assert len(flow.got) > before
            for each in watches:
                check_in_turn(each)


@posix_only
async def test_after_the_last_message_of_a_publisher_that_is_killed_three_links_away_comes_its_death_once(
    tmp_path_factory: pytest.TempPathFactory, watch: MakeWatch
) -> None:
    async with open_contexts("abc") as (a, b, c), trio.open_nursery() as nursery:
        listener = await a.bind("127.0.0.1:0")
        assert listener.port is not None
        await link(b, a)
        await link(c, b)
        await c.wait_context(a.id)
        sub = SubChannel[int](c, "numbers", trioton.OBJECT, policy=Block(32))
        got: list[int] = []
        came = trio.lowlevel.ParkingLot()
        nursery.start_soon(collect, sub, got, came)
        events = watch(c)
        async with open_node("publisher", tmp_path_factory.mktemp("s"), port=listener.port) as publisher:
            await wait_for_number(got, came, 100)
            assert next(info.hops for info in c.contexts if info.name == "publisher") == 3
            publisher.signal(signal.SIGKILL)
            await events.wait_for(ContextDied)
            at_death = len(got) + sub.pending
            await trio.sleep(0.3)
            assert got == list(range(at_death))  # and nothing after it
            assert publisher.said == list(range(len(publisher.said)))
            assert len(got) - len(publisher.said) in {0, 1, 2}  # what it knew to be taken, and what was under way
        assert deaths(events) == ["publisher"]
        nursery.cancel_scope.cancel()
