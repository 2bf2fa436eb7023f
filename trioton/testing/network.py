"""A whole network in one process: hosts, the programs that run there, and what goes wrong, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from .chance import run_chance
from .faults import Isolation, check_plan
from .quality import BUFFER_SIZE, Chunk, Latency, LinkQuality, check_seconds
from .trace import KEPT, Trace
from .ways import Ways, joins

if TYPE_CHECKING:
    from .faults import Fault
    from .hosts import Host

Program = Callable[..., Awaitable[object]]
"""What runs on a host: an async function that gets the host first."""


class LivenessError(AssertionError):
    """A simulated system made no progress though nothing went wrong any more."""


class RunningProgram:
    """A program on a host, through all its starts."""

    def __init__(self, host: Host, program: Program, args: tuple[Any, ...]) -> None:
        self.host = host
        self.program = program
        self.args = args
        self.scope = trio.CancelScope()
        self.has_ended = trio.Event()

    def begin_again(self) -> None:
        """Forget how it ended."""
        self.scope, self.has_ended = trio.CancelScope(), trio.Event()


def _ways_between(here: set[str], there: set[str], *, oneway: bool) -> list[tuple[str, str]]:
    forth = [(a, b) for a in sorted(here) for b in sorted(there)]
    return forth if oneway else [*forth, *[(b, a) for a, b in forth]]


def _join(keys: Iterable[str]) -> str:
    return ",".join(sorted(keys))


class Network(Ways):
    """A simulated network: it gives out hosts, and each is what a context takes for the world.

    ::

        net = trioton.testing.Network(seed=7, latency=0.05)
        async with trioton.open_context("a", network=net.host("a")) as a:
            async with trioton.open_context("b", network=net.host("b")) as b:
                await a.bind("a:1")
                await b.connect("a:1")
                net.partition({"a"}, {"b"})

    Time is Trio's: under `trio.testing.MockClock` with autojump nothing is ever waited for. What is drawn comes from
    `seed` and from the names and number of a connection, so another connection or host does not change it.

    Args:
        seed: What all chance in this network comes from.
        latency: Seconds that a packet is under way between two hosts, or a range (low, high) or distribution (`Exponential`,
            `LogNormal`, `Pareto`, or your own) to draw from. Within one host it takes no time. A dial takes a round trip.
        chunk: (low, high): cut all that is sent into pieces of so many bytes and give them to the reader one by one.
        buffer_size: Bytes on their way or unread, in one direction of a connection, before its sender must wait.
        jitter: Seconds that a packet takes longer, likewise.
        bandwidth: Bytes per second that pass in each direction of a connection; None: no limit.
        resets: How probable it is that a piece that is sent breaks its connection, from 0 to 1.
        kept: How many events `trace` keeps.

    Attributes:
        seed: The seed, as it was given.
        closed_at: When its ``async with`` block ended last, in Trio's time; 0 if it has not.
        trace: What has happened, as a `Trace` of `TraceEvent`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        seed: int | str = 0,
        latency: Latency = 0.0,
        *,
        chunk: Chunk | None = None,
        buffer_size: int = BUFFER_SIZE,
        jitter: Latency = 0.0,
        bandwidth: float | None = None,
        resets: float = 0.0,
        kept: int = KEPT,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, str)):
            raise TypeError(f"seed must be an int or a str, not {seed!r}")
        quality = LinkQuality(
            latency=latency, jitter=jitter, chunk=chunk, bandwidth=bandwidth, buffer_size=buffer_size, resets=resets
        )
        super().__init__(run_chance(seed), quality, Trace(kept))
        self.seed = seed
        self._random = random.Random(f"{self.chance}/faults")
        self._programs: dict[str, list[RunningProgram]] = {}
        self._nursery_manager: Any = None
        self._nursery: trio.Nursery | None = None
        self._fault_scope = trio.CancelScope()
        self._left_alone: set[str] = set()
        self.closed_at = 0.0

    def __repr__(self) -> str:
        return f"<Network seed={self.seed!r}: {len(self._hosts)} hosts, {len(self._entries)} connections>"

    # Faults of the ways

    def partition(self, first: str | Iterable[str], second: str | Iterable[str], *, oneway: bool = False) -> None:
        """Cut the ways between two groups of hosts, silently.

        What is on its way or is sent waits, as TCP would send it again until it passes, and a dial hangs. Nobody gets
        an error. Partitions add up.

        Args:
            first: Names of hosts.
            second: Names of other hosts.
            oneway: Cut only what goes from `first` to `second`.

        Raises:
            TypeError: A name is not a str.
            ValueError: There is no host of a name, or it is in both groups, or a group is empty.
        """
        here, there = self._two_groups(first, second)
        self._cut_ways.update(_ways_between(here, there, oneway=oneway))
        self._tell_partition(here, there, oneway=oneway)
        self._apply_cut_ways()

    def _two_groups(self, first: str | Iterable[str], second: str | Iterable[str]) -> tuple[set[str], set[str]]:
        here, there = self._group("first", first), self._group("second", second)
        if not here.isdisjoint(there):
            raise ValueError(f"first and second must have no host in common, not {sorted(here & there)}")
        return here, there

    def _tell_partition(self, here: set[str], there: set[str], *, oneway: bool) -> None:
        self.tell("fault", f"partition{', one way' if oneway else ''}", _join(here), _join(there))

    def heal(self, first: str | Iterable[str] | None = None, second: str | Iterable[str] | None = None) -> None:
        """Mend what `partition` has cut, in both directions: what waited arrives one latency from now.

        Args:
            first: Mend the ways to and from these hosts only; None: all.
            second: Mend the ways between `first` and these hosts only; None: all others.

        Raises:
            TypeError: A name is not a str.
            ValueError: There is no host of a name, or a group is empty.
        """
        here = None if first is None else self._group("first", first)
        there = None if second is None else self._group("second", second)
        self._cut_ways = {
            (a, b) for a, b in self._cut_ways if not (joins(a, b, here, there) or joins(b, a, here, there))
        }
        self.tell("fault", "heal", _join(here or ()), _join(there or ()))
        self._wake_dials()
        self._apply_cut_ways()

    def cut(self, a: str, b: str) -> None:
        """Reset all connections between two hosts: both ends get `trio.BrokenResourceError`; what is unread is lost.

        New ones can be made at once. `a` and `b` may be the same host.

        Raises:
            TypeError: A name is not a str.
            ValueError: There is no host of this name.
        """
        first, second = self._find("a", a), self._find("b", b)
        self.tell("fault", "cut", first.key, second.key)
        for entry in self._between({first.key}, {second.key}):
            entry.connection.reset(f"the connection between {first.name!r} and {second.name!r} was cut")

    def isolate(self, host: str) -> None:
        """Cut one host off from all others, silently, as `partition` does; `heal` ends it.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
        """
        key = self._find("host", host).key
        others = self.others(key)
        if others:
            self.partition(key, others)

    def others(self, host: str) -> list[str]:
        """The names of all hosts but one, in lower case.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
        """
        key = self._find("host", host).key
        return [other for other in self._hosts if other != key]

    @contextmanager
    def cut_ways(self, first: str | Iterable[str], second: str | Iterable[str], *, oneway: bool) -> Iterator[None]:
        """Cut the ways between two groups of hosts for the length of a block; `heal` does not end it.

        Raises:
            TypeError: A name is not a str.
            ValueError: There is no host of a name, or it is in both groups, or a group is empty.
        """
        here, there = self._two_groups(first, second)
        ways = _ways_between(here, there, oneway=oneway)
        self._count_cuts(ways, 1)
        self._tell_partition(here, there, oneway=oneway)
        try:
            yield
        finally:
            self._count_cuts(ways, -1)
            self.tell("fault", "partition ends", _join(here), _join(there))

    def _count_cuts(self, ways: Iterable[tuple[str, str]], change: int) -> None:
        for way in ways:
            self._planned_cuts[way] = self._planned_cuts.get(way, 0) + change
        if change < 0:
            self._wake_dials()
        self._apply_cut_ways()

    # Faults of the hosts

    def kill(self, host: str, *, silently: bool = False) -> None:
        """Kill the process of a host, as ``kill -9`` does: no task there says another word.

        Its programs (see `start_soon`) are cancelled, and contexts that run there otherwise lose all connections and listeners. What
        had left the host before still arrives. Killing a host that is dead does nothing.

        Args:
            host: The name of a host.
            silently: It loses its power: nobody hears anything, and what is sent to it vanishes, until it starts again.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
        """
        found = self._find("host", host)
        if not found.is_alive:
            return
        self.tell("fault", f"kill{' silently' if silently else ''}", found.key)
        if silently:
            self._dead_hosts.add(found.key)
        for _, end in self._ends_at(found):
            if silently:
                end.connection.silence()
            end.kill()
        found.die()
        for running in self._programs.get(found.key, ()):
            running.scope.cancel()

    def restart(self, host: str, *, after: float = 0.0) -> None:
        """Start a host again, in a new process, with the programs that were ever started there; kill it first if it lives.

        Args:
            host: The name of a host.
            after: Seconds from now.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: There is no host of this name, or `after` is negative.
            RuntimeError: There is something to wait for or to start, and the network is not open; see ``async with``.
        """
        found = self._find("host", host)
        check_seconds(after, "after")
        self.kill(found.key)
        if after or self._programs.get(found.key):
            self._open_nursery().start_soon(self._restart, found, after)
        else:
            self._revive(found)

    async def _restart(self, host: Host, after: float) -> None:
        starts = host.starts
        await trio.sleep(after)
        for running in self._programs.get(host.key, ()):
            await running.has_ended.wait()
        if host.is_alive or host.starts != starts:
            return  # somebody else was faster
        self._revive(host)
        for running in self._programs.get(host.key, ()):
            running.begin_again()
            self._open_nursery().start_soon(self._run_program, running)

    def _revive(self, host: Host) -> None:
        host.start_again()
        self.tell("fault", "restart", host.key)
        self._dead_hosts.discard(host.key)
        for entry, _ in self._ends_at(host):
            if entry.connection.is_silent:
                entry.connection.reset("the other host has started again, and knows nothing of this connection")
        self._wake_dials()

    def pause(self, host: str) -> None:
        """Stop the process of a host, as ``SIGSTOP`` does: nothing is read there, and nothing leaves. Time goes on.

        Its tasks do run, since they are tasks of this process; what they send leaves at `resume`.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
        """
        found = self._find("host", host)
        if found.is_alive and not found.is_paused:
            found.is_paused = True
            self.tell("fault", "pause", found.key)
            for _, end in self._ends_at(found):
                end.pause()

    def resume(self, host: str) -> None:
        """Let a host go on that was stopped by `pause`; nothing happens if it was not.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
        """
        found = self._find("host", host)
        if found.is_paused:
            found.is_paused = False
            self.tell("fault", "resume", found.key)
            for _, end in self._ends_at(found):
                end.resume()

    async def swizzle(self, hosts: Iterable[str] | None = None, *, seconds: float = 30.0) -> None:
        """Cut hosts off one by one, and let them come back in another order: what finds most bugs in distributed databases.

        Args:
            hosts: Their names; None: all.
            seconds: How long it takes altogether.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: There is no host of a name, or `seconds` is negative.
        """
        names = sorted(self._hosts if hosts is None else self._group("hosts", hosts))
        check_seconds(seconds, "seconds")
        starts = [self._random.uniform(0, seconds / 2) for _ in names]
        ends = [self._random.uniform(seconds / 2, seconds) for _ in names]
        plan = [Isolation(at, name, end - at) for name, at, end in zip(names, starts, ends, strict=True)]
        async with trio.open_nursery() as nursery:
            for fault in plan:
                nursery.start_soon(self._play_one, fault)

    # Plans

    def play(self, faults: Iterable[Fault]) -> None:
        """Let what is planned go wrong, each fault at its time from now on. The network must be open; see ``async with``.

        Raises:
            TypeError: Something in the plan is no fault.
            ValueError: A fault names a host that is not there.
            RuntimeError: The network is not open.
        """
        plan = check_plan(faults, self)
        if plan:
            self._open_nursery().start_soon(self._play, plan)

    async def _play(self, plan: Sequence[Fault]) -> None:
        with self._fault_scope:
            async with trio.open_nursery() as nursery:
                for fault in plan:
                    nursery.start_soon(self._play_one, fault)

    async def _play_one(self, fault: Fault) -> None:
        await trio.sleep(fault.at)
        await fault.happen(self)

    def freeze_faults(self, core: Iterable[str] | None = None) -> None:
        """Let no more planned fault begin, and mend what is broken.

        Args:
            core: Mend only what concerns these hosts among each other: partitions between them end, and those that are paused
                or killed go on. All others stay as they are, also cut off. None: all hosts.

        Raises:
            TypeError: A name is not a str.
            ValueError: There is no host of a name, or `core` is empty.
        """
        group = set(self._hosts) if core is None else self._group("core", core)
        kept = {way for way in self._all_cuts() if not (way[0] in group and way[1] in group)}
        self._fault_scope.cancel()
        self._fault_scope = trio.CancelScope()
        self._left_alone = set(self._hosts) - group
        self._cut_ways = kept
        self.tell("fault", "no more faults", _join(group))
        for name in sorted(group):
            self.resume(name)
            if not self._hosts[name].is_alive:
                self.restart(name)
        self._wake_dials()
        self._apply_cut_ways()

    def is_left_alone(self, host: str) -> bool:
        """Whether faults no longer undo themselves on a host: it is outside of the core of `freeze_faults`, or all is over."""
        return self._nursery is None or host.lower() in self._left_alone

    @contextmanager
    def must_progress(self, *, within: float, core: Iterable[str] | None = None) -> Iterator[None]:
        """Demand that a block ends in time, now that nothing goes wrong any more (the *liveness* of a system).

        ::

            with net.must_progress(within=60):
                await everybody_has_everything()

        Args:
            within: Seconds.
            core: As for `freeze_faults`, which is called first.

        Raises:
            LivenessError: The block was not done in time; it was cancelled.
            TypeError: An argument is of the wrong type.
            ValueError: There is no host of a name, or `within` is negative.
        """
        check_seconds(within, "within")
        self.freeze_faults(core)
        with trio.move_on_after(within) as scope:
            yield
        if scope.cancelled_caught:
            raise LivenessError(f"no progress within {within:g} s after the last fault, {self!r}")

    # Programs

    async def __aenter__(self) -> Self:
        if self._nursery is not None:
            raise RuntimeError(f"{self!r} is open already")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel the programs and faults that still run, and wait for their end."""
        assert self._nursery is not None
        self.closed_at = trio.current_time()
        self._nursery.cancel_scope.cancel()
        self._nursery = None
        try:
            await self._nursery_manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  # it has been cancelled
        except BaseExceptionGroup as group:
            if group.exceptions != (error,):
                raise
        # Alone, what the block has raised goes out as it is.

    def _open_nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("the network must be open for this: put it into 'async with net:'")
        return self._nursery

    def start_soon(self, host: str, program: Program, *args: Any) -> None:
        """Run a program on a host: ``await program(the_host, *args)``. It starts again at each `restart` of the host.

        The network must be open (``async with net:``). When that block ends, programs are cancelled. What a program raises goes
        out of that block, unless the host was killed.

        Raises:
            TypeError: `host` is not a str.
            ValueError: There is no host of this name.
            RuntimeError: The network is not open.
        """
        found = self._find("host", host)
        nursery = self._open_nursery()
        running = RunningProgram(found, program, args)
        self._programs.setdefault(found.key, []).append(running)
        if found.is_alive:
            nursery.start_soon(self._run_program, running)
        else:
            running.has_ended.set()

    async def _run_program(self, running: RunningProgram) -> None:
        try:
            with running.scope:
                await running.program(running.host, *running.args)
        except Exception:
            if not running.scope.cancel_called:
                raise
        finally:
            running.has_ended.set()
