"""Channels that push, and contexts, inside messages: they arrive as something that works where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioton
from trioton import (
    OBJECT,
    TEXT,
    ContextInfo,
    MessageType,
    MessageTypeError,
    PubChannel,
    PullChannel,
    PushChannel,
    SubChannel,
)
from trioton.channels.references import decode_extra
from trioton.errors import ProtocolError
from trioton.network.receiving.reception import CONTEXT_TAG, PUSHER_TAG
from trioton.protocol.values import decode_value, encode_value

if TYPE_CHECKING:
    from tests.conftest import Pair


class Number(MessageType[float]):
    name = "num"

    def encode(self, message: float) -> str:
        return repr(message)

    def decode(self, value: Any) -> float:
        return float(value)


async def travel(pair: Pair, *values: Any) -> Any:
    """Send something from `a` to `b` inside an OBJECT."""
    async with PubChannel(pair.a, "travel", OBJECT) as pub, SubChannel(pair.b, "travel", OBJECT) as sub:
        await pub.wait_subscribers()
        await pub.send(list(values))
        return await sub.receive()


@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=lambda value: value.name)
async def test_a_channel_that_pushes_pushes_where_it_has_come(pair: Pair, message_type: Any) -> None:
    push = PushChannel(pair.a, "Jobs.of All", message_type)
    (arrived,) = await travel(pair, push)
    assert isinstance(arrived, PushChannel)
    assert arrived.slot == push.slot
    pull = PullChannel(pair.a, "jobs.of all", message_type)
    await arrived.send("there")
    assert await pull.receive() == "there"
    await arrived.wait_done()
    assert arrived.statistics().done == 1
    assert push.statistics().sent == 0
    await arrived.aclose()
    assert not push.closed


async def test_one_that_is_not_used_costs_nothing(pair: Pair) -> None:
    push = PushChannel(pair.a, "jobs")
    arrived = await travel(pair, *[push] * 10)
    assert not pair.b._shared.get("pushes")
    assert arrived[0].pullers == 0
    assert len(pair.b._shared["pushes"]) == 1
    arrived[0].close()
    arrived[1].close()
    assert not pair.b._shared["pushes"]
    with pytest.raises(trio.ClosedResourceError):
        await arrived[1].send("x")


async def test_some_cannot_travel(pair: Pair) -> None:
    pub = PubChannel(pair.a, "travel", OBJECT)
    with pytest.raises(MessageTypeError, match="cannot travel"):
        await pub.send(PushChannel(pair.a, "jobs", Number))
    closed = PushChannel(pair.a, "jobs")
    closed.close()
    with pytest.raises(MessageTypeError, match="cannot be sent"):
        await pub.send(closed)


async def test_a_context_arrives_as_what_is_known_of_it(pair: Pair) -> None:
    stranger = ContextInfo(trioton.ContextId(12345), "stranger", 7, 3)
    a, b, back, unknown = await travel(pair, pair.a, pair.b, pair.b.contexts[0], stranger)
    assert a == ContextInfo(pair.a.id, "a", pair.net.host("a").pid, 1)
    assert b == ContextInfo(pair.b.id, "b", pair.net.host("b").pid, 0)
    assert back == a
    assert unknown == ContextInfo(trioton.ContextId(12345), "stranger", 7, 0)


async def test_a_context_that_has_come_can_be_asked(pair: Pair) -> None:
    class Where(trioton.RepChannel):
        async def who(self) -> Any:
            return [self.context, self.context.name]

        async def ask(self, context: ContextInfo) -> Any:
            return await trioton.ReqChannel(self.context, "where").to(context.id).who()

    Where(pair.a, "where")
    Where(pair.b, "where")
    req = trioton.ReqChannel(pair.b, "where")
    await req.wait_repliers(1)
    info, name = await req.ask(pair.b)
    assert (info.id, info.name, name) == (pair.b.id, "b", "b")


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (PUSHER_TAG, None),
        (PUSHER_TAG, ["jobs.txt.push-pull"]),
        (PUSHER_TAG, "jobs.txt.pub-sub"),
        (PUSHER_TAG, "jobs.num.push-pull"),
        (PUSHER_TAG, ".txt.push-pull"),
        (PUSHER_TAG, "~jobs.txt.push-pull"),
        (PUSHER_TAG, "a\nb.txt.push-pull"),
        (PUSHER_TAG, "x" * 1000 + ".txt.push-pull"),
        (CONTEXT_TAG, None),
        (CONTEXT_TAG, [bytes(16), "x"]),
        (CONTEXT_TAG, [bytes(15), "x", 1]),
        (CONTEXT_TAG, [bytes(16), b"x", 1]),
        (CONTEXT_TAG, [bytes(16), "x", -1]),
        (CONTEXT_TAG, [bytes(16), "x", 1 << 80]),
        (CONTEXT_TAG, [bytes(16), "x", True]),
    ],
)
async def test_one_that_makes_no_sense_is_refused(pair: Pair, tag: int, content: Any) -> None:
    data = b"\xda" + tag.to_bytes(4, "big") + encode_value(content)
    with pytest.raises(ProtocolError, match="a reference to a"):
        decode_value(data, decode_extra(pair.b))
