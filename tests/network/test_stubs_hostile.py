"""Stubs and parents that say what they may not: a stub is believed about itself and those below it only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from tests.common import warnings_of
from tests.network.mesh_shapes import Mesh, nothing_comes, receive
from tests.network.stub_shapes import open_stubs
from tests.raw_peer import RawPeer
from trioton import ContextDied, Limits
from trioton.protocol import control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.records import (
    InterestRecord,
    LinkRecord,
    NodeRecord,
    NoRoute,
    Route,
    Want,
    WantKind,
    encode_batch,
    encode_record,
)
from trioton.protocol.routed import encode_routed
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

SLOT = "flow.obj.pub-sub"


def records(*told: Any) -> bytes:
    """The frames that tell these records."""
    return b"".join(
        encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body
        for body in encode_batch([encode_record(record) for record in told])
    )


def node(origin: bytes, number: int, *links: bytes) -> NodeRecord:
    """A record that says that a context has these neighbours."""
    return NodeRecord(origin, number, "forged", 1, 1 << 20, 1 << 20, {each: LinkRecord(False, 1) for each in links}, {})


async def open_raw(mesh: Mesh, victim: str = "a", *, stub: bool = True) -> RawPeer[Any]:
    """A stub of one context, or an ordinary neighbour, that has shaken hands, and sends what a test wants."""
    peer = RawPeer(await mesh.net.host("liar").dial(parse_address(f"{victim}:1")), SLOT, seed=1)
    peer.hello = attrs.evolve(peer.hello, stub=stub)
    await peer.shake_hands()
    await peer.stream.send_all(records(node(peer.id, 1, mesh[victim].id.to_wire())))
    return peer


async def test_a_stub_cannot_speak_for_others(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa") as mesh:
        heard = watch(mesh["c"])
        peer = await open_raw(mesh)
        await trio.sleep(1)
        assert len(mesh["c"].contexts) == 4
        for name in "abcs":
            await peer.stream.send_all(records(node(mesh[name].id.to_wire(), 1000, peer.id)))
        await peer.stream.send_all(records(InterestRecord(mesh["c"].id.to_wire(), SLOT, 1, 0, 5, 1, 1)))
        await trio.sleep(1)
        assert mesh.hops("c").items() >= {"b": 1, "a": 2, "s": 3}.items()
        assert heard.all(ContextDied) == []
        assert mesh["a"]._mesh.topology.interest(mesh["c"].id.to_wire(), SLOT) is None
        sub = mesh.sub("b")
        await peer.stream.send_all(peer.package(b"\x81\x01", source=mesh["c"].id.to_wire()))
        unreachable = control.Unreachable(mesh["b"].id.to_wire(), SLOT, 1, "it says so")
        frame = encode_routed(mesh["c"].id.to_wire(), mesh["b"].id.to_wire(), 0, unreachable)
        await peer.stream.send_all(frame)
        assert await nothing_comes(sub)
        peer.stream.close()


@pytest.mark.parametrize(
    "record",
    [Route(b"x" * 16, "x", 1, 1, 1, 1, 1, {}, ()), NoRoute(b"x" * 16), Want(WantKind.SLOT, SLOT, True)],
    ids=lambda record: type(record).__name__,
)
async def test_what_only_a_parent_or_a_stub_may_say(record: Any, autojump_clock: object) -> None:
    async with open_stubs("ab", "") as mesh:
        for is_stub in (False, True):
            if is_stub and isinstance(record, Want):
                continue
            peer = await open_raw(mesh, stub=is_stub)
            await peer.stream.send_all(records(record))
            assert "in no position to say" in await peer.read_to_end()


async def test_a_stub_that_wants_too_much(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async with open_stubs("ab", "", limits=Limits(subscriptions=1000)) as mesh:
        peer = await open_raw(mesh)
        wants = [Want(WantKind.SLOT, f"slot {number}", True) for number in range(10_000)]
        await peer.stream.send_all(records(*wants))
        await trio.sleep(1)
        (view,) = mesh["a"]._mesh.parenthood._views.values()
        assert len(view.wishes) == 1000
        assert [text for text in warnings_of(caplog) if "too much" in text] != []
        sub, pub = mesh.sub("b"), mesh.pub("a")
        await pub.wait_subscribers()
        await pub.send(1)
        assert await receive(sub, 1) == [1]
        peer.stream.close()


async def test_a_stub_that_asks_on_and_on_and_does_not_read(autojump_clock: object) -> None:
    async with open_stubs("ab", "") as mesh:
        peer = await open_raw(mesh)
        questions = records(*[Want(WantKind.ONCE, number.to_bytes(16, "big"), True) for number in range(500)])
        with trio.move_on_after(1000) as scope, pytest.raises(trio.BrokenResourceError):
            while True:
                await peer.stream.send_all(questions)
        assert not scope.cancelled_caught


async def test_a_stub_of_a_stub_that_wants_too_much_leaves_room_for_others(autojump_clock: object) -> None:
    async with open_stubs("ab", "sa", limits=Limits(subscriptions=100)) as mesh:
        peer = await open_raw(mesh, "s")
        await peer.stream.send_all(records(*[Want(WantKind.SLOT, f"slot {number}", True) for number in range(1000)]))
        await peer.stream.send_all(
            records(*[Want(WantKind.ONCE, number.to_bytes(16, "big"), True) for number in range(1000)])
        )
        await trio.sleep(10)
        assert mesh["s"].connections[0].is_connected
        sub, pub = mesh.sub("b"), mesh.pub("s")
        with trio.fail_after(30):
            await pub.wait_subscribers()
        await pub.send(1)
        assert await receive(sub, 1) == [1]
        peer.stream.close()
