"""Nothing follows a goodbye on a link, whatever happens behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import trioton
from tests.common import warnings_of
from trioton import PullChannel, PushChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair


async def pull_all(ctx: trioton.Context, done: list[object]) -> None:
    async for job in PullChannel(ctx, "jobs"):
        done.append(job)  # noqa: PERF401  # a list made at the end would never be


@pytest.mark.parametrize("seed", range(5))
async def test_a_pipeline_ends_without_a_word_after_the_goodbye(
    open_pair: OpenPair, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    """What each side says at the end comes in pieces, and so each hears that the other's flow has ended after its own goodbye."""
    async with open_pair(Network(seed=seed, latency=(0.001, 0.02), chunk=(1, 40))) as pair:
        done: list[object] = []
        push = PushChannel(pair.a, "jobs")
        pair.b.start_soon(pull_all, pair.b, done)
        await push.send_many(str(number) for number in range(10))
        await push.wait_done()
        assert len(done) == 10
        await pair.b.aclose()
        for name in "ab":
            frames = [event.what for event in pair.net.trace if event.kind == "frame" and event.source == name]
            assert "CLOSE" not in frames[:-1], f"{name} goes on after its goodbye"
    assert warnings_of(caplog) == []
