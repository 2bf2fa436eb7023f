"""Neighbours that send whatever a test wants, over simulated networks of several users."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from tests.network.mesh_shapes import Mesh, receive
from tests.raw_peer import RawPeer
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.records import LinkRecord, NodeRecord, encode_batch, encode_record
from trioton.transports.address import parse_address

SLOT = "flow.obj.pub-sub"


def records(*told: Any) -> bytes:
    """The frames that tell these records."""
    return b"".join(
        encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body
        for body in encode_batch([encode_record(record) for record in told])
    )


def node(origin: bytes, number: int, *links: bytes, name: str = "forged") -> NodeRecord:
    """A record that says that a context has these neighbours."""
    return NodeRecord(origin, number, name, 1, 1 << 20, 1 << 20, {each: LinkRecord(False, 1) for each in links}, {})


async def open_raw(mesh: Mesh, victim: str = "a", *, stub: bool = False, uid: int = 4000, **said: Any) -> RawPeer[Any]:
    """A neighbour of another user, or a stub, that has shaken hands and told of its link."""
    host = mesh.net.host(f"raw{uid}", uid=uid)
    peer = RawPeer(await host.dial(parse_address(f"{victim}:1")), SLOT, seed=uid)
    peer.hello = attrs.evolve(peer.hello, stub=stub, **said)
    peer.id = peer.hello.id.to_wire()
    await peer.shake_hands()
    await peer.stream.send_all(records(node(peer.id, 1, mesh[victim].id.to_wire())))
    await trio.sleep(0.5)
    return peer


def ids(mesh: Mesh) -> dict[str, bytes]:
    """The identities of all contexts, by name."""
    return {name: context.id.to_wire() for name, context in mesh.contexts.items()}


async def check_unharmed(mesh: Mesh, names: str) -> None:
    """These contexts still see each other as they did, over the transports that they had, and talk."""
    await mesh.wait_all_see(*names)
    subs = {name: mesh.sub(name, "unharmed") for name in names}
    for name in names:
        pub = mesh.pub(name, "unharmed")
        with trio.fail_after(30):
            await pub.wait_subscribers(len(names) - 1)
        await pub.send_many(range(20))
    for sub in subs.values():
        assert sorted(await receive(sub, 20 * (len(names) - 1))) == sorted([*range(20)] * (len(names) - 1))
    for name in names:
        for connection in mesh[name].connections:
            if connection.name in names:
                assert connection.statistics().transports == 1
