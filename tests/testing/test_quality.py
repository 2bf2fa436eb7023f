"""What ways between hosts are like: latency from distributions, jitter, bandwidth and resets by chance."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest
import trio
import trio.testing

from trioton.testing import Distribution, Exponential, LinkQuality, LogNormal, Network, Pareto, simulated_pair
from trioton.testing.quality import Latency, draw

from .conftest import Join


@pytest.mark.parametrize(
    ("latency", "least", "median"),
    [
        (0.5, 0.5, 0.5),
        ((0.1, 0.3), 0.1, 0.2),
        (Exponential(0.1), 0, 0.0693),
        (LogNormal(0.1), 0, 0.1),
        (LogNormal(0.1, 2.0), 0, 0.1),
        (Pareto(0.1), 0.1, 0.1414),
        (Pareto(0.1, shape=1), 0.1, 0.2),
    ],
    ids=repr,
)
def test_what_is_drawn(latency: Latency, least: float, median: float) -> None:
    source = random.Random(1)
    drawn = [draw(latency, source) for _ in range(5000)]
    assert min(drawn) >= least
    assert statistics.median(drawn) == pytest.approx(median, rel=0.06)
    source = random.Random(1)
    assert [draw(latency, source) for _ in range(5000)] == drawn


def test_a_distribution_of_your_own() -> None:
    class Steps:
        def draw(self, source: random.Random) -> float:
            return source.choice([0.1, 0.2, -5.0])

    steps = Steps()
    assert isinstance(steps, Distribution)
    source = random.Random(1)
    assert {LinkQuality(latency=steps).draw_latency(source) for _ in range(100)} == {0.1, 0.2, 0.0}


@pytest.mark.parametrize("wrong", ["1", None, float("nan"), float("inf")])
def test_a_distribution_that_draws_no_seconds_is_named(wrong: Any) -> None:
    class Wrong:
        def draw(self, source: random.Random) -> float:
            return wrong  # type: ignore[no-any-return]

        def __repr__(self) -> str:
            return "Wrong()"

    with pytest.raises(ValueError, match=rf"draw\(\) of Wrong\(\) must give a finite number of seconds, not {wrong!r}"):
        draw(Wrong(), random.Random(1))


async def test_jitter_comes_on_top(autojump_clock: trio.testing.MockClock) -> None:
    source = random.Random(1)
    quality = LinkQuality(latency=1.0, jitter=(0.1, 0.2))
    assert all(1.1 <= quality.draw_latency(source) <= 1.2 for _ in range(100))
    net = Network(seed=1, latency=1.0, jitter=0.5)
    assert net.quality(net.host("a"), net.host("b")).jitter == 0.5
    assert net.quality(net.host("a"), net.host("a")).jitter == 0


async def test_bandwidth(net: Network, join: Join, autojump_clock: trio.testing.MockClock) -> None:
    net.link("a", "b", bandwidth=1000, latency=0.5)
    here, there = await join(net, "a", "b", 1)
    now = trio.current_time()
    await here.send_all(bytes(1000))
    await here.send_all(bytes(500))
    assert len(await there.receive_some()) == 1000
    assert trio.current_time() == pytest.approx(now + 1.5)
    assert len(await there.receive_some()) == 500
    assert trio.current_time() == pytest.approx(now + 2.0)
    await trio.sleep(10)
    now = trio.current_time()
    await here.send_all(bytes(100))
    await there.receive_some()
    assert trio.current_time() == pytest.approx(now + 0.6), "what was not used is not saved up"
    net.link("a", "b", bandwidth=None)
    now = trio.current_time()
    await here.send_all(bytes(100_000))
    await there.receive_some()
    assert trio.current_time() == pytest.approx(now + 0.5)


async def test_resets_by_chance(autojump_clock: trio.testing.MockClock) -> None:
    counts = []
    for seed in range(200):
        here, _ = simulated_pair(seed=seed)
        here.connection.forth.quality = LinkQuality(resets=0.1)
        count = 0
        try:
            while True:
                await here.send_all(b"x")
                count += 1
        except trio.BrokenResourceError as error:
            assert "by chance" in str(error)
        counts.append(count)
    assert statistics.mean(counts) == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"latency": "1"}, TypeError, "latency must be a number of seconds, a pair .* or a distribution, not '1'"),
        ({"jitter": -1}, ValueError, "jitter must be finite and not negative, not -1"),
        ({"jitter": (2, 1)}, ValueError, "jitter must be a pair .* with low <= high"),
        ({"bandwidth": "fast"}, TypeError, "bandwidth must be None or a number of bytes per second, not 'fast'"),
        ({"bandwidth": 0}, ValueError, "bandwidth must be above 0 bytes per second, not 0"),
        ({"resets": "often"}, TypeError, "resets must be a number from 0 to 1, not 'often'"),
        ({"resets": 2}, ValueError, "resets must be from 0 to 1, not 2"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Network(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [Exponential, LogNormal, Pareto])
def test_distributions_check_their_numbers(make: type[Exponential | LogNormal | Pareto]) -> None:
    with pytest.raises(TypeError, match="must be a number, not 'x'"):
        make("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be finite and above 0, not 0"):
        make(0)
