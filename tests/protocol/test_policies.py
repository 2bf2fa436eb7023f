"""Policies: what each looks like to a publisher, and what its size may be."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trioton.protocol.policies import MAX_SIZE, Block, Disconnect, DropNewest, DropOldest, Latest, Mode

SIZED: list[Any] = [Block, DropOldest, DropNewest, Disconnect]


@pytest.mark.parametrize(
    ("policy", "mode", "size"),
    [
        (Block(), Mode.BLOCK, 1024),
        (Block(7), Mode.BLOCK, 7),
        (DropOldest(7), Mode.DROP_OLDEST, 7),
        (DropNewest(7), Mode.DROP_NEWEST, 7),
        (Latest(), Mode.DROP_OLDEST, 1),
        (Disconnect(7), Mode.DROP_NEWEST, 7),
    ],
    ids=repr,
)
def test_what_a_publisher_sees(policy: Any, mode: Mode, size: int) -> None:
    assert (policy.mode, policy.size) == (mode, size)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.size = 1


@pytest.mark.parametrize("policy", SIZED)
@pytest.mark.parametrize("size", [0, -1, MAX_SIZE + 1])
def test_sizes_out_of_range_are_refused(policy: Any, size: int) -> None:
    with pytest.raises(ValueError, match=f"{policy.__name__} takes 1 to {MAX_SIZE} messages, not {size}"):
        policy(size)


@pytest.mark.parametrize("policy", SIZED)
@pytest.mark.parametrize("size", [1.0, "1", None, True])
def test_a_size_is_a_whole_number(policy: Any, size: object) -> None:
    with pytest.raises(TypeError, match=f"{policy.__name__} takes a number of messages, not {size!r}"):
        policy(size)


@pytest.mark.parametrize("policy", SIZED)
def test_the_ends_of_the_range_are_in_it(policy: Any) -> None:
    assert [policy(size).size for size in (1, MAX_SIZE)] == [1, MAX_SIZE]


def test_latest_takes_no_size() -> None:
    assert repr(Latest()) == "Latest()"
    with pytest.raises(TypeError):
        Latest(2)  # type: ignore[call-arg]


def test_blocking_goes_before_dropping_and_the_oldest_before_the_newest() -> None:
    """Where several subscriptions share a slot, the least of their modes counts."""
    assert sorted(Mode) == [Mode.BLOCK, Mode.DROP_OLDEST, Mode.DROP_NEWEST]
