"""A peer that says nonsense where requests and replies travel: it is reported, and nobody else notices."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.conftest import MakeWatch, Watch
from tests.raw_peer import RawPeer
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import ReqChannel
from trioton.channels.requests.desk import reply_slot
from trioton.network.sending.addressed import addressed_slot
from trioton.protocol.codec import array_head
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.values import encode_value
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

SLOT = "math.obj.req-rep"


@attrs.define
class Liar:
    """A neighbour of a context that both asks and answers, between honest ones."""

    server: trioton.Context
    raw: RawPeer[Transport]
    watch: Watch
    rep: Handlers
    req: ReqChannel
    inner: ReqChannel
    sent: dict[str, int] = attrs.field(factory=dict)

    async def say(self, slot: str, *messages: object) -> None:
        """Send messages to the server's addressed slot, in one run."""
        name = addressed_slot(self.server.id.to_wire(), slot)
        first = self.sent.get(name, 0)
        self.sent[name] = first + len(messages)
        body = array_head(len(messages)) + b"".join(encode_value(each) for each in messages)
        template = PackageTemplate(self.raw.id, name, 1, self.server.id.to_wire())
        header = template.header(first, len(messages))
        await self.raw.stream.send_all(encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body)
        await trio.sleep(0.5)

    def reasons(self) -> list[str]:
        return [event.reason for event in self.watch.all(trioton.BadMessage)]

    async def check_innocent(self) -> None:
        """All others go on as before."""
        with trio.fail_after(10):
            assert await self.req.add(1, 2) == 3
            assert await self.inner.add(3, 4) == 7
            async with self.req.stream("count", 5) as items:
                assert [item async for item in items] == [0, 1, 2, 3, 4]


@pytest.fixture
async def liar(autojump_clock: trio.testing.MockClock, watch: MakeWatch) -> AsyncIterator[Liar]:
    async with _open_liar(watch) as liar:
        yield liar


@asynccontextmanager
async def _open_liar(watch: MakeWatch) -> AsyncIterator[Liar]:
    net = Network(seed=1, latency=0.001)
    async with (
        trioton.open_context("server", network=net.host("server")) as server,
        trioton.open_context("client", network=net.host("client")) as client,
    ):
        await server.bind("server:1")
        await client.connect("server:1")
        rep, other = Handlers(server, "math", max_running=2), Handlers(client, "math")
        req, inner = ReqChannel(client, "math"), ReqChannel(server, "math")
        await req.wait_repliers(1)
        await inner.wait_repliers(1)
        raw = RawPeer(await net.host("liar").dial(parse_address("server:1")), SLOT, seed=1)
        await raw.shake_hands()
        yield Liar(server, raw, watch(server), rep, req, inner)
        raw.stream.close()
        await trio.sleep(200)
        check_rest(req, inner, rep, other)


def call(
    number: int, method: object, *arguments: object, seconds: object = None, stream: object = None
) -> list[object]:
    return [0, number, seconds, stream, [method, list(arguments), {}]]


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        [99, 1],
        [0],
        [0, -1, None, None, ["add", [1, 2], {}]],
        call(1, "m" * 300),
        call(1, 3),
        call(1, "add", seconds=-1.0),
        call(1, "add", seconds=math.nan),
        call(1, "add", seconds="1"),
        call(1, "count", 3, stream=7),
        call(1, "count", 3, stream=["a", "b"]),
        [0, 1, None, None, ["add", [1], {3: 4}]],
        [1, "x"],
        [2, 2],
        "text",
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_nonsense_to_a_replier_is_reported(liar: Liar, message: Any) -> None:
    await liar.say(SLOT, message)
    assert len(liar.reasons()) == 1
    assert liar.rep.statistics().started == 0
    await liar.check_innocent()


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        [99, 1],
        [0, 1],
        [0, 1, "not yours"],
        [1, 1, ["ValueError", [], "", [], "", None, None]],
        [2, 1],
        [3, 1],
        [4, 1, True],
        [4, 1, 3],
        [5, 1, "gone"],
        [5, 1, 3],
    ],
    ids=repr,
)
async def test_nonsense_to_a_requester_is_no_answer(liar: Liar, message: Any) -> None:
    future = liar.inner.work("long", 5)
    await trio.sleep(0.1)
    await liar.say(reply_slot(SLOT), message)
    assert not future.done(), "nobody answers in the name of another"
    await liar.check_innocent()
    assert await future == "long"


async def test_a_request_that_is_made_twice_is_run_once(liar: Liar) -> None:
    await liar.say(SLOT, call(7, "work", "once", 3), call(7, "work", "once", 3))
    assert liar.rep.begun["once"] == 1
    assert liar.reasons() == ["request 7 was made twice"]
    await liar.check_innocent()


@pytest.mark.parametrize(
    "method",
    [
        "_run",
        "__class__",
        "__init__",
        "close",
        "aclose",
        "_target",
        "statistics",
        "order",
        "begun",
        "",
        "running.x",
        "\0",
    ],
)
async def test_names_that_are_not_to_be_called_are_refused(liar: Liar, method: str) -> None:
    await liar.say(SLOT, call(1, method))
    assert liar.rep.statistics().failed == 1
    assert not liar.rep.closed
    await liar.check_innocent()


async def test_cancelling_what_was_never_asked_does_nothing(liar: Liar) -> None:
    await liar.say(SLOT, [1, 5], [1, 0], [2], [2])
    assert liar.reasons() == []
    await liar.check_innocent()


async def test_a_requester_that_takes_no_answers_is_given_up(liar: Liar) -> None:
    """The peer never gives room for answers; all that waits for it is bounded."""
    for first in range(0, 4000, 500):
        await liar.say(SLOT, *(call(first + number, "nothing") for number in range(500)))
    client = liar.rep._service.clients.get(liar.raw.id)
    assert client is None or client.end.late <= 10_000
    await liar.check_innocent()


@pytest.mark.parametrize("seed", range(20))
async def test_any_nonsense_disturbs_nobody(seed: int, liar: Liar) -> None:
    draw = random.Random(seed)

    def anything(depth: int = 0) -> Any:
        kind = draw.randrange(10 if depth < 3 else 6)
        if kind < 2:
            return draw.choice([0, 1, 2, 3, 4, 5, -1, 1 << 62, 1 << 70])
        if kind < 6:
            return draw.choice([None, True, "add", "", b"x", 1.5, math.inf, "_x", "count"])
        if kind < 9:
            return [anything(depth + 1) for _ in range(draw.randrange(6))]
        return {draw.choice(["a", 1, (1, 2)]): anything(depth + 1)}

    def likely() -> Any:
        number = draw.choice([0, 1, 2, 3])
        return draw.choice(
            [
                call(number, draw.choice(["add", "work", "count", "give", "_x"]), anything(), anything()),
                call(number, "clean_up", number, 0, seconds=draw.choice([None, 0.0, 0.1, math.inf])),
                [1, number],
                [2],
                [0, number, anything()],
                [1, number, anything()],
                [draw.randrange(6), number, anything()],
                anything(),
            ]
        )

    for _ in range(30):
        slot = draw.choice([SLOT, reply_slot(SLOT)])
        await liar.say(slot, *(likely() for _ in range(draw.randrange(1, 4))))
    # It has taken room, which it is free to do; when it is gone, all is free again.
    liar.raw.stream.close()
    await trio.sleep(200)
    await liar.check_innocent()
