"""A child that does not behave: a stub that its parent knows, but does not trust, and its siblings, who have nothing to do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from tests.trust.guests import SHORT, Adder, House, open_house, publish, subscribe
from trioton import NotPermittedError, Permissions, Refused, ReqChannel, StateChannel

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

CHILDREN = Permissions(publish=("log", "out"), subscribe=("orders",), call=(), serve=("work",), block=True)
"""What a parent that starts workers might let them do."""


@asynccontextmanager
async def open_family() -> AsyncIterator[tuple[House, trioton.Context]]:
    """A parent (the host) with two children: the guest, and one more."""
    async with (
        open_house("peer", CHILDREN, stub=True) as house,
        trioton.open_context(
            "sibling", network=house.net.host("sibling", uid=2001), security=house.guest._security
        ) as sibling,
    ):
        await sibling.connect("host:1", stub=True)
        await house.host.wait_context("sibling")
        yield house, sibling


async def test_r49_requests_upward_are_refused_and_logged(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing yet that a child could order but requests: those to its parent, to a sibling, and to whoever is above."""
    async with open_family() as (house, sibling):
        events = watch(house.host)
        adders = {name: Adder(context, f"{name}-work") for name, context in (("host", house.host), ("far", house.far))}
        adders["sibling"] = Adder(sibling, "work")
        for slot in ("host-work", "far-work", "work"):
            async with ReqChannel(house.guest, slot) as req:
                await req.wait_repliers(1)
                with pytest.raises(NotPermittedError, match=rf"make requests on '{slot}\.obj"), trio.fail_after(SHORT):
                    await req.add(1, 2)
        assert [adder.statistics().started for adder in adders.values()] == [0, 0, 0]
        assert [(event.source, event.what) for event in events.all(Refused)] == [(house.guest.id, "call")] * 3
        logged = [text for text in warnings_of(caplog) if text.startswith("tcp://guest:")]
        assert len(logged) == 1  # the others are counted, and told of once a minute
        assert "'guest' (" in logged[0]
        assert "may not make requests on 'host-work.obj.req-rep'" in logged[0]


async def test_t12_a_child_does_what_it_is_there_for(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as (house, _):
        logs, orders = subscribe(house.host, "log"), publish(house.host, "orders")
        inbox, log = subscribe(house.guest, "orders", 1), publish(house.guest, "log")
        Adder(house.guest, "work")
        await log.wait_subscribers()
        await orders.wait_subscribers()
        await log.send("started")
        assert await logs.receive() == "started"
        await orders.send("go")
        assert await inbox.receive() == "go"
        for context in (house.host, house.far):
            async with ReqChannel(context, "work") as req:
                await req.wait_repliers(1)
                assert await req.add(1, 2) == 3


async def test_t12_siblings_have_nothing_to_do_with_each_other(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_family() as (house, sibling):
        events = watch(house.host)
        chat, pub = subscribe(sibling, "chat"), publish(house.guest, "chat")
        state, other_state = StateChannel(house.guest, "state"), StateChannel(sibling, "state")
        await state.send("mine")
        with trio.fail_after(1):
            await pub.send_many(range(2000))
        await trio.sleep(SHORT)
        assert chat.pending == 0
        assert other_state.value is trioton.UNSET
        told = {(event.source, event.what, event.slot) for event in events.all(Refused)}
        assert told == {
            (house.guest.id, "publish", "state.txt.state"),
            (sibling.id, "subscribe", "chat.obj.pub-sub"),
        }


async def test_t12_what_a_child_may_tell_its_parent_a_sibling_may_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_family() as (house, sibling):
        heard, overheard = subscribe(house.host, "out"), subscribe(sibling, "out")
        out = publish(house.guest, "out")
        await out.wait_subscribers()
        await out.send("for the parent")
        assert await heard.receive() == "for the parent"
        await trio.sleep(SHORT)
        assert overheard.pending == 0
