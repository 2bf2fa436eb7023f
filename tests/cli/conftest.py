"""Runs the command line in real processes, and finds out whether any of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

DEADLINE = 20.0
"""Seconds that anything here may take; it takes one or two."""

KILL = 9
"""The signal that nobody can ignore."""

# What is tested there needs process groups and /proc.
collect_ignore = (
    ["test_broker.py", "test_demo.py", "test_graph.py", "test_pub_sub.py", "test_req.py", "test_top.py"]
    if sys.platform == "win32"
    else []
)

MARK = "TRIOTON_TEST_MARK"

COMMAND = [sys.executable, "-W", "error", "-m", "trioton"]


class CommandLine:
    """Starts commands, all of whose processes can be found by a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, MARK: self.mark}
        self.started: list[subprocess.Popen[str]] = []

    def program(self, source: str, name: str = "program.py") -> Path:
        """Write a program."""
        path = self.folder / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    def start(self, *args: str | Path, joined: bool = False, stdin: bool | Path = False) -> subprocess.Popen[str]:
        """Start a command in a process group of its own.

        With `joined`, its stderr goes where its stdout does. Its stdin is nothing, a pipe, or a file.
        """
        source = open(stdin) if isinstance(stdin, Path) else subprocess.PIPE if stdin else subprocess.DEVNULL  # noqa: SIM115
        process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            cwd=self.folder,
            env=self.environment,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if joined else subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
        )
        self.started.append(process)
        if not isinstance(source, int):
            source.close()
        return process

    def run(self, *args: str | Path, joined: bool = False, text: str | None = None) -> tuple[int, str, str]:
        """Run a command to its end; gives its exit code, stdout and stderr."""
        process = self.start(*args, joined=joined, stdin=text is not None)
        out, err = process.communicate(text, timeout=DEADLINE)
        return process.returncode, out, err or ""

    def processes(self, *words: str) -> set[int]:
        """The processes with our mark that still run, and have these words on their command line."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # gone meanwhile, or not ours
            if marked and all(word in command for word in words):
                found.add(int(folder.name))
        return found

    def wait_none_left(self) -> None:
        """Wait until no process with our mark runs."""
        wait_until(lambda: not self.processes(), "processes are left")

    def clean_up(self) -> None:
        """End what a failed test left."""
        for process in self.started:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for pid in self.processes():
            os.kill(pid, KILL)
        for process in self.started:
            process.wait(DEADLINE)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Look again and again, since the system has no event for it."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """Commands that run in an empty folder. Whatever the test did, no process may be left at its end."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc to find the processes")
    commands = CommandLine(tmp_path)
    # A shell that runs the tests in the background lets them, and what they start, ignore Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield commands
        commands.wait_none_left()
    finally:
        signal.signal(signal.SIGINT, handler)
        commands.clean_up()


@attrs.frozen
class Listening:
    """A process with a context that listens."""

    process: subprocess.Popen[str]
    address: str


@pytest.fixture
def listening(command_line: CommandLine) -> Listening:
    process = command_line.start("sub", "--bind", "localhost:0", "chat")
    assert process.stderr is not None
    return Listening(process, process.stderr.readline().split()[-1])
