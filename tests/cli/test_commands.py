"""The command line inside this process: what becomes of words, errors and interruptions, before any network is there."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import trio

from trioton import Block, Disconnect, DropNewest, DropOldest, Latest, Policy
from trioton.cli import commands

if sys.platform == "win32":
    pytest.skip("the demo needs Linux or macOS", allow_module_level=True)

from trioton.cli import demo, demo_processes


def raising(error: BaseException) -> Callable[..., int]:
    def function(*args: object, **options: object) -> int:
        raise error

    return function


# ------------------------------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("latest", Latest()),
        ("block", Block()),
        ("block:7", Block(7)),
        ("drop-oldest:8", DropOldest(8)),
        ("drop-newest:9", DropNewest(9)),
        ("disconnect:10", Disconnect(10)),
    ],
)
def test_words_for_policies(monkeypatch: pytest.MonkeyPatch, word: str, policy: Policy) -> None:
    taken: list[object] = []

    def run(function: object, *args: object) -> int:
        taken.extend(args)
        return 0

    monkeypatch.setattr(commands, "_run", run)
    assert commands.run(["sub", "localhost:1", "chat", "--policy", word]) == 0
    assert policy in taken


@pytest.mark.parametrize("word", ["", "latest:1", "block:x", "block:0", "disconnect", "drop-oldest", "all"])
def test_words_that_are_no_policies(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert commands.run(["sub", "localhost:1", "chat", "--policy", word]) == commands.EXIT_USAGE
    assert "Invalid value for '--policy'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ how a run ends


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), commands.EXIT_INTERRUPTED),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), commands.EXIT_INTERRUPTED),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()]), ValueError()]), 130),
        (demo.BadProgramError("no program"), commands.EXIT_USAGE),
        (demo_processes.DemoError("no worker"), commands.EXIT_FAILED),
        (click.Abort(), commands.EXIT_INTERRUPTED),
        (click.exceptions.Exit(7), 7),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int) -> None:
    monkeypatch.setattr(demo, "run_demo", raising(error))
    program = tmp_path / "program.py"
    program.touch()
    assert commands.run(["demo", str(program)]) == code


def test_an_error_that_nobody_foresaw_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.touch()
    group = ExceptionGroup("", [ValueError("a bug")])
    monkeypatch.setattr(demo, "run_demo", raising(group))
    with pytest.raises(ExceptionGroup) as caught:
        commands.run(["demo", str(program)])
    assert caught.value is group


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_without_stdout_or_stderr(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whoever starts the command may have closed them; then Python has None in their place."""
    monkeypatch.setattr(sys, name, None)
    assert commands.run(["--version"]) == 0
    stand_in = getattr(sys, name)
    assert stand_in.name == os.devnull
    stand_in.close()


def test_nobody_reads_and_there_is_no_stdout_to_lead_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.touch()
    monkeypatch.setattr(demo, "run_demo", raising(BrokenPipeError()))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert commands.run(["demo", str(program)]) == commands.EXIT_NOBODY_READS


# -------------------------------------------------------------------------------------- what can be a program for a demo


def make_package(folder: Path) -> Path:
    (folder / "__main__.py").write_text("print(1)\n")
    return folder


def make_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "program", "w") as archive:
        archive.writestr("__main__.py", "print(1)\n")
    return folder / "program"


def make_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    "make",
    [
        make_package,
        make_zip,
        make_file("program.py", b"print(1)\n"),
        make_file("program.pyc", b"\0\xff"),
        make_file("program", "# coding: latin-1\nx = 'ü'\n".encode("latin-1")),
        make_file("warns.py", b"x = '\\d'\n"),
    ],
    ids=["package", "zip", "source", "compiled", "encoded", "warns"],
)
def test_programs(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    demo.check_program(make(tmp_path))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: folder, "cannot read '.*__main__.py': No such file or directory"),
        (lambda folder: folder / "missing.py", "cannot read '.*missing.py': No such file"),
        (make_file("a.py", b"x = 1\nx = (\n"), r"'.*a.py' is not a Python program: .* in line 2"),
        (make_file("b.py", b"x = '\xff'\n"), "'.*b.py' is not a Python program: "),
        (make_file("c.py", b"x = 1\0\n"), "'.*c.py' is not a Python program: .*null bytes"),
    ],
    ids=["empty folder", "missing", "syntax", "encoding", "null bytes"],
)
def test_what_is_no_program(tmp_path: Path, make: Any, text: str) -> None:
    with pytest.raises(demo.BadProgramError, match=text):
        demo.check_program(make(tmp_path))


# ------------------------------------------------------------------------------------------ workers that do not come up


HANGING = [sys.executable, "-S", "-c", "import time; time.sleep(1000)"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import sys; sys.exit('no such luck')", "the worker ended before it had connected; it said: no such luck"),
        ("print('x' * 10_000, end='the end')", "it said: x+the end$"),
        ("", "the worker ended before it had connected; it said: nothing"),
        ("import time; time.sleep(1000)", r"the worker did not connect within 0\.3 s"),
    ],
    ids=["says why", "says much", "says nothing", "hangs"],
)
async def test_a_worker_that_does_not_come_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, text: str
) -> None:
    monkeypatch.setattr(demo, "worker_command", lambda *_: [sys.executable, "-S", "-c", source])
    monkeypatch.setattr(demo_processes, "broker_command", lambda *_: HANGING)
    monkeypatch.setattr(demo_processes, "GRACE", 0.1)
    if "sleep" in source:
        monkeypatch.setattr(demo_processes, "START_DEADLINE", 0.3)
    started: list[trio.Process] = []
    open_process = trio.lowlevel.open_process

    async def open_and_note(*args: Any, **options: Any) -> trio.Process:
        started.append(await open_process(*args, **options))
        return started[-1]

    monkeypatch.setattr(trio.lowlevel, "open_process", open_and_note)
    screen = demo.choose_screen("program.py", plain=True)
    with trio.fail_after(20), pytest.raises(demo_processes.DemoError, match=text) as caught:
        await demo.Demo(tmp_path / "program.py", [], screen).run()
    assert len(str(caught.value)) < 5000
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


async def test_a_broker_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = "import sys; sys.exit('no such luck')"
    monkeypatch.setattr(demo, "worker_command", lambda *_: HANGING)
    monkeypatch.setattr(demo_processes, "broker_command", lambda *_: [sys.executable, "-S", "-c", source])
    monkeypatch.setattr(demo_processes, "GRACE", 0.1)
    screen = demo.choose_screen("program.py", plain=True)
    with trio.fail_after(20), pytest.raises(demo_processes.DemoError) as caught:
        await demo.Demo(tmp_path / "program.py", [], screen).run()
    said = "\n".join(["no such luck"] * demo_processes.BROKER_STARTS)
    assert str(caught.value) == f"the broker ended before anybody had connected; it said: {said}"


def test_the_demo_needs_temporary_files(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def no_directory(**where: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", no_directory)
    assert commands.run(["demo", __file__]) == 1
    reason = "No usable temporary directory found in ['/tmp']"
    assert capfd.readouterr() == ("", f"trioton demo: there is no place for temporary files: {reason}\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize(
    "args", [["pub", "a", "b"], ["sub", "a", "b"], ["req", "a", "b", "c"], ["top", "a"], ["graph", "a"]]
)
def test_output_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], args: list[str], number: int
) -> None:
    error = ExceptionGroup("tasks", [OSError(number, "it is so")])
    monkeypatch.setattr(commands, "_lead_nowhere", lambda: None)
    monkeypatch.setattr(commands, "_run", raising(error))
    assert commands.run(args) == 1
    assert capfd.readouterr() == ("", f"trioton: cannot write: {os.strerror(number)}\n")


def test_other_errors_are_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ExceptionGroup("tasks", [OSError(errno.ENOSPC, "full"), OSError(errno.EPERM, "another")])
    monkeypatch.setattr(commands, "_run", raising(error))
    with pytest.raises(ExceptionGroup):
        commands.run(["sub", "a", "b"])
