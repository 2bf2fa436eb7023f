"""Everything at once: streams, questions and answers between three contexts, over ways that do all that ways can do.

A few seeds run each time. For a long search: ``TRIOTON_STORMS=1000 pytest tests/network/test_storms.py``.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
import trio

import trioton
from trioton import Block, Limits, PubChannel, SubChannel
from trioton.testing import (
    Chaos,
    Cut,
    History,
    Host,
    Isolation,
    LogNormal,
    Network,
    Partition,
    Pause,
    run_simulation,
    sometimes,
)

SEEDS: Final = int(os.environ.get("TRIOTON_STORMS", "10"))

NUMBERS: Final = 120
QUESTIONS: Final = 40

CALM: Final = 5.0
"""Seconds in which all find each other: a session that is lost before both ends know it may take something with it."""

STORM: Final = Chaos(after=CALM, seconds=60, gap=5, longest=6, kinds=(Partition, Isolation, Cut, Pause))

LIMITS: Final = Limits(resume_window=300)
"""No outage is as long as the resume window: so nothing may be lost."""


async def publish(host: Host, history: History) -> None:
    """Send numbers, in bursts."""
    async with (
        trioton.open_context(f"{host.name} sends", network=host, limits=LIMITS) as ctx,
        PubChannel(ctx, "numbers") as pub,
    ):
        await ctx.connect("hub:1", wait=True)
        await trio.sleep(CALM)
        for number in range(NUMBERS):
            await pub.send(f"{host.name} {number}")
            history.sent(host.name, number)
            if number % 10 == 0:
                await trio.sleep(1)
        await ctx.flush()


async def answer(host: Host) -> None:
    """Repeat what is asked."""
    async with (
        trioton.open_context(f"{host.name} answers", network=host, limits=LIMITS) as ctx,
        PubChannel(ctx, "answers") as answers,
        SubChannel(ctx, "questions", policy=Block(3)) as questions,
    ):
        await ctx.connect("hub:1", wait=True)
        async for question in questions:
            await answers.send(f"{host.name} {question}")


async def take(numbers: SubChannel[str], history: History) -> None:
    for _ in range(2 * NUMBERS):
        sender, number = (await numbers.receive()).split()
        history.received("hub", int(number), sender=sender)


async def ask(questions: PubChannel[str], answers: SubChannel[str], history: History) -> None:
    """Ask all first, and take the answers then."""
    await questions.wait_subscribers(2)
    await trio.sleep(CALM)
    for number in range(QUESTIONS):
        for host in "ab":
            history.sent(f"{host} answering", number)
        await questions.send(str(number))
        await trio.sleep(0.5)
    for _ in range(2 * QUESTIONS):
        sender, answer = (await answers.receive()).split()
        history.received("hub", int(answer), sender=f"{sender} answering")


async def storm(net: Network) -> None:
    history = History()
    async with (
        trioton.open_context("hub", network=net.host("hub"), limits=LIMITS) as hub,
        SubChannel(hub, "numbers", policy=Block(5)) as numbers,
        SubChannel(hub, "answers") as answers,
        PubChannel(hub, "questions") as questions,
        trio.open_nursery() as nursery,
    ):
        await hub.bind("hub:1")
        for host in (net.host("a"), net.host("b")):
            nursery.start_soon(publish, host, history)
            nursery.start_soon(answer, host)
        await trio.sleep(CALM)
        for name in ("a", "b"):
            net.link("hub", name, resets=0.001)
        with trio.fail_after(600):
            async with trio.open_nursery() as work:
                work.start_soon(take, numbers, history)
                work.start_soon(ask, questions, answers, history)
        nursery.cancel_scope.cancel()
    history.check()
    sometimes("a link was lost", net.statistics().dialled > 4)


@pytest.mark.long
def test_nothing_is_lost_doubled_or_stuck_in_a_storm() -> None:
    run_simulation(
        storm,
        seeds=range(SEEDS),
        hosts=["hub", "a", "b"],
        faults=STORM,
        network={
            "latency": LogNormal(0.05),
            "jitter": (0, 0.02),
            "chunk": (1, 200),
            "buffer_size": 4000,
            "bandwidth": 50_000,
        },
    )
