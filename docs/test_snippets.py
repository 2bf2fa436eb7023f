"""What the tutorial and the guides show must run as it is printed."""

from __future__ import annotations

import importlib.util
import os
import re
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


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as if Trioton were installed."""
    unwanted = ("PYTEST_", "COV", "TRIOTON_SEED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_printed_tests_run_in_an_empty_folder(tmp_path: Path) -> None:
    for name in ("pytest.ini", "mended/words.py", *PRINTED_TESTS):
        (tmp_path / Path(name).name).write_bytes((SNIPPETS / name).read_bytes())
    printed = "".join((SNIPPETS / name).read_text(encoding="utf-8") for name in PRINTED_TESTS)
    count = len(re.findall(r"^(?:async )?def test_", printed, re.MULTILINE))
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f" {count} passed" in f" {result.stdout.splitlines()[-1].strip('= ')}"


@pytest.mark.slow
def test_what_is_shown_of_tests_that_fail_is_what_they_say(tmp_path: Path) -> None:
    script = SNIPPETS.parent / "draw_simulation.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRIOTON_SEED"}
    command = [sys.executable, "-W", "error", str(script), str(tmp_path), str(tmp_path)]
    subprocess.run(command, env={**environment, "PYTHONPATH": str(ROOT)}, timeout=60, check=True)
    for path in tmp_path.iterdir():
        folder = SNIPPETS.parent / "_static" if path.suffix == ".svg" else SNIPPETS
        shown = (folder / path.name).read_text(encoding="utf-8")
        assert shown == path.read_text(encoding="utf-8"), f"{path.name} is old: run {script.name}"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "test",
    [
        "test_words.py",
        "test_words_kills.py",
        "test_words_plans.py::test_with_the_plan_that_was_found",
    ],
)
@pytest.mark.slow
def test_printed_simulations_find_the_mistake(test: str, tmp_path: Path) -> None:
    for name in ("pytest.ini", "words.py", *PRINTED_TESTS):
        (tmp_path / name).write_bytes((SNIPPETS / name).read_bytes())
    result = run_pytest(tmp_path, test)
    assert result.returncode == 1
    assert " 1 failed" in f" {result.stdout.splitlines()[-1].strip('= ')}"
    assert "faults that it takes" in result.stdout


def test_every_snippet_is_printed() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in SNIPPETS.parent.glob("*/*.rst"))
    names = [path.relative_to(SNIPPETS).as_posix() for path in SNIPPETS.rglob("*.*") if "__pycache__" not in path.parts]
    assert [name for name in names if f"snippets/{name}\n" not in pages] == []


async def test_each_worker_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(20):
        await snippet("workers").main()
    assert capsys.readouterr().out == "ann: 0 squared is 0\nbob: 1 squared is 1\neve: 2 squared is 4\n"


async def test_a_worker_that_dies_leaves_no_gap(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Network(seed=1, latency=0.01) as net:
        await snippet("pipeline").main(net)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("bob: ")
    assert second.startswith("bob: ")
    assert third in {f"bob: {job}, which somebody may have begun before" for job in ("one", "two", "three")}


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
