"""What a test may leave behind: threads, file descriptors, children, tasks and socket files."""

from __future__ import annotations

import contextlib
import gc
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs
import trio

SETTLE: Final = 1.0
"""Seconds of real time in which what looks like a leak may end by itself: a thread's last steps take a moment."""

_POLL: Final = 0.01
"""Seconds of real time between two looks."""

_CHECKPOINTS: Final = 20
"""How many times the tasks that are ending may run before one that is still there counts."""

_PREFIX: Final = "trioton"
"""How the names of our files and directories in shared places begin."""


class LeakError(AssertionError):
    """Something is left that was not there before.

    Attributes:
        leaks: One line for each kind, such as ``2 file descriptors: 7 -> socket:[123], 8 -> pipe:[124]``.
    """

    def __init__(self, leaks: tuple[str, ...]) -> None:
        super().__init__("\n".join(("left behind:", *leaks)))
        self.leaks = leaks


def leak_check(*, settle: float = SETTLE) -> LeakCheck:
    """Check that a block leaves nothing behind: use the result in ``with`` or ``async with``.

    ::

        async with trioton.testing.leak_check():
            async with trioton.open_context("a") as a:
                await a.bind("localhost:0")

    It sees threads (but not those which Trio keeps for reuse), file descriptors and child processes (where there is a
    ``/proc``), socket files of Trioton in the temporary and runtime directories, and, inside `trio.run`, tasks. ``async
    with`` lets tasks that are ending come to their end first; ``with`` cannot.

    Args:
        settle: How long, in seconds of real time, a leak may take to end by itself. Where there is none, nothing waits.

    Raises:
        LeakError: Something is left. If the block itself raises, that error gets a note instead.
        RuntimeError: The block began outside of the `trio.run` in which it ends, or the other way round.
        ValueError: `settle` is negative.
    """
    return LeakCheck(settle=settle)


class LeakCheck:
    """What `leak_check` gives: remembers what there was when the block began."""

    def __init__(self, *, settle: float = SETTLE) -> None:
        if not settle >= 0:
            raise ValueError(f"settle must not be negative, not {settle!r}")
        self._settle = settle
        self._run: trio.lowlevel.Task | None = None
        self._before: dict[str, Mapping[Hashable, str]] | None = None

    def __repr__(self) -> str:
        return f"<LeakCheck, {'not begun' if self._before is None else 'begun'}>"

    def leaks(self) -> tuple[str, ...]:
        """Describe what is there now and was not when the block began, one line for each kind; () if there is nothing.

        Raises:
            RuntimeError: The block has not begun, or it began in another `trio.run` or outside of this one.
        """
        before = self._before
        if before is None:
            raise RuntimeError("the block has not begun")
        if self._run is not _current_run():
            raise RuntimeError("a leak check must begin and end in the same trio.run, or outside of any")
        lines = (_describe(kind, find(), before[kind.singular]) for kind, find in _KINDS.items())
        return tuple(line for line in lines if line)

    def _begin(self) -> None:
        self._run = _current_run()
        self._before = {kind.singular: find() for kind, find in _KINDS.items()}

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if exc is not None:
            self._add_note(exc)
            return
        patience = self._patience()
        while leaks := self.leaks():
            if not next(patience):
                raise LeakError(leaks)

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if exc is not None:
            self._add_note(exc)
            return
        # Shielded, for the check must also be made where everything was cancelled; and it never waits for anything.
        with trio.CancelScope(shield=True):
            for _ in range(_CHECKPOINTS):
                await trio.lowlevel.checkpoint()
                if not self.leaks():
                    return
            patience = self._patience()
            while leaks := self.leaks():
                if not next(patience):
                    raise LeakError(leaks)
                await trio.lowlevel.checkpoint()

    def _patience(self) -> Iterator[bool]:
        """Wait a little at each step, and yield False when that was enough.

        It blocks the whole thread: so a simulated clock stands still, where waiting for a thread would let it jump.
        """
        end = time.monotonic() + self._settle
        gc.collect()  # what only a cycle of garbage holds is not left behind; its own warning tells of it
        yield True
        while time.monotonic() < end:
            time.sleep(_POLL)
            yield True
        while True:
            yield False

    def _add_note(self, exc: BaseException) -> None:
        if leaks := self.leaks():
            exc.add_note("\n".join(("when this left the block of leak_check, there was still:", *leaks)))


@attrs.frozen
class _Kind:
    singular: str
    plural: str


def _describe(kind: _Kind, now: Mapping[Hashable, str], before: Mapping[Hashable, str]) -> str:
    new = [name for key, name in now.items() if key not in before]
    return f"{len(new)} {kind.singular if len(new) == 1 else kind.plural}: {', '.join(new)}" if new else ""


def _current_run() -> trio.lowlevel.Task | None:
    return trio.lowlevel.current_root_task() if trio.lowlevel.in_trio_run() else None


def _list_directory(path: str | Path) -> list[str]:
    """The names in a directory, in order; none if it is not there or not for us."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _find_threads() -> dict[Hashable, str]:
    # Trio keeps threads for the next `trio.to_thread.run_sync`; without work they end after ten seconds. Such a thread
    # is called "Trio thread n" while it is idle, and after its work while it has some.
    return {
        thread: f"{thread.name!r}{' (daemon)' if thread.daemon else ''}"
        for thread in threading.enumerate()
        if not thread.name.startswith("Trio thread ")
    }


def _find_descriptors() -> dict[Hashable, str]:
    # Those of Trio itself are there before and after, or neither, since a check begins and ends in the same run.
    found: dict[Hashable, str] = {}
    for number in sorted(_list_directory("/proc/self/fd"), key=int):
        with contextlib.suppress(OSError):  # the one by which the directory was listed is gone
            target = os.readlink(f"/proc/self/fd/{number}")
            found[number, target] = f"{number} -> {target}"
    return found


def _find_children() -> dict[Hashable, str]:
    found: dict[Hashable, str] = {}
    own = str(os.getpid())
    for pid in filter(str.isdecimal, _list_directory("/proc")):
        with contextlib.suppress(OSError, KeyError, IndexError):  # it may end while we look
            lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
            status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if status["PPid"] == own:
                # A number may be used again: it is a process together with the moment at which it began.
                began = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
                command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
                found[pid, began] = f"{pid} ({command or status['Name']}; {status['State']})"
    return found


def running_tasks() -> dict[Hashable, str]:
    """The tasks of this `trio.run`, with their names; none outside of one."""
    root = _current_run()
    found: dict[Hashable, str] = {}
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        found[task] = task.name
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


def _find_socket_files() -> dict[Hashable, str]:
    others = _sockets_of_others()
    places = {tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR") or "/tmp"}  # noqa: S108 # only looked at
    found: dict[Hashable, str] = {}
    for place in sorted(places):
        for name in _list_directory(place):
            if name.lstrip(".").startswith(_PREFIX):
                for path in _walk_sockets(Path(place, name)):
                    if str(path) not in others:
                        found[path] = str(path)
    return found


def _walk_sockets(path: Path, depth: int = 2) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode):
            yield path
        elif stat.S_ISDIR(mode) and depth:
            for name in _list_directory(path):
                yield from _walk_sockets(path / name, depth - 1)


def _sockets_of_others() -> set[str]:
    """The paths of the Unix sockets that are open, but not by this process."""
    own = {target for _, target in (name.split(" -> ") for name in _find_descriptors().values())}
    inodes: dict[str, set[str]] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8:
                inodes.setdefault(fields[7], set()).add(f"socket:[{fields[6]}]")
    return {path for path, users in inodes.items() if users.isdisjoint(own)}


_KINDS: Final[Mapping[_Kind, Callable[[], Mapping[Hashable, str]]]] = {
    _Kind("thread", "threads"): _find_threads,
    _Kind("file descriptor", "file descriptors"): _find_descriptors,
    _Kind("child process", "child processes"): _find_children,
    _Kind("task", "tasks"): running_tasks,
    _Kind("socket file", "socket files"): _find_socket_files,
}
