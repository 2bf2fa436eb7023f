"""A broker, its kernel and a client, all on this machine: ``python -m examples.kernel``, or with ``--qt`` for the one with a window."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import broker

assert sys.platform != "win32", "kernels need signals and process groups as Linux and macOS have them"

END_WITHIN = 10.0
"""Seconds that the broker has to end when its client has; it takes three at most."""


@contextmanager
def started_broker() -> Iterator[str]:
    """A broker in a process of its own, which ends with its last client. Gives its address."""
    # In a session of its own, so that Ctrl-C in the terminal is the client's alone.
    process = subprocess.Popen(
        [sys.executable, "-m", broker.__name__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=broker.environment(),
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process.stdout.readline().decode().strip()
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait(END_WITHIN)


def main(args: Sequence[str] | None = None) -> None:
    """Start everything, and return when the client has left and no process is left."""
    parser = argparse.ArgumentParser(prog="kernel", description="A Python kernel with a client.")
    parser.add_argument("--qt", action="store_true", help="the client with a window, instead of that in the terminal")
    options = parser.parse_args(args)
    with started_broker() as address:
        if options.qt:
            from . import client_qt

            client_qt.main([address])
        else:
            from . import client_terminal

            client_terminal.main([address])
