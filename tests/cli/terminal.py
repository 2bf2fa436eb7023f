"""A terminal, for commands that behave otherwise in one."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import CommandLine


class Terminal:
    """A terminal of 100 columns in which a command runs."""

    pid: int
    fd: int
    seen: str

    def __init__(self, command_line: CommandLine, *args: str | Path) -> None:
        if sys.platform != "win32":
            self.pid, self.fd = pty.fork()
            if not self.pid:
                os.environ.update(command_line.environment, TERM="xterm-256color", COLUMNS="100", LINES="24")
                os.environ.pop("NO_COLOR", None)
                os.execv(sys.executable, [sys.executable, "-W", "error", "-m", "trioton", *map(str, args)])
        self.seen = ""

    def wait_for(self, text: str | None) -> None:
        """Read until the text comes, or to the end."""
        deadline = time.monotonic() + 20
        while text is None or text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""  # what Linux says at the end
            if not data:
                assert text is None, f"no {text!r} in {self.seen!r}"
                return
            self.seen += data.decode(errors="replace")

    def end(self) -> int:
        """Read the rest; gives the exit code."""
        self.wait_for(None)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
