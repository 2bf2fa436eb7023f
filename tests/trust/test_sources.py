"""T10: whoever is not trusted speaks for itself, and a stub for those below it: all else is dropped at the first hop, and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.common import warnings_of
from tests.network.mesh_shapes import Mesh, nothing_comes, open_mesh, receive
from tests.raw_peer import RawPeer
from tests.trust.hostile_shapes import SLOT, check_unharmed, ids, node, open_raw, records
from tests.trust.leaf_shapes import network_of_users
from trioton import OBJECT, ContextDied, DropOldest, StateChannel
from trioton.protocol import codec, control
from trioton.protocol.conduct import PERIOD
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.limits import Limits
from trioton.protocol.packages import PackageKind, PackageTemplate
from trioton.protocol.records import Digest, InterestRecord, InterestSnapshot, LinkRecord, NodeChange
from trioton.protocol.retained import Version, check_of, encode_value_head
from trioton.protocol.routed import encode_routed

UNKNOWN = b"\x07" * 16
MOST_LIES = Limits().strikes
WHO = ["parent", "sibling", "root", "unknown"]


def spoken_for(mesh: Mesh, who: str) -> bytes:
    """Whom to pretend to be: the neighbour, another neighbour of it, one far away, or nobody."""
    known = ids(mesh)
    return {"parent": known["a"], "sibling": known["s"], "root": known["c"], "unknown": UNKNOWN}[who]


def addressed(source: bytes, destination: bytes) -> bytes:
    header = PackageTemplate(source, SLOT, 0, destination, PackageKind.AGAIN).header(0, 1)
    return encode_prefix(FrameKind.PACKAGE, 0, len(header), 2) + header + b"\x81\x01"


def value(slot: str, writer: bytes, counter: int, data: bytes) -> bytes:
    """The frame that tells a value of a state."""
    row = encode_value_head(slot, Version(counter, writer, check_of(data)), len(data)) + data
    body = codec.array_head(1) + row
    return encode_prefix(FrameKind.RETAINED, 0, 1, len(body)) + b"\x80" + body


SAID: dict[str, Callable[[RawPeer[Any], Mesh, bytes], bytes]] = {
    "a package": lambda peer, _, who: peer.package(b"\x81\x01", source=who),
    "a package for one": lambda _, mesh, who: addressed(who, ids(mesh)["b"]),
    "a word": lambda _, mesh, who: encode_routed(who, ids(mesh)["b"], 5, control.Synced()),
    "a word for the neighbour": lambda _, mesh, who: encode_routed(who, ids(mesh)["a"], 5, control.Synced()),
    "a node": lambda peer, _, who: records(node(who, 1000, peer.id)),
    "a change": lambda peer, _, who: records(NodeChange(who, 1, 1000, {peer.id: LinkRecord(False, 1)}, (), {})),
    "an interest": lambda _, __, who: records(InterestRecord(who, SLOT, 1000, 0, 5, 1, 1)),
    "a snapshot": lambda _, __, who: records(InterestSnapshot(who, 1000, ())),
    "a value": lambda _, __, who: value("status.obj.state", who, 1000, b"\x63lie"),
}


@pytest.mark.parametrize(
    ("what", "who", "stub"),
    [
        (what, who, stub)
        for what in SAID
        for who in WHO
        for stub in (False, True)
        # A stub may tell of those who are new below it.
        if not (stub and who == "unknown" and what in {"a node", "a change", "an interest", "a snapshot", "a value"})
    ],
)
async def test_t10_r48_what_is_said_in_the_name_of_others_is_dropped_at_the_first_hop(
    what: str, who: str, stub: bool, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_mesh("ab bc sa", net=network_of_users(all="abcs")) as mesh:
        sub = mesh.sub("b")
        state = StateChannel[str](mesh["b"], "status", OBJECT)
        await state.send("true")
        peer = await open_raw(mesh, stub=stub, retains=True)
        said = SAID[what](peer, mesh, spoken_for(mesh, who))
        before = {name: mesh[name]._mesh.topology.digest().known for name in "abcs"}
        relayed = mesh["a"]._mesh.relays.relayed
        for number in range(1, MOST_LIES):
            await peer.stream.send_all(said)
            await trio.sleep(1)
            assert mesh["a"].statistics().spoofed == number
        assert {name: mesh[name]._mesh.topology.digest().known for name in "abcs"} == before
        assert mesh["a"]._mesh.relays.relayed == relayed
        assert await nothing_comes(sub)
        assert state.value == "true"
        [line] = [each for each in warnings_of(caplog) if "speaks for others" in each]
        assert ("stub" if stub else "give both a trioton.Secret") in line
        await peer.stream.send_all(said)
        assert "the peer speaks for others, which is not believed, since it" in await peer.read_to_end()
        assert mesh["a"].statistics().spoofed == MOST_LIES
        await check_unharmed(mesh, "abcs")


async def test_t10_lies_that_are_few_and_far_between_close_nothing(autojump_clock: object) -> None:
    async with open_mesh("ab", net=network_of_users(all="ab")) as mesh:
        peer = await open_raw(mesh, returns=True)
        for number in range(1, 3 * MOST_LIES):
            await peer.stream.send_all(peer.package(b"\x81\x01", source=UNKNOWN))
            for _ in range(8):
                await peer.stream.send_all(control.encode_control(control.Ping(number)))
                await trio.sleep(PERIOD / MOST_LIES / 7)
        assert mesh["a"].statistics().spoofed == number
        assert mesh["a"].connections[-1].is_connected


async def test_t10_a_leaf_is_believed_about_itself_only(autojump_clock: object) -> None:
    """It publishes and listens, and is heard everywhere: but a link that it makes up to somebody counts for nobody."""
    async with open_mesh("ab bc", net=network_of_users(all="abc")) as mesh:
        sub = mesh.sub("c", policy=DropOldest(5))
        peer = await open_raw(mesh)
        known = ids(mesh)
        await peer.stream.send_all(records(node(peer.id, 2, *sorted(known.values()))))
        await trio.sleep(1)
        assert mesh.hops("a")["raw"] == 1
        assert mesh.hops("c") == {"b": 1, "a": 2, "forged": 3}
        await peer.stream.send_all(peer.package(b"\x81\x61\x31"))
        assert await receive(sub, 1) == ["1"]
        assert mesh["a"].statistics().spoofed == 0
        await check_unharmed(mesh, "abc")


async def test_t10_what_a_digest_claims_hides_nothing(autojump_clock: object, watch: Any) -> None:
    """It says that it knows all there will ever be: it is told nothing then, and nobody else hears less."""
    async with open_mesh("ab", net=network_of_users(all="ab")) as mesh:
        at = watch(mesh["a"])
        peer = await open_raw(mesh)
        most = (1 << 62) - 1
        await peer.stream.send_all(records(Digest(dict.fromkeys((*ids(mesh).values(), UNKNOWN), (most, most)))))
        await trio.sleep(1)
        await check_unharmed(mesh, "ab")
        assert at.all(ContextDied) == []
        peer.stream.close()
