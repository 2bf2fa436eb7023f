"""Wrong arguments of users: what all layers check in the same way, and say in the same words.

Each error names the argument and shows the value that it had.
"""

from __future__ import annotations

import inspect
import math


def check_flag(argument: str, value: object) -> bool:
    """Give a flag of the user's back, if it is one.

    Raises:
        TypeError: It is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be True or False, not {value!r}")
    return value


def check_count(argument: str, value: object, least: int = 1, most: int | None = None) -> int:
    """Give a number of things back, if it can be one.

    Raises:
        TypeError: It is no int.
        ValueError: It is below `least` or above `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {value!r}")
    if most is not None and not least <= value <= most:
        raise ValueError(f"{argument} must be from {least} to {most}, not {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value!r}")
    return value


def check_seconds(argument: str, value: object, *, least: float = 0.0, may_be_zero: bool = True) -> float:
    """Give a number of seconds back, if it can be one.

    Raises:
        TypeError: It is no number.
        ValueError: It is infinite or not a number, below `least`, or 0 where it may not be that.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {value!r}")
    if not least <= value < math.inf or not (value or may_be_zero):
        bound = f"at least {least}" if least else "not negative" if may_be_zero else "more than 0"
        raise ValueError(f"{argument} must be finite and {bound}, not {value!r}")
    return value


def check_function(argument: str, value: object) -> None:
    """Refuse what cannot be called for an answer at once.

    Raises:
        TypeError: It cannot be called, or it is async.
    """
    if not callable(value):
        raise TypeError(f"{argument} must be a function, not {value!r}")
    called = getattr(value, "__call__", None)  # noqa: B004  # of an object that is no function
    if any(
        kind(each) for kind in (inspect.iscoroutinefunction, inspect.isasyncgenfunction) for each in (value, called)
    ):
        raise TypeError(f"{argument} must not be async, as {value!r} is")


def check_answer(argument: str, answer: object) -> bool:
    """Whether a function of the user's has said yes.

    Raises:
        TypeError: It has given something to await, which is neither yes nor no: it has called an async function.
    """
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # or Python complains that nobody awaited it
        raise TypeError(f"{argument} must give True or False, not {answer!r}, as an async function does")
    return bool(answer)
