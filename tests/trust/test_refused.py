"""What becomes of what is refused: nobody waits for it, everybody is told once, all of it is counted, and the rest goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from tests.trust.guests import NOTHING, SHORT, Adder, Badges, House, open_house, publish, subscribe
from trioton import Block, NotPermittedError, Permissions, Refused, ReqChannel, RequestCancelled, StateChannel

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

CHAT = "chat.obj.pub-sub"
ADDER = "adder.obj.req-rep"


def refused(house: House, slot: str, what: str, source: trioton.Context | None = None) -> Refused:
    return Refused((source or house.guest).id, slot, what, house.host.id)


# -------------------------------------------------------------------------------------------------------- publications


async def test_a_refused_publication_is_counted_and_told_once(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house() as house:
        at_host, at_guest = watch(house.host), watch(house.guest)
        sub, pub = subscribe(house.host, "chat"), publish(house.guest, "chat")
        await trio.sleep(SHORT)
        for number in range(1000):
            await pub.send(number)
            await trio.sleep(0.001)
        assert at_host.all(Refused) == at_guest.all(Refused) == [refused(house, CHAT, "publish")]
        statistics = pub.statistics()
        assert (statistics.sent, statistics.refused, statistics.subscribers) == (1000, 1000, 0)
        assert sub.statistics().received == 0
        first, second = warnings_of(caplog)
        assert first.startswith("tcp://guest:")
        assert first.endswith(f"may not publish on {CHAT!r}")
        assert second.startswith("guest: 'host' (")
        assert second.endswith(f"does not let this context publish on {CHAT!r}")
        count = house.to_guest.statistics().refused
        assert count == house.host.statistics().refused > 0
        publish(house.guest, "chat.2")
        subscribe(house.host, "chat.2")
        await trio.sleep(SHORT)
        assert [event.slot for event in at_guest.all(Refused)] == [CHAT, "chat.2.obj.pub-sub"]


async def test_what_is_sent_before_the_refusal_is_known_is_counted_where_it_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_house() as house:
        sub = trioton.SubChannel(house.host, "chat", trioton.OBJECT, policy=trioton.DropOldest(1000))
        pub = publish(house.guest, "chat")
        await trio.sleep(SHORT)
        await pub.send("known")
        assert pub.statistics().refused == 1
        before = house.host.statistics().refused
        other = trioton.PubChannel(house.guest, "other", trioton.OBJECT)
        late = trioton.SubChannel(house.host, "other", trioton.OBJECT, policy=trioton.DropOldest(1000))
        await other.wait_subscribers()
        await other.send_many(range(10))  # they are under way when the answer comes
        await trio.sleep(SHORT)
        assert house.host.statistics().refused == before + 10
        assert other.statistics().refused == 10
        assert sub.pending == late.pending == 0


async def test_a_publisher_that_waits_for_room_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    async with open_house() as house:
        subscribe(house.host, "chat", size=1)
        pub = trioton.PubChannel(house.guest, "chat", trioton.OBJECT, backlog=1)
        with trio.fail_after(SHORT):
            for number in range(100):
                await pub.send(number)
            await house.guest.flush()
        await trio.sleep(SHORT)
        assert pub.statistics().sent == 100
        assert pub.statistics().waiting == 0


async def test_other_subscribers_get_it_all(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_house() as house,
        trioton.open_context("friend", network=house.net.host("friend")) as friend,
    ):
        await friend.bind("friend:1")
        await house.guest.connect("friend:1")
        subscribe(house.host, "chat")
        sub, pub = subscribe(friend, "chat", size=10), publish(house.guest, "chat")
        await pub.wait_subscribers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, range(1000))
            assert [await sub.receive() for _ in range(1000)] == list(range(1000))
        assert pub.statistics().refused == 1000


async def test_what_nobody_wants_any_more_is_not_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_house() as house:
        sub, pub = subscribe(house.host, "chat"), publish(house.guest, "chat")
        await trio.sleep(SHORT)
        await pub.send("while somebody listens")
        sub.close()
        await trio.sleep(SHORT)
        await pub.send("later")
        assert pub.statistics().refused == 1


@pytest.mark.parametrize("policy", [Block(3), trioton.DropNewest(3)], ids=repr)
async def test_a_publication_is_refused_by_the_first_context_that_is_trusted(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, policy: trioton.Policy
) -> None:
    async with open_house() as house:
        at_far, at_guest = watch(house.far), watch(house.guest)
        sub, pub = trioton.SubChannel(house.far, "chat", trioton.OBJECT, policy=policy), publish(house.guest, "chat")
        await trio.sleep(SHORT)
        with trio.fail_after(1):
            await pub.send_many(range(100))
        await trio.sleep(SHORT)
        assert sub.statistics().received == 0
        assert pub.statistics().refused == 100
        assert at_guest.all(Refused) == [refused(house, CHAT, "publish")]
        assert not at_far.all(Refused)


# -------------------------------------------------------------------------------------------------------- subscriptions


async def test_a_refused_subscription_stays_usable(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house() as house:
        at_host, at_guest, at_far = watch(house.host), watch(house.guest), watch(house.far)
        pub, far_pub = publish(house.host, "chat"), publish(house.far, "chat")
        own = trioton.PubChannel(house.guest, "chat", trioton.OBJECT, local=True)
        sub = subscribe(house.guest, "chat", size=1)
        await trio.sleep(SHORT)
        assert pub.subscribers == far_pub.subscribers == 0
        assert at_host.all(Refused) == at_guest.all(Refused) == [refused(house, CHAT, "subscribe")]
        assert not at_far.all(Refused)
        assert [text for text in warnings_of(caplog) if "does not let this context subscribe to" in text]
        await own.send("of its own")
        assert await sub.receive() == "of its own"
        assert house.host._mesh.topology.interest(house.guest._wire_id, CHAT) is None
        assert house.far._mesh.topology.interest(house.guest._wire_id, CHAT) is None


async def test_who_may_not_hold_up_publishers_loses_what_it_has_no_room_for(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(permissions=Permissions(block=False)) as house:
        at_guest = watch(house.guest)
        near, far, sub = publish(house.host, "near"), publish(house.far, "far"), subscribe(house.guest, "near", 3)
        other = subscribe(house.guest, "far", 3)
        await near.wait_subscribers()
        await far.wait_subscribers()
        with trio.fail_after(1):
            await near.send_many(range(100))
            await far.send_many(range(100))
        await trio.sleep(SHORT)
        assert not warnings_of(caplog)
        assert sub.receive_all_nowait() == [0, 1, 2]
        assert 0 < len(other.receive_all_nowait()) <= 3
        statistics = other.statistics()  # routers drop whole packages
        assert (statistics.taken + statistics.dropped, sub.statistics().dropped) == (100, 97)
        assert sum(event.count for event in at_guest.all(trioton.Gap)) == 97 + statistics.dropped
        whats = {(event.what, event.slot) for event in at_guest.all(Refused)}
        assert whats == {("block", "near.obj.pub-sub"), ("block", "far.obj.pub-sub")}


# -------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("where", ["host", "far"])
async def test_refused_requests_fail_at_once(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, where: str
) -> None:
    async with open_house() as house:
        at_host, at_guest = watch(house.host), watch(house.guest)
        replier: trioton.Context = getattr(house, where)
        adder = Adder(replier, "adder", max_running=2)
        async with ReqChannel(house.guest, "adder") as req:
            await req.wait_repliers(1)
            with trio.fail_after(SHORT):
                futures = [req.add(number, 1) for number in range(20)]  # more than may run at once
                for future in (*futures, req.to(replier.id).add(1, 2), req.add(5, 6)):
                    with pytest.raises(NotPermittedError, match=r"'host' .* does not let this context make") as caught:
                        await future
                    assert caught.value.slot == ADDER
                    assert caught.value.by == house.host.id
                    assert isinstance(caught.value, PermissionError)
                async with req.stream("count", 3) as items:
                    with pytest.raises(NotPermittedError):
                        assert [item async for item in items] == []
                assert await req.add(1, 1).exception() is not None
        assert adder.statistics().started == 0
        assert at_host.all(Refused) == at_guest.all(Refused) == [refused(house, ADDER, "call")]
        assert house.to_guest.statistics().refused >= 2


async def test_each_refused_request_has_its_own_error(autojump_clock: trio.testing.MockClock) -> None:
    async with open_house() as house:
        Adder(house.host, "adder")
        async with ReqChannel(house.guest, "adder") as req:
            await req.wait_repliers(1)
            one, other = req.add(1, 1), req.add(2, 2)
            assert await one.exception() is not await other.exception()


async def test_requests_go_to_those_who_may_be_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_house() as house,
        trioton.open_context("friend", network=house.net.host("friend")) as friend,
    ):
        await friend.bind("friend:1")
        await house.guest.connect("friend:1")
        Adder(house.host, "adder")
        async with ReqChannel(house.guest, "adder") as req:
            await req.wait_repliers(1)
            adder = Adder(friend, "adder", max_running=1)
            await req.wait_repliers(2)
            for _ in range(3):
                futures = [req.add(number, 1) for number in range(10)]
                assert [await future for future in futures] == list(range(1, 11))
            with pytest.raises(NotPermittedError):
                await req.to(house.host.id).add(1, 2)
            assert adder.statistics().started == 30


async def test_a_request_that_is_cancelled_before_it_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_house() as house:
        Adder(house.host, "adder")
        async with ReqChannel(house.guest, "adder") as req:
            await req.wait_repliers(1)
            future = req.add(1, 2)
            future.cancel()
            with pytest.raises(RequestCancelled) as caught, trio.fail_after(SHORT):
                await future
            assert caught.value.is_clean


# -------------------------------------------------------------------------------------------------------- states


async def test_a_state_that_may_not_be_written_or_read(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_house(permissions=Permissions(publish=("read",), subscribe=("write",))) as house:
        at_guest, at_host = watch(house.guest), watch(house.host)
        states = {
            (name, slot): StateChannel(getattr(house, name), slot)
            for name in ("guest", "host", "far")
            for slot in ("read", "write")
        }
        await states["guest", "write"].send("mine")
        await states["host", "read"].send("theirs")
        with trio.fail_after(1):
            for name in ("host", "far"):  # nobody waits for the guest
                await states[name, "read"].wait_synced()
                await states[name, "write"].wait_synced()
            for _ in range(2):
                with pytest.raises(NotPermittedError, match=r"publish on 'write.txt.state'"):
                    await states["guest", "write"].wait_synced()
            with pytest.raises(NotPermittedError, match=r"subscribe to 'read.txt.state'"):
                await states["guest", "read"].wait_synced()
        assert states["guest", "read"].value is trioton.UNSET
        assert states["far", "write"].value is states["host", "write"].value is trioton.UNSET
        assert at_guest.all(Refused) == at_host.all(Refused)
        assert at_guest.all(Refused) == [
            refused(house, "write.txt.state", "publish"),
            refused(house, "read.txt.state", "subscribe"),
        ]
        await states["far", "write"].send("one of the far")
        await states["far", "write"].wait_synced()
        await states["far", "write"].send("of the far")  # newer than what the guest wrote
        await states["guest", "write"].wait_value("of the far")
        await states["guest", "write"].wait_synced()


# -------------------------------------------------------------------------------------------------------- who looks


async def test_whoever_may_not_look_makes_nobody_report(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_house(permissions=Permissions()) as house:
        at_guest = watch(house.guest)
        sub = subscribe(house.guest, "trioton.reports")
        await trio.sleep(5)
        assert not sub.pending
        assert [event.what for event in at_guest.all(Refused)] == ["inspect"]
        assert not house.far._inspector._is_reporting
        inspector = house.host._inspector
        assert not inspector._is_reporting
        assert not inspector.may_inspect(house.to_guest.association)
        assert inspector.may_inspect(house.host.connection("far").association)


async def test_refused_reports_of_the_library_are_no_news_for_the_program(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(permissions=Permissions(publish=("chat",))) as house:
        at_guest = watch(house.guest)
        subscribe(house.host, "trioton.reports")
        with caplog.at_level(logging.WARNING, "trioton.context"):
            await trio.sleep(5)
        assert not at_guest.all(Refused)
        assert not [record for record in caplog.records if record.name == "trioton.context"]


# -------------------------------------------------------------------------------------------------------- those below


async def test_those_below_a_guest_may_no_more_than_it(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    permissions = Permissions(publish=("chat",), subscribe=("chat",), call=(), block=False)
    trusts_guest = Badges("host", "far", "guest")
    async with (
        open_house(permissions=permissions, stub=True) as house,
        trioton.open_context("child", network=house.net.host("child", uid=77), security=trusts_guest) as child,
    ):
        await house.guest.bind("guest:1")
        await child.connect("guest:1", stub=True)
        await house.far.wait_context("child")
        at_child, at_host = watch(child), watch(house.host)
        chat, other, back = subscribe(house.far, "chat"), subscribe(house.far, "other"), subscribe(child, "back")
        own = subscribe(child, "chat", 3)
        Adder(house.far, "adder")
        back_pub, far_chat = publish(house.far, "back"), publish(house.far, "chat")
        chat_pub, other_pub, req = publish(child, "chat"), publish(child, "other"), ReqChannel(child, "adder")
        await far_chat.wait_subscribers()
        await req.wait_repliers(1)
        with trio.fail_after(1):
            await chat_pub.send_many(range(100))
            await other_pub.send_many(range(100))
            await far_chat.send_many(range(100))
            with pytest.raises(NotPermittedError):
                await req.add(1, 2)
            assert [await chat.receive() for _ in range(100)] == list(range(100))
        await trio.sleep(SHORT)
        assert other.statistics().received == back_pub.subscribers == back.pending == 0
        assert 0 < own.pending <= 3
        told = {("publish", "other.obj.pub-sub"), ("subscribe", "back.obj.pub-sub"), ("block", CHAT), ("call", ADDER)}
        for events in (at_child, at_host):
            assert {(event.what, event.slot) for event in events.all(Refused)} == told
            assert {event.source for event in events.all(Refused)} == {child.id}


async def test_nothing_is_permitted_before_there_is_a_link() -> None:
    from trioton.network.trust import NOTHING as AT_FIRST

    assert not any((AT_FIRST.publish, AT_FIRST.subscribe, AT_FIRST.call, AT_FIRST.block, AT_FIRST.inspect))
    assert AT_FIRST == NOTHING
