"""Identities: one int of two parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.identity import NUMBER_BITS, REALM_BITS, ContextId


@given(st.integers(0, (1 << REALM_BITS) - 1), st.integers(0, (1 << NUMBER_BITS) - 1))
def test_the_parts_come_back(realm: int, number: int) -> None:
    identity = ContextId.from_parts(realm, number)
    assert (identity.realm, identity.number) == (realm, number)
    assert ContextId.from_wire(identity.to_wire()) == identity
    assert identity.to_wire() == realm.to_bytes(12, "big") + number.to_bytes(4, "big")
    assert type(ContextId.from_wire(identity.to_wire())) is ContextId


@pytest.mark.parametrize(
    ("realm", "number", "name"), [(-1, 0, "realm"), (1 << 96, 0, "realm"), (0, -1, "number"), (0, 1 << 32, "number")]
)
def test_parts_that_do_not_fit_are_named(realm: int, number: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must have at most"):
        ContextId.from_parts(realm, number)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_identity_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 bytes, not {size}"):
        ContextId.from_wire(bytes(size))


def test_it_is_an_int_that_shows_its_number() -> None:
    identity = ContextId.from_parts(0xABCDEF, 7)
    assert identity == 0xABCDEF << 32 | 7
    assert {identity: "x"}[ContextId(int(identity))] == "x"
    assert repr(identity) == "<context 7 of realm 000000000000000000abcdef>"
    assert str(identity) == f"{identity}" == "7@000000000000"
