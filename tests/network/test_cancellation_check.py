"""The quick look at whether a task is cancelled agrees with Trio's own words, whatever Trio has inside."""

from __future__ import annotations

import math

import trio

from trioton.network import cancellation


def both() -> tuple[bool, bool]:
    return cancellation.is_cancelled(), trio.current_effective_deadline() == -math.inf


async def test_it_agrees_with_trio_in_every_state() -> None:
    assert both() == (False, False)
    with trio.CancelScope() as outer:  # noqa: ASYNC100  # only looked at
        assert both() == (False, False)
        outer.cancel()
        assert both() == (True, True)
        with trio.CancelScope(shield=True) as inner:  # noqa: ASYNC100
            assert both() == (False, False)
            inner.cancel()
            assert both() == (True, True)
        assert both() == (True, True)
    assert both() == (False, False)


def test_the_quick_way_is_in_use() -> None:
    # If this fails, Trio has moved what `cancellation.py` looks at. Trioton works all the same, by the public function;
    # find the new place, or accept that `send` and `receive` cost half a microsecond more, and delete the quick way.
    assert hasattr(cancellation, "GLOBAL_RUN_CONTEXT")
