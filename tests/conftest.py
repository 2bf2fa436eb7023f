"""What the tests of contexts and channels have in common: two contexts that know each other, and a watch over events.

Contexts here live on hosts of a simulated network, under a clock that jumps: nothing is ever waited for in earnest.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import attrs
import pytest
import trio
import trio.testing
from hypothesis import Phase, settings

import trioton
from trioton.testing import Network
from trioton.testing.chance import seeded_run
from trioton.testing.trio_private import deterministic_scheduling

# On a machine of the project all runs try the same examples; at a desk each tries others. `TRIOTON_HYPOTHESIS=soak` tries for long.
# The phase `explain` takes minutes where many steps lead to a failure.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("default", deadline=None, max_examples=50, phases=PHASES, derandomize="CI" in os.environ)
settings.register_profile("soak", deadline=None, max_examples=5000, phases=PHASES, stateful_step_count=100)
settings.load_profile(os.environ.get("TRIOTON_HYPOTHESIS", "default"))

# Where several processes share the tests, each has a place of its own for socket files: one that a killed program of another has left is
# no leak of the test that runs here.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER is not None:
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix=f"{WORKER}-")

E = TypeVar("E")

TIME_LIMIT = 100_000.0
"""Seconds of simulated time after which a test has failed: what hangs would otherwise live on from heartbeat to heartbeat."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test under a clock that jumps also if only one of its fixtures asks for that.

    By itself pytest-trio looks at the arguments of the test alone, and would wait in earnest without a word.
    """
    for item in items:
        if "autojump_clock" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run_with_jumping_clock))
    if WORKER is not None:
        # What takes seconds comes first, so that no process is busy with it while the others have nothing left to do.
        items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Let the collector of garbage leave thousands of tests alone, and come seldom: it would take a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure() -> None:
    """Remove what `WORKER` made."""
    if WORKER is not None:
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


@pytest.fixture(autouse=True)
def simulation_by_seed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a seed decide about the order of tasks in all tests under a clock that jumps, and about their networks.

    They run with the seed 0, and their networks with the seeds that they name. ``--trioton-seed=7`` or ``--trioton-seeds=20`` changes both.
    """
    if "autojump_clock" not in request.fixturenames:
        yield
        return
    seed = request.getfixturevalue("trioton_seed")
    is_given = request.config.getoption("--trioton-seed") or request.config.getoption("--trioton-seeds")
    with deterministic_scheduling(random.Random(f"{seed}/tasks")), seeded_run(seed if is_given else None):
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the plugin run all tests under a clock that jumps with several seeds, if it is told to."""
    if "autojump_clock" in metafunc.fixturenames and "trioton_seed" not in metafunc.fixturenames:
        metafunc.fixturenames.append("trioton_seed")


def _run_with_jumping_clock(
    async_fn: Callable[[], Awaitable[object]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> object:
    async def run_within_limit() -> object:
        with trio.fail_after(TIME_LIMIT):
            return await async_fn()

    jumping = trio.testing.MockClock(autojump_threshold=0) if clock is None else clock
    return trio.run(run_within_limit, clock=jumping, instruments=instruments)


@attrs.frozen
class Pair:
    """Two contexts of a simulated network: `b` has dialled `a`.

    Attributes:
        net: The network; its hosts are named like the contexts.
        a: The context that listens, at ``a:1``.
        b: The context that dialled.
        to_b: The connection as `a` sees it.
        to_a: The connection as `b` sees it.
    """

    net: Network
    a: trioton.Context
    b: trioton.Context
    to_b: trioton.Connection
    to_a: trioton.Connection


class OpenPair(Protocol):
    """How `open_pair` is called; all that it does not know goes to both calls of `open_context`."""

    def __call__(
        self,
        net: Network | None = None,
        *,
        reconnect: trioton.Reconnect | None = ...,
        a_options: dict[str, Any] | None = None,
        b_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[Pair]: ...


@asynccontextmanager
async def _open_pair(
    net: Network | None = None,
    *,
    reconnect: trioton.Reconnect | None = trioton.Reconnect(),  # noqa: B008  # frozen
    a_options: dict[str, Any] | None = None,
    b_options: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Pair]:
    net = Network(seed=7, latency=0.01) if net is None else net
    for_a = options | (a_options or {})
    for_b = options | (b_options or {})
    async with (
        trioton.open_context("a", network=net.host("a"), **for_a) as a,
        trioton.open_context("b", network=net.host("b"), **for_b) as b,
    ):
        await a.bind("a:1")
        to_a = await b.connect("a:1", reconnect=reconnect)
        await a.wait_context("b")
        yield Pair(net, a, b, a.connection("b"), to_a)


@pytest.fixture
def open_pair(autojump_clock: trio.testing.MockClock) -> OpenPair:
    """Opens two connected contexts on a simulated network: ``async with open_pair() as pair: ...``."""
    return _open_pair


@pytest.fixture
async def pair(open_pair: OpenPair) -> AsyncIterator[Pair]:
    """Two connected contexts on a simulated network."""
    async with open_pair() as pair:
        yield pair


class Watch:
    """All events of a context from now on, in order, without taking any from those who wait here.

    Attributes:
        events: What was heard so far.
    """

    def __init__(self, context: trioton.Context) -> None:
        self._stream = context.events()
        self._events: list[trioton.Event] = []

    @property
    def events(self) -> list[trioton.Event]:
        while True:
            try:
                self._events.append(self._stream.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return self._events

    @property
    def names(self) -> list[str]:
        """The classes of the events so far."""
        return [type(event).__name__ for event in self.events]

    def all(self, kind: type[E]) -> list[E]:
        """The events of a class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], number: int = 1) -> E:
        """Wait for the n-th event of a class, counted from the beginning."""
        while len(found := self.all(kind)) < number:
            self._events.append(await self._stream.receive())
        return found[number - 1]


MakeWatch = Callable[[trioton.Context], Watch]


@pytest.fixture
def watch() -> MakeWatch:
    """Gives a record of all events of a context from now on: ``events = watch(context)``."""
    return Watch
