"""T15, T16: identities that are somebody else's, ways that do not exist, and packages that go round in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

import trioton
from tests.common import Card, warnings_of
from tests.network.mesh_shapes import nothing_comes, open_mesh, receive
from tests.raw_peer import RawPeer, read_to_end
from tests.trust.hostile_shapes import SLOT, check_unharmed, ids, node, open_raw, records
from tests.trust.leaf_shapes import SETTLED, network_of_users, open_leaves
from trioton import ContextDied
from trioton.protocol import control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.identity import ContextId
from trioton.protocol.packages import PackageKind, PackageTemplate
from trioton.protocol.records import LinkRecord, NodeChange, Route
from trioton.protocol.routed import HOP_SHIFT, MOST_HOPS, encode_routed
from trioton.protocol.stubs import MOST_BELOW
from trioton.protocol.trees import MAX_HOPS
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch


def made_up(number: int) -> bytes:
    return bytes([9]) + number.to_bytes(15, "big")


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize("stub", [False, True])
@pytest.mark.parametrize("who", "abc")
async def test_t15_an_identity_that_is_in_the_network_is_not_given_to_another(
    who: str, stub: bool, autojump_clock: object, watch: MakeWatch
) -> None:
    """Be it that of the one who is asked, of a neighbour of that one, or of one further away."""
    async with open_mesh("ab bc", net=network_of_users(all="abc")) as mesh:
        at = watch(mesh["a"])
        transport = await mesh.net.host("raw", uid=4000).dial(parse_address("a:1"))
        peer = RawPeer(transport, SLOT, seed=1)
        peer.hello = attrs.evolve(peer.hello, id=ContextId.from_wire(ids(mesh)[who]), stub=stub)
        await peer.stream.send_all(peer.hello.to_frame(FrameKind.HELLO))
        answer = await read_to_end(transport)
        reason = {
            "a": b"a context cannot connect to itself",
            "b": b"is in use by another",
            "c": b"a context of this identity is in the network already, by another way",
        }
        assert reason[who] in answer
        await check_unharmed(mesh, "abc")
        assert at.all(ContextDied) == []


async def test_t15_who_came_before_the_one_whose_identity_it_has_must_go(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    net = network_of_users(all="abc")
    async with open_mesh("ab", net=net) as mesh, trioton.open_context("c", network=net.host("c")) as c:
        transport = await net.host("raw", uid=4000).dial(parse_address("a:1"))
        peer = RawPeer(transport, SLOT, seed=1)
        peer.hello = attrs.evolve(peer.hello, id=c.id)
        await peer.shake_hands()
        own = ids(mesh)["a"]
        await peer.stream.send_all(records(node(c.id.to_wire(), 1 << 60, own)))
        await trio.sleep(1)
        await c.connect("b:1")
        mesh.contexts["c"] = c
        assert "of this identity is in the network already" in await peer.read_to_end()
        await trio.sleep(SETTLED)
        assert any("parts from 'raw'" in line for line in warnings_of(caplog))
        await check_unharmed(mesh, "abc")


async def test_t15_a_leaf_may_come_in_by_two_doors_and_another_not_by_the_second(autojump_clock: object) -> None:
    async with open_leaves("ab la lb", "l") as mesh:
        assert mesh.hops("a")["l"] == 1
        assert mesh.hops("b")["l"] == 1
        mesh.net.partition("l", "b")
        await trio.sleep(60)
        net = mesh.net
        async with trioton.open_context("m", network=net.host("m", uid=5000), security=Card("m", may_route=False)) as m:
            m.id, m._wire_id = mesh["l"].id, mesh["l"]._wire_id
            with pytest.raises(
                trioton.ConnectError, match="of this identity is in the network already, by another way"
            ):
                await m.connect("b:1")
        assert mesh.hops("b")["l"] == 2


# ---------------------------------------------------------------- lies about ways


async def test_t16_r50_a_million_contexts(autojump_clock: object, watch: MakeWatch) -> None:
    """Who is not trusted tells of nobody else; a stub of no more below it than anybody has."""
    async with open_mesh("ab", net=network_of_users(all="ab")) as mesh:
        at = watch(mesh["b"])
        peer = await open_raw(mesh, stub=True)
        count = MOST_BELOW + 500
        links = {made_up(number): LinkRecord(False, 1) for number in range(count)}
        own = ids(mesh)["a"]
        every = [node(peer.id, 2, own)._replace(links={**links, own: LinkRecord(False, 1)})]
        every += [node(made_up(number), 1, peer.id) for number in range(count)]
        await peer.stream.send_all(records(*every))
        assert "the peer speaks for others" in await peer.read_to_end()
        await trio.sleep(SETTLED)
        assert len(mesh["b"].contexts) == 1
        assert len(at.all(trioton.ContextJoined)) <= MOST_BELOW + 1
        await check_unharmed(mesh, "ab")


async def test_t16_r50_a_route_to_the_neighbour_itself_and_a_way_through_the_liar(
    autojump_clock: object, watch: MakeWatch
) -> None:
    """Two that lie together, at both ends of a line, pretend to be a short cut: nothing takes it."""
    async with open_mesh("ab bc cd de", net=network_of_users(all="abcde")) as mesh:
        watches = [watch(mesh[name]) for name in "abcde"]
        liars = [await open_raw(mesh, "a", uid=4001), await open_raw(mesh, "e", uid=4002)]
        known = ids(mesh)
        for liar, other, near in ((liars[0], liars[1], "a"), (liars[1], liars[0], "e")):
            ends = [known[near], other.id, *(known[name] for name in "bcd")]
            await liar.stream.send_all(records(node(liar.id, 3, *sorted(ends))))
            lies = [
                node(known[near], 1000, liar.id),
                node(other.id, 3, liar.id),
                NodeChange(known["c"], 1, 9, {}, (), {}),
            ]
            await liar.stream.send_all(records(*lies))
        await trio.sleep(SETTLED)
        for liar in liars:
            assert liar.id not in {info.id.to_wire() for info in mesh["c"].contexts if info.hops < 3}
        topology = mesh["a"]._mesh.topology
        assert topology.path(known["a"], known["e"]) == tuple(known[name] for name in "abcde")
        assert mesh.hops("a")["e"] == 4
        await check_unharmed(mesh, "abcde")
        assert all(each.all(ContextDied) == [] for each in watches)


@pytest.mark.parametrize("stub", [False, True])
async def test_t16_r50_only_a_parent_gives_routes(stub: bool, autojump_clock: object) -> None:
    async with open_mesh("ab", net=network_of_users(all="ab")) as mesh:
        peer = await open_raw(mesh, stub=stub)
        await peer.stream.send_all(records(Route(made_up(1), "x", 1, 1 << 20, 1 << 20, 255, 1, {}, ())))
        assert "in no position to say" in await peer.read_to_end()
        await check_unharmed(mesh, "ab")


async def test_t16_r50_what_claims_all_hops_goes_no_further(autojump_clock: object) -> None:
    """There is no room in a frame for more than 15, and what has 15 goes no further."""
    async with open_mesh("ab bc", net=network_of_users(all="abc")) as mesh:
        peer = await open_raw(mesh)
        lost, far = mesh["a"]._mesh.relays.lost, ids(mesh)["c"]
        header = PackageTemplate(peer.id, SLOT, 0, far, PackageKind.AGAIN).header(0, 1)
        package = encode_prefix(FrameKind.PACKAGE, 0, len(header), 2) + header + b"\x81\x01"
        for frame in (package, encode_routed(peer.id, far, 0, control.Synced())):
            await peer.stream.send_all(frame[:1] + bytes([frame[1] | 15 << HOP_SHIFT]) + frame[2:])
        await trio.sleep(1)
        assert mesh["a"]._mesh.relays.lost == lost + 2
        await check_unharmed(mesh, "abc")


async def test_t16_r50_a_package_in_a_circle_of_routers_dies(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three routers are made to pass on what is for a fourth to each other, for ever."""
    async with open_mesh("ab bc ca ad xa", net=network_of_users(all="abcdx")) as mesh:
        known = ids(mesh)
        sub = mesh.sub("d")
        pub = mesh.pub("x")
        await pub.wait_subscribers(1)
        for here, there in ("ab", "bc", "ca"):
            topology = mesh[here]._mesh.topology
            monkeypatch.setattr(topology, "next_hop", lambda _, __, there=there: known[there])
            branches = topology.branches(known["x"], SLOT)
            merged = branches[0][1] if branches else mesh["a"]._mesh.topology.branches(known["x"], SLOT)[0][1]
            monkeypatch.setattr(
                topology, "branches", lambda _, __, there=there, merged=merged: ((known[there], merged),)
            )
        relayed = {name: mesh[name]._mesh.relays.relayed for name in "abc"}
        header = PackageTemplate(known["x"], SLOT, 1, known["d"], PackageKind.AGAIN).header(0, 1)
        frame = encode_prefix(FrameKind.PACKAGE, 0, len(header), 2) + header + b"\x81\x01"
        link = mesh.dialled["xa"].open_link
        assert link is not None
        mesh.dialled["xa"].outbox.add_control(frame)
        mesh.dialled["xa"].outbox.add_control(encode_routed(known["x"], known["d"], 9, control.Synced()))
        link.try_write()
        await pub.send("round and round")
        assert await nothing_comes(sub, 60)
        passed = sum(mesh[name]._mesh.relays.relayed - relayed[name] for name in "abc")
        assert 0 < passed <= 3 * MAX_HOPS
        words = [event for event in mesh.net.trace if event.what == "ROUTED" and "SYNCED" in event.details]
        assert len(words) <= MOST_HOPS + 20
        monkeypatch.undo()
        assert await receive(sub, 1) == ["round and round"]
