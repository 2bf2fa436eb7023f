"""What the checkers share: how a rule is checked, and how the error says which one was broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import trio

PATIENCE: Final = 30.0
"""Seconds of Trio's clock that a rule may take: what hangs for ever has broken it."""

_MOST_TEXT: Final = 300


def require(condition: object, failure: str) -> None:
    """Say what went wrong, unless `condition` holds.

    Raises:
        AssertionError: It does not.
    """
    if not condition:
        raise AssertionError(failure)


@contextmanager
def expect(error_type: type[Exception], doing: str) -> Iterator[None]:
    """Check that a block raises this error, and nothing else.

    Args:
        error_type: What it must raise.
        doing: What the block does, such as ``send() on a closed channel``.

    Raises:
        AssertionError: It raised something else, or nothing.
    """
    try:
        yield
    except error_type:
        return
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{doing} raised {show_error(error)}, not {error_type.__name__}") from error
    raise AssertionError(f"{doing} raised nothing, not {error_type.__name__}")


def show_error(error: BaseException) -> str:
    """Show an error as ``ValueError: why``; of a group, the first in it."""
    error = first_of(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def first_of(error: BaseException) -> BaseException:
    """The first error of a group of groups, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def show(value: object) -> str:
    """Show a value, shortened."""
    text = repr(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


async def check_rule(rule: str, patience: float, check: Callable[[], Awaitable[object]]) -> None:
    """Check one rule.

    Args:
        rule: The rule in plain words.
        patience: Seconds that it may take.
        check: What raises an `AssertionError` if the rule is broken.

    Raises:
        AssertionError: It is broken. The text begins with the rule; what was raised is the cause.
    """
    __tracebackhide__ = True
    try:
        with trio.move_on_after(patience) as scope:
            await check()
    except Exception as error:  # noqa: BLE001  # whatever came out of a thing that keeps no rules
        fail(rule, error)
    if scope.cancelled_caught:
        raise AssertionError(f"{rule}: something still waits after {patience:g} seconds")


def fail(rule: str, error: Exception) -> NoReturn:
    """Say which rule an error has broken.

    Raises:
        AssertionError: Always.
    """
    __tracebackhide__ = True
    first = first_of(error)
    reason = str(first) if isinstance(first, AssertionError) and str(first) else show_error(first)
    raise AssertionError(f"{rule}: {reason}") from error


def check_patience(patience: float) -> None:
    """Check the argument of that name.

    Raises:
        ValueError: It is no positive number.
    """
    if not patience > 0:
        raise ValueError(f"patience must be a positive number of seconds, not {patience!r}")
