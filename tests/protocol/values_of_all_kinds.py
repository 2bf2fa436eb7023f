"""What the tests of the codec share: values of all kinds, at any depth, and how two of them are compared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import strategies as st

from trioton.errors import MessageTypeError
from trioton.protocol.values import encode_value

UTC = dt.UTC
ODD_ZONE = dt.timezone(-dt.timedelta(hours=3, seconds=7, microseconds=5))
SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")


def exactly(value: Any) -> Any:
    """A form of a value in which two are equal only if they are the same in type, order and sign."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [exactly(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(exactly(item)) for item in value)
    if kind is dict:
        return kind, [(exactly(key), exactly(child)) for key, child in value.items()]
    if kind is dt.datetime:
        return kind, value.isoformat()
    return kind, hex(value) if kind is int else repr(value)


def refusal(value: object, **options: Any) -> str:
    with pytest.raises(MessageTypeError) as caught:
        encode_value(value, **options)
    return str(caught.value)


class Foo:
    pass


class Point(NamedTuple):
    x: int
    y: int


KINDS = [list, tuple, set, frozenset, dict, float, int, bytearray, Decimal]
SUBCLASS = {kind: type(f"_{kind.__name__}", (kind,), {}) for kind in KINDS}


def nested(levels: int, inner: Any = 0, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def in_tuple(inner: Any) -> Any:
    return (inner,)


def in_frozenset(inner: Any) -> Any:
    return frozenset({inner})


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.sampled_from([UTC, ODD_ZONE, dt.timezone(dt.timedelta(hours=14))])),
    st.uuids(),
    st.decimals().filter(lambda value: not value.is_snan()),
)
keys = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
any_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(keys, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
    ),
    max_leaves=20,
)
