"""Keeps the real world out of a simulation: its clocks, its chance, its network, its processes and its threads.

What is kept out raises `RealWorldError` at the place of the mistake. Only the thread that simulates is concerned. Reading and
writing files is allowed: a test may need its data, and that does not depend on time.
"""

from __future__ import annotations

import _thread
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final
from unittest import mock

from .chance import seeded_run
from .trio_private import deterministic_scheduling, threads_inline

CLOCKS: Final = (
    "clock_gettime",
    "clock_gettime_ns",
    "ctime",
    "gmtime",
    "localtime",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "sleep",
    "strftime",
    "time",
    "time_ns",
)
"""The functions of `time` that nobody calls in a simulation but those who are allowed to."""

TELLS_NO_TIME: Final = {"ctime": 1, "gmtime": 1, "localtime": 1, "strftime": 2}
"""With so many arguments, these convert a time that they were given."""

TRUSTED: Final = frozenset(
    {
        *sys.stdlib_module_names,
        "_pytest",
        "coverage",
        "hypothesis",
        "outcome",
        "pluggy",
        "pytest",
        "pytest_trio",
        "trio",
    }
    - {"__main__"}
)
"""Who may look at a real clock: they stamp log records and measure tests, and nothing that is simulated depends on it."""

FORBIDDEN: Final = {
    "_thread.start_joinable_thread": "starts a thread",
    "_thread.start_new_thread": "starts a thread",
    "os.exec": "replaces this process",
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a process",
    "socket.bind": "uses a real socket",
    "socket.connect": "uses a real socket",
    "socket.getaddrinfo": "asks a real name server",
    "socket.gethostbyaddr": "asks a real name server",
    "socket.gethostbyname": "asks a real name server",
    "socket.sendmsg": "uses a real socket",
    "socket.sendto": "uses a real socket",
    "subprocess.Popen": "starts a process",
}
"""What raises in a simulation, by the names of the interpreter's audit events."""


THREADS_ARE_AUDITED: Final = sys.version_info >= (3, 12)
"""Whether the interpreter tells its audit hooks of new threads."""


class RealWorldError(RuntimeError):
    """A simulation has reached for the real world: a clock, a socket, a process or a thread."""


_guarded_thread: int | None = None
_has_hook = False


def _audit(event: str, _args: tuple[object, ...]) -> None:
    if _guarded_thread is not None and event in FORBIDDEN and threading.get_ident() == _guarded_thread:
        raise RealWorldError(f"{event} {FORBIDDEN[event]}, and a simulation must not: use the network's hosts")


def _start_thread(*args: Any) -> Any:
    _audit("_thread.start_new_thread", ())
    return _thread.start_new_thread(*args)


@contextmanager
def no_real_io() -> Iterator[None]:
    """Let real sockets, processes and threads raise, for this thread."""
    global _guarded_thread, _has_hook  # an audit hook is for the whole process
    if not _has_hook:
        sys.addaudithook(_audit)
        _has_hook = True
    before, _guarded_thread = _guarded_thread, threading.get_ident()
    try:
        yield
    finally:
        _guarded_thread = before


def _guarded(name: str, allowed: frozenset[str]) -> Callable[..., Any]:
    real = getattr(time, name)
    guarded_thread = threading.get_ident()

    def guard(*args: Any) -> Any:
        frame = sys._getframe(1)
        module = str(frame.f_globals.get("__name__", ""))
        if len(args) >= TELLS_NO_TIME.get(name, math.inf):
            return real(*args)
        if threading.get_ident() != guarded_thread or module.partition(".")[0] in allowed or module in allowed:
            return real(*args)
        instead = "trio.sleep()" if name == "sleep" else "trio.current_time()"
        where = f"{module}, line {frame.f_lineno}"
        raise RealWorldError(f"time.{name}() was called in a simulation, by {where}: use {instead}")

    return guard


@contextmanager
def isolated(seed: int, allow: Sequence[str] = ()) -> Iterator[None]:
    """Let `seed` decide about everything that happens in this block, on this thread.

    Args:
        seed: What all chance comes from: the order of tasks, the module `random`, `os.urandom`.
        allow: Modules, or packages, that may look at real clocks.
    """
    source = random.Random(f"{seed}/system")
    allowed = TRUSTED | frozenset(allow)
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        random.seed(f"{seed}/random")
        stack.enter_context(deterministic_scheduling(random.Random(f"{seed}/tasks")))
        stack.enter_context(threads_inline())
        stack.enter_context(seeded_run(None))
        for module in (os, random):  # both have a name for it, and `secrets`, `uuid` and `SystemRandom` use one of them
            stack.enter_context(mock.patch.object(module, "urandom" if module is os else "_urandom", source.randbytes))
        if not THREADS_ARE_AUDITED:
            stack.enter_context(mock.patch.object(threading, "_start_new_thread", _start_thread))
        for name in filter(partial(hasattr, time), CLOCKS):  # not all are everywhere
            stack.enter_context(mock.patch.object(time, name, _guarded(name, allowed)))
        yield
