"""Runs a scenario in simulated networks, seed by seed, and tells how to meet a failure again.

Each seed is one `trio.run` under a `trio.testing.MockClock`, in which the seed decides about everything: the order of tasks, all
chance, and what goes wrong. A failure is shown with its seed, its digest, the faults that it takes (as few as there can be), and the
last events.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import trio
import trio.testing

from .checks import running_tasks
from .faults import Chaos, Fault
from .isolation import isolated, no_real_io
from .network import Network
from .quality import check_seconds
from .trace import TraceEvent, tell_last
from .trio_private import throw_into

Scenario = Callable[[Network], Awaitable[object]]

SHOWN: Final = 30
"""Events that the report of a failure shows."""

REPEATED: Final = 20
"""Of so many seeds, one runs twice, to see that both runs are the same."""

MOST_PASSES: Final = 100_000
"""Passes of the scheduler without any time going by after which a scenario counts as stuck: some seconds of a processor."""

MOST_SHRINKS: Final = 100
"""Runs that are spent to find the fewest faults that make a scenario fail."""

SEED_VARIABLE: Final = "TRIOTON_SEED"


class SimulationFailed(AssertionError):
    """A scenario has failed under `run_simulation`; its cause is what the scenario raised.

    Attributes:
        seed: With which seed.
        digest: The digest of all that was sent.
        faults: What has gone wrong: as few faults as were found to be enough.
        events: What happened with these faults, oldest first; `write_diagram` draws it.
    """

    def __init__(
        self, message: str, seed: int | None, digest: str, faults: Sequence[Fault], events: Sequence[TraceEvent]
    ) -> None:
        super().__init__(message)
        self.seed = seed
        self.digest = digest
        self.faults = tuple(faults)
        self.events = tuple(events)


class TimeLimitError(AssertionError):
    """A scenario did not end."""


@attrs.frozen(kw_only=True)
class SeedRun:
    """How a scenario went with one seed."""

    seed: int
    digest: str
    """What stands for all that was sent, and when."""
    seconds: float
    """How much simulated time it took."""
    events: int
    """How many there were in its trace."""
    faults: tuple[Fault, ...]
    """What was planned to go wrong."""
    last_events: tuple[TraceEvent, ...] = attrs.field(repr=False)
    """The newest of its events."""


@attrs.frozen(kw_only=True)
class SimulationReport:
    """How a scenario went with all seeds."""

    runs: tuple[SeedRun, ...]
    sometimes: Mapping[str, int]
    """How many runs met each condition that `sometimes` was asked about."""

    @property
    def seconds(self) -> float:
        """How much simulated time all runs took together."""
        return sum(run.seconds for run in self.runs)


_met: dict[str, bool] | None = None


def sometimes(name: str, condition: object = True) -> None:  # the condition is what it is about
    """Say that `condition` should be true now and then: `run_simulation` fails if none of several seeds has met it.

    It shows that the chaos has reached what it should: a link that was lost while something waited, a message that was sent again.
    Outside of `run_simulation` it does nothing.

    Args:
        name: What is met, in words.
        condition: Whether it is met now.

    Raises:
        TypeError: `name` is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if _met is not None:
        _met[name] = _met.get(name, False) or bool(condition)


def run_simulation(
    scenario: Scenario,
    *,
    seeds: Iterable[int] = range(100),
    hosts: str | Iterable[str] = (),
    faults: Chaos | Iterable[Fault] = (),
    network: Mapping[str, Any] | None = None,
    time_limit: float = 3600.0,
    allow: Sequence[str] = (),
) -> SimulationReport:
    """Run ``await scenario(net)`` once for each seed, in a simulated network and simulated time.

    ::

        def test_nothing_is_lost():
            run_simulation(scenario, hosts=["a", "b"], faults=Chaos(), network={"latency": (0.001, 0.05)})

    The network is open when the scenario gets it (see `Network`), the faults begin with it, and programs end when it returns. Inside,
    the seed decides about everything: the order of tasks, the module `random`, `os.urandom`, `uuid.uuid4`. Functions for
    `trio.to_thread.run_sync` run at once. Real sockets, processes, threads and the clocks of `time` raise `RealWorldError` (not
    ``datetime.now``, and not names that were imported from `time` before; the standard library, trio and pytest may look at clocks).

    If a seed fails, faults are left out as long as it fails in the same way, and the rest is shown. With the variable
    ``TRIOTON_SEED=7`` in the environment, only the seed 7 is run. Under hypothesis, which leaves out faults itself, all are shown.
    One seed in twenty runs twice, to see that it does the same.

    Args:
        scenario: An async function that gets the `Network`.
        seeds: The seeds; each should be another number.
        hosts: Names of hosts that are there from the beginning; faults may name no others.
        faults: A plan, or a `Chaos`, which draws one for each seed.
        network: Further arguments for `Network`, such as ``latency``.
        time_limit: Simulated seconds after which a scenario that has not ended fails.
        allow: Modules or packages that may look at real clocks.

    Returns:
        What happened: digests, times, and what `sometimes` was met.

    Raises:
        SimulationFailed: The scenario raised, did not end, left tasks, connections or listeners behind, or did not do the same
            when it was run again; or `sometimes` was never met. It names the seed.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range, or ``TRIOTON_SEED`` is no number.
        RuntimeError: It was called in a `trio.run`, or in a simulation.
    """
    __tracebackhide__ = True  # pytest shows the scenario, and the report; not what lies between
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("run_simulation runs Trio itself: call it from a plain function")
    check_seconds(time_limit, "time_limit")
    numbers = _choose_seeds(seeds)
    plan = faults if isinstance(faults, Chaos) else tuple(faults)
    names = (hosts,) if isinstance(hosts, str) else tuple(hosts)
    options = dict(network or {})
    if "seed" in options:
        raise ValueError(f"network must not have a seed, since each run has its own, not {options['seed']!r}")
    if isinstance(plan, Chaos):
        plan.check_hosts(names)
    simulation = _Simulation(scenario, names, plan, options, time_limit, tuple(allow))
    met: dict[str, int] = {}
    runs: list[SeedRun] = []
    for index, seed in enumerate(numbers):
        error, run, conditions = simulation.run(seed)
        if error is not None:
            error, run, planned = simulation.shrink(error, run)
            raise simulation.describe(error, run, planned) from error
        if index % REPEATED == 0:
            simulation.check_again(run)
        runs.append(attrs.evolve(run, last_events=run.last_events[-SHOWN:]))
        for name, is_met in conditions.items():
            met[name] = met.get(name, 0) + is_met
    never = [name for name, count in met.items() if not count]
    if never and len(runs) > 1:  # one run says nothing about what happens now and then
        words = f"in {len(runs)} runs it never happened that: {'; '.join(never)}"
        raise SimulationFailed(words, None, "", (), ())
    return SimulationReport(runs=tuple(runs), sometimes=met)


def _choose_seeds(seeds: Iterable[int]) -> list[int]:
    given = os.environ.get(SEED_VARIABLE)
    if given:
        try:
            return [int(given)]
        except ValueError:
            raise ValueError(f"the variable {SEED_VARIABLE} must be a whole number, not {given!r}") from None
    numbers = list(seeds)
    for seed in numbers:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seeds must be whole numbers, not {seed!r}")
    if not numbers:
        raise ValueError("seeds must hold at least one seed, not none")
    return numbers


class _Watch(trio.abc.Instrument):
    """Notices when a scenario works and works and lets no time go by."""

    def __init__(self) -> None:
        self.scope: trio.CancelScope | None = None
        self.main: trio.lowlevel.Task | None = None
        self.is_stuck = False
        self._passes = 0
        self._time = -1.0

    def before_io_wait(self, timeout: float) -> None:
        """A pass of the scheduler is over."""
        del timeout
        self._passes += 1
        if self._passes == MOST_PASSES:
            before, self._time, self._passes = self._time, trio.current_time(), 0
            if self._time != before or self.scope is None:
                return
            if self.scope.cancel_called:
                self._end_by_force()
            else:
                self.is_stuck = True
                self.scope.cancel()

    def _end_by_force(self) -> None:
        """The scenario was cancelled, and does not end: it is shielded, or catches `trio.Cancelled` and goes on."""
        for task in list(running_tasks()):
            if isinstance(task, trio.lowlevel.Task) and self._may_end(task):
                words = (
                    f"the scenario was cancelled, and its task {task.name} did not end, at {trio.current_time():g} s"
                )
                throw_into(task, TimeLimitError(words))

    def _may_end(self, task: trio.lowlevel.Task) -> bool:
        """Whether it is a task of the scenario, and waits for no other task."""
        if task.parent_nursery is None or any(nursery.child_tasks for nursery in task.child_nurseries):
            return False
        return task is self.main or task.parent_nursery.parent_task is not trio.lowlevel.current_root_task()


@attrs.frozen
class _Simulation:
    """A scenario with all that is the same for each seed."""

    scenario: Scenario
    hosts: tuple[str, ...]
    faults: Chaos | tuple[Fault, ...]
    options: dict[str, Any]
    time_limit: float
    allow: tuple[str, ...]

    def run(
        self, seed: int, faults: Sequence[Fault] | None = None
    ) -> tuple[Exception | None, SeedRun, dict[str, bool]]:
        """Run it with one seed; gives what it raised, how it went, and which conditions were met."""
        __tracebackhide__ = True
        global _met  # there is one simulation at a time
        if _met is not None:
            raise RuntimeError("run_simulation was called in a simulation")
        # An argument that the network does not take is a mistake in the call, whatever the seed.
        net = Network(**{"seed": seed, **self.options})
        for name in self.hosts:
            net.host(name)
        if faults is None:
            faults = self._plan(net)
        watch = _Watch()
        error: Exception | None = None
        conditions: dict[str, bool] = {}
        _met = conditions
        try:
            clock = trio.testing.MockClock(autojump_threshold=0)  # out here, since it looks at a real clock
            with isolated(seed, self.allow):
                trio.run(self._main, net, faults, watch, clock=clock, instruments=[watch])
        except Exception as raised:  # noqa: BLE001  # it is told of with its seed
            error = _without_groups_of_one(raised)
        except BaseException as interrupt:
            interrupt.add_note(f"in run_simulation of {self._name}, with seed {seed}")
            raise
        finally:
            _met = None
        run = SeedRun(
            seed=seed,
            digest=net.digest(),
            seconds=net.closed_at,
            events=net.trace.total,
            faults=tuple(faults),
            last_events=tuple(net.trace),
        )
        return error, run, conditions

    def _plan(self, net: Network) -> list[Fault]:
        if isinstance(self.faults, Chaos):
            return self.faults.plan(random.Random(f"{net.chance}/chaos"), [host.name for host in net.hosts.values()])
        return list(self.faults)

    async def _main(self, net: Network, faults: Sequence[Fault], watch: _Watch) -> None:
        __tracebackhide__ = True
        before = running_tasks()
        with no_real_io(), trio.move_on_after(self.time_limit) as scope:
            watch.scope, watch.main = scope, trio.lowlevel.current_task()
            async with net:
                net.play(faults)
                await self.scenario(net)
        if watch.is_stuck:
            raise TimeLimitError(f"the scenario is busy, and lets no time go by, at {trio.current_time():g} s")
        if scope.cancelled_caught:
            raise TimeLimitError(f"the scenario had not ended after {self.time_limit:g} s of simulated time")
        await _check_nothing_left(net, before)

    def check_again(self, run: SeedRun) -> None:
        """Run a seed once more: it must do the same."""
        _, again, _ = self.run(run.seed, run.faults)
        if again.digest == run.digest:
            return
        words = f"{self._name} did not do the same when it was run again with seed {run.seed}"
        for first, second in zip(run.last_events, again.last_events, strict=False):
            if str(first) != str(second):
                words += f"\nat the first difference, the first run has\n  {first}\nand the second\n  {second}"
                break
        words += "\nSomething in it depends on the address of an object, on the order of a set, or on the real world."
        raise SimulationFailed(words, run.seed, run.digest, run.faults, run.last_events)

    @property
    def _name(self) -> str:
        return str(getattr(self.scenario, "__qualname__", self.scenario))

    def describe(self, error: Exception, run: SeedRun, planned: int) -> SimulationFailed:
        """The report of a failure with these faults, of which there were so many at first."""
        name = type(error).__name__
        lines = [
            f"{self._name} failed with seed {run.seed} after {run.seconds:g} s of simulated time",
            f"{SEED_VARIABLE}={run.seed} runs it alone",
            f"{name}: {error}",
            f"digest {run.digest}, {run.events} events",
        ]
        if planned:
            lines.append(f"faults that it takes, of {planned}:{'' if run.faults else ' none'}")
            lines += [f"    {fault!r}," for fault in run.faults]
        lines += tell_last(run.last_events, SHOWN)
        return SimulationFailed("\n".join(lines), run.seed, run.digest, run.faults, run.last_events)

    def shrink(self, error: Exception, run: SeedRun) -> tuple[Exception, SeedRun, int]:
        """Leave out faults, many at once and then one by one, as long as the scenario fails in the same way.

        Returns:
            How it failed with the fewest, that run, and how many faults there were at first.
        """
        planned = len(run.faults)
        size, left = max(1, planned), 0 if _hypothesis_shrinks() else MOST_SHRINKS
        while size and run.faults and left:
            start = 0
            while start < len(run.faults) and left:
                left -= 1
                fewer = run.faults[:start] + run.faults[start + size :]
                other, shorter, _ = self.run(run.seed, fewer)
                if other is not None and type(other) is type(error):
                    error, run = other, shorter
                else:
                    start += size
            size //= 2
        return error, run, planned


async def _check_nothing_left(net: Network, before: Mapping[Any, str]) -> None:
    """Refuse a scenario that has ended and left something running."""
    for _ in range(10):
        await trio.lowlevel.checkpoint()  # those that are ending have their last turns
    tasks = [name for task, name in running_tasks().items() if task not in before]
    listeners = [repr(listener) for host in net.hosts.values() for listener in host.listeners]
    connections = [f"{each.client} -> {each.server} ({each.state})" for each in net.connections if not each.is_silent]
    left = [
        f"{len(found)} {kind}: {', '.join(found)}"
        for kind, found in (("tasks", tasks), ("listeners", listeners), ("connections", connections))
        if found
    ]
    if left:
        raise AssertionError(f"the scenario has left behind {'; '.join(left)}")


def _hypothesis_shrinks() -> bool:
    """Whether this is a test of hypothesis, which tries smaller plans itself."""
    hypothesis = sys.modules.get("hypothesis")
    return hypothesis is not None and bool(hypothesis.currently_in_test_context())


def _without_groups_of_one(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
