"""Signals, timers and later calls, in simulated time."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import trioton
from tests.conftest import OpenPair
from trioton.events import Signal, Timer, call_later

# ---------------------------------------------------------------- signals


def test_handlers_are_called_in_the_order_in_which_they_were_bound() -> None:
    calls: list[tuple[str, str, int]] = []
    signal: Signal[str, int] = Signal("saved")
    signal.bind(lambda path, size: calls.append(("first", path, size)))
    signal.bind(lambda path, size: calls.append(("second", path, size)))
    signal.emit("notes", 3)
    signal.emit("more", 4)
    assert calls == [("first", "notes", 3), ("second", "notes", 3), ("first", "more", 4), ("second", "more", 4)]
    assert repr(signal) == "<Signal 'saved', 2 handlers>"


def test_anything_that_can_be_called_is_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    """D19: with Yoton ``bind(print)`` raised AttributeError and ``bind(list.append)`` TypeError."""
    got: list[str] = []
    signal: Signal[str] = Signal()
    signal.bind(print)
    signal.bind(got.append)
    signal.emit("hello")
    assert got == ["hello"]
    assert capsys.readouterr().out == "hello\n"


class Listener:
    def __init__(self, got: list[str]) -> None:
        self.got = got

    def heard(self, word: str) -> None:
        self.got.append(word)


def test_methods_of_temporary_objects_stay() -> None:
    """D19: with Yoton they vanished without a word."""
    got: list[str] = []
    signal: Signal[str] = Signal()
    signal.bind(Listener(got).heard)
    gc.collect()
    signal.emit("hello")
    assert got == ["hello"]


def test_weakly_bound_handlers_go_with_what_they_belong_to() -> None:
    got: list[str] = []
    signal: Signal[str] = Signal()
    listener = Listener(got)

    def local(word: str) -> None:
        got.append(word.upper())

    signal.bind(listener.heard, weak=True)
    signal.bind(local, weak=True)
    signal.emit("one")
    assert len(signal.handlers) == 2
    del listener, local
    gc.collect()
    assert signal.handlers == ()
    signal.emit("two")
    assert got == ["one", "ONE"]


def test_a_handler_is_bound_once() -> None:
    got: list[str] = []
    listener = Listener(got)
    signal: Signal[str] = Signal()
    for _ in range(3):
        signal.bind(listener.heard)
    signal.emit("x")
    assert got == ["x"]
    signal.unbind(listener.heard)
    signal.emit("y")
    assert got == ["x"]


def test_unbind_one_and_all() -> None:
    got: list[str] = []
    signal: Signal[()] = Signal()
    first: Callable[[], None] = lambda: got.append("first")  # noqa: E731
    signal.bind(first)
    signal.bind(lambda: got.append("second"))
    signal.unbind(first)
    signal.unbind(first)
    signal.emit()
    assert got == ["second"]
    signal.unbind()
    signal.emit()
    assert got == ["second"]


def test_a_failing_handler_does_not_stop_the_others() -> None:
    """D19: with Yoton errors were only printed."""
    got: list[str] = []

    def fail(word: str) -> None:
        raise ValueError(word)

    signal: Signal[str] = Signal("word")
    signal.bind(fail)
    signal.bind(got.append)
    signal.bind(lambda word: fail(word * 2))
    with pytest.raises(ExceptionGroup, match="2 of the handlers of <Signal 'word', 3 handlers> failed") as caught:
        signal.emit("x")
    assert [str(error) for error in caught.value.exceptions] == ["x", "xx"]
    assert got == ["x"]


def test_what_is_not_an_error_stops_at_once() -> None:
    got: list[str] = []

    def interrupt(word: str) -> None:
        raise KeyboardInterrupt

    signal: Signal[str] = Signal()
    signal.bind(interrupt)
    signal.bind(got.append)
    with pytest.raises(KeyboardInterrupt):
        signal.emit("x")
    assert got == []


def test_handlers_may_bind_and_unbind() -> None:
    got: list[str] = []
    signal: Signal[()] = Signal()

    def last() -> None:
        got.append("last")

    def first() -> None:
        got.append("first")
        signal.unbind(last)
        signal.bind(lambda: got.append("new"))
        signal.unbind(first)

    signal.bind(first)
    signal.bind(last)
    signal.emit()
    assert got == ["first"]
    signal.emit()
    assert got == ["first", "new"]


async def test_wait_gives_the_next_arguments_to_all_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    signal: Signal[int] = Signal()
    got: list[tuple[str, tuple[int]]] = []

    async def wait(name: str) -> None:
        got.append((name, await signal.wait()))

    signal.emit(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.testing.wait_all_tasks_blocked()
        signal.emit(1)
        signal.emit(2)
    assert sorted(got) == [("a", (1,)), ("b", (1,))]


async def test_cancelled_wait_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    signal: Signal[int] = Signal()
    with trio.move_on_after(1) as scope:
        await signal.wait()
    assert scope.cancelled_caught
    signal.emit(1)


async def test_those_who_wait_are_woken_though_a_handler_fails(autojump_clock: trio.testing.MockClock) -> None:
    signal: Signal[int] = Signal()
    signal.bind(lambda number: [][number])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(signal.wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ExceptionGroup):
            signal.emit(1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((3,), "handler must be a function, not 3"),
        ((trio.sleep,), "handler must not be async"),
        ((iter("").__next__, True), "handler cannot be bound weakly"),
    ],
)
def test_wrong_handlers(arguments: tuple[Any, ...], complaint: str) -> None:
    signal: Signal[()] = Signal()
    with pytest.raises(TypeError, match=complaint):
        signal.bind(arguments[0], weak=len(arguments) > 1)
    with pytest.raises(TypeError, match="name must be a str, not 3"):
        Signal(3)  # type: ignore[arg-type]


# ---------------------------------------------------------------- timers


class Bell:
    """A timer, and the moments at which it was emitted."""

    def __init__(self, interval: float = 1.0, oneshot: bool = True) -> None:
        self.timer = Timer(interval, oneshot)
        self.began = trio.current_time()
        self.times: list[float] = []
        self.timer.bind(self._note)

    def _note(self) -> None:
        self.times.append(round(trio.current_time() - self.began, 6))


async def test_oneshot_timer_is_emitted_once(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    bell = Bell(5.0)
    assert not bell.timer.running
    bell.timer.start(nursery)
    assert bell.timer.running
    await trio.sleep(100)
    assert bell.times == [5.0]
    assert not bell.timer.running


async def test_repeating_timer_keeps_its_rhythm(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    bell = Bell(0.1, oneshot=False)
    bell.timer.start(nursery)
    await trio.sleep(10.05)
    bell.timer.stop()
    await trio.sleep(10)
    assert bell.times == [round(0.1 * number, 6) for number in range(1, 101)]


async def test_start_of_a_running_timer_starts_anew(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """D19: Yoton's fired at once: a timer of 5 s after 0.2 s."""
    bell = Bell(5.0)
    bell.timer.start(nursery)
    await trio.sleep(0.2)
    bell.timer.start()
    await trio.sleep(100)
    assert bell.times == [5.2]


async def test_stopped_timer_is_not_emitted_until_it_is_started(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bell = Bell(5.0)
    bell.timer.stop()
    bell.timer.start(nursery)
    await trio.sleep(4)
    bell.timer.stop()
    assert not bell.timer.running
    await trio.sleep(10)
    assert bell.times == []
    bell.timer.start(interval=2.0, oneshot=False)
    assert (bell.timer.interval, bell.timer.oneshot) == (2.0, False)
    await trio.sleep(5)
    bell.timer.start(oneshot=True)
    await trio.sleep(50)
    assert bell.times == [16.0, 18.0, 21.0]


async def test_stop_in_the_moment_in_which_it_was_due(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Whoever runs first in that moment: after `stop` there is no emission."""
    for _ in range(50):
        bell = Bell(1.0)
        stopped_at: list[int] = []

        async def stop(bell: Bell = bell, stopped_at: list[int] = stopped_at) -> None:
            await trio.sleep(1)
            bell.timer.stop()
            stopped_at.append(len(bell.times))

        bell.timer.start(nursery)
        nursery.start_soon(stop)
        await trio.sleep(2)
        assert stopped_at == [len(bell.times)]


async def test_handlers_may_start_and_stop(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    bell = Bell(1.0)

    def start_again() -> None:
        if len(bell.times) < 3:
            bell.timer.start(interval=2 * bell.timer.interval)

    bell.timer.bind(start_again)
    bell.timer.start(nursery)
    await trio.sleep(100)
    assert bell.times == [1.0, 3.0, 7.0]

    repeated = Bell(1.0, oneshot=False)

    def stop_after_three() -> None:
        if len(repeated.times) == 3:
            repeated.timer.stop()

    repeated.timer.bind(stop_after_three)
    repeated.timer.start(nursery)
    await trio.sleep(100)
    assert repeated.times == [1.0, 2.0, 3.0]


async def test_late_emissions_are_left_out(mock_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """A program that was busy for some intervals gets one emission for them, and then the rhythm goes on."""
    bell = Bell(1.0, oneshot=False)
    bell.timer.start(nursery)
    await trio.testing.wait_all_tasks_blocked()
    for seconds in (3.5, 0.4, 0.2, 1.0):
        mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()
    assert bell.times == [3.5, 4.1, 5.1]


async def test_timer_stops_with_its_nursery(autojump_clock: trio.testing.MockClock) -> None:
    bell = Bell(1.0, oneshot=False)
    async with trio.open_nursery() as nursery:
        bell.timer.start(nursery)
        await trio.sleep(2.5)
        nursery.cancel_scope.cancel()
    assert not bell.timer.running
    await trio.sleep(5)
    assert bell.times == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="closed"):
        bell.timer.start()
    assert not bell.timer.running


async def test_error_of_a_handler_ends_the_timer_and_leaves_through_the_nursery(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bell = Bell(1.0, oneshot=False)
    bell.timer.bind(lambda: bell.times[7])
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            bell.timer.start(nursery)
            await trio.sleep(10)
    assert caught.group_contains(IndexError)
    assert bell.times == [1.0]
    assert not bell.timer.running


async def test_a_context_is_as_good_as_a_nursery(autojump_clock: trio.testing.MockClock, open_pair: OpenPair) -> None:
    """Case 24: a timer reads without waiting; what was sent by later calls comes in the order of time, and "stop" ends it."""
    async with open_pair() as pair:
        pub, sub = trioton.PubChannel(pair.a, "foo"), trioton.SubChannel(pair.b, "foo")
        await pub.wait_subscribers()
        start = trio.current_time()
        got: list[tuple[str, int]] = []
        timer = Timer(0.1, oneshot=False)

        def look() -> None:
            for message in sub.receive_all_nowait():
                got.append((message, int(trio.current_time() - start)))
                if message == "stop":
                    timer.stop()

        timer.bind(look)
        timer.start(pair.b)
        for seconds, text in ((8, "stop"), (2, "2 seconds"), (4, "4 seconds"), (6, "almost done")):
            call_later(pair.a, seconds, pub.send, text)
        while timer.running:
            await timer.wait()
        assert got == [("2 seconds", 2), ("4 seconds", 4), ("almost done", 6), ("stop", 8)]


async def test_a_timer_can_be_waited_for(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    timer = Timer(3.0)
    start = trio.current_time()
    timer.start(nursery)
    assert await timer.wait() == ()
    assert trio.current_time() - start == 3.0


@pytest.mark.parametrize("interval", [0, -1, math.inf, math.nan, "1", True, None])
async def test_wrong_intervals(interval: Any, nursery: trio.Nursery) -> None:
    with pytest.raises((TypeError, ValueError), match=r"interval must be .*, not "):
        Timer(interval)
    if interval is not None:
        with pytest.raises((TypeError, ValueError), match=r"interval must be .*, not "):
            Timer(1).start(nursery, interval=interval)


async def test_other_wrong_arguments_of_timers() -> None:
    with pytest.raises(TypeError, match="oneshot must be True or False, not 1"):
        Timer(1, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nursery must be a nursery or a context, not 3"):
        Timer(1).start(3)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="start needs a nursery"):
        Timer(1).start()


# ---------------------------------------------------------------- later calls


async def test_calls_are_made_when_they_are_due(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    start = trio.current_time()
    got: list[tuple[str, float]] = []

    def note(word: str) -> None:
        got.append((word, trio.current_time() - start))

    async def note_later(word: str) -> None:
        await trio.sleep(1)
        note(word)

    call_later(nursery, 5, note, "c")
    call_later(nursery, 2, note, "b")
    call_later(nursery, 0, note, "a")
    call_later(nursery, 7, note_later, "d")
    assert got == []
    await trio.sleep(10)
    assert got == [("a", 0), ("b", 2), ("c", 5), ("d", 8)]


async def test_calls_can_be_taken_back(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    got: list[str] = []
    scope = call_later(nursery, 5, got.append, "x")
    began = call_later(nursery, 5, trio.sleep_forever)
    await trio.sleep(4)
    scope.cancel()
    await trio.sleep(4)
    began.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert got == []
    assert not nursery.child_tasks


async def test_error_of_a_call_leaves_through_the_nursery(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            call_later(nursery, 1, int, "x")
    assert caught.group_contains(ValueError)


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        ((None, 1, print), TypeError, "nursery must be a nursery or a context, not None"),
        ((..., "1", print), TypeError, "seconds must be a number of seconds, not '1'"),
        ((..., -1, print), ValueError, "seconds must be finite and not negative, not -1"),
        ((..., math.nan, print), ValueError, "seconds must be finite and not negative, not nan"),
        ((..., 1, 3), TypeError, "function must be a function, not 3"),
    ],
)
async def test_wrong_arguments_of_calls(
    arguments: tuple[Any, ...], kind: type[Exception], complaint: str, nursery: trio.Nursery
) -> None:
    first, *rest = arguments
    with pytest.raises(kind, match=complaint):
        call_later(nursery if first is ... else first, *rest)
