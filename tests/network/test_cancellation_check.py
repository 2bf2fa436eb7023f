"""The quick look at whether a task is cancelled agrees with Trio's own words, whatever Trio has inside."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType

import pytest
import trio

from trioton.network import cancellation


async def check_every_state(module: ModuleType) -> None:
    def both() -> tuple[bool, bool]:
        return module.is_cancelled(), trio.current_effective_deadline() == -math.inf

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


def load_with(monkeypatch: pytest.MonkeyPatch, inside: ModuleType) -> ModuleType:
    """The module as it would be if `inside` were what Trio has inside."""
    spec = importlib.util.find_spec(cancellation.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "trio._core._run", inside)
        spec.loader.exec_module(module)
    return module


async def test_it_agrees_with_trio_in_every_state() -> None:
    await check_every_state(cancellation)


@pytest.mark.parametrize(
    "moved", [(), ("GLOBAL_RUN_CONTEXT",), ("CancelStatus",), ("GLOBAL_RUN_CONTEXT", "CancelStatus")]
)
def test_it_agrees_also_if_trio_has_moved_what_is_inside(
    monkeypatch: pytest.MonkeyPatch, moved: tuple[str, ...]
) -> None:
    inside = ModuleType("inside")
    for name in moved:
        setattr(inside, name, object)
    module = load_with(monkeypatch, inside)
    assert module.is_cancelled.__code__ != cancellation.is_cancelled.__code__
    trio.run(check_every_state, module)


def test_the_quick_way_is_in_use() -> None:
    # If this fails, Trio has moved what `cancellation.py` looks at. Trioton works all the same, by the public function;
    # find the new place, or accept that `send` and `receive` cost half a microsecond more, and delete the quick way.
    assert hasattr(cancellation, "GLOBAL_RUN_CONTEXT")
