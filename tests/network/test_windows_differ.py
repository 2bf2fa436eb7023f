"""Contexts with different resume windows, and what breaks while it is sent: what one side has forgotten, both count as lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, Disconnect, Limits, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair


@pytest.mark.parametrize(("at_a", "at_b"), [(2, 1000), (60, 2)], ids=["the server forgets", "the client forgets"])
async def test_a_session_that_only_one_side_remembers_is_lost_for_both(
    open_pair: OpenPair, watch: MakeWatch, at_a: float, at_b: float
) -> None:
    """A client that has forgotten it comes in when the server has, too: who says that it is the same may be another."""
    beat = trioton.Heartbeat(interval=0.5, timeout=1, lease=2)
    async with open_pair(
        heartbeat=beat,
        a_options={"limits": Limits(resume_window=at_a)},
        b_options={"limits": Limits(resume_window=at_b)},
    ) as pair:
        pub, sub = PubChannel(pair.a, "chat", OBJECT), SubChannel(pair.b, "chat", OBJECT, policy=Block(10))
        await pub.wait_subscribers()
        events_a, events_b = watch(pair.a), watch(pair.b)
        pair.net.partition("a", "b")
        await trio.sleep(20)
        pair.net.heal()
        with trio.fail_after(200):
            await events_a.wait_for(trioton.Connected)
            await events_b.wait_for(trioton.Connected)
        for events in (events_a, events_b):
            assert len(events.all(trioton.SessionLost)) == 1
            assert len(events.all(trioton.ContextDied)) == 1
            assert events.all(trioton.Resumed) == []
        with trio.fail_after(5):
            await pub.wait_subscribers()
            for number in range(30):
                await pub.send(number)
                assert await sub.receive() == number


async def test_a_subscription_of_the_context_itself_may_break_while_a_closed_channel_is_cut(
    autojump_clock: object,
) -> None:
    """More has gathered than one run takes, and the first of them breaks the only one who listens."""
    async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
        sub = SubChannel(context, "chat", OBJECT, policy=Disconnect(600))
        pub = PubChannel(context, "chat", OBJECT, local=True)
        for number in range(1500):
            pub.send_nowait(number)
        pub.close()
        await trio.sleep(1)
        assert context._traffic.outlets.ending == {}
        received = []
        with pytest.raises(trio.BrokenResourceError):
            while True:
                received.append(await sub.receive())
        assert received == list(range(600))
