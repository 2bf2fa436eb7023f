"""The clients of the example of a kernel, as users see them: in a terminal, and in a window that nobody looks at."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.net, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]

if sys.platform != "win32":
    import pty

    from trioton.transports.processes import process_is_alive


class Terminal:
    """A terminal in which all of the example runs."""

    def __init__(self) -> None:
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="24", PYTHONPATH=str(ROOT))
            os.execv(sys.executable, [sys.executable, "-m", "examples.kernel"])

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def press(self, key: str, pattern: str | None) -> None:
        """Press a key until something comes: between two lines that are edited the terminal takes keys for itself."""
        for _ in range(10):
            self.type(key)
            try:
                self.wait_for(pattern, 3)
                return
            except AssertionError:
                pass
        raise AssertionError(f"no {pattern!r} in {self.seen!r}")

    def wait_for(self, pattern: str | None, seconds: float = 30) -> re.Match[str] | None:
        """Read until something comes, and forget all up to it; or to the end."""
        deadline = time.monotonic() + seconds
        while pattern is None or not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""  # what Linux says at the end
            if not data:
                assert pattern is None, f"no {pattern!r} in {self.seen!r}"
                return None
            if b"\x1b[6n" in data:
                os.write(self.fd, b"\x1b[1;1R")  # where the cursor is
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", data.decode(errors="replace"))
        self.seen = self.seen[found.end() :]
        return found

    def end(self) -> int:
        """Close the terminal; gives the exit code."""
        os.close(self.fd)
        self.fd = -1
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    if terminal.fd >= 0:
        terminal.end()  # as if its window had been closed


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.skipif(importlib.util.find_spec("prompt_toolkit") is None, reason="prompt_toolkit is not installed")
def test_k13_a_session_in_the_terminal_leaves_nothing_behind(terminal: Terminal) -> None:
    terminal.wait_for("kernel 1, process ")
    terminal.wait_for("Python 3")
    terminal.type("import os, sys; print(os.getppid(), os.getpid(), sys.argv[1], sys.argv[0])\r")
    found = terminal.wait_for(r"(\d+) (\d+) unix://(\S+)")
    assert found is not None
    broker, kernel, socket = int(found[1]), int(found[2]), Path(found[3])
    assert process_is_alive(broker)
    assert process_is_alive(kernel)
    assert socket.exists()

    terminal.type("sys.stdl\t")
    terminal.wait_for("ib_module_names")
    terminal.type("\r")
    terminal.wait_for("frozenset")
    terminal.type("name = input('who? ')\r")
    terminal.wait_for(r"who\? ")
    terminal.type("Bob\rprint(name * 2)\r")
    terminal.wait_for("BobBob\n")
    terminal.type("while True: pass\r\r")
    terminal.wait_for(r"\.\.\. +\n")
    terminal.type("\x03")
    terminal.wait_for("KeyboardInterrupt\n")
    terminal.press("\x12", r"kernel \d, process ")
    terminal.wait_for("Python 3")
    assert not process_is_alive(kernel)
    terminal.type("import os; print('now', os.getpid())\r")
    found = terminal.wait_for(r"now (\d+)\n")
    assert found is not None

    terminal.press("\x04", None)
    assert terminal.end() == 0
    assert [pid for pid in (broker, kernel, int(found[1])) if process_is_alive(pid)] == []
    assert not socket.parent.exists()


DRIVER = """
import sys
from examples.kernel import client_qt, main


class Driven(client_qt.Window):
    def __init__(self):
        super().__init__()
        self.steps = self.drive()
        self.wanted = next(self.steps)
        self.shell.textChanged.connect(self.look)

    def look(self):
        if self.wanted and self.wanted in self.shell.toPlainText():
            self.wanted = next(self.steps, "")

    def drive(self):
        yield "Python 3"
        self.editor.setPlainText("## one\\nprint('cell ' + 'one')  # first\\n## two\\nprint('cell', 1 + 1)\\n")
        colours = self.editor.document().findBlockByNumber(1).layout().formats()
        print("coloured", len(colours))
        cursor = self.editor.textCursor()
        cursor.setPosition(self.editor.document().findBlockByNumber(3).position())
        self.editor.setTextCursor(cursor)
        print("selected", self.editor.selected())
        self.run_selected()
        yield "cell 2"
        self.run_all()
        yield "cell one"
        self.line.setText("6 * 7")
        self.line.returnPressed.emit()
        yield "42"
        self.line.setText("while True: pass")
        self.line.returnPressed.emit()
        yield "while True"
        self.line.returnPressed.emit()
        yield "... \\n"
        next(action for action in self.actions_of_kernel() if action.text() == "Interrupt").trigger()
        yield "KeyboardInterrupt"
        print(self.shell.toPlainText())
        self.close()

    def actions_of_kernel(self):
        return self.findChild(client_qt.QtWidgets.QToolBar).actions()


client_qt.Window = Driven
main.main(["--qt"])
"""


def test_a_session_in_a_window() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-c", DRIVER]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if "needs PySide6" in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert int(lines[0].removeprefix("coloured ")) >= 3
    assert lines[1] == r"""selected ("## two\nprint('cell', 1 + 1)\n\n", 3)"""
    shown = "\n".join(lines[2:])
    assert re.search(
        r"\[kernel 1, process \d+\]\nPython 3.*\ncell 2\ncell one\ncell 2\n>>> 6 \* 7\n42\n>>> while True: pass\n\.\.\. \n"
        r"Traceback (.*\n)+KeyboardInterrupt",
        shown,
    ), shown
