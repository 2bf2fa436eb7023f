"""A pytest plugin with the fixtures `trioton_network`, `trioton_seed` and `trioton_leak_check`.

Pytest loads it in every session of every project where Trioton is installed. So nothing of Trioton or Trio is imported
until a test asks for a fixture, and all fixtures are plain ones, which work beside pytest-trio, pytest-asyncio and
neither.
"""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trioton.testing.checks import LeakCheck
    from trioton.testing.network import Network
    from trioton.testing.trace import TraceEvent

_NETWORK_KEY = pytest.StashKey["Network"]()

_SHOWN = 20
"""Events that the report of a failure shows."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--trioton-seed``, ``--trioton-seeds`` and ``--trioton-diagrams``."""
    group = parser.getgroup("trioton")
    group.addoption(
        "--trioton-seed",
        metavar="SEED",
        help="what all chance in the fixture trioton_network comes from (default: $TRIOTON_SEED, or else 0)",
    )
    group.addoption(
        "--trioton-seeds",
        metavar="COUNT",
        type=int,
        default=0,
        help="run each test that uses a seed so often, with the seeds 0, 1, 2 ...",
    )
    group.addoption(
        "--trioton-diagrams",
        metavar="FOLDER",
        type=Path,
        help="draw a diagram of what was sent in a test that has failed, into this folder",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that use a seed with several."""
    count: int = metafunc.config.getoption("--trioton-seeds")
    if count > 0 and "trioton_seed" in metafunc.fixturenames:
        metafunc.parametrize("trioton_seed", range(count), indirect=True, ids=lambda seed: f"seed{seed}")


@pytest.fixture
def trioton_seed(request: pytest.FixtureRequest) -> int | str:
    """The seed of this test: given by ``--trioton-seeds``, ``--trioton-seed``, the variable ``TRIOTON_SEED``, or 0."""
    if hasattr(request, "param"):
        seed: int = request.param
        return seed
    given: str = request.config.getoption("--trioton-seed") or os.environ.get("TRIOTON_SEED") or "0"
    return int(given) if given.isdecimal() else given


@pytest.fixture
def trioton_network(request: pytest.FixtureRequest, trioton_seed: int | str) -> Generator[Network]:
    """A `trioton.testing.Network` with the seed of the test; the seed also decides in which order its tasks run.

    Use it together with pytest-trio's ``autojump_clock``. Whatever fails, the report says the seed, and what was sent last.
    """
    from trioton.testing.network import Network
    from trioton.testing.trio_private import deterministic_scheduling

    network = Network(seed=trioton_seed)
    request.node.stash[_NETWORK_KEY] = network
    with deterministic_scheduling(random.Random(f"{trioton_seed}/tasks")):
        yield network


@pytest.fixture
def trioton_leak_check() -> Generator[LeakCheck]:
    """Fails a test that leaves threads, file descriptors, child processes or socket files behind.

    Fixtures that a test asks for after this one are torn down before the check is made. Tasks need no check here: none
    outlives its `trio.run`. Inside of a test, use `trioton.testing.leak_check` itself.
    """
    from trioton.testing.checks import leak_check

    with leak_check() as check:
        yield check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report of a failure how to meet it again."""
    report = yield
    folder: Path | None = item.config.getoption("--trioton-diagrams")
    network = item.stash.get(_NETWORK_KEY, None)
    if network is not None and report.failed:
        lines = [f"{network!r}; run it again with --trioton-seed={network.seed}", f"digest {network.digest()}"]
        lines += [f"{each.client_address} -> {each.server_address}: {each.state}" for each in network.connections]
        if network.trace.total:
            from trioton.testing.trace import tell_last

            lines += tell_last(list(network.trace), _SHOWN)
        if folder is not None:
            lines.append(f"all of it: {_draw(folder, item, network.trace, network.seed)}")
        report.sections.append(("trioton", "\n".join(lines)))
    simulation = sys.modules.get("trioton.testing.simulation")
    if folder is not None and simulation is not None and call.excinfo is not None:
        failure = call.excinfo.value
        if isinstance(failure, simulation.SimulationFailed) and failure.events:
            path = _draw(folder, item, failure.events, failure.seed)
            report.sections.append(("trioton", f"all of the run with seed {failure.seed}: {path}"))
    return report


def _draw(folder: Path, item: pytest.Item, events: Iterable[TraceEvent], seed: int | str | None) -> Path:
    from trioton.testing.diagram import write_diagram

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^\w.-]+", "_", item.nodeid) + ".svg")
    write_diagram(path, events, title=f"{item.name}, seed {seed}")
    return path
