"""What peers have sent is shown by its start: as Python writes it, and never at a cost that they decide about."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.shown import shown

from .values_of_all_kinds import any_values

HUGE = 1 << 32_000  # which Python does not write


def without_quotes(text: str) -> str:
    """Which quotes a text gets depends on all that is in it."""
    return text.replace("\\", "").replace("'", "").replace('"', "")


@given(any_values, st.integers(1, 300))
def test_it_is_the_start_of_what_python_writes(value: object, most: int) -> None:
    text = shown(value, most)
    assert len(text) == min(most, len(repr(value)))
    assert without_quotes(repr(value)).startswith(without_quotes(text))
    assert text == repr(value) or len(text) == most


def test_what_python_does_not_write_is_named() -> None:
    for value in (HUGE, -HUGE, [1, HUGE], {HUGE: [HUGE]}, (HUGE,), {HUGE}, frozenset({HUGE})):
        assert "<an int of 32001 bits>" in shown(value)


def test_a_value_without_a_text_is_named() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown([Mute()]) == "[<a Mute whose text raises RuntimeError>]"


def test_what_is_left_out_takes_no_time() -> None:
    for value in (b"\xff" * 2**24, "\ue000" * 2**24, [[0] * 2**20] * 2**10, [[[bytes(2**24)]]]):
        started = time.thread_time()
        for _ in range(100):
            assert len(shown(value)) == 100
        assert time.thread_time() - started < 0.5
