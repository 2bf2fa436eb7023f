"""A neighbour that lies about the network: what it says of others is outdone or forgotten, and what it sends for nobody goes nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.network.mesh_shapes import Mesh, open_mesh, receive
from tests.raw_peer import RawPeer
from trioton import ContextDied
from trioton.protocol import control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.packages import MAX_SEQUENCE, PackageKind, PackageTemplate
from trioton.protocol.records import (
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    Record,
    encode_batch,
    encode_record,
)
from trioton.protocol.routed import HOP_SHIFT, MOST_HOPS, encode_routed
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch
    from trioton.transports.base import Transport

SLOT = "flow.obj.pub-sub"
RING = "ab bc ca"


def records(*told: Record) -> bytes:
    """The frames that tell these records."""
    return b"".join(
        encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body
        for body in encode_batch([encode_record(record) for record in told])
    )


def node(origin: bytes, number: int, links: list[bytes]) -> NodeRecord:
    """A record that says that a context has these neighbours."""
    return NodeRecord(origin, number, "forged", 1, 1 << 20, 1 << 20, {each: LinkRecord(False, 1) for each in links}, {})


def with_hops(frame: bytes, hops: int) -> bytes:
    """The frame as if so many contexts had passed it on."""
    return frame[:1] + bytes([frame[1] | hops << HOP_SHIFT]) + frame[2:]


async def open_liar(mesh: Mesh, victim: str = "a") -> RawPeer[Transport]:
    """A neighbour of one context that has shaken hands, and sends what a test wants."""
    peer = RawPeer(await mesh.net.host("liar").dial(parse_address(f"{victim}:1")), SLOT, seed=1)
    await peer.shake_hands()
    await peer.stream.send_all(records(node(peer.id, 1, [mesh[victim].id.to_wire()])))
    return peer


async def check_innocents(mesh: Mesh) -> None:
    """All contexts still see each other and talk, over the transports that they had."""
    for name in mesh.contexts:
        assert {other: 1 for other in mesh.contexts if other != name}.items() <= mesh.hops(name).items()
    subs = {name: mesh.sub(name, "innocent") for name in mesh.contexts}
    for name in mesh.contexts:
        pub = mesh.pub(name, "innocent")
        with trio.fail_after(30):
            await pub.wait_subscribers(len(subs) - 1)
        await pub.send_many(range(50))
    for sub in subs.values():
        assert sorted(await receive(sub, 50 * (len(subs) - 1))) == sorted([*range(50)] * (len(subs) - 1))
    for context in mesh.contexts.values():
        for connection in context.connections:
            if connection.name in mesh.contexts:
                assert connection.is_connected
                assert connection.statistics().transports == 1


async def test_what_is_told_in_the_name_of_a_context_itself_is_outdone(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(RING) as mesh:
        watches = [watch(mesh[name]) for name in "abc"]
        peer = await open_liar(mesh)
        for number in (5, 1000, MAX_SEQUENCE // 2):
            for name in "abc":
                await peer.stream.send_all(records(node(mesh[name].id.to_wire(), number, [peer.id])))
                await trio.sleep(1)
        await check_innocents(mesh)
        for each in watches:
            assert each.all(ContextDied) == []
        peer.stream.close()


async def test_changes_that_are_made_up_are_outdone(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(RING) as mesh:
        watches = [watch(mesh[name]) for name in "abc"]
        peer = await open_liar(mesh)
        await trio.sleep(1)
        for name in "abc":
            victim = mesh[name]._mesh.topology.own
            others = [mesh[other].id.to_wire() for other in "abc" if other != name]
            for ahead in (0, 1, 1000, MAX_SEQUENCE // 2):
                number = victim.number + ahead
                made_up = dict.fromkeys([peer.id], LinkRecord(False, 1))
                lies = [
                    NodeChange(victim.origin, number, number + 1, made_up, (), {}),
                    NodeChange(victim.origin, 1, number + 2, {}, tuple(sorted(others[:1])), {peer.id: 7}),
                ]
                await peer.stream.send_all(records(*lies))
                await trio.sleep(1)
        await check_innocents(mesh)
        for each in watches:
            assert each.all(ContextDied) == []
        peer.stream.close()


async def test_changes_of_contexts_of_which_nothing_is_known_change_nothing(autojump_clock: object) -> None:
    async with open_mesh(RING) as mesh:
        peer = await open_liar(mesh)
        unknown, own = b"\x07" * 16, mesh["a"].id.to_wire()
        links = {each: LinkRecord(False, 1) for each in (own, peer.id)}
        await peer.stream.send_all(records(NodeChange(unknown, 1, 2, links, (), {own: 3})))
        await trio.sleep(5)
        assert mesh["a"]._mesh.topology.digest([unknown]).known.keys() == {own}
        await check_innocents(mesh)
        peer.stream.close()


async def test_interest_that_is_made_up_in_the_name_of_a_context_is_outdone(autojump_clock: object) -> None:
    async with open_mesh(RING) as mesh:
        sub, pub = mesh.sub("b"), mesh.pub("a")
        await pub.wait_subscribers()
        peer = await open_liar(mesh, "c")
        for name in "abc":
            await peer.stream.send_all(records(InterestSnapshot(mesh[name].id.to_wire(), 500, ())))
        await trio.sleep(5)
        with trio.fail_after(30):
            await pub.wait_subscribers()
        await pub.send("still heard")
        assert await receive(sub, 1) == ["still heard"]
        await check_innocents(mesh)
        peer.stream.close()


async def test_a_flood_of_contexts_that_do_not_exist(autojump_clock: object) -> None:
    async with open_mesh(RING) as mesh:
        peer = await open_liar(mesh)
        for first in range(0, 1000, 100):
            made_up = [bytes([1]) + number.to_bytes(15, "big") for number in range(first, first + 100)]
            await peer.stream.send_all(records(*(node(each, 1, [peer.id]) for each in made_up)))
        await trio.sleep(5)
        await check_innocents(mesh)
        peer.stream.close()
        await trio.sleep(100)
        assert sorted(mesh.hops("b")) == ["a", "c"]


async def test_what_has_been_passed_on_too_often_or_is_for_nobody_goes_nowhere(autojump_clock: object) -> None:
    async with open_mesh(RING) as mesh:
        peer = await open_liar(mesh)
        await trio.sleep(1)
        begin = mesh.net.trace.total
        lost = mesh["a"]._mesh.relays.lost
        nobody, others = b"\x07" * 16, [mesh[name].id.to_wire() for name in "bc"]
        body = b"\x81\x01"
        frames = []
        for destination in [nobody, *others]:
            hops = 0 if destination == nobody else MOST_HOPS
            word = encode_routed(peer.id, destination, 0, control.Synced())
            header = PackageTemplate(peer.id, SLOT, 0, destination, PackageKind.AGAIN).header(0, 1)
            package = encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body
            frames += [with_hops(word, hops), with_hops(package, hops)]
        await peer.stream.send_all(b"".join(frames))
        await trio.sleep(5)
        passed_on = [
            event
            for event in mesh.net.trace
            if event.number > begin and event.source in {"a", "b", "c"} and event.what in {"ROUTED", "PACKAGE"}
        ]
        assert passed_on == []
        assert mesh["a"]._mesh.relays.lost == lost + len(frames)
        await check_innocents(mesh)
        peer.stream.close()
