"""What others make this context hold is counted, and nothing is counted that is not held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton import Block, DropNewest, DropOldest
from trioton.protocol.inbox import Inbox, ReceiveFlow, Run
from trioton.protocol.limits import MIB
from trioton.protocol.memory import Held, MemoryBudget, MemoryUse, OverMemoryError
from trioton.protocol.policies import Policy


def test_a_link_has_its_bound() -> None:
    budget = MemoryBudget(100 * MIB)
    scope = budget.scope(MIB)
    scope.charge(MIB)
    with pytest.raises(
        OverMemoryError,
        match="calm down: 1048576 bytes wait here already, and 1 more would be over the 1 MiB for one link",
    ):
        scope.charge(1)
    assert (scope.used, budget.used) == (MIB, MIB)
    scope.release(MIB)
    assert (scope.used, budget.used) == (0, 0)


def test_all_links_have_one_together() -> None:
    budget = MemoryBudget(1000)
    first, second = budget.scope(800), budget.scope(800)
    first.charge(700)
    with pytest.raises(
        OverMemoryError, match="700 bytes wait here already, and 400 more would be over the 1000 bytes for all links"
    ):
        second.charge(400)
    assert second.used == 0
    second.charge(300)
    assert budget.used == 1000
    assert repr(budget) == "<MemoryBudget, 1000 of 1000 bytes used>"
    assert repr(second) == "<MemoryScope, 300 of 800 bytes used>"


def test_something_whose_size_changes() -> None:
    scope = MemoryBudget(1000).scope(100)
    use = MemoryUse(scope)
    for size in (10, 90, 30):
        use.set(size)
        assert scope.used == size
    with pytest.raises(OverMemoryError):
        use.set(101)
    assert (use.size, scope.used) == (30, 30)
    use.set(0)
    assert scope.used == 0


def test_something_that_several_hold() -> None:
    scope = MemoryBudget(1000).scope(100)
    held = Held(scope, 40)
    held.keep()
    held.keep()
    with pytest.raises(OverMemoryError):
        held.keep()
    held.left()
    held.left()
    assert scope.used == 0


@pytest.mark.parametrize("policy", [Block(10), DropOldest(10), DropNewest(10)], ids=repr)
@given(steps=st.lists(st.sampled_from([1, 2, 5, "take", "clear"]), max_size=40))
def test_an_inbox_is_charged_for_what_waits(policy: Policy, steps: list[int | str]) -> None:
    budget = MemoryBudget(1 << 30)
    scope = budget.scope(1 << 30)
    inbox, flow, first = Inbox(policy), ReceiveFlow(b"s" * 16, "slot", 0, 1000), 0
    waiting: list[Run] = []
    for step in steps:
        if isinstance(step, int):
            run = Run(flow, first, bytes(step), 0, step, first, False, scope, 100 + step)
            first += step
            inbox.add(run)
            waiting.append(run)
        elif step == "take":
            inbox.next_run()
        else:
            inbox.clear()
        assert budget.used == sum(run.share for run in inbox._runs)
    inbox.clear()
    assert budget.used == 0


def test_an_inbox_takes_nothing_that_is_too_much() -> None:
    scope = MemoryBudget(1000).scope(150)
    inbox, flow = Inbox(Block(10)), ReceiveFlow(b"s" * 16, "slot", 0, 1000)
    inbox.add(Run(flow, 0, b"x", 0, 1, 0, False, scope, 100))
    with pytest.raises(OverMemoryError):
        inbox.add(Run(flow, 1, b"x", 0, 1, 1, False, scope, 100))
    assert (inbox.pending, inbox.counts.received, scope.used) == (1, 1, 100)
