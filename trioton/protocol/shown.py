"""How what a peer has sent is shown in an error or a log line: only its start, whatever it is and however large."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

_MOST_BITS: Final = 2048
"""Bits of an int that is written out. Python refuses to write one of thousands of digits at all."""

_BRACKETS: Final[dict[type, tuple[str, str]]] = {list: ("[", "]"), tuple: ("(", ")"), dict: ("{", "}")}


def shown(value: object, most: int = 100) -> str:
    """Give the first characters of what Python writes for a value.

    It never raises, and takes neither time nor memory for what is left out.

    Args:
        value: What a decoder has made.
        most: Characters at most.
    """
    pieces: list[str] = []
    size = 0
    for piece in _pieces(value, most):
        pieces.append(piece)
        size += len(piece)
        if size >= most:
            break
    return "".join(pieces)[:most]


def _pieces(value: object, most: int) -> Iterator[str]:
    kind = type(value)
    if isinstance(value, (str, bytes)):
        yield repr(value[:most])
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        yield f"<an int of {value.bit_length()} bits>"
    elif kind in _BRACKETS:
        opening, closing = _BRACKETS[kind]
        yield opening
        yield from _items(value, most)
        yield closing
    elif isinstance(value, (set, frozenset)) and value:
        yield "{" if kind is set else "frozenset({"
        yield from _items(value, most)
        yield "}" if kind is set else "})"
    else:
        try:
            yield repr(value)
        except Exception as error:  # noqa: BLE001  # anything may go wrong in there
            yield f"<a {kind.__name__} whose text raises {type(error).__name__}>"


def _items(values: object, most: int) -> Iterator[str]:
    assert isinstance(values, (list, tuple, dict, set, frozenset))
    for number, item in enumerate(islice(values, most)):
        if number:
            yield ", "
        yield from _pieces(item, most)
        if isinstance(values, dict):
            yield ": "
            yield from _pieces(values[item], most)
    if isinstance(values, tuple) and len(values) == 1:
        yield ","
