"""What tests of hostile peers have in common: a server with an innocent client on real sockets, or on a simulated network."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

import trioton
from tests.network.conftest import PATIENCE, Stage
from tests.raw_peer import RawPeer
from trioton import Block, Limits, PubChannel, SubChannel
from trioton.testing import Network, leak_check
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

SLOT = "flow.obj.pub-sub"


@asynccontextmanager
async def open_stage(
    caplog: pytest.LogCaptureFixture, limits: Limits | None = None, *, patience: float = PATIENCE
) -> AsyncIterator[Stage]:
    """A server on a real socket, and an innocent client of it; nothing is left of it at the end, in memory or elsewhere."""
    caplog.set_level(logging.DEBUG, logger="trioton")
    async with leak_check():
        with trio.fail_after(patience):
            async with (
                trioton.open_context("server", limits=limits or Limits()) as server,
                trioton.open_context("innocent") as innocent,
            ):
                listener = await server.bind("127.0.0.1:0")
                connection = await innocent.connect(f"127.0.0.1:{listener.port}", local_shortcut=False)
                pub = PubChannel(innocent, "flow", trioton.OBJECT)
                sub = SubChannel(server, "flow", trioton.OBJECT, policy=Block(8))
                await pub.wait_subscribers()
                yield Stage(server, listener, connection, pub, sub, caplog)
    assert server._memory.used == 0


async def open_raw_peer(stage: Stage) -> RawPeer[trio.SocketStream]:
    """A hostile peer that has shaken hands with the server."""
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", stage.port), SLOT)
    await peer.shake_hands()
    return peer


@attrs.frozen
class Scene:
    """The same on a simulated network: the server listens at ``a:1``."""

    net: Network
    server: trioton.Context

    async def intrude(self, host: str = "evil", *, seed: int = 1) -> RawPeer[Transport]:
        """A hostile peer on a host of its own, that has shaken hands with the server."""
        peer = RawPeer(await self.net.host(host).dial(parse_address("a:1")), SLOT, seed=seed)
        await peer.shake_hands()
        return peer


@asynccontextmanager
async def open_scene(limits: Limits | None = None) -> AsyncIterator[Scene]:
    """A server on a simulated network."""
    net = Network(seed=3, latency=0.01)
    async with trioton.open_context("a", network=net.host("a"), limits=limits or Limits()) as server:
        await server.bind("a:1")
        yield Scene(net, server)
    assert server._memory.used == 0
