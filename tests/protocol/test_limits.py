"""Limits: all are positive, and those that depend on each other agree."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trioton.protocol import limits
from trioton.protocol.limits import Limits

NAMES = [field.name for field in attrs.fields(Limits)]
SECONDS = {"hello_deadline", "handshake_deadline", "reassembly_deadline", "resume_window"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan"), None, "1", True, 1j])
def test_a_limit_is_positive(name: str, value: Any) -> None:
    expected = ValueError if isinstance(value, (int, float)) and not isinstance(value, bool) else TypeError
    if isinstance(value, float) and name not in SECONDS:
        expected = TypeError
    if name == "memory" and value is None:
        assert Limits(memory=None) == Limits()  # as much as the machine can spare
        return
    with pytest.raises(expected, match=f"{name} must be .*, not {value!r}"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_can_be_set(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    if name in SECONDS:
        assert getattr(Limits(**{name: 0.5}), name) == 0.5  # type: ignore[arg-type]


def test_limits_are_named_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().max_package = 1  # type: ignore[misc]


def test_the_defaults_agree() -> None:
    defaults = Limits()
    assert defaults.max_package <= defaults.reassembly_bytes
    assert defaults.max_handshake <= defaults.max_header
    assert defaults.pending_handshakes_per_address <= defaults.pending_handshakes <= defaults.connections
    assert limits.MIN_FRAGMENT <= limits.SMALL_FRAGMENT <= limits.LARGE_FRAGMENT <= defaults.max_package
    assert defaults.max_package >= limits.MAX_RUN_BYTES
    assert defaults.hello_deadline < defaults.handshake_deadline
    assert defaults.reassembly_bytes + defaults.window_bytes <= defaults.link_memory <= limits.MOST_MEMORY
    assert defaults.memory is None
    assert defaults.slot_length * 4 < defaults.max_header
