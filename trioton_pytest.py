"""A pytest plugin with the fixtures `trioton_network` and `trioton_leak_check`.

Pytest loads it in every session of every project where Trioton is installed. So nothing of Trioton or Trio is imported
until a test asks for a fixture, and both fixtures are plain ones, which work beside pytest-trio, pytest-asyncio and
neither.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trioton.testing.checks import LeakCheck
    from trioton.testing.network import Network

_NETWORK_KEY = pytest.StashKey["Network"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--trioton-seed``."""
    parser.getgroup("trioton").addoption(
        "--trioton-seed",
        metavar="SEED",
        help="what all chance in the fixture trioton_network comes from (default: $TRIOTON_SEED, or else 0)",
    )


@pytest.fixture
def trioton_network(request: pytest.FixtureRequest) -> Network:
    """A `trioton.testing.Network`, seeded by ``--trioton-seed``, the variable ``TRIOTON_SEED``, or 0.

    Use it together with pytest-trio's ``autojump_clock``. Whatever fails, the report says the seed.
    """
    from trioton.testing.network import Network

    given: str = request.config.getoption("--trioton-seed") or os.environ.get("TRIOTON_SEED") or "0"
    network = Network(seed=int(given) if given.isdecimal() else given)
    request.node.stash[_NETWORK_KEY] = network
    return network


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
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report of a failure how to meet it again."""
    report = yield
    network = item.stash.get(_NETWORK_KEY, None)
    if network is not None and report.failed:
        lines = [f"{network!r}; run it again with --trioton-seed={network.seed}"]
        lines += [f"{each.client_address} -> {each.server_address}: {each.state}" for each in network.connections]
        report.sections.append(("trioton", "\n".join(lines)))
    return report
