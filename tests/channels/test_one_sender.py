"""A one-to-one channel has one sending context at a time: whoever else sends there hears so, and the first goes on undisturbed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import trio

import trioton
from tests.conftest import Pair
from trioton import OBJECT, DeadError, PubChannel, Receiver, Sender, SubChannel, open_channel
from trioton.testing import Network

OTHER = "another context sends on this channel"
OVER = f"{OTHER}|the channel has ended"


class Copies(NamedTuple):
    """One sending end that has reached two contexts."""

    original: Sender[Any]
    answers: Receiver[Any]
    at_b: Sender[Any]
    at_c: Sender[Any]
    b: trioton.Context
    c: trioton.Context
    net: Network


@asynccontextmanager
async def open_copies() -> AsyncIterator[Copies]:
    net = Network(seed=11, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        await c.connect("a:1")
        ask = PubChannel(a, "ask", OBJECT)
        questions = [SubChannel(context, "ask", OBJECT) for context in (b, c)]
        await ask.wait_subscribers(2)
        sender, receiver = open_channel(a)
        await ask.send(sender)
        at_b, at_c = [await question.receive() for question in questions]
        await trio.sleep(0.1)
        with trio.fail_after(60):
            yield Copies(sender, receiver, at_b, at_c, b, c, net)


async def check_refused(sender: Sender[Any], text: str) -> None:
    """The end breaks at its first message, or at the next when it has heard of it."""
    with pytest.raises(trio.BrokenResourceError, match=text) as caught:
        await sender.send("not wanted")
        await trio.sleep(0.1)
        await sender.send("nor this")
    assert isinstance(caught.value.__cause__, DeadError)


async def test_a_second_sender_is_refused_and_the_first_goes_on(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, *_rest):
        await at_b.send("first")
        assert await answers.receive() == "first"
        await trio.sleep(0.1)
        await check_refused(at_c, OTHER)
        await at_b.send("second")
        await at_b.aclose()
        await at_c.aclose()
        assert [message async for message in answers] == ["second"]


async def test_of_two_that_send_at_the_same_moment_one_is_refused(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, *_rest):
        await at_b.send("b")
        await at_c.send("c")
        await trio.sleep(0.1)
        broken = []
        for sender, name in ((at_b, "b"), (at_c, "c")):
            try:
                await sender.send(name)
            except trio.BrokenResourceError as error:
                assert OTHER in str(error)
                broken.append(sender)
            else:
                first = sender, name
        assert len(broken) == 1
        await first[0].aclose()
        assert [message async for message in answers] == [first[1]] * 2


async def test_nothing_comes_behind_the_end(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, *_rest):
        await at_b.aclose()
        assert [message async for message in answers] == []
        await check_refused(at_c, OVER)
        with pytest.raises(trio.EndOfChannel):
            await answers.receive()


async def test_a_message_that_crosses_the_end_is_not_received(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, *_rest):
        at_b.close()
        await trio.sleep(0.005)
        await at_c.send("too late")
        await trio.sleep(0.1)
        with pytest.raises(trio.BrokenResourceError, match=OVER):
            await at_c.send("x")
        assert [message async for message in answers] == []
        with pytest.raises(trio.EndOfChannel):
            await answers.receive()


async def test_who_closes_without_having_sent_does_not_end_it_for_the_one_that_sends(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, *_rest):
        await at_b.send("first")
        assert await answers.receive() == "first"
        await at_c.aclose()
        await trio.sleep(0.1)
        await at_b.send("second")
        await at_b.aclose()
        assert [message async for message in answers] == ["second"]


async def test_an_end_that_is_closed_as_soon_as_it_arrives_ends_the_channel(pair: Pair, autojump_clock: object) -> None:
    pub, sub = PubChannel(pair.b, "x", OBJECT), SubChannel(pair.a, "x", OBJECT)
    await pub.wait_subscribers()
    sender, receiver = open_channel(pair.b)
    await pub.send(sender)
    (await sub.receive()).close()
    with trio.fail_after(60), pytest.raises(trio.EndOfChannel):
        await receiver.receive()


@pytest.mark.parametrize("relinked", [False, True])
async def test_an_end_hears_that_its_receiver_is_gone_also_after_a_new_link(
    pair: Pair, relinked: bool, autojump_clock: object
) -> None:
    pub, sub = PubChannel(pair.b, "x", OBJECT), SubChannel(pair.a, "x", OBJECT)
    await pub.wait_subscribers()
    sender, receiver = open_channel(pair.b)
    await pub.send(sender)
    arrived = await sub.receive()
    await arrived.send(1)
    assert await receiver.receive() == 1
    if relinked:
        pair.net.cut("a", "b")
        await arrived.send(2)
        assert await receiver.receive() == 2
    pair.net.isolate("b")
    with trio.fail_after(500), pytest.raises(trio.BrokenResourceError):
        while True:
            await arrived.send(3)


async def test_the_loss_of_one_that_has_not_sent_does_no_harm(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, _at_c, _b, c, _net):
        await at_b.send("first")
        assert await answers.receive() == "first"
        await c.aclose()
        await trio.sleep(0.1)
        await at_b.send("second")
        await at_b.aclose()
        assert [message async for message in answers] == ["second"]


async def test_the_loss_of_the_one_that_sends_is_told_and_final(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, b, _c, _net):
        await at_b.send("first")
        await b.aclose()
        assert await answers.receive() == "first"
        with pytest.raises(trio.BrokenResourceError):
            await answers.receive()
        await check_refused(at_c, OVER)


async def test_the_end_that_stayed_is_refused_while_another_sends(autojump_clock: object) -> None:
    async with open_copies() as (original, answers, at_b, _at_c, *_rest):
        await at_b.send("first")
        assert await answers.receive() == "first"
        await check_refused(original, OTHER)
        original.close()
        await at_b.send("second")
        await at_b.aclose()
        assert [message async for message in answers] == ["second"]


async def test_the_end_at_home_may_send_first_and_then_leave(autojump_clock: object) -> None:
    async with open_copies() as (original, answers, _at_b, _at_c, b, _c, _net):
        sender, receiver = open_channel(answers._context)
        await sender.send("from here")
        pub, sub = PubChannel(answers._context, "late", OBJECT), SubChannel(b, "late", OBJECT)
        await pub.wait_subscribers()
        await pub.send(sender)
        arrived = await sub.receive()
        await arrived.send("from there")
        await arrived.aclose()
        assert [message async for message in receiver] == ["from here", "from there"]
        original.close()


async def test_the_end_at_home_keeps_others_out_while_it_sends(autojump_clock: object) -> None:
    async with open_copies() as (original, answers, at_b, at_c, *_rest):
        await original.send("from here")
        await trio.sleep(0.1)
        await check_refused(at_b, OTHER)
        await check_refused(at_c, OTHER)
        assert await answers.receive() == "from here"


async def test_a_dropped_link_does_not_let_a_second_one_in(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, at_b, at_c, _b, _c, net):
        net.cut("a", "c")
        net.partition("a", "c")
        await trio.sleep(0.1)
        await at_b.send("first")
        assert await answers.receive() == "first"
        net.heal()
        await trio.sleep(20)
        with pytest.raises(trio.BrokenResourceError):
            await at_c.send("not wanted")
        await at_b.send("second")
        await at_b.aclose()
        assert [message async for message in answers] == ["second"]


async def test_only_the_loss_of_the_last_copy_breaks_a_channel_on_which_nobody_has_sent(autojump_clock: object) -> None:
    async with open_copies() as (_, answers, _at_b, at_c, b, c, _net):
        await b.aclose()
        await trio.sleep(1)
        with pytest.raises(trio.WouldBlock):
            answers.receive_nowait()
        await at_c.send("still here")
        assert await answers.receive() == "still here"
    async with open_copies() as (_, answers, _at_b, at_c, b, c, _net):
        await b.aclose()
        await c.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await answers.receive()
