"""All that the simulator needs of Trio beyond its public names, in this one file.

Trio runs the tasks that are ready at the same moment in an order that it shuffles, so that nobody relies on one. Its own tests,
and those under hypothesis, need an order that a seed decides; for them there are two private names, which pytest-trio uses as well:
``_ALLOW_DETERMINISTIC_SCHEDULING`` and ``_r``, both in ``trio._core._run``. Functions for `trio.to_thread.run_sync` go to a thread
through ``start_thread_soon``, as ``trio._threads`` knows it. A task that waits has an ``_abort_func``, one that
is about to run what it is sent, ``_next_send``.

``tests/testing/test_trio_private.py`` fails when Trio changes one of them, and says what to do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import outcome
import trio._core._run
import trio._threads


@contextmanager
def deterministic_scheduling(source: random.Random) -> Iterator[None]:
    """Let `source` alone decide in which order `trio.run` runs tasks that are ready at the same moment."""
    run: Any = trio._core._run  # its names are final, and not ours: that is why this file is here
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r
    run._ALLOW_DETERMINISTIC_SCHEDULING, run._r = True, source
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING, run._r = before


def throw_into(task: trio.lowlevel.Task, error: Exception) -> None:
    """Let a task raise `error` where it is, though it may be shielded: the last resort, after which its `trio.run` must end."""
    if task._abort_func is not None:
        trio.lowlevel.reschedule(task, outcome.Error(error))
    else:  # it is about to run
        task._next_send = outcome.Error(error)


@contextmanager
def threads_inline() -> Iterator[None]:
    """Run functions for `trio.to_thread.run_sync` at once, in the thread of the caller."""
    threads: Any = trio._threads  # it gets another function, and says nowhere that it has one
    before = threads.start_thread_soon

    def start_inline(
        function: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], object], _name: str | None = None
    ) -> None:
        deliver(outcome.capture(function))

    threads.start_thread_soon = start_inline
    try:
        yield
    finally:
        threads.start_thread_soon = before
