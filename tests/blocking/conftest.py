"""Two blocking contexts that are connected through memory, and a watch over what they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import attrs
import pytest

from trioton import blocking

DEADLINE = 20.0
"""Seconds that anything here may take; it takes a moment."""


@attrs.frozen
class Pair:
    """Two contexts; `b` has dialled `a`."""

    a: blocking.Context
    b: blocking.Context
    to_a: blocking.Connection


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """No thread of the library may be left at the end, nor one that the test has started."""
    before = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread not in before and not thread.name.startswith("Trio thread"):
            pytest.fail(f"{thread} is left")


@pytest.fixture
def pair(no_thread_left: None) -> Iterator[Pair]:
    with blocking.open_context("a", grace=1.0) as a, blocking.open_context("b", grace=1.0) as b:
        a.bind("mem://a")
        to_a = b.connect("mem://a", timeout=DEADLINE)
        a.wait_context("b", timeout=DEADLINE)
        yield Pair(a, b, to_a)
