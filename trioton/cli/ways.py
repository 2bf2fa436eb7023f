"""The network of ``trioton demo``, as its three processes see it.

The terminal and the worker are each connected to a broker, a process of its own, and find each other by name through it. Beside
each of the two stands a second context in the same process, and these are connected straight to each other::

    terminal ---- broker ---- worker
        |                        |
    its bypass ------------- its bypass

That way is longer by a link, so nothing goes over it as long as the broker is there. If the broker dies, all goes over it, and returns when
there is a broker again: that is what networks of contexts do by themselves, and nothing is lost meanwhile.

The broker and the worker have the end of a pipe from the terminal as their stdin. Nothing is ever written there; it ends when
the terminal does, even if that is killed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Self

import attrs
import trio

import trioton

MAX_SOCKET_PATH: Final = 100
"""Bytes of a Unix socket's path that every system takes."""

HEARTBEAT: Final = trioton.Heartbeat(lease=7 * 24 * 3600.0)
"""All are on one machine, where the system says when a process has ended. Silence only means that one was suspended by Ctrl-Z."""

RECONNECT: Final = trioton.Reconnect(first=0.06, factor=1.03, maximum=1.0)
"""All start at once, and each takes about as long: who dials often does not wait long."""

PAUSE: Final = 0.1
"""Seconds after the broker's goodbye before it is dialled again."""


@attrs.frozen
class Place:
    """Where the processes of one demo meet.

    Attributes:
        directory: A directory that only this user may enter, with the sockets.
        token: What makes the names of contexts and addresses those of this demo.
    """

    directory: str
    token: str

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Self]:
        """Make one, and remove it at the end."""
        # A path that is too long for a socket, such as that of a directory for temporary files deep inside another, is of no use.
        roots = [None, "/tmp"]  # noqa: S108  # mkdtemp makes a directory of our own there
        for root in roots:
            directory = tempfile.mkdtemp(prefix="trioton-demo-", dir=root)
            place = cls(directory, secrets.token_hex(4))
            try:
                if len(os.fsencode(place._path("broker"))) < MAX_SOCKET_PATH or root is not None:
                    yield place
                    return
            finally:
                place.remove()

    def remove(self) -> None:
        """Remove it, whatever is in it; the last of the processes does that if the terminal was killed."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, name: str) -> str:
        return str(Path(self.directory, name))

    @property
    def broker_address(self) -> str:
        """Where the broker listens."""
        return f"unix://{self._path('broker')}"

    @property
    def bypass_address(self) -> str:
        """Where the worker's second context listens for that of the terminal."""
        return f"unix://{self._path('bypass')}"

    def name_of(self, who: str) -> str:
        """The name of the context of the terminal, the worker or the broker."""
        return f"{who}-{self.token}"


@asynccontextmanager
async def open_contexts(place: Place, who: str, grace: float) -> AsyncIterator[tuple[trioton.Context, trioton.Context]]:
    """The context of the terminal or the worker, and the one beside it through which the second way leads.

    Args:
        place: Where the processes meet.
        who: ``"terminal"`` or ``"worker"``.
        grace: Seconds that closing may take.
    """
    name = place.name_of(who)
    async with (
        trioton.open_context(name, heartbeat=HEARTBEAT, grace=grace) as context,
        trioton.open_context(f"{name}-bypass", heartbeat=HEARTBEAT, grace=grace) as bypass,
    ):
        listener = await bypass.bind(f"mem://{name}")
        await context.connect(listener.address)
        listener.close()
        yield context, bypass


class BrokerLink:
    """The connection of a context to the broker, which is made again whatever ends it.

    Args:
        context: The context.
        place: Where the broker is.
    """

    def __init__(self, context: trioton.Context, place: Place) -> None:
        self._context = context
        self._address = place.broker_address
        self._connection: trioton.Connection | None = None
        self._packages_before = 0

    @property
    def packages(self) -> int:
        """Packages that have come through the broker; it has none of its own to say."""
        now = 0 if self._connection is None else self._connection.statistics().packages_received
        return self._packages_before + now

    async def keep(self, task_status: trio.TaskStatus[trioton.Connection] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and connect again after a goodbye; a connection that breaks is dialled again by itself. To be run in a task."""
        is_first = True
        while True:
            try:
                connection = await self._context.connect(self._address, wait=True, reconnect=RECONNECT)
            except trioton.ConnectError:
                pass  # the old connection has not quite ended
            else:
                self._connection = connection
                if is_first:
                    is_first = False
                    task_status.started(connection)
                await connection.wait_closed()
                self._packages_before, self._connection = self.packages, None
            await trio.sleep(PAUSE)


async def wait_terminal_gone() -> None:
    """Wait until the terminal has let go of this process, or is gone."""
    if sys.platform != "win32":  # where there is no demo
        async with trio.lowlevel.FdStream(os.dup(0)) as lifeline:
            while await lifeline.receive_some():
                pass
