"""Ctrl-C in the main thread at any moment: nothing is lost, nothing is doubled, nothing hangs.

A timer raises `KeyboardInterrupt` again and again, wherever the main thread happens to be inside the call under test.
"""

from __future__ import annotations

import _thread
import gc
import inspect
import random
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import trio

import trioton
from trioton import OBJECT, blocking
from trioton.blocking import portal
from trioton.blocking.portal import wait_released
from trioton.blocking.pulling import _Held

from .conftest import DEADLINE, Pair

if sys.platform == "win32":
    pytest.skip("Windows has no timer signals", allow_module_level=True)

pytestmark = pytest.mark.slow

MOST = 500
"""How often a test is interrupted in quick succession: on a busy machine hardly any call comes to its end while that goes on."""

WEAK_REFERENCES = {inspect.getfile(weakref), inspect.getfile(weakref.WeakSet)}
"""The files of Python's own collections of weak references."""


class Interrupts:
    """A timer that interrupts `be_interrupted`, and nothing else.

    Attributes:
        count: How often it has.
    """

    def __init__(self) -> None:
        self.count = 0
        self._random = random.Random(5)

    def start(self) -> None:
        # Mostly soon, but now and then late enough that a call comes to its end on however busy a machine.
        soonest, latest = (0.0005, 0.003) if self.count < MOST else (0.05, 0.1)
        signal.setitimer(signal.ITIMER_REAL, self._random.uniform(soonest, latest))

    def raise_it(self, number: int, frame: FrameType | None) -> None:
        self.start()
        if is_forgetting(frame):
            return
        while frame is not None:
            if frame.f_code.co_name == "be_interrupted":
                self.count += 1
                raise KeyboardInterrupt
            frame = frame.f_back


def is_forgetting(frame: FrameType | None) -> bool:
    """Whether Python is forgetting an object (in `__del__`, or in what a weak reference calls): what is raised there goes nowhere."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename in WEAK_REFERENCES:
            return True
        frame = frame.f_back
    return False


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    timer = Interrupts()
    before = signal.signal(signal.SIGALRM, timer.raise_it)
    try:
        yield timer
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def in_thread(function: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=function)
    thread.start()
    yield
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["one", "many", "merged", "newest go"])
def test_no_message_is_lost(pair: Pair, interrupts: Interrupts, kind: str) -> None:
    count = 1000 if kind == "newest go" else 8000
    policy = trioton.DropNewest(count) if kind == "newest go" else trioton.Block(64)
    sub = blocking.SubChannel(pair.b, "slot", OBJECT, policy=policy)
    pub = blocking.PubChannel(pair.a, "slot", OBJECT)
    pub.wait_subscribers(timeout=DEADLINE)
    merged = blocking.merge(sub)
    got: list[object] = []

    def be_interrupted() -> None:
        nonlocal got
        # Python looks for signals at calls: nothing can come between the end of the call and what is done with its result.
        while len(got) < count:
            if kind == "many":
                got += sub.receive_many(7)
            elif kind == "merged":
                got += (merged.receive()[1],)
            else:
                got += (sub.receive(),)

    def send() -> None:
        for first in range(0, count, 10):
            pub.send_many(range(first, first + 10))

    with in_thread(send):
        interrupts.start()
        while len(got) < count:
            try:
                be_interrupted()
            except KeyboardInterrupt:
                pass
    assert got == list(range(count))
    assert interrupts.count > 2


@pytest.mark.parametrize("ahead", [0, 50])
def test_a_message_was_sent_or_not(pair: Pair, interrupts: Interrupts, ahead: int) -> None:
    sub = blocking.SubChannel(pair.b, "slot", OBJECT, policy=trioton.Block(16))
    pub = blocking.PubChannel(pair.a, "slot", OBJECT, ahead=ahead)
    pub.wait_subscribers(timeout=DEADLINE)
    count = 8000 if ahead else 1500
    number = 0
    certain: list[object] = []
    got: list[object] = []

    def be_interrupted() -> None:
        nonlocal number, certain
        while number < count:
            number += 1
            pub.send(number)
            certain += (number,)

    with in_thread(lambda: got.extend(iter(sub.receive, None))):
        interrupts.start()
        while number < count:
            try:
                be_interrupted()
            except KeyboardInterrupt:
                pass
        pub.send(None)
    assert set(certain) <= set(got)
    assert got == sorted(set(got))  # type: ignore[type-var]
    assert pub.statistics().sent == len(got) + 1
    assert interrupts.count > 10


@pytest.mark.parametrize("kind", ["loop", "take", "receive"])
def test_each_job_is_done_whoever_is_interrupted(pair: Pair, interrupts: Interrupts, kind: str) -> None:
    push = blocking.PushChannel(pair.a, "jobs", OBJECT)
    pull = blocking.PullChannel(pair.b, "jobs", OBJECT, prefetch=3)
    count = 1000
    done: list[object] = []

    def be_interrupted() -> None:
        nonlocal done
        if kind == "loop":
            for job in pull:
                done += (job,)
        while len(set(done)) < count:
            if kind == "take":
                with pull.take(timeout=DEADLINE) as job:
                    done += (job,)
            else:
                done += (pull.receive(timeout=DEADLINE),)

    with in_thread(lambda: push.send_many(range(count), timeout=DEADLINE)):
        interrupts.start()
        while len(set(done)) < count:
            try:
                be_interrupted()
            except KeyboardInterrupt:
                pass
    push.wait_done(timeout=DEADLINE)
    assert set(done) == set(range(count))
    assert (push.statistics().done, push.statistics().failed, pull.statistics().running) == (count, 0, 0)
    if kind == "receive":
        assert len(done) == count
    assert interrupts.count > 10


def test_a_job_is_not_lost_if_ctrl_c_comes_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes while the thread waits to hear whether the job of the first was done."""
    push = blocking.PushChannel(pair.a, "jobs")
    pull = blocking.PullChannel(pair.b, "jobs")
    leave = _Held.leave

    async def leave_late(held: _Held, *, is_done: bool) -> None:
        with trio.CancelScope(shield=True):
            if is_done:
                await trio.to_thread.run_sync(is_given_up.wait, DEADLINE)
            else:
                await is_left.wait()
        try:
            await leave(held, is_done=is_done)
        finally:
            is_left.set()

    def leave_and_be_interrupted(channel: blocking.PullChannel[str], held: _Held, *, is_done: bool) -> None:
        to_come.extend([KeyboardInterrupt] * 2)
        wait_for_leaving(channel, held, is_done=is_done)

    def interrupt(lock: _thread.LockType, timeout: float | None) -> bool:
        if to_come:
            raise to_come.pop()
        return wait_released(lock, timeout)

    is_given_up, is_left, to_come = threading.Event(), trio.Event(), list[type[KeyboardInterrupt]]()
    wait_for_leaving = blocking.PullChannel._leave
    monkeypatch.setattr(_Held, "leave", leave_late)
    monkeypatch.setattr(blocking.PullChannel, "_leave", leave_and_be_interrupted)
    monkeypatch.setattr(portal, "wait_released", interrupt)
    with in_thread(lambda: push.send("job", timeout=DEADLINE)):
        with pytest.raises(KeyboardInterrupt):
            pull.receive(timeout=DEADLINE)
        monkeypatch.setattr(blocking.PullChannel, "_leave", wait_for_leaving)
        is_given_up.set()
        assert pull.receive(timeout=DEADLINE) == "job"
    push.wait_done(timeout=DEADLINE)
    with pytest.raises(TimeoutError):
        pull.receive(timeout=0.01)


def test_the_job_of_a_loop_is_done_if_ctrl_c_comes_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one comes before the loop has heard that the job is done, and the second one before it is told again."""
    push = blocking.PushChannel(pair.a, "jobs")
    pull = blocking.PullChannel(pair.b, "jobs")
    with in_thread(lambda: push.send("job", timeout=DEADLINE)):
        jobs = iter(pull)
        assert next(jobs) == "job"
    leave_soon, to_come = blocking.PullChannel._leave_soon, [KeyboardInterrupt] * 2

    def be_interrupted(channel: blocking.PullChannel[str], *args: Any, **options: Any) -> None:
        if to_come:
            raise to_come.pop()
        leave_soon(channel, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(blocking.PullChannel, "_get", be_interrupted)
        patch.setattr(blocking.PullChannel, "_leave_soon", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(jobs)
        del jobs
        gc.collect()
    push.wait_done(timeout=DEADLINE)
    assert (push.statistics().done, pull.statistics().running) == (1, 0)


def test_a_waiting_thread_that_is_interrupted_misses_no_last_value(pair: Pair, interrupts: Interrupts) -> None:
    here, there = (blocking.StateChannel(ctx, "number", OBJECT) for ctx in (pair.a, pair.b))
    count = 2000
    got: list[int] = []

    def be_interrupted() -> None:
        nonlocal got
        while not got or got[-1] < count:
            got += (there.receive(timeout=DEADLINE),)

    def send() -> None:
        for number in range(1, count + 1):
            here.send(number)

    with in_thread(send):
        interrupts.start()
        while not got or got[-1] < count:
            try:
                be_interrupted()
            except KeyboardInterrupt:
                pass
    assert got == sorted(set(got))
    assert there.statistics().taken == len(got)
    assert interrupts.count


def test_a_context_that_is_interrupted_while_it_drains_ends_at_once(
    no_thread_left: None, interrupts: Interrupts
) -> None:
    def be_interrupted() -> None:
        interrupts.start()
        a.close()

    with blocking.open_context("b") as b:
        b.bind("mem://b")
        sub = blocking.SubChannel(b, "slot", policy=trioton.Block(1))
        a = blocking.open_context("a", grace=1000.0)
        a.connect("mem://b")
        pub = blocking.PubChannel(a, "slot", ahead=100)
        pub.wait_subscribers(timeout=DEADLINE)
        for number in range(50):
            pub.send(str(number))
        with pytest.raises(KeyboardInterrupt):
            be_interrupted()
        a.close()
        assert sub.receive(timeout=DEADLINE) == "0"
