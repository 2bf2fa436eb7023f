"""Plans of faults: drawn by chance and by hypothesis, checked, and shrunk."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from trioton.testing import (
    Chaos,
    Cut,
    Fault,
    Isolation,
    Kill,
    Network,
    Partition,
    Pause,
    SimulationFailed,
    fault_plans,
    run_simulation,
)

HOSTS = ["a", "b", "c"]
ALL = (Partition, Isolation, Cut, Kill, Pause)


def test_chaos_draws_what_it_is_told() -> None:
    chaos = Chaos(seconds=100, gap=2, longest=5, kinds=ALL)
    plans = [chaos.plan(random.Random(seed), HOSTS) for seed in range(50)]
    assert plans[7] == chaos.plan(random.Random(7), HOSTS)
    faults = [fault for plan in plans for fault in plan]
    assert 40 <= len(faults) / len(plans) <= 60
    assert {type(fault) for fault in faults} == set(ALL)
    assert all(0 <= fault.at < 100 and set(fault.hosts) <= set(HOSTS) for fault in faults)
    assert all(getattr(fault, "seconds", 0) <= 5 for fault in faults)


def test_chaos_spares_hosts_from_being_killed() -> None:
    chaos = Chaos(gap=1, kinds=ALL, spared=["A", "b"])
    faults = [fault for seed in range(20) for fault in chaos.plan(random.Random(seed), HOSTS)]
    assert {fault.host for fault in faults if isinstance(fault, Kill)} == {"c"}
    assert {fault.host for fault in faults if isinstance(fault, Pause)} == set(HOSTS)
    assert {type(fault) for fault in faults} == set(ALL)
    assert Chaos(kinds=[Kill], spared="a").plan(random.Random(1), ["a"]) == []


@pytest.mark.parametrize("kinds", [[Kill], [Cut]])
def test_chaos_spares_a_host_that_is_not_there(kinds: list[type[Fault]]) -> None:
    with pytest.raises(ValueError, match="spared must name hosts among 'a', 'b', 'c', not 'z'"):
        Chaos(kinds=kinds, spared="z").plan(random.Random(1), HOSTS)
    with pytest.raises(TypeError, match="spared must be names of hosts, not 5"):
        Chaos(kinds=kinds, spared=[5]).plan(random.Random(1), HOSTS)  # type: ignore[list-item]


@given(fault_plans(HOSTS, kinds=[Kill, Pause], spared="B"))
def test_what_hypothesis_spares(plan: list[Fault]) -> None:
    assert not any(isinstance(fault, Kill) and fault.host == "b" for fault in plan)


def test_chaos_begins_later() -> None:
    chaos = Chaos(seconds=50, gap=2, after=30)
    times = [fault.at for seed in range(20) for fault in chaos.plan(random.Random(seed), HOSTS)]
    assert 30 <= min(times) < 35
    assert 75 < max(times) < 80


def test_chaos_among_few_hosts() -> None:
    source = random.Random(1)
    assert Chaos().plan(source, ["a"]) == []
    assert Chaos(kinds=ALL).plan(source, []) == []
    assert {type(fault) for fault in Chaos(kinds=ALL, gap=1).plan(source, ["a"])} == {Kill, Pause}


def test_faults_can_be_written_down_and_done_again() -> None:
    for fault in Chaos(kinds=ALL, gap=1).plan(random.Random(1), HOSTS):
        assert eval(repr(fault)) == fault  # that is what their repr is for


@given(fault_plans(HOSTS, kinds=ALL))
def test_what_hypothesis_draws(plan: list[Fault]) -> None:
    for fault in plan:
        assert 0 <= fault.at <= 60
        assert set(fault.hosts) <= set(HOSTS)
        if isinstance(fault, Partition):
            assert not set(fault.first) & set(fault.second)


def test_hypothesis_shrinks_a_plan() -> None:
    """A plan that isolates a while c is cut: nothing else is left of it."""

    def is_it(plan: list[Fault]) -> bool:
        seen: list[bool] = []

        async def scenario(net: Network) -> None:
            for _ in range(90):
                await trio.sleep(1)
                seen.append(net.is_cut("a", "b") and net.is_cut("a", "c"))

        run_simulation(scenario, seeds=[0], hosts=HOSTS, faults=plan)
        return any(seen)

    plan = find(
        fault_plans(HOSTS, most=5),
        is_it,
        settings=settings(max_examples=200, database=None, phases=[Phase.generate, Phase.shrink]),
        random=random.Random(1),
    )
    assert len(plan) == 1
    assert "a" in plan[0].hosts


@pytest.mark.parametrize("kind", ALL)
def test_hypothesis_shows_faults_as_they_are_written(kind: type[Fault]) -> None:
    @given(fault_plans(HOSTS, kinds=[kind]))
    @settings(max_examples=20, database=None, derandomize=True)
    def fail(plan: list[Fault]) -> None:
        assert not plan

    with pytest.raises(AssertionError) as caught:
        fail()
    shown = "".join(getattr(caught.value, "__notes__", ()))
    assert f"[{kind.__name__}(" in shown
    assert "lambda" not in shown


def test_hypothesis_alone_leaves_out_faults() -> None:
    seen: list[int] = []

    async def scenario(net: Network) -> None:
        seen.append(1)
        raise ValueError("planted")

    @given(st.just([Cut(1, "a", "b"), Pause(2, "a", 1), Pause(3, "b", 1)]))
    @settings(max_examples=1, database=None, derandomize=True, phases=[Phase.generate])
    def check(plan: list[Fault]) -> None:
        seen.clear()
        run_simulation(scenario, seeds=[0], hosts=HOSTS, faults=plan)

    with pytest.raises(SimulationFailed) as caught:
        check()
    assert len(seen) == 1
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("make", "arguments", "error", "words"),
    [
        (Cut, {"at": "1", "a": "a", "b": "b"}, TypeError, "at must be a number of seconds, not '1'"),
        (Pause, {"at": -1, "host": "a", "seconds": 5}, ValueError, "at must be finite and not negative, not -1"),
        (Isolation, {"at": 1, "host": "a", "seconds": float("inf")}, ValueError, "seconds must be finite"),
        (Chaos, {"seconds": "long"}, TypeError, "seconds must be a number of seconds, not 'long'"),
        (Chaos, {"kinds": []}, ValueError, "at least one kind"),
        (Chaos, {"kinds": [int]}, ValueError, "kinds must be among Partition, .*, not <class 'int'>"),
        (fault_plans, {"hosts": ["a"]}, ValueError, r"at least two hosts .*, not \['a'\]"),
        (fault_plans, {"hosts": [], "kinds": [Kill]}, ValueError, "at least two hosts"),
        (
            fault_plans,
            {"hosts": HOSTS, "spared": "z"},
            ValueError,
            "spared must name hosts among 'a', 'b', 'c', not 'z'",
        ),
        (fault_plans, {"hosts": ["a"], "kinds": [Kill], "spared": "a"}, ValueError, "spared must leave a host"),
    ],
)
def test_wrong_arguments(make: Any, arguments: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(**arguments)


@given(st.data())
@settings(max_examples=20)
def test_a_plan_that_is_over_leaves_the_network_whole(data: st.DataObject) -> None:
    plan = data.draw(fault_plans(HOSTS, seconds=20, longest=10, kinds=ALL))

    async def scenario(net: Network) -> None:
        await trio.sleep(31)
        assert not any(net.is_cut(a, b) for a in HOSTS for b in HOSTS)
        assert all(host.is_alive and not host.is_paused for host in net.hosts.values())

    run_simulation(scenario, seeds=[0], hosts=HOSTS, faults=plan)
