"""Signals, timers and calls that are made later: small tools for programs that are written around handlers.

They have nothing to do with what happens in a network: what a context tells of that, such as `trioton.Connected`, comes out of
``ctx.events()``. Most programs on Trio need none of these, since a task that waits in a loop says the same. They are here for
programs that are built from handlers, as those on Yoton were.

All of this belongs to the thread that runs Trio. From another thread use ``trio.from_thread.run_sync(signal.emit, ...)``.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Generic, Protocol, TypeVarTuple, cast

import trio

from ._arguments import check_flag, check_seconds

__all__ = ["Signal", "TaskStarter", "Timer", "call_later"]

Ts = TypeVarTuple("Ts")
As = TypeVarTuple("As")


class TaskStarter(Protocol):
    """What can start tasks: a `trio.Nursery`, or a `trioton.Context`."""

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task."""


class Signal(Generic[*Ts]):
    """Something that may happen again and again: whoever is interested binds a handler, or waits.

    ::

        saved: Signal[str, int] = Signal("saved")
        saved.bind(lambda path, size: print(path, size))
        saved.emit("notes.txt", 120)

    Args:
        name: What it is called in its repr and in errors.
    """

    def __init__(self, name: str = "") -> None:
        self._name = _checked_name(name)
        self._bindings: list[_Binding[*Ts]] = []
        self._next: _Emission[*Ts] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def handlers(self) -> tuple[Callable[[*Ts], object], ...]:
        """What is bound now, in the order in which it was bound."""
        found = (binding.handler() for binding in self._bindings)
        return tuple(handler for handler in found if handler is not None)

    def bind(self, handler: Callable[[*Ts], object], *, weak: bool = False) -> None:
        """Let a handler be called whenever the signal is emitted, after those that were bound before.

        A handler that is bound already is not bound again.

        Args:
            handler: A plain function, or anything else that can be called. It cannot be async: let it start a task, as in
                ``signal.bind(lambda: nursery.start_soon(work))``.
            weak: Whether to forget the handler when nothing else holds it any more; for a method, when nothing else holds its object.
                By default a signal keeps its handlers alive.

        Raises:
            TypeError: `handler` cannot be called or is async, or `weak` is True and there are no weak references to it.
        """
        if not callable(handler):
            raise TypeError(f"handler must be a function, not {handler!r}")
        if inspect.iscoroutinefunction(handler):
            raise TypeError(f"handler must not be async, as {handler!r} is: let it start a task")
        binding = _Binding(handler, weak=weak)
        if handler not in self.handlers:
            self._bindings.append(binding)

    def unbind(self, handler: Callable[[*Ts], object] | None = None) -> None:
        """Forget a handler, or all if none is named. One that is not bound is no error: it may have been bound weakly.

        While the signal is being emitted, a handler that is unbound by another before its turn is not called any more.
        """
        for binding in list(self._bindings):
            if handler is None or binding.handler() == handler:
                self._drop(binding)

    def emit(self, *args: *Ts) -> None:
        """Call all handlers with these arguments, now and one after the other, and wake the tasks that wait.

        If a handler raises, the others are called all the same. What is bound meanwhile is not called this time.

        Raises:
            ExceptionGroup: What handlers have raised, also if that is only one exception.
        """
        emission, self._next = self._next, None
        if emission is not None:
            emission.args = args
            emission.happened.set()
        errors: list[Exception] = []
        for binding in list(self._bindings):
            handler = binding.handler()
            if handler is None:
                self._drop(binding)
            elif not binding.is_dropped:
                try:
                    handler(*args)
                except Exception as error:  # noqa: BLE001  # raised below
                    errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} of the handlers of {self!r} failed", errors)

    async def wait(self) -> tuple[*Ts]:
        """Wait until the signal is emitted again; a checkpoint. Any number of tasks may wait.

        What is emitted between two waits of a task is not seen by it. A handler sees all.

        Returns:
            The arguments of the emission.
        """
        if self._next is None:
            self._next = _Emission()
        emission = self._next
        await emission.happened.wait()
        assert emission.args is not None
        return emission.args

    def _drop(self, binding: _Binding[*Ts]) -> None:
        binding.is_dropped = True
        if binding in self._bindings:
            self._bindings.remove(binding)

    def __repr__(self) -> str:
        name = f" {self._name!r}" if self._name else ""
        return f"<{type(self).__name__}{name}, {len(self.handlers)} handlers>"


class _Emission(Generic[*Ts]):
    """The next emission, for those who wait for it."""

    def __init__(self) -> None:
        self.happened = trio.Event()
        self.args: tuple[*Ts] | None = None


class _Binding(Generic[*Ts]):
    """A handler, held strongly or weakly. Compared by identity."""

    def __init__(self, handler: Callable[[*Ts], object], *, weak: bool) -> None:
        self.is_dropped = False
        self._held: Callable[[*Ts], object] | None = None
        self._reference: Callable[[], Callable[[*Ts], object] | None] | None = None
        if not weak:
            self._held = handler
        elif isinstance(handler, MethodType):
            self._reference = cast("Callable[[], Callable[[*Ts], object] | None]", weakref.WeakMethod(handler))
        else:
            try:
                self._reference = weakref.ref(handler)
            except TypeError:
                raise TypeError(f"handler cannot be bound weakly: {handler!r}") from None

    def handler(self) -> Callable[[*Ts], object] | None:
        """The handler, or None if it is gone."""
        return self._held if self._reference is None else self._reference()


class Timer(Signal[()]):
    """A signal that is emitted after an interval, once or again and again. Its handlers get no arguments.

    ::

        timer = Timer(0.2, oneshot=False)
        timer.bind(poll)
        timer.start(nursery)

    What a handler raises ends the timer and leaves through the nursery, as an exception of any task does.

    Args:
        interval: Seconds, more than 0.
        oneshot: Whether it stops after the first time.
        name: What it is called in its repr and in errors.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `interval` is not more than 0, or infinite.
    """

    def __init__(self, interval: float = 1.0, oneshot: bool = True, *, name: str = "") -> None:
        super().__init__(name)
        self._interval = check_seconds("interval", interval, may_be_zero=False)
        self._oneshot = check_flag("oneshot", oneshot)
        self._starter: TaskStarter | None = None
        self._scope: trio.CancelScope | None = None

    @property
    def interval(self) -> float:
        """Seconds from the start to the first emission, and from one to the next."""
        return self._interval

    @property
    def oneshot(self) -> bool:
        """Whether it stops after the first emission."""
        return self._oneshot

    @property
    def running(self) -> bool:
        """Whether it will be emitted again if nobody stops it. In the handlers of the last emission it is False."""
        return self._scope is not None

    def start(
        self, nursery: TaskStarter | None = None, *, interval: float | None = None, oneshot: bool | None = None
    ) -> None:
        """Start: the first emission is one whole interval from now. A timer that is running starts anew, with no emission before.

        Repeated emissions keep to multiples of the interval after the start. Those for which the program came too late are left out.

        Args:
            nursery: Where its task lives, a nursery or a context: when that is cancelled, the timer stops. None is the one of the last start.
            interval: A new interval; None leaves it as it is.
            oneshot: Whether to stop after the first time, from now on; None leaves it as it is.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: `interval` is not more than 0, or infinite.
            RuntimeError: There was no start before, and no nursery was given; or the nursery is closed.
        """
        new_interval = self._interval if interval is None else check_seconds("interval", interval, may_be_zero=False)
        new_oneshot = self._oneshot if oneshot is None else check_flag("oneshot", oneshot)
        starter = self._starter if nursery is None else nursery
        if starter is None:
            raise RuntimeError(f"{self!r} was never started: start needs a nursery")
        _check_starter(starter)
        self.stop()
        scope = trio.CancelScope()
        starter.start_soon(self._run, scope, trio.current_time(), new_interval, new_oneshot)
        self._starter, self._scope = starter, scope
        self._interval, self._oneshot = new_interval, new_oneshot

    def stop(self) -> None:
        """Stop: after this there is no emission until the next start, even if one was due. It may be stopped at any time."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.cancel()

    async def _run(self, scope: trio.CancelScope, started: float, interval: float, oneshot: bool) -> None:
        try:
            with scope:
                due = started + interval
                while True:
                    await trio.sleep_until(due)
                    if self._scope is not scope:
                        return  # stopped in the moment in which it was due
                    if oneshot:
                        self._scope = None
                    self.emit()
                    if oneshot or self._scope is not scope:
                        return
                    missed = (trio.current_time() - due) // interval
                    due += interval * (1 + max(missed, 0))
        finally:
            if self._scope is scope:
                self._scope = None


def call_later(nursery: TaskStarter, seconds: float, function: Callable[[*As], object], *args: *As) -> trio.CancelScope:
    """Call a function after some time, in a task of its own.

    Calls that are due at the same moment are made in any order, as Trio runs its tasks. What the function raises leaves through the
    nursery.

    Args:
        nursery: Where the task lives, a nursery or a context: when that is cancelled, the call is not made.
        seconds: How long to wait; 0 is as soon as Trio runs other tasks.
        function: A plain function, or an async one, which is awaited.
        args: Its arguments.

    Returns:
        A scope whose ``cancel()`` takes the call back, or cancels the async function if that has begun.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `seconds` is negative or infinite.
        RuntimeError: The nursery is closed.
    """
    _check_starter(nursery)
    check_seconds("seconds", seconds)
    if not callable(function):
        raise TypeError(f"function must be a function, not {function!r}")
    scope = trio.CancelScope()
    nursery.start_soon(_call_at, scope, trio.current_time() + seconds, function, args)
    return scope


async def _call_at(
    scope: trio.CancelScope, due: float, function: Callable[..., object], args: tuple[object, ...]
) -> None:
    with scope:
        await trio.sleep_until(due)
        if scope.cancel_called:
            return  # in the moment in which it was due
        result = function(*args)
        if inspect.isawaitable(result):
            await result


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    return name


def _check_starter(value: object) -> None:
    if not callable(getattr(value, "start_soon", None)):
        raise TypeError(f"nursery must be a nursery or a context, not {value!r}")
