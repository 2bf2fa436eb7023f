"""The private names of Trio that the simulator needs.

If one of these tests fails, Trio has changed. Look in Trio's ``_core/_run.py`` for how pytest-trio makes the order of tasks
deterministic now (search for "Hypothesis"), and in ``_threads.py`` for what starts a thread; change `trioton.testing.trio_private`
alone, and put the least version of Trio into ``pyproject.toml`` if the old one is no longer served.
"""

from __future__ import annotations

import inspect
import random
import threading

import trio
import trio._core._run
import trio._threads
import trio.testing

from trioton.testing.trio_private import deterministic_scheduling, threads_inline

_run = trio._core._run
_threads = trio._threads


def test_the_names_are_there() -> None:
    assert _run._ALLOW_DETERMINISTIC_SCHEDULING in (False, True)  # pytest-trio sets it when hypothesis is there
    assert isinstance(_run._r, random.Random)
    source = inspect.getsource(_run.unrolled_run)
    assert "if _ALLOW_DETERMINISTIC_SCHEDULING:" in source
    assert "_r.shuffle(batch)" in source
    assert "start_thread_soon(" in inspect.getsource(_threads.to_thread_run_sync)


def order_of_tasks(seed: int) -> list[int]:
    order: list[int] = []

    async def wake(number: int) -> None:
        await trio.sleep(1)
        order.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(wake, number)

    with deterministic_scheduling(random.Random(seed)):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return order


def test_the_seed_decides_about_the_order_of_tasks() -> None:
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    orders = [order_of_tasks(seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_functions_for_threads_run_at_once() -> None:
    async def main() -> tuple[object, object, float]:
        found = await trio.to_thread.run_sync(threading.current_thread), threading.current_thread()
        try:
            await trio.to_thread.run_sync(lambda: 1 // 0)
        except ZeroDivisionError:
            return *found, trio.current_time()
        raise AssertionError("what a function raises comes out")

    with threads_inline():
        there, here, now = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert there is here
    assert now == 0
    assert trio.run(trio.to_thread.run_sync, threading.current_thread) is not threading.current_thread()
