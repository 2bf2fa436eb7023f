"""What one neighbour says wrong costs its own link, and never that of another who only hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.raw_peer import RawPeer
from trioton import Limits
from trioton.protocol import codec, control, requests, values
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.records import LinkRecord, NodeRecord, encode_batch, encode_record
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

SLOT = "chat.obj.pub-sub"
HUGE = 1 << 32_000
"""An int that may be sent, and that Python does not write as a text."""


LINK = LinkRecord(False, 1)


def records(*told: NodeRecord) -> bytes:
    """A frame of records."""
    (body,) = encode_batch(map(encode_record, told))
    return encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body


@attrs.frozen
class World:
    """A server with an honest neighbour, and one that is not."""

    server: trioton.Context
    honest: trioton.Context
    link: trioton.Connection
    liar: RawPeer[Transport]

    async def check(self) -> None:
        """Some time later the honest neighbour has the link that it had."""
        await trio.sleep(5)
        assert self.link.is_connected
        assert self.link.statistics().transports == 1
        pub, sub = trioton.PubChannel(self.server, "news"), trioton.SubChannel(self.honest, "news")
        await pub.wait_subscribers()
        await pub.send("all is well")
        assert await sub.receive() == "all is well"


@pytest.fixture
def honest_limits() -> Limits:
    return Limits()


@pytest.fixture
async def world(honest_limits: Limits, autojump_clock: trio.testing.MockClock) -> AsyncIterator[World]:
    net = Network(seed=1)
    async with (
        trioton.open_context("server", network=net.host("server")) as server,
        trioton.open_context("honest", network=net.host("honest"), limits=honest_limits) as honest,
    ):
        await server.bind("server:1")
        link = await honest.connect("server:1")
        liar = RawPeer(await net.host("liar").dial(parse_address("server:1")), SLOT, seed=1)
        await liar.shake_hands()
        own = NodeRecord(liar.id, 1, "liar", 1, 1 << 24, 1 << 24, {server.id.to_wire(): LINK}, {})
        await liar.stream.send_all(records(own))
        yield World(server, honest, link, liar)
        liar.stream.close()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (control.Subscribe(SLOT, 1, 0, 4, 0, None, None, 0), "mode 0, size 4 and count 0"),
        (control.Subscribe(SLOT, 0, 0, 4, 1, None, None, 0), "a record without a number"),
        (control.Unsubscribe(SLOT, 0), "by record 0"),
        (control.Unsubscribe("", 1), "ceased to listen to ''"),
        (control.Unsubscribe("x" * 600, 1), "ceased to listen to 'xxx"),
    ],
)
async def test_r38_an_interest_that_makes_no_sense_is_not_told_to_others(
    world: World, message: control.Control, reason: str
) -> None:
    await world.liar.stream.send_all(encode_control(message))
    assert reason in await world.liar.read_to_end()
    await world.check()


@pytest.mark.parametrize("honest_limits", [Limits(max_package=100_000)])
async def test_r38_a_package_that_is_too_large_for_another_is_not_passed_on(world: World) -> None:
    """Who publishes knows how much each subscriber takes; one that does not care must not cut others off."""
    sub = trioton.SubChannel(world.honest, "chat", trioton.OBJECT, policy=trioton.DropOldest(100))
    await trio.sleep(1)
    for size in (200_000, 10):
        body = b"\x81" + values.encode_value(bytes(size))
        await world.liar.stream.send_all(world.liar.package(body, first=0 if size > 10 else 1))
    assert await sub.receive() == bytes(10)
    await world.check()


async def test_r38_nonsense_with_an_int_that_python_does_not_write_ends_no_replier(world: World) -> None:
    events = world.server.events()
    rep = trioton.RepChannel(world.server, "math")
    await trio.sleep(1)
    slot = next(each for each in world.server._traffic.subscriptions.by_slot if each.startswith("~"))
    body = b"\x81" + values.encode_value([99, HUGE])
    header = PackageTemplate(world.liar.id, slot, 0, world.server.id.to_wire()).header(0, 1)
    await world.liar.stream.send_all(encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body)
    await world.check()
    assert not rep.closed
    async for event in events:
        if isinstance(event, trioton.BadMessage):
            assert "an int of 32001 bits" in event.reason
            break


def test_r38_who_checks_requests_and_jobs_refuses_it_as_any_nonsense() -> None:
    message = values.decode_value(values.encode_value([codec.MAX_HEADER, HUGE]))
    with pytest.raises(trioton.ProtocolError, match="an int of 32001 bits"):
        requests.check_ask(message)


async def test_r38_a_link_that_goes_and_comes_in_one_breath_ends_no_context(world: World) -> None:
    far, server = bytes([7]) * 16, world.server.id.to_wire()
    own = NodeRecord(world.liar.id, 1, "liar", 1, 1 << 24, 1 << 24, {server: LINK, far: LINK}, {})
    other = NodeRecord(far, 1, "made up", 1, 1 << 24, 1 << 24, {own.origin: LINK}, {})
    await world.liar.stream.send_all(records(own._replace(number=2), other))
    await trio.sleep(1)
    assert len(world.server.contexts) == 3
    without = own._replace(number=3, links={server: LINK})
    await world.liar.stream.send_all(records(without, own._replace(number=4), other._replace(number=2, links={})))
    await trio.sleep(1)
    assert len(world.server.contexts) == 2
    await world.check()
