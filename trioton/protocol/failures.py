"""How an exception travels: as data, and becomes an exception of the same type again, if that is a builtin or a registered one.

Nothing that a peer names is ever looked up outside of these two lists. A failure is the array
``[type, arguments, text, notes, traceback, cause, exceptions]``: the name of the type; its arguments, or None if they cannot be sent;
its text; notes; the traceback as text; the failure that was its cause, or None; and for a group its exceptions, else None.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from ..errors import MessageTypeError, ProtocolError, RemoteError, RemoteTraceback
from .shown import shown
from .values import encode_value

E = TypeVar("E", bound=type[Exception])

MAX_DEPTH: Final = 8
"""Causes of causes, and groups in groups, that travel."""

MAX_EXCEPTIONS: Final = 64
"""Exceptions of a group that travel."""

MAX_IN_ALL: Final = 256
"""Exceptions that travel together: groups in groups, and causes."""

MAX_TEXT: Final = 32_768
"""Characters of a text or a traceback that travel; what is in the middle is left out."""

MAX_NOTES: Final = 32

# These mean something to the interpreter itself wherever they are raised.
_NOT_RAISED: Final = (StopIteration, StopAsyncIteration, RecursionError, MemoryError)

_builtin: Final[dict[str, type[Exception]]] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception) and value not in _NOT_RAISED
}
_registered: Final[dict[str, type[Exception]]] = {"trioton.errors.MessageTypeError": MessageTypeError}


def name_of(cls: type[BaseException]) -> str:
    """The name under which exceptions of a type travel."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def register_exception(cls: E) -> E:
    """Let exceptions of this type arrive as themselves; a decorator. Both sides must register it, under the same name.

    At the requester one is made by ``cls(*args)``, so its `args` must be what `__init__` takes and what OBJECT can carry.

    Args:
        cls: A subclass of `Exception`.

    Returns:
        The class.

    Raises:
        TypeError: It is none, or stands for the end of an iteration.
    """
    given: object = cls
    is_exception = isinstance(given, type) and issubclass(given, Exception)
    if not is_exception or issubclass(cls, (StopIteration, StopAsyncIteration)):
        raise TypeError(f"cls must be a subclass of Exception that ends no iteration, not {cls!r}")
    _registered[name_of(cls)] = cls
    return cls


# --------------------------------------------------------------------------------------------------------------- sending


def encode_failure(error: BaseException) -> bytes:
    """Encode an exception, with its notes, causes and, for a group, exceptions. It never fails."""
    left = iter(range(MAX_IN_ALL))
    return encode_value(_to_data(error, 0, left))


def _to_data(error: BaseException, depth: int, left: Iterator[int]) -> list[Any]:
    cause: list[Any] | None = None
    exceptions: list[Any] | None = None
    if depth < MAX_DEPTH:
        origin = error.__cause__
        if origin is not None and not isinstance(origin, RemoteTraceback) and next(left, None) is not None:
            cause = _to_data(origin, depth + 1, left)
        if isinstance(error, BaseExceptionGroup):
            members = [each for each in error.exceptions[:MAX_EXCEPTIONS] if next(left, None) is not None]
            exceptions = [_to_data(each, depth + 1, left) for each in members] or None
    text = _text_of(error)
    notes = getattr(error, "__notes__", None)
    texts = [_text_of(note) for note in notes[:MAX_NOTES]] if isinstance(notes, (list, tuple)) else []
    arguments = [_cut(error.message)] if isinstance(error, BaseExceptionGroup) else _arguments(error)
    return [
        _cut(name_of(type(error))),
        arguments,
        text,
        texts,
        _traceback_of(error) if not depth else "",
        cause,
        exceptions,
    ]


def _arguments(error: BaseException) -> list[Any] | None:
    arguments = list(error.args)
    if isinstance(error, OSError) and error.filename is not None and len(arguments) == 2:
        arguments.append(error.filename)
    try:
        if len(encode_value(arguments)) > MAX_TEXT:
            return None
    except MessageTypeError:
        return None
    return arguments


def _text_of(value: object) -> str:
    try:
        return _cut(str(value))
    except Exception as second:  # noqa: BLE001  # anything may go wrong in there
        return f"<its text raises {type(second).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        if isinstance(error, BaseExceptionGroup) and sum(1 for _ in islice(_members(error), MAX_IN_ALL)) == MAX_IN_ALL:
            raise ValueError("it would take too long")
        return _cut("".join(traceback.format_exception(error)))
    except Exception:  # noqa: BLE001  # anything may go wrong in there
        return "".join(traceback.format_tb(error.__traceback__))[:MAX_TEXT]


def _members(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _members(each)


def _cut(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    if len(clean) <= MAX_TEXT:
        return clean
    half = MAX_TEXT // 2
    return f"{clean[:half]}\n... {len(clean) - 2 * half} characters are left out ...\n{clean[-half:]}"


# ------------------------------------------------------------------------------------------------------------- receiving


def decode_failure(data: object) -> Exception:
    """Make an exception of what has come.

    Returns:
        It has its notes, and as its cause a `RemoteTraceback`, whose own cause is that of the exception where it was raised.

    Raises:
        ProtocolError: What has come is no failure.
    """
    error, text, cause = _from_data(data, 0)
    remote = RemoteTraceback(text)
    remote.__cause__ = cause
    error.__cause__ = remote
    return error


def _from_data(data: object, depth: int) -> tuple[Exception, str, Exception | None]:
    if type(data) is not list or len(data) != 7 or depth > MAX_DEPTH:
        raise ProtocolError(f"a failure that makes no sense: {shown(data)}")
    name, arguments, text, notes, remote, cause, exceptions = data
    if type(name) is not str or type(text) is not str or type(remote) is not str or type(notes) is not list:
        raise ProtocolError(f"a failure that makes no sense: {shown(data)}")
    if exceptions is not None:
        error = _make_group(name, arguments, text, exceptions, depth)
    else:
        error = _make(name, arguments, text)
    for note in notes[:MAX_NOTES]:
        if type(note) is str:
            error.add_note(note)
    origin = None
    if cause is not None:
        origin, _, deeper = _from_data(cause, depth + 1)
        origin.__cause__ = deeper
    return error, remote, origin


def _make(name: str, arguments: object, text: str) -> Exception:
    cls = _builtin.get(name) or _registered.get(name)
    if cls is not None and issubclass(cls, SyntaxError) and not _is_of_syntax(arguments):
        return RemoteError(name, text)
    if cls is not None and type(arguments) is list and not issubclass(cls, BaseExceptionGroup):
        try:
            error = cls(*arguments)
        except Exception:  # noqa: BLE001  # a constructor of the user's, with what a peer has sent
            return RemoteError(name, text)
        if isinstance(error, Exception):
            return error
    return RemoteError(name, text)


def _is_of_syntax(arguments: object) -> bool:
    """Whether Python can show a SyntaxError with these arguments. It takes all others, and raises, or fills the memory, when it shows it."""
    if type(arguments) is not list or not 1 <= len(arguments) <= 2 or type(arguments[0]) is not str:
        return False
    if len(arguments) == 1:
        return True
    place = arguments[1]
    if type(place) not in {list, tuple} or len(place) not in {4, 6}:
        return False
    file, line, column, source, *end = place
    texts_fit = all(each is None or type(each) is str for each in (file, source))
    numbers = [each for each in (line, column, *end) if each is not None]
    return texts_fit and all(type(each) is int and abs(each) <= MAX_TEXT for each in numbers)


def _make_group(name: str, arguments: object, text: str, exceptions: object, depth: int) -> Exception:
    if type(exceptions) is not list or not exceptions or type(arguments) is not list or len(arguments) != 1:
        raise ProtocolError(f"a group of failures that makes no sense: {shown(exceptions)}")
    if type(arguments[0]) is not str:
        raise ProtocolError(f"a group of failures with the text {shown(arguments[0])}")
    members = []
    for each in exceptions[:MAX_EXCEPTIONS]:
        member, _, cause = _from_data(each, depth + 1)
        member.__cause__ = cause
        members.append(member)
    if name not in {"ExceptionGroup", "BaseExceptionGroup"}:
        return ExceptionGroup(f"{name}: {text}", members)
    return ExceptionGroup(arguments[0], members)
