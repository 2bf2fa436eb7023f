"""What can be sent, by the rules of `trioton.protocol.scan`: a quick survey before, and an explanation after a failure.

`survey` walks through a value once, without keeping track of where it is: it counts what is there, stops what is too
much or too deep before the encoder recurses into it, and tells plain values (what JSON has, and bytes) from rich ones.
Only when encoding has failed does `explain` walk again, slowly, until it finds the place that breaks a rule.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from .scan import (
    MAX_AWKWARD_KEYS,
    MAX_BIGNUM,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_ITEMS,
    MAX_MANTISSA,
)

LEAVES: Final = frozenset({type(None), bool, int, float, str, bytes, bytearray})
_EASY: Final = frozenset({tuple, set, frozenset, datetime, UUID, memoryview})
_EASY_KEYS: Final = frozenset({type(None), bool, str, bytes})
_SURE_LEVELS: Final = MAX_DEPTH - 3  # what is not a container takes up to three levels
_MOST_LEVELS: Final = MAX_DEPTH + 2  # enough to be sure that the scan would refuse it, as empty containers are no level

RICH: Final = "there is something that is not plain"
UNSURE: Final = "a limit may be broken, or there is a type of its own"
MERGING: Final = "there are keys of which two could become equal when they are sent"


class UnsendableError(Exception):
    """A value that cannot be sent; `explain` finds out which and why."""


def survey(value: Any, level: int, findings: set[str]) -> int:
    """Look at all that the container `value` holds.

    Args:
        value: A container, or something else that is no plain leaf.
        level: How deep we are, at most.
        findings: Gets `RICH`, `UNSURE` and `MERGING`.

    Returns:
        How many values there are inside.

    Raises:
        UnsendableError: There are more of them, or they lie deeper, than may be sent. Nobody looks further.
    """
    if level > _SURE_LEVELS:
        findings.add(UNSURE)
        if level > _MOST_LEVELS:
            raise UnsendableError
    children: Iterable[object]
    kind = type(value)
    if kind is dict:
        items = 2 * len(value) + _survey_keys(value, level, findings)
        children = value.values()
    elif kind is list:
        items = len(value)
        children = value
    else:
        return _survey_rich(value, level, findings)
    if items > MAX_ITEMS:
        raise UnsendableError
    for child in children:
        if type(child) not in LEAVES:
            items += survey(child, level + 1, findings)
            if items > MAX_ITEMS:
                raise UnsendableError
    return items


def _survey_rich(value: object, level: int, findings: set[str]) -> int:
    """Look at a value that is neither a plain leaf nor an exact list or dict."""
    findings.add(RICH)
    if type(value) not in _EASY:
        findings.add(UNSURE)
    if isinstance(value, tuple | list):
        return survey(list(value), level + isinstance(value, tuple), findings)
    if isinstance(value, set | frozenset):
        return len(value) + _survey_keys(value, level + 1, findings)
    if isinstance(value, dict):
        return survey(dict(value), level, findings)
    return 0


def _survey_keys(keys: Iterable[Any], level: int, findings: set[str]) -> int:
    """Look at the keys of a dict or the elements of a set, and return how many values there are in them."""
    items = 0
    for key in keys:
        kind = type(key)
        if kind is str or kind in _EASY_KEYS or (kind is int and -(1 << 64) <= key < 1 << 64):
            continue
        findings.update((RICH, UNSURE))
        if kind is not int and kind is not float:
            findings.add(MERGING)
            items += survey(key, level + 1, findings)
            if items > MAX_ITEMS:
                raise UnsendableError
    return items


_ROOT: Final = "message"
_MAX_PATH: Final = 160

_Containers: TypeAlias = dict[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]
_CONTAINERS: Final = (dict, list, tuple, set, frozenset)
_PLAIN_KEYS: Final = (str, bytes, bool, type(None), memoryview)


class _FoundError(Exception):
    """The place was found; the text is the explanation."""


def explain(value: object, extra: Container[type], error: Exception) -> str:
    """Find out why `value` cannot be sent.

    Args:
        value: What was to be sent.
        extra: The types that a higher layer knows how to send.
        error: What the encoder, the scan or the decoder said. If the walk finds nothing, this is all we know.

    Returns:
        One line, as ``message["a"][3]: cannot send a value of type 'Foo'``.
    """
    try:
        _Walk(extra).look(value, _ROOT, 0)
    except _FoundError as found:
        return str(found)
    except Exception as failure:  # noqa: BLE001  # code of the value's own, such as a time zone's
        error = failure
    return f"{_ROOT}: {str(error) or type(error).__name__}"


class _Walk:
    """One walk through one value."""

    def __init__(self, extra: Container[type]) -> None:
        self._extra = extra
        self._items = 1
        self._awkward = 0
        self._around: set[int] = set()  # the ids of the containers that we are in

    def look(self, value: object, path: str, depth: int, *, key: bool = False) -> None:
        """Check a value, and all that is in it.

        Args:
            value: What to check.
            path: Where it is.
            depth: How many levels there are around it.
            key: Whether it is a key or an element of a set, or part of one, so that it must be hashable.

        Raises:
            _FoundError: It, or something in it, breaks a rule.
        """
        if isinstance(value, _CONTAINERS) and type(value) not in self._extra:
            self._look_inside(value, path, depth, key=key)
            return
        if type(value) in self._extra:
            wrong, levels = ("cannot be a key" if key else ""), 1
        else:
            wrong, levels = _check_leaf(value)
        if wrong:
            raise _FoundError(f"{_shorten(path)}: {wrong}")
        self._check_depth(path, depth + levels)

    def _check_depth(self, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            rule = f"at most {MAX_DEPTH} levels, where a tuple or set counts as two"
            raise _FoundError(f"{_shorten(path)}: is nested too deeply ({rule})")

    def _look_inside(self, value: _Containers, path: str, depth: int, *, key: bool) -> None:
        if key and isinstance(value, dict | list):
            raise _FoundError(f"{_shorten(path)}: a {type(value).__name__!r} cannot be sent as a key")
        if id(value) in self._around:
            raise _FoundError(f"{_shorten(path)}: contains itself; what goes round in a circle cannot be sent")
        self._around.add(id(value))
        depth += (not isinstance(value, dict | list)) + bool(value)
        self._check_depth(path, depth)
        self._items += len(value) * (2 if isinstance(value, dict) else 1)
        if self._items > MAX_ITEMS:
            raise _FoundError(f"{_shorten(path)}: with it the message holds more than {MAX_ITEMS} values")
        if isinstance(value, dict):
            for name, child in value.items():
                self._look_key(name, f"{path} (its key {show_key(name)})", depth)
                self.look(child, f"{path}[{show_key(name)}]", depth)
        elif isinstance(value, list | tuple):
            for index, child in enumerate(value):
                self.look(child, f"{path}[{index}]", depth, key=key)
        else:
            for child in value:
                self._look_key(child, f"{path} (its element {show_key(child)})", depth)
        self._around.remove(id(value))

    def _look_key(self, value: object, path: str, depth: int) -> None:
        if not isinstance(value, _PLAIN_KEYS) and not (isinstance(value, int) and -(1 << 64) <= value < 1 << 64):
            self._awkward += 1
            if self._awkward > MAX_AWKWARD_KEYS:
                rule = "None, bool, str, bytes or an int of 64 bits"
                raise _FoundError(f"{_shorten(path)}: there are more than {MAX_AWKWARD_KEYS} keys that are not {rule}")
        self.look(value, path, depth, key=True)


def _check_leaf(value: object) -> tuple[str, int]:
    """Return what is wrong with a value that holds no others, if anything, and how many levels it takes."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "a text with a lone surrogate cannot be sent", 0
        return "", 0
    if isinstance(value, int):
        size = (value if value >= 0 else ~value).bit_length()
        return (f"an int of more than {MAX_BIGNUM} bytes cannot be sent" if size > 8 * MAX_BIGNUM else ""), size > 64
    if value is None or isinstance(value, float | bytes | bytearray | memoryview):
        return "", 0
    if isinstance(value, datetime):
        naive = "a datetime without a time zone cannot be sent (give it one, such as datetime.timezone.utc)"
        return (naive if datetime.utcoffset(value) is None else ""), 1
    if isinstance(value, UUID):
        return "", 1
    if isinstance(value, Decimal):
        return _check_decimal(value)
    return f"cannot send a value of type {type(value).__name__!r}", 0


def _check_decimal(value: Decimal) -> tuple[str, int]:
    _, digits, exponent = Decimal.as_tuple(value)
    if exponent == "N":
        return "a signalling NaN cannot be sent", 0
    if isinstance(exponent, int) and abs(exponent) > MAX_EXPONENT:
        return f"a Decimal with an exponent beyond {MAX_EXPONENT} cannot be sent", 0
    size = int(Decimal((0, digits[:MAX_DIGITS], 0))).bit_length()
    if len(digits) > MAX_DIGITS or size > 8 * MAX_MANTISSA:
        return f"a Decimal of more than {MAX_DIGITS - 1} digits cannot be sent", 0
    return "", 3 if size > 64 else 2


def show_key(key: object) -> str:
    """Write a key as it would stand in brackets, but never long and never by code of its own."""
    if isinstance(key, str):
        text = str.__str__(key)
        import json  # only needed when an error is explained, and slow to import

        return json.dumps(text if len(text) <= 40 else text[:37] + "...")
    if key is None or isinstance(key, bool | float) or (isinstance(key, int) and int.bit_length(key) <= 64):
        return repr(key)
    return f"<{type(key).__name__}>"


def _shorten(path: str) -> str:
    return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH // 2]} ... {path[-_MAX_PATH // 2 :]}"
