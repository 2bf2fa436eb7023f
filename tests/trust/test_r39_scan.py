"""The scan takes exactly what a strict decoder takes and the rules allow: no more, and no less."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.chooser import Chooser
from fuzz.speech import Speech
from fuzz.targets.values import strict
from trioton.protocol import scan
from trioton.protocol.codec import array_head
from trioton.protocol.scan import MAX_AWKWARD_KEYS, MAX_DEPTH, MAX_ITEMS

CONTEXTS = (bytes(16), bytes([1]) * 16)


@settings(suppress_health_check=list(HealthCheck), max_examples=300)
@given(st.binary(min_size=1, max_size=300))
def test_r39_values_that_are_nearly_right(data: bytes) -> None:
    strict(Speech(Chooser(data), CONTEXTS, (), ("slot",)).value())


@settings(suppress_health_check=list(HealthCheck), max_examples=300)
@given(st.binary(max_size=40))
def test_r39_any_bytes(data: bytes) -> None:
    strict(data)


def test_r39_every_first_byte_with_every_second() -> None:
    for first in range(256):
        for second in range(256):
            strict(bytes([first, second]) + b"\0\0\0")
            strict(bytes([first, second]))


@pytest.mark.parametrize("wrap", [b"\x81", b"\xa1\x00", b"\xd9\xd3\x05\x81", b"\xd9\x01\x02\x81"])
@pytest.mark.parametrize("inner", [b"\x00", b"\x80", b"\xc2\x41\x01", b"\xc4\x82\x00\x01", b"\xc4\x82\x00\xc2\x41\x01"])
def test_r39_how_deep(wrap: bytes, inner: bytes) -> None:
    for levels in range(MAX_DEPTH // 2 - 3, MAX_DEPTH + 2):
        strict(wrap * levels + inner)


@pytest.mark.slow
@pytest.mark.parametrize("count", [MAX_ITEMS - 2, MAX_ITEMS - 1, MAX_ITEMS])
def test_r39_how_many(count: int) -> None:
    strict(array_head(count) + b"\0" * count)
    strict(b"\x82" + array_head(count - 1) + b"\0" * (count - 1) + b"\0")


@pytest.mark.parametrize("count", [MAX_AWKWARD_KEYS, MAX_AWKWARD_KEYS + 1])
def test_r39_how_many_awkward_keys(count: int) -> None:
    keys = [b"\xfb" + number.to_bytes(8, "big") for number in range(count)]
    strict(b"\xd9\x01\x02" + array_head(count) + b"".join(keys))
    head = bytearray(array_head(count))
    head[0] += 0x20
    strict(bytes(head) + b"".join(key + b"\0" for key in keys))


def test_r39_the_limits_are_those_of_the_table() -> None:
    """What this file tries is near the limits only as long as these are what they are."""
    assert (MAX_DEPTH, MAX_ITEMS, MAX_AWKWARD_KEYS, scan.MAX_BIGNUM) == (32, 65_536, 1024, 4096)
