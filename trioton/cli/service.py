"""What a command that runs as a service says to the system: lines for its log, and that it is ready or about to end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

logger = logging.getLogger("trioton.broker")

NOTIFY_DEADLINE: Final = 2.0
"""Seconds that the service manager has to take what we tell it; it takes none unless something is wrong."""

TERMINAL_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JOURNAL_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"

_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class JournalFormatter(logging.Formatter):
    """Lines for systemd's journal, which has the time by itself, and takes ``<4>`` in front for the priority of a warning."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>{super().format(record)}"


def _choose_formatter() -> logging.Formatter:
    journal = os.environ.get("JOURNAL_STREAM")
    if not journal:
        return logging.Formatter(TERMINAL_FORMAT)
    # Others than the journal may read what we say, though the variable was passed on to us: it names the stream that it is about.
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return logging.Formatter(JOURNAL_FORMAT)
    if journal == f"{status.st_dev}:{status.st_ino}":
        return JournalFormatter()
    return logging.Formatter(JOURNAL_FORMAT)


@contextmanager
def logging_to_stderr(*, debug: bool) -> Iterator[None]:
    """Write what Trioton logs to stderr, a line each: from INFO on, or everything with `debug`."""
    ours = logging.getLogger("trioton")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_choose_formatter())
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


async def notify(state: str) -> None:
    """Tell the service manager that started us how we are, such as ``READY=1``, as systemd's ``sd_notify`` does.

    Does nothing without the variable ``NOTIFY_SOCKET`` in the environment. What goes wrong is logged, and no more.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    try:
        with trio.fail_after(NOTIFY_DEADLINE):
            await _send_datagram(path, state.encode())
    except (OSError, ValueError, trio.TooSlowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or f"it took over {NOTIFY_DEADLINE:g} s"
        logger.warning("could not tell %r to NOTIFY_SOCKET=%s: %s", state, ascii(path), reason)


async def _send_datagram(path: str, data: bytes) -> None:
    if sys.platform == "win32":
        raise OSError("there are no Unix sockets here")
    else:  # noqa: RET506 - so that type checkers see that this is not for Windows
        if not path.startswith(("/", "@")):
            raise ValueError("it is neither a path nor an abstract name")
        address = os.fsencode(path)
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(address)
            await sock.send(data)


def check_ready_fd(number: int) -> None:
    """Refuse a descriptor that nobody has opened for us.

    Raises:
        ValueError: It is not open.
    """
    try:
        os.fstat(number)
    except OSError as error:
        raise ValueError(f"{number} is no open file descriptor") from error


def write_ready(number: int, text: str) -> None:
    """Write to a descriptor that whoever started us has opened for this, and close it. What goes wrong is logged, and no more."""
    try:
        try:
            os.write(number, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(number)
    except OSError as error:
        logger.warning("could not write to --ready-fd %d: %s", number, error.strerror)
