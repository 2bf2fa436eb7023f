"""Targets that are whole contexts: a neighbour that means harm speaks to one in which others go on with their own affairs.

All runs on a simulated network under a clock that jumps, and is the same each time.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import trio
import trio.testing

import trioton
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.testing import Network
from trioton.testing.trio_private import deterministic_scheduling
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

from ..chooser import Chooser
from ..speech import Role, Speech
from ..violation import require
from .frames import FAR, FARTHER

MOST_FRAMES: Final = 60
PATIENCE: Final = 100_000.0
"""Seconds of simulated time after which something hangs."""

OTHER_UID: Final = 12_345
_PAUSES: Final = (0.0, 0.0, 0.0, 0.0, 0.05, 0.3, 2.0, 6.0)
_SLOTS: Final = (
    *(
        "chat.txt.pub-sub",
        "chat.obj.pub-sub",
        "fast.bin.pub-sub",
        "math.obj.req-rep",
        "work.obj.push-pull",
        "now.obj.state",
    ),
    *("math.reply.obj.req-rep", "other.obj.pub-sub"),
)


def context(data: bytes) -> None:
    """A neighbour shakes hands and then says anything: at worst it loses its link, and nobody else notices."""
    _run(lambda: _neighbour(data))


def stranger(data: bytes) -> None:
    """Whoever dials says any bytes at once: at worst he is turned away, and nobody else notices."""
    _run(lambda: _stranger(data))


def _run(scene: Callable[[], Awaitable[None]]) -> None:
    async def within_patience() -> None:
        with trio.fail_after(PATIENCE):
            await scene()

    logger = logging.getLogger("trioton")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with deterministic_scheduling(random.Random(0)):
            trio.run(within_patience, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logger.setLevel(level)


# --------------------------------------------------------------------------------------------------------- the others


class _Math(trioton.RepChannel):
    """Handlers for requests of anybody."""

    async def give(self, *arguments: Any, **named: Any) -> object:
        return arguments or named

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def count(self, number: int) -> Any:
        for each in range(number):
            yield each


@attrs.frozen
class _Stage:
    net: Network
    server: trioton.Context
    honest: trioton.Context
    link: trioton.Connection
    nursery: trio.Nursery


async def _play(scene: Callable[[_Stage], Awaitable[None]], data: bytes, *, is_stub: bool = False) -> None:
    """Let a scene happen to a server whose channels are all in use, and see that an honest neighbour notices nothing."""
    net = Network(seed=0)
    async with (
        trioton.open_context("server", network=net.host("server")) as server,
        trioton.open_context("honest", network=net.host("honest")) as honest,
        trio.open_nursery() as nursery,
    ):
        await server.bind("server:1")
        link = await honest.connect("server:1", stub=is_stub)  # a stub has one way out only: the others are stubs of it
        _use_channels(server, nursery)
        await scene(_Stage(net, server, honest, link, nursery))
        await trio.sleep(70)
        require(link.is_connected and link.statistics().transports == 1, "an honest neighbour keeps its link")
        await _talk(server, honest, "slot " + hashlib.sha256(data).hexdigest())
        nursery.cancel_scope.cancel()


async def _talk(server: trioton.Context, honest: trioton.Context, slot: str) -> None:
    """Two contexts exchange messages on a slot of which nobody else can have spoken."""
    with trio.move_on_after(30) as scope:
        for here, there in ((server, honest), (honest, server)):
            pub, sub = trioton.PubChannel(here, slot), trioton.SubChannel(there, slot, policy=trioton.Block(4))
            await pub.wait_subscribers()
            for number in range(6):
                await pub.send(str(number))
                require(await sub.receive() == str(number), "others' messages arrive")
            await pub.aclose()
            await sub.aclose()
    require(not scope.cancelled_caught, "others' messages arrive in time")


def _use_channels(server: trioton.Context, nursery: trio.Nursery) -> None:
    subs: list[Any] = [
        trioton.SubChannel(server, "chat", policy=trioton.Block(4)),
        trioton.SubChannel(server, "chat", trioton.OBJECT, policy=trioton.DropOldest(4)),
        trioton.SubChannel(server, "fast", trioton.BINARY, policy=trioton.Disconnect(4)),
        trioton.PullChannel(server, "work", trioton.OBJECT),
    ]
    for sub in subs:
        nursery.start_soon(_receive, sub)
    _Math(server, "math")
    nursery.start_soon(_watch, trioton.StateChannel(server, "now", trioton.OBJECT))
    nursery.start_soon(_publish, trioton.PubChannel(server, "other", trioton.OBJECT))
    nursery.start_soon(_publish, trioton.PubChannel(server, "chat"))
    nursery.start_soon(_push, trioton.PushChannel(server, "work", trioton.OBJECT))
    nursery.start_soon(_request, trioton.ReqChannel(server, "math"))
    nursery.start_soon(_listen, server)


async def _receive(sub: Any) -> None:
    """Take all that comes; only what a message type cannot read, or a policy that ends, may raise."""
    while True:
        try:
            await sub.receive()
        except trioton.MessageDecodeError:
            continue
        except (trio.EndOfChannel, trio.ClosedResourceError, trio.BrokenResourceError):
            return


async def _watch(state: trioton.StateChannel[Any]) -> None:
    while True:
        try:
            await state.receive()
        except trioton.MessageDecodeError:
            continue
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return


async def _publish(pub: trioton.PubChannel[Any]) -> None:
    while True:
        await pub.send("news")
        await trio.sleep(0.5)


async def _push(push: trioton.PushChannel[Any]) -> None:
    while True:
        await push.send(["job"])
        await trio.sleep(0.5)


async def _request(req: trioton.ReqChannel) -> None:
    while True:
        with trio.move_on_after(5):
            try:
                await req.call("give", 1)
            except trioton.TriotonError:
                pass
            except Exception as error:  # noqa: BLE001  # anything that a replier may say
                require(isinstance(error.__cause__, trioton.RemoteTraceback), f"{error!r} was raised by a replier")
        await trio.sleep(0.5)


async def _listen(server: trioton.Context) -> None:
    async for event in server.events():
        str(event)


# ------------------------------------------------------------------------------------------------ those who mean harm


async def _stranger(data: bytes) -> None:
    async def scene(stage: _Stage) -> None:
        stream = await stage.net.host("liar").dial(parse_address("server:1"))
        how, bytes_ = data[:1] or b"\0", data[1:]
        cut = 1 + how[0]
        try:
            for at in range(0, len(bytes_), cut):
                await stream.send_all(bytes_[at : at + cut])
        except trio.BrokenResourceError:
            pass
        await trio.sleep(1)
        stream.close()

    await _play(scene, data)


async def _neighbour(data: bytes) -> None:
    choose = Chooser(data)
    how = choose.byte()

    async def scene(stage: _Stage) -> None:
        if how & 128:
            stage.net.host("liar", uid=OTHER_UID)  # a guest, who may less
        if how & 1:
            await _answer(stage, choose, how)
            return
        stream = await stage.net.host("liar").dial(parse_address("server:1"))
        await _speak(stage, stream, choose, how)

    await _play(scene, data, is_stub=how & 9 == 9)


async def _answer(stage: _Stage, choose: Chooser, how: int) -> None:
    """The server dials one that means harm."""
    listener = await stage.net.host("liar").listen(parse_address("liar:1"))
    stage.nursery.start_soon(_dial, stage.server, how)
    stream = await listener.accept()
    try:
        await _speak(stage, stream, choose, how)
    finally:
        listener.close()


async def _dial(server: trioton.Context, how: int) -> None:
    reconnect = trioton.Reconnect() if how & 32 else None
    try:
        await server.connect("liar:1", reconnect=reconnect, stub=bool(how & 8))
    except (trioton.ConnectError, trioton.DeadError):
        pass


async def _speak(stage: _Stage, stream: Transport, choose: Chooser, how: int) -> None:
    """Shake hands as everybody does, and then say what the chooser has."""
    own, honest = stage.server.id.to_wire(), stage.honest.id.to_wire()
    hello = _hello(how)
    try:
        await stream.send_all(hello.to_frame(FrameKind.WELCOME if how & 1 else FrameKind.HELLO))
        if not how & 64:
            stage.nursery.start_soon(_hear_on, stream)
        await stream.send_all(encode_control(control.Sync()) + encode_control(control.Synced()))
        slots = tuple(sorted(stage.server._traffic.subscriptions.by_slot))
        addressed = tuple(outlet.flow.slot for outlet in stage.server._traffic.outlets.all())
        role: Role = "peer" if not how & 8 else "parent" if how & 1 else "stub"
        talk = Speech(choose, (hello.id.to_wire(), FAR, FARTHER), (own, honest), (*_SLOTS, *slots, *addressed), role)
        for _ in range(MOST_FRAMES):
            if not choose:
                break
            await stream.send_all(talk.frame())
            await trio.sleep(choose.one_of(_PAUSES))
    except trio.BrokenResourceError:
        pass  # it has said too much
    await trio.sleep(1)
    stream.close()


def _hello(how: int) -> Hello:
    return Hello(
        id=ContextId.from_parts(1, 0) if how & 2 else ContextId((1 << 128) - 2),
        name="liar",
        pid=1,
        host=bytes(16),
        max_package=1 << 24,
        window_bytes=1 << 23,
        reassembly_bytes=1 << 25,
        lease=10.0,
        session=bytes(16) if how & 1 else None,
        returns=not how & 4,
        retains=not how & 16,
        stub=bool(how & 8) and not how & 1,
    )


async def _hear_on(stream: Transport) -> None:
    try:
        while await stream.receive_some():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
