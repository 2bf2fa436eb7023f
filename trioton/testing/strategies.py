"""What hypothesis draws for simulations: plans of faults, which it shrinks. It needs the extra ``testing``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .faults import Cut, Fault, Isolation, Kill, Partition, Pause, check_kinds, mortals

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

STEPS_A_SECOND = 10
"""Times are drawn in such steps, so that what is left when it was shrunk can be read."""


def fault_plans(
    hosts: Sequence[str],
    *,
    seconds: float = 60.0,
    longest: float = 20.0,
    most: int = 10,
    kinds: Iterable[type[Fault]] = (Partition, Isolation, Cut),
    spared: str | Iterable[str] = (),
) -> SearchStrategy[list[Fault]]:
    """A strategy for plans of faults, to be given to `trioton.testing.run_simulation` in a test under ``@given``.

    ::

        @given(faults=trioton.testing.fault_plans(["a", "b", "c"]))
        def test_nothing_is_lost(faults):
            run_simulation(scenario, seeds=[0], hosts=["a", "b", "c"], faults=faults)

    Args:
        hosts: The names of the hosts; two at least for all kinds but `Kill` and `Pause`.
        seconds: Until when faults begin.
        longest: Seconds that a fault takes at most.
        most: How many faults a plan has at most.
        kinds: What may go wrong.
        spared: The names of hosts that are never killed.

    Raises:
        TypeError: A name in `spared` is not a str.
        ValueError: There are too few hosts, a kind is not known, or `spared` names another host, or leaves none to be killed.
    """
    from hypothesis import strategies as st

    names = list(hosts)
    wanted = check_kinds(kinds)
    if len(names) < (1 if set(wanted) <= {Kill, Pause} else 2):
        raise ValueError(f"hosts must name at least two hosts for these kinds of faults, not {names!r}")
    killable = mortals(names, (spared,) if isinstance(spared, str) else spared)
    if Kill in wanted and not killable:
        raise ValueError(f"spared must leave a host that may be killed, not {spared!r}")
    at = st.integers(0, int(seconds * STEPS_A_SECOND)).map(lambda steps: steps / STEPS_A_SECOND)
    length = st.integers(0, int(longest * STEPS_A_SECOND)).map(lambda steps: steps / STEPS_A_SECOND)
    host = st.sampled_from(names)

    # Composite strategies, since hypothesis then shows the fault itself, and not how it was made.
    @st.composite
    def partitions(draw: st.DrawFn) -> Fault:
        order, border = draw(st.permutations(names)), draw(st.integers(1, len(names) - 1))
        first, second = sorted(order[:border]), sorted(order[border:])
        return Partition(draw(at), first, second, draw(length), draw(st.booleans()))

    @st.composite
    def cuts(draw: st.DrawFn) -> Fault:
        return Cut(draw(at), *sorted(draw(st.permutations(names))[:2]))

    strategies: dict[type[Fault], SearchStrategy[Fault]] = {
        Partition: partitions(),
        Isolation: st.builds(Isolation, at, host, length),
        Cut: cuts(),
        Kill: st.builds(Kill, at, st.sampled_from(killable or names), length, st.booleans()),
        Pause: st.builds(Pause, at, host, length),
    }
    return st.lists(st.one_of([strategies[kind] for kind in wanted]), max_size=most)
