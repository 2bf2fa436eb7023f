"""What the tutorial and the guides show must run as it is printed."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trio.testing

import trioton
from trioton import blocking
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


@pytest.mark.long
@pytest.mark.slow
def test_printed_tests_run_in_an_empty_folder(tmp_path: Path) -> None:
    for name in ("pytest.ini", "mended/words.py", *PRINTED_TESTS):
        (tmp_path / Path(name).name).write_bytes((SNIPPETS / name).read_bytes())
    printed = "".join((SNIPPETS / name).read_text(encoding="utf-8") for name in PRINTED_TESTS)
    count = len(re.findall(r"^(?:async )?def test_", printed, re.MULTILINE))
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f" {count} passed" in f" {result.stdout.splitlines()[-1].strip('= ')}"


@pytest.mark.long
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


@pytest.mark.long
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


async def test_a_setting_is_known_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(20):
        await snippet("wait_synced").main()
    assert capsys.readouterr().out == "known to pump\nmode of the pump: night\n"


async def test_a_setting_that_somebody_cannot_hear_of(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("console", network=net.host("console")) as console,
        trioton.open_context("pump", network=net.host("pump")) as pump,
    ):
        await console.bind("console:1")
        await pump.connect("console:1")
        await console.wait_context("pump")
        net.partition("console", "pump")
        await snippet("wait_synced").switch(console, "night")
        net.heal()
    assert capsys.readouterr().out.startswith("not everybody has answered")


async def test_each_worker_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(20):
        await snippet("workers").main()
    assert capsys.readouterr().out == "ann: 0 squared is 0\nbob: 1 squared is 1\neve: 2 squared is 4\n"


@pytest.mark.parametrize("leaves", ["before the question", "before the answer"])
async def test_who_asks_a_worker_that_is_gone_goes_on(autojump_clock: trio.testing.MockClock, leaves: str) -> None:
    net = Network(seed=1, latency=0.01)
    program = snippet("workers")
    async with (
        trioton.open_context("boss", network=net.host("boss")) as boss,
        trioton.open_context("ann", network=net.host("ann")) as ann,
    ):
        await boss.bind("boss:1")
        await ann.connect("boss:1")
        questions_in, questions = trioton.open_channel(ann)
        hellos = trioton.SubChannel(boss, "hello", trioton.OBJECT)
        await trioton.PubChannel(ann, "hello", trioton.OBJECT).send(["ann", questions_in])
        _, worker = await hellos.receive()

        async def leave() -> None:
            if leaves == "before the answer":
                await questions.receive()
            await ann.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            if leaves == "before the question":
                async with boss.events() as events:
                    while not isinstance(await events.receive(), trioton.ContextDied):
                        pass
            with trio.fail_after(5):
                assert await program.ask(boss, worker, 1) is None


def test_log_goes_to_the_network() -> None:
    with blocking.open_context("reader") as reader, blocking.open_context("program") as program:
        reader.bind("mem://reader")
        log = blocking.SubChannel(reader, "log")
        program.connect("mem://reader")
        handler = snippet("log_to_network").NetworkHandler(program)
        for number in range(5):
            handler.handle(logging.makeLogRecord({"msg": f"line {number}"}))
        handler.close()
        assert [log.receive(timeout=20) for _ in range(5)] == [f"line {number}" for number in range(5)]


def test_requests_are_answered_on_the_thread_that_has_the_camera() -> None:
    with blocking.open_context("studio") as studio, blocking.open_context("user") as user:
        studio.bind("mem://studio")
        user.connect("mem://studio")
        answers = snippet("answer_by_hand")
        camera = answers.Camera(studio)
        thread = threading.Thread(target=answers.main_loop, args=[camera])
        thread.start()
        req = blocking.ReqChannel(user, "camera")
        assert req.set_exposure(0.5).result(timeout=20) == 0.1
        assert req.call("set_exposure", 1) == 0.5
        camera.close()
        thread.join(20)
        assert not thread.is_alive()


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


def code_of(page: str) -> list[str]:
    """The code blocks of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


async def test_the_guide_to_states_runs_as_it_is_printed(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as ctx,
        trioton.open_context("b", network=net.host("b")) as other,
    ):
        await ctx.bind("a:1")
        await other.connect("a:1")
        status = trioton.StateChannel(other, "status")
        settings = trioton.StateChannel(other, "settings", trioton.OBJECT)
        for block in code_of("guide/state.rst"):
            scope: dict[str, object] = {"trioton": trioton, "ctx": ctx, "status": trioton.StateChannel(ctx, "status")}
            exec(f"async def run():\n{textwrap.indent(block, '    ')}", scope)  # our own page
            run = scope["run"]
            assert callable(run)
            with trio.move_on_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run)
                    for value in ("ready", "dead: by a signal"):
                        await trio.sleep(1)
                        await status.send(value)
        assert settings.value == {"text": "green"}
    assert capsys.readouterr().out.splitlines() == ["busy", "busy", "ready", "dead: by a signal"]
