"""What the tutorial and the guides show must run as it is printed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trio.testing

import trioton
from trioton.testing import Network

SNIPPETS = Path(__file__).parent / "snippets"
ROOT = SNIPPETS.parents[1]

PRINTED_TESTS = sorted(path.name for path in SNIPPETS.glob("test_*.py"))


def snippet(name: str) -> ModuleType:
    """A program of the documentation, as a module."""
    spec = importlib.util.spec_from_file_location(name, SNIPPETS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_printed_tests_run_in_an_empty_folder(tmp_path: Path) -> None:
    for name in ("pytest.ini", *PRINTED_TESTS):
        (tmp_path / name).write_bytes((SNIPPETS / name).read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV"))}
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f" {len(PRINTED_TESTS)} passed" in f" {result.stdout.splitlines()[-1].strip('= ')}"


def test_every_snippet_is_printed() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in SNIPPETS.parent.glob("*/*.rst"))
    assert [path.name for path in SNIPPETS.glob("*.*") if f"snippets/{path.name}\n" not in pages] == []


async def test_each_worker_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(20):
        await snippet("workers").main()
    assert capsys.readouterr().out == "ann: 0 squared is 0\nbob: 1 squared is 1\neve: 2 squared is 4\n"


async def test_clock_is_followed_through_restarts(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("watcher", network=net.host("watcher")) as watcher:
        watcher.start_soon(snippet("clock").follow, watcher, "server:1")
        ticks = trioton.SubChannel(watcher, "ticks", policy=trioton.Latest())
        for tick in ("first life", "second life"):
            await trio.sleep(10)
            async with trioton.open_context("server", network=net.host("server")) as server:
                await server.bind("server:1")
                pub = trioton.PubChannel(server, "ticks")
                await pub.send(tick)
                assert await ticks.receive() == tick
    told = "connected\nthe connection has ended: the context was closed\n"
    assert capsys.readouterr().out == told * 2


async def test_publisher_waits_for_the_next_when_a_blocking_subscriber_dies(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network(seed=1, latency=0.01)
    publisher = snippet("wait_for_somebody")
    async with trioton.open_context("boss", network=net.host("boss")) as boss:
        await boss.bind("boss:1")
        await boss.start(publisher.report, boss)
        boss.start_soon(publisher.publish, boss)
        async with trioton.open_context("ann", network=net.host("ann")) as ann:
            await ann.connect("boss:1")
            jobs = trioton.SubChannel(ann, "jobs", policy=trioton.Block(4))
            assert [await jobs.receive() for _ in range(8)] == [f"job {number}" for number in range(8)]
            net.partition({"boss"}, {"ann"})
            await trio.sleep(60)  # The lease and the resume window go by.
            assert boss.peers == []

        # What was sent to Ann is lost, and the one message whose `send` waited for room found nobody.
        assert boss.statistics().messages_unheard == 1
        async with trioton.open_context("ben", network=net.host("ben")) as ben:
            jobs = trioton.SubChannel(ben, "jobs", policy=trioton.Block(4))
            await ben.connect("boss:1")
            first = int((await jobs.receive()).removeprefix("job "))
            assert [await jobs.receive() for _ in range(8)] == [f"job {first + number}" for number in range(1, 9)]
            assert boss.statistics().messages_unheard == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        "ann is out of reach; it may come back",
        "ann is lost, and perhaps some messages that it had not taken",
        "the connection to ann has ended",
    ]
