"""A guest that does not keep to the protocol, and says what it may not without having been asked: its rights are those of its link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.raw_peer import RawPeer
from tests.trust.guests import GUEST_UID, NOTHING, SHORT, Adder, publish, subscribe
from trioton import Permissions, Refused, StateChannel
from trioton.network.guard import MOST_TOLD
from trioton.protocol import codec, control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.packages import PackageKind, PackageTemplate
from trioton.protocol.permissions import MOST_KNOWN, Right
from trioton.protocol.records import (
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeRecord,
    encode_batch,
    encode_record,
)
from trioton.protocol.requests import encode_call
from trioton.protocol.retained import UNKNOWN, Known, Mark, RetainedPackage, RowKind, Value, encode_rows
from trioton.protocol.routed import RoutedReceived, encode_routed
from trioton.protocol.session import RetainedReceived
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

CHAT = "chat.obj.pub-sub"
BODY = bytes.fromhex("816468657921")  # ["hey!"]


@attrs.frozen
class Siege:
    """A context with a friend, and a guest of another user whose bytes a test writes."""

    host: trioton.Context
    friend: trioton.Context
    raw: RawPeer[Transport]

    async def say(self, *frames: bytes) -> None:
        await self.raw.stream.send_all(b"".join(frames))
        await trio.sleep(SHORT)

    def package(
        self,
        slot: str,
        *,
        destination: bytes | None = None,
        kind: int = PackageKind.PUBLISH,
        source: bytes | None = None,
    ) -> bytes:
        template = PackageTemplate(source or self.raw.id, slot, 1, destination, PackageKind(kind))
        header = template.header(0, 1)
        return encode_prefix(FrameKind.PACKAGE, 0, len(header), len(BODY)) + header + BODY

    def records(self, *records: NodeRecord | InterestRecord | InterestSnapshot) -> bytes:
        header = codec.array_head(0)
        bodies = encode_batch([encode_record(record) for record in records])
        return b"".join(encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + header + body for body in bodies)

    @property
    def is_linked(self) -> bool:
        return any(peer.name == "raw" for peer in self.host.peers)

    async def heard(self, kind: type) -> list[object]:
        """What of a kind has come to the guest so far."""
        with trio.move_on_after(SHORT):
            while True:
                await self.raw.read()
        return [event for event in self.raw.events if isinstance(event, kind)]


def retained(*rows: Known | Mark | Value) -> bytes:
    """A frame with rows about states."""
    head = len(codec.array_head(len(rows)))
    return RetainedPackage([encode_rows(rows)[head:]], len(rows)).frame()


@asynccontextmanager
async def open_siege(permissions: Permissions = NOTHING, *states: str) -> AsyncIterator[Siege]:
    net = Network(seed=7, latency=0.01)
    async with (
        trioton.open_context("host", network=net.host("host"), permissions=permissions) as host,
        trioton.open_context("friend", network=net.host("friend")) as friend,
    ):
        await host.bind("host:1")
        await friend.connect("host:1")
        for slot in states:
            await StateChannel(host, slot).send(f"first {slot}")
        stream = await net.host("raw", uid=GUEST_UID).dial(parse_address("host:1"))
        raw: RawPeer[Transport] = RawPeer(stream, CHAT, seed=1)
        raw.hello = attrs.evolve(raw.hello, retains=True)
        siege = Siege(host, friend, raw)
        await raw.shake_hands()
        links = {host._wire_id: LinkRecord(is_suspended=False, generation=1)}
        node = NodeRecord(raw.id, 1, "raw", 1, 1 << 24, 1 << 23, links, {})
        await siege.say(siege.records(node), retained(Mark(RowKind.ALL_NAMED), Mark(RowKind.NOTHING_LACKS)))
        if states and permissions.may_subscribe(f"{states[-1]}.txt.state"):
            await siege.say(retained(Mark(RowKind.INSTALLED)))
        assert siege.is_linked
        assert host.connection("raw").kind == "unauthenticated"
        yield siege


# -------------------------------------------------------------------------------------------------------- publications


async def test_packages_of_any_kind_are_dropped(autojump_clock: trio.testing.MockClock, watch: MakeWatch) -> None:
    async with open_siege() as siege:
        events = watch(siege.host)
        subs = [subscribe(siege.host, "chat"), subscribe(siege.friend, "chat")]
        await trio.sleep(SHORT)
        own, friend = siege.host._wire_id, siege.friend._wire_id
        await siege.say(
            siege.package(CHAT),
            siege.package(CHAT, kind=PackageKind.DIRECT, destination=own),
            siege.package(CHAT, kind=PackageKind.DIRECT, destination=friend),
            encode_control(control.Started(siege.raw.id, CHAT, 2, 0, None)),
            encode_control(control.Offer(siege.raw.id, CHAT, 3)),
        )
        assert [sub.statistics().received for sub in subs] == [0, 0]
        assert siege.host.statistics().refused == 4
        assert not siege.host._traffic.incoming.of(siege.raw.id)
        raw_id = trioton.ContextId.from_wire(siege.raw.id)
        assert events.all(Refused) == [Refused(raw_id, CHAT, "publish", siege.host.id)]
        denied = await siege.heard(control.Denied)
        assert denied == [control.Denied(siege.raw.id, CHAT, stream, Right.PUBLISH, own) for stream in (1, 2, 3)]
        assert siege.is_linked


async def test_a_request_that_was_never_offered_is_not_run(autojump_clock: trio.testing.MockClock) -> None:
    async with open_siege() as siege:
        adder = Adder(siege.host, "adder")
        own = siege.host._wire_id
        slot = f"~{own.hex()}.adder.obj.req-rep"
        call = encode_call(1, None, None, bytes.fromhex("836361646482010 2a0".replace(" ", "")))
        header = PackageTemplate(siege.raw.id, slot, 1, own, PackageKind.DIRECT).header(0, 1)
        body = codec.array_head(1) + call
        frame = encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body
        await siege.say(frame, siege.package(slot, kind=PackageKind.PUBLISH))
        assert adder.statistics().started == 0
        assert siege.host.statistics().refused == 2

    async with open_siege(Permissions(call=("adder",))) as siege:  # the same bytes, where they are permitted
        adder = Adder(siege.host, "adder")
        own = siege.host._wire_id
        slot = f"~{own.hex()}.adder.obj.req-rep"
        header = PackageTemplate(siege.raw.id, slot, 1, own, PackageKind.DIRECT).header(0, 1)
        await siege.say(encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body)
        assert adder.statistics().started == 1


async def test_t10_rights_do_not_depend_on_the_source_that_a_package_names(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_siege() as siege:
        events, at_friend = watch(siege.host), watch(siege.friend)
        sub, pub = subscribe(siege.host, "chat"), publish(siege.friend, "chat")
        await pub.wait_subscribers()
        friend = siege.friend._wire_id
        await siege.say(
            siege.package(CHAT, source=friend),
            encode_control(control.Offer(siege.raw.id, CHAT, pub._flow.stream)),
            encode_routed(friend, siege.host._wire_id, 9, control.Started(friend, CHAT, pub._flow.stream, 0, None)),
        )
        assert sub.statistics().received == 0
        assert {event.source.to_wire() for event in events.all(Refused)} == {siege.raw.id}
        # Nobody else hears a word of it, and what it sends arrives.
        assert not at_friend.all(Refused)
        assert pub.statistics().refused == 0
        routed = [event for event in await siege.heard(RoutedReceived) if isinstance(event, RoutedReceived)]
        assert not [event for event in routed if event.fields[0] == FrameKind.DENIED]
        await pub.send("real")
        assert await sub.receive() == "real"


# -------------------------------------------------------------------------------------------------------- subscriptions


@pytest.mark.parametrize("mode", [0, 2], ids=["blocks", "drops"])
async def test_room_that_nobody_has_asked_for_holds_up_nobody(
    autojump_clock: trio.testing.MockClock, mode: int
) -> None:
    async with open_siege(Permissions(block=False)) as siege:
        pubs = [publish(siege.host, "chat"), publish(siege.friend, "chat")]
        blocks_since = 1 if mode == 0 else None
        await siege.say(encode_control(control.Subscribe(CHAT, 1, mode, 1, 1, None, None, blocks_since)))
        for pub in pubs:
            await pub.wait_subscribers()
        frames = []
        for context, pub in zip((siege.host, siege.friend), pubs, strict=True):
            credit = control.Credit(context._wire_id, CHAT, pub._flow.stream, None, 1)
            routed = encode_routed(siege.raw.id, context._wire_id, 1, credit)
            frames.append(encode_control(credit) if context is siege.host else routed)
        await siege.say(*frames)
        with trio.fail_after(SHORT):
            for pub in pubs:
                await pub.send_many(range(1000))


async def test_records_about_itself_are_no_way_around(autojump_clock: trio.testing.MockClock, watch: MakeWatch) -> None:
    async with open_siege(Permissions(subscribe=("open",), block=False)) as siege:
        events = watch(siege.host)
        raw = siege.raw.id
        row = InterestRecord(raw, CHAT, 1, 0, 9, 1, 1)
        open_row = InterestRecord(raw, "open.obj.pub-sub", 2, 0, 9, 1, 2)
        topologies = [siege.host._mesh.topology, siege.friend._mesh.topology]
        await siege.say(siege.records(row, open_row))
        for topology in topologies:
            assert topology.interest(raw, CHAT) is None
            assert topology.interest(raw, "open.obj.pub-sub") in {None, open_row._replace(mode=2, blocks_since=None)}
        assert topologies[0].interest(raw, "open.obj.pub-sub") is not None
        await siege.say(siege.records(InterestSnapshot(raw, 4, (row._replace(record=3), open_row._replace(record=4)))))
        for topology in topologies:
            assert topology.interest(raw, CHAT) is None
        assert {(event.what, event.slot) for event in events.all(Refused)} == {
            ("subscribe", CHAT),
            ("block", "open.obj.pub-sub"),
        }


async def test_interest_on_a_slot_may_be_given_up_whatever_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async with open_siege() as siege:
        withdrawn = InterestRecord(siege.raw.id, CHAT, 1, 0, 0, 0, None)
        await siege.say(encode_control(control.Unsubscribe(CHAT, 1)), siege.records(withdrawn))
        assert siege.host.statistics().refused == 0
        assert siege.is_linked


# -------------------------------------------------------------------------------------------------------- states


async def test_states_that_may_not_be_read_are_not_even_named(autojump_clock: trio.testing.MockClock) -> None:
    async with open_siege(Permissions(subscribe=("open",), publish=()), "hidden", "open") as siege:
        hidden, open_ = StateChannel(siege.host, "hidden"), StateChannel(siege.host, "open")
        for number in range(3):
            await hidden.send(f"hidden {number}")
            await open_.send(f"open {number}")
            await trio.sleep(SHORT)
        slot = "hidden.txt.state"
        lies = Value(slot, 9, siege.raw.id, b"\x64fake"), Value("open.txt.state", 9, siege.raw.id, b"\x64fake")
        await siege.say(retained(Known(slot, UNKNOWN), *lies), encode_control(control.AskState(slot)))
        told = b"".join(
            event.body for event in await siege.heard(RetainedReceived) if isinstance(event, RetainedReceived)
        )
        assert b"first open" in told
        assert b"open 2" in told
        assert b"hidden" not in told
        assert not await siege.heard(control.StateKnown)
        denied = {(event.slot, event.right) for event in siege.raw.events if isinstance(event, control.Denied)}
        assert denied == {(slot, Right.PUBLISH), (slot, Right.SUBSCRIBE), ("open.txt.state", Right.PUBLISH)}
        assert (hidden.value, open_.value) == ("hidden 2", "open 2")


SYNCED = [Permissions(publish=(), block=False), Permissions(publish=()), Permissions(block=False)]


@pytest.mark.parametrize("permissions", SYNCED, ids=repr)
async def test_nobody_waits_for_versions_that_it_makes_up(
    autojump_clock: trio.testing.MockClock, permissions: Permissions
) -> None:
    async with open_siege(permissions) as siege:
        states = [StateChannel(siege.host, "state"), StateChannel(siege.friend, "state")]
        await states[0].send("a value")
        lie = control.StateKnown("state.txt.state", 1 << 50, siege.raw.id, bytes(8))
        async with trio.open_nursery() as nursery:

            async def lie_on_and_on() -> None:
                while True:
                    frames = [encode_control(lie)]
                    for context in (siege.host, siege.friend):
                        frames += [encode_routed(siege.raw.id, context._wire_id, number, lie) for number in range(3)]
                    await siege.raw.stream.send_all(b"".join(frames))
                    await trio.sleep(0.005)

            nursery.start_soon(lie_on_and_on)
            with trio.fail_after(10):
                for state in states * 20:
                    await state.wait_synced()
            nursery.cancel_scope.cancel()


# -------------------------------------------------------------------------------------------------------- bounds


async def test_who_asks_on_and_on_and_does_not_listen_loses_its_link(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_siege() as siege:
        offers = b"".join(encode_control(control.Offer(siege.raw.id, CHAT, stream)) for stream in range(1000))
        with trio.move_on_after(60), pytest.raises(trio.BrokenResourceError):
            while True:
                await siege.raw.stream.send_all(offers)
        await trio.sleep(1)
        assert not siege.is_linked
        assert "asks on and on for what it may not" in caplog.text


async def test_what_is_remembered_of_refusals_is_bounded(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_siege() as siege:
        events = watch(siege.host)
        guard = siege.host.connection("raw").guard
        assert guard is not None
        count = MOST_KNOWN + 500
        for begin in range(0, count, 500):
            numbers = range(begin, min(begin + 500, count))
            await siege.say(*(siege.package(f"chat-{number}.obj.pub-sub") for number in numbers))
            await siege.heard(control.Denied)
        assert siege.host.statistics().refused == count
        assert len(guard._told) == len(guard._denied) == MOST_TOLD
        assert len(guard._flows) <= MOST_KNOWN
        assert len(events.all(Refused)) == 1000
        assert len([record for record in caplog.records if "may not publish" in record.getMessage()]) < 10
        assert siege.is_linked


# -------------------------------------------------------------------------------------------------------- its own refusals


async def test_what_it_refuses_concerns_only_itself(autojump_clock: trio.testing.MockClock, watch: MakeWatch) -> None:
    async with open_siege(Permissions()) as siege:
        events = watch(siege.host)
        pub, sub = publish(siege.host, "chat"), subscribe(siege.friend, "chat")
        other = Adder(siege.friend, "adder")
        await siege.say(encode_control(control.Subscribe(CHAT, 1, 2, 9, 1, None, None, None)))
        await pub.wait_subscribers(2)
        own, friend = siege.host._wire_id, siege.friend._wire_id
        async with trioton.ReqChannel(siege.host, "adder") as req:
            await req.wait_repliers(1)
            assert await req.add(1, 2) == 3
            slot = f"~{friend.hex()}.adder.obj.req-rep"
            stream = siege.host._traffic.outlets.open[slot].flow.stream
            await siege.say(
                encode_control(control.Denied(own, CHAT, pub._flow.stream, Right.PUBLISH, friend)),
                encode_control(control.Denied(own, slot, stream, Right.CALL, friend)),
                encode_control(control.Denied(own, CHAT, pub._flow.stream, 99, friend)),
            )
            assert await req.add(1, 2) == 3
        assert pub.subscribers == 1
        await pub.send("hello")
        assert await sub.receive() == "hello"
        assert {event.by.to_wire() for event in events.all(Refused)} == {siege.raw.id}  # and not the friend, as it says
        assert other.statistics().started == 2
        await siege.say(encode_control(control.Denied(friend, CHAT, 1, Right.PUBLISH, friend)))
        assert "refused what is not ours" in await siege.raw.read_to_end()
