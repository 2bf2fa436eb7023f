"""Runs a target with hypothesis: on inputs that are made from what is kept, and shrunk when they break something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

PHASES: Final = (Phase.explicit, Phase.generate, Phase.target, Phase.shrink)
_MOST: Final = 200


def damaged(kept: Sequence[bytes], largest: int) -> st.SearchStrategy[bytes]:
    """Inputs that were kept, with some bytes changed, cut out, put in or doubled; and any others."""
    anything = st.binary(max_size=min(largest, 2000))
    if not kept:
        return anything
    one_kept = st.integers(0, len(kept) - 1).map(lambda number: kept[number])
    place = st.integers(0, 1 << 16)
    change = st.tuples(
        st.sampled_from(("change", "cut", "insert", "double", "flip", "join")), place, place, st.binary(max_size=8)
    )
    return anything | st.builds(
        lambda data, changes, other: _change(data, changes, other)[:largest],
        one_kept,
        st.lists(change, max_size=4),
        one_kept,
    )


def _change(data: bytes, changes: Sequence[tuple[str, int, int, bytes]], other: bytes) -> bytes:
    for kind, first, second, new in changes:
        at = first % (len(data) + 1)
        to = min(len(data), at + 1 + second % 16)
        if kind == "change":
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "cut":
            data = data[:at] + data[to:]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "double":
            data = data[:to] + data[at:to] + data[to:]
        elif kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << second % 8]) + data[at + 1 :]
        else:
            data = data[:at] + other[second % (len(other) + 1) :]
    return data


def search(run: Callable[[bytes], None], kept: Sequence[bytes], largest: int, seconds: float) -> int:
    """Try inputs for so many seconds; gives how many. What breaks something is raised, for the smallest input that was found."""
    until = time.monotonic() + seconds
    tried = 0

    @settings(max_examples=_MOST, deadline=None, database=None, phases=PHASES, suppress_health_check=list(HealthCheck))
    @given(damaged(kept, largest))
    def one_round(data: bytes) -> None:
        nonlocal tried
        if time.monotonic() < until:
            tried += 1
            run(data)

    while time.monotonic() < until:
        one_round()
    return tried
