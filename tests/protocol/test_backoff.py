"""When a dropped connection is dialled again."""

from __future__ import annotations

from itertools import islice
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.backoff import Reconnect

NAMES = [field.name for field in attrs.fields(Reconnect)]


def test_the_longest_waits_double_up_to_the_maximum() -> None:
    assert list(islice(Reconnect().delays(lambda: 1.0), 11)) == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    )


def test_each_wait_is_drawn_anew_from_the_whole_range() -> None:
    draws = iter([0.5, 0.0, 0.25])
    assert list(islice(Reconnect(first=1, factor=3).delays(lambda: next(draws)), 3)) == [0.5, 0.0, 2.25]


def test_there_may_be_no_wait_at_all() -> None:
    assert list(islice(Reconnect(first=0).delays(lambda: 1.0), 3)) == [0, 0, 0]
    assert list(islice(Reconnect(first=0, maximum=0).delays(lambda: 1.0), 3)) == [0, 0, 0]


seconds = st.floats(0, 1e300)


@given(first=seconds, factor=st.floats(1, 1e300), maximum=seconds, draw=st.floats(0, 1, exclude_max=True))
def test_waits_stay_within_their_bounds(first: float, factor: float, maximum: float, draw: float) -> None:
    first, maximum = sorted([first, maximum])
    reconnect = Reconnect(first=first, factor=factor, maximum=maximum)
    most = list(islice(reconnect.delays(lambda: 1.0), 50))
    assert most == sorted(most)
    assert most[-1] <= maximum
    assert most[0] == first
    for wait, longest in zip(reconnect.delays(lambda: draw), most, strict=False):
        assert 0 <= wait <= longest


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), None, "1", True])
def test_wrong_values_are_named(name: str, value: Any) -> None:
    expected = TypeError if value is None or isinstance(value, (str, bool)) else ValueError
    with pytest.raises(expected, match=f"{name} must be .*, not {value!r}"):
        Reconnect(**{name: value})


def test_waits_never_shrink() -> None:
    with pytest.raises(ValueError, match=r"factor must be finite and at least 1, not 0\.99"):
        Reconnect(factor=0.99)


def test_the_first_wait_is_no_longer_than_the_longest() -> None:
    with pytest.raises(ValueError, match=r"first must be at most maximum, not 5 > 2\.5"):
        Reconnect(first=5, maximum=2.5)
    assert Reconnect(first=5, maximum=5).maximum == 5
