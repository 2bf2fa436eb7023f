"""run_simulation: what it runs, what it notices, and what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import trioton
from trioton.testing import (
    Chaos,
    Cut,
    Fault,
    Host,
    Isolation,
    LivenessError,
    Network,
    Partition,
    Pause,
    SimulationFailed,
    run_simulation,
    sometimes,
)
from trioton.transports.address import parse_address


async def count_to(net: Network, count: int) -> list[str]:
    """A publisher on the host a, a subscriber on b that gets so many messages."""

    async def publish(host: Host) -> None:
        async with trioton.open_context("a", network=host) as ctx, trioton.PubChannel(ctx, "numbers") as pub:
            await ctx.bind("a:1")
            for number in range(count):
                await pub.send(str(number))
            await trio.sleep_forever()

    net.start_soon("a", publish)
    async with trioton.open_context("b", network=net.host("b")) as ctx, trioton.SubChannel(ctx, "numbers") as sub:
        await trio.sleep(0.1)  # a listens by then
        await ctx.connect("a:1")
        return [await sub.receive() for _ in range(count)]


async def quiet(net: Network) -> None:
    assert await count_to(net, 20) == [str(number) for number in range(20)]


# ------------------------------------------------------------------------------------------------------------ what it runs


def test_each_seed_is_a_run_of_its_own() -> None:
    report = run_simulation(quiet, seeds=range(5), hosts=["a", "b"], network={"latency": (0.01, 0.1)})
    assert [run.seed for run in report.runs] == [0, 1, 2, 3, 4]
    assert len({run.digest for run in report.runs}) == 5
    assert all(0.02 < run.seconds < 5 and run.events > 10 for run in report.runs)
    assert report.seconds == sum(run.seconds for run in report.runs)


def test_a_seed_does_the_same_again() -> None:
    once, again = (
        run_simulation(quiet, seeds=[7], hosts=["a", "b"], network={"latency": (0.01, 0.1)}) for _ in range(2)
    )
    assert once.runs[0].digest == again.runs[0].digest


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_simulation import quiet
from trioton.testing import Chaos, run_simulation
report = run_simulation(quiet, seeds=range(3), hosts=["a", "b"], faults=Chaos(), network={"latency": (0.01, 0.1), "chunk": (1, 50)})
json.dump([run.digest for run in report.runs], sys.stdout)
"""


def test_every_process_does_the_same_whatever_its_hashes() -> None:
    found = []
    for hash_seed in ("0", "1", "random"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        found.append(json.loads(run.stdout))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 3


def test_what_is_planned_goes_wrong_at_its_time() -> None:
    async def scenario(net: Network) -> None:
        await count_to(net, 3)
        await trio.sleep(30)
        faults = [(event.time, event.content) for event in net.trace if event.kind == "fault"]
        assert faults == [
            (2.0, "partition"),
            (4.0, "partition ends"),
            (5.0, "cut"),
            (6.0, "pause"),
            (8.0, "resume"),
        ]

    plan: list[Fault] = [Cut(5, "a", "b"), Partition(2, "a", "b", 2), Pause(6, "b", 2)]
    run_simulation(scenario, seeds=[1], hosts=["a", "b"], faults=plan)


def test_chaos_differs_from_seed_to_seed_and_nothing_is_lost() -> None:
    async def scenario(net: Network) -> None:
        received = await count_to(net, 200)
        assert received == [str(number) for number in range(200)]
        await trio.sleep(20)
        sometimes("a link was lost", net.statistics().dialled > 1)
        sometimes("nothing was lost", net.statistics().dialled == 1)

    report = run_simulation(
        scenario, seeds=range(30), hosts=["a", "b"], faults=Chaos(seconds=20, gap=4), network={"latency": (0.01, 0.1)}
    )
    assert len({run.faults for run in report.runs}) > 25
    assert 0 < report.sometimes["a link was lost"] < 30


def test_one_seed_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIOTON_SEED", "12")

    async def scenario(net: Network) -> None:
        sometimes("never", False)
        await trio.sleep(1)

    report = run_simulation(scenario)
    assert [run.seed for run in report.runs] == [12]


# -------------------------------------------------------------------------------------------------------- what it notices


def test_a_failure_says_its_seed_and_the_last_events() -> None:
    async def scenario(net: Network) -> None:
        await count_to(net, 5)
        net.note("so far, so good")
        raise ValueError("planted")

    with pytest.raises(SimulationFailed) as caught:
        run_simulation(scenario, seeds=[3, 4], hosts=["a", "b"])
    assert caught.value.seed == 3
    assert isinstance(caught.value.__cause__, ValueError)
    text = str(caught.value)
    assert "failed with seed 3" in text
    assert "TRIOTON_SEED=3" in text
    assert "ValueError: planted" in text
    assert caught.value.digest in text
    assert "a -> b" in text
    assert "note so far, so good" in text


def test_a_failure_has_all_events() -> None:
    async def scenario(net: Network) -> None:
        for number in range(100):
            net.note(number)
        raise ValueError("planted")

    with pytest.raises(SimulationFailed) as caught:
        run_simulation(scenario, seeds=[3])
    assert [event.content for event in caught.value.events] == [str(number) for number in range(100)]
    assert "the last 30 of " in str(caught.value)
    assert " note 69" not in str(caught.value)
    assert " note 70" in str(caught.value)


def test_faults_are_left_out_that_it_does_not_take() -> None:
    async def scenario(net: Network) -> None:
        await trio.sleep(50)
        words = [event.content for event in net.trace if event.kind == "fault"]
        assert not ("pause" in words and "cut" in words)

    with pytest.raises(SimulationFailed) as caught:
        run_simulation(
            scenario,
            seeds=range(10),
            hosts=["a", "b", "c"],
            faults=Chaos(gap=2, kinds=(Partition, Isolation, Cut, Pause)),
        )
    assert sorted(type(fault).__name__ for fault in caught.value.faults) == ["Cut", "Pause"]
    assert re.search(r"faults that it takes, of \d+:\n", str(caught.value))


def test_a_failure_that_takes_no_fault_says_so() -> None:
    async def scenario(net: Network) -> None:
        await trio.sleep(5)
        raise ValueError("always")

    with pytest.raises(SimulationFailed, match=r"faults that it takes, of \d+: none"):
        run_simulation(scenario, seeds=[1], hosts=["a", "b"], faults=Chaos())


def test_what_never_happens_is_a_failure() -> None:
    async def scenario(net: Network) -> None:
        sometimes("pigs fly", net.seed == 1000)
        sometimes("it rains")

    with pytest.raises(SimulationFailed, match=r"in 20 runs it never happened that: pigs fly$"):
        run_simulation(scenario, seeds=range(20))
    assert run_simulation(scenario, seeds=[3]).sometimes == {"pigs fly": 0, "it rains": 1}


def test_a_scenario_that_waits_for_ever() -> None:
    async def wait(net: Network) -> None:
        await trio.sleep_forever()

    with pytest.raises(SimulationFailed, match=r"(?s)seed 5.*had not ended after 100 s of simulated time"):
        run_simulation(wait, seeds=[5], time_limit=100)


def test_a_scenario_that_works_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioton.testing.simulation.MOST_PASSES", 1000)

    async def scenario(net: Network) -> None:
        await trio.sleep(2)
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(SimulationFailed, match=r"(?s)seed 6.*busy, and lets no time go by, at 2 s"):
        run_simulation(scenario, seeds=[6])


@pytest.mark.parametrize("how", ["shielded", "caught", "shielded in a task", "shielded in a program"])
def test_a_scenario_that_does_not_let_itself_be_cancelled(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("trioton.testing.simulation.MOST_PASSES", 1000)

    async def wait(*_: object) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def scenario(net: Network) -> None:
        if how == "shielded":
            await wait()
        while how == "caught":
            try:
                await trio.sleep_forever()
            except trio.Cancelled:  # noqa: ASYNC103  # that is the mistake
                pass
        if how == "shielded in a program":
            net.start_soon("a", wait)
            await trio.sleep(1)
            return
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # a task shall be left
            nursery.start_soon(wait)

    words = "(?s)seed 3.*was cancelled, and its task .* did not end"
    with pytest.raises(SimulationFailed, match=words):
        run_simulation(scenario, seeds=[3], hosts=["a"], time_limit=100)


def test_a_task_that_is_left() -> None:
    async def forgotten() -> None:
        await trio.sleep_forever()

    async def scenario(net: Network) -> None:
        trio.lowlevel.spawn_system_task(forgotten)

    with pytest.raises(SimulationFailed, match=r"(?s)seed 8.*left behind 1 tasks: .*forgotten"):
        run_simulation(scenario, seeds=[8])


def test_a_listener_and_a_connection_that_are_left() -> None:
    async def scenario(net: Network) -> None:
        address = parse_address("a:1")
        await net.host("a").listen(address)
        await net.host("b").dial(address)

    with pytest.raises(SimulationFailed, match=r"left behind 1 listeners: .*; 1 connections: b -> a \(open\)"):
        run_simulation(scenario, seeds=[8])


def test_what_is_not_the_same_again() -> None:
    calls: list[Network] = []

    async def scenario(net: Network) -> None:
        calls.append(net)
        net.note(f"call {len(calls)}")

    with pytest.raises(SimulationFailed, match=r"(?s)did not do the same.*call 1.*call 2.*order of a set"):
        run_simulation(scenario, seeds=[1])


def test_liveness() -> None:
    async def scenario(net: Network) -> None:
        net.partition("a", "b")
        await trio.sleep(1)
        with net.must_progress(within=60):
            await count_to(net, 3)
        net.isolate("c")
        with net.must_progress(within=60, core=["a", "b"]):
            await trio.sleep(1)
        assert net.is_cut("a", "c")
        assert not net.is_cut("a", "b")
        with net.must_progress(within=10):
            await trio.sleep(11)

    with pytest.raises(SimulationFailed, match="no progress within 10 s after the last fault") as caught:
        run_simulation(scenario, seeds=[1], hosts=["a", "b", "c"], faults=[Isolation(0, "a", 5000)])
    assert isinstance(caught.value.__cause__, LivenessError)


# ---------------------------------------------------------------------------------------------------------- wrong arguments


def test_a_plan_that_names_a_host_that_is_not_there() -> None:
    with pytest.raises(SimulationFailed, match=r"(?s)seed 0.*faults\[0\] names 'z', which is no host .*'a', 'b'.*Cut"):
        run_simulation(quiet, hosts=["a", "b"], faults=[Cut(1, "a", "b"), Cut(2, "a", "z")])
    with pytest.raises(SimulationFailed, match=r"faults\[0\] must be a Fault, not 'rain'"):
        run_simulation(quiet, hosts=["a", "b"], faults=["rain"])  # type: ignore[list-item]


def test_chaos_needs_hosts() -> None:
    with pytest.raises(
        ValueError, match=r"hosts must name at least 2 for a Chaos of Partition, Isolation, Cut, not \['a'\]"
    ):
        run_simulation(quiet, hosts="a", faults=Chaos())
    with pytest.raises(ValueError, match=r"hosts must name at least 1 for a Chaos of Pause, not \[\]"):
        run_simulation(quiet, faults=Chaos(kinds=(Pause,)))
    with pytest.raises(ValueError, match="network must not have a seed, since each run has its own, not 5"):
        run_simulation(quiet, network={"seed": 5})


def test_the_report_is_of_one_run() -> None:
    async def scenario(net: Network) -> None:
        await trio.sleep(70)
        words = [event.content for event in net.trace if event.kind == "fault"]
        assert "pause" not in words, f"{len(words)} events"

    with pytest.raises(SimulationFailed) as caught:
        run_simulation(scenario, seeds=range(10), hosts=["a", "b"], faults=Chaos(gap=2, kinds=(Pause, Cut)))
    assert len(caught.value.faults) == 1
    assert len(caught.value.events) <= 2
    assert f"AssertionError: {len(caught.value.events)} events" in str(caught.value)
    assert str(caught.value.__cause__).startswith(f"{len(caught.value.events)} events")


def test_ctrl_c_says_the_seed() -> None:
    async def scenario(net: Network) -> None:
        await trio.sleep(1)
        if net.seed == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run_simulation(scenario, seeds=range(1, 10))
    assert "with seed 3" in "".join(caught.value.__notes__)


def test_wrong_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="seeds must be whole numbers, not '7'"):
        run_simulation(quiet, seeds=["7"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="seeds must hold at least one seed"):
        run_simulation(quiet, seeds=[])
    with pytest.raises(ValueError, match="time_limit must not be negative, not -1"):
        run_simulation(quiet, time_limit=-1)
    with pytest.raises(TypeError, match="weather"):
        run_simulation(quiet, network={"weather": "fine"})
    monkeypatch.setenv("TRIOTON_SEED", "seven")
    with pytest.raises(ValueError, match="TRIOTON_SEED must be a whole number, not 'seven'"):
        run_simulation(quiet)
    with pytest.raises(TypeError, match="name must be a str, not 5"):
        sometimes(5)  # type: ignore[arg-type]


async def test_it_runs_trio_itself() -> None:
    with pytest.raises(RuntimeError, match="call it from a plain function"):
        run_simulation(quiet)
