from collections.abc import Sequence

from hypothesis import given, settings
from test_words import HOSTS, NETWORK, the_book_is_counted

from trioton.testing import Fault, Partition, fault_plans, run_simulation


@given(faults=fault_plans(HOSTS, seconds=15))
@settings(deadline=None, max_examples=50)
def test_with_any_plan(faults: Sequence[Fault]) -> None:
    run_simulation(the_book_is_counted, seeds=[0], hosts=HOSTS, network=NETWORK, faults=faults)


def test_with_the_plan_that_was_found() -> None:
    plan = [Partition(at=3.3, first=("boss",), second=("ann", "ben"), seconds=15.6)]
    run_simulation(the_book_is_counted, seeds=[0], hosts=HOSTS, network=NETWORK, faults=plan)
