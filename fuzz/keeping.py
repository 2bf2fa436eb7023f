"""Chooses which of the inputs that a search has found are kept: the smallest ones that reach a line of Trioton which no other reaches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import trioton

_FOLDER: Final = str(Path(trioton.__file__).parent)

Lines = set[tuple[str, int]]


def lines_reached(run: Callable[[bytes], None], data: bytes) -> Lines:
    """The lines of Trioton that an input reaches."""
    reached: Lines = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_FOLDER):
            return None
        if event == "line":
            reached.add((name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(before)
    return reached


def choose(run: Callable[[bytes], None], kept: Iterable[bytes], found: Iterable[bytes]) -> list[bytes]:
    """Those of the inputs that were found which reach what those that are kept already do not."""
    reached: Lines = set()
    for data in kept:
        reached |= lines_reached(run, data)
    chosen: list[bytes] = []
    for data in sorted(found, key=len):
        its_own = lines_reached(run, data)
        if not its_own <= reached:
            reached |= its_own
            chosen.append(data)
    return chosen
