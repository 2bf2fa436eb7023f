"""A neighbour that tells nonsense about others: at worst it loses its link, and nobody else notices."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
import trio
import trio.testing

import trioton
from tests.raw_peer import RawPeer
from trioton.protocol import control
from trioton.protocol.control import Control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.records import (
    Digest,
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    Record,
    encode_batch,
    encode_record,
)
from trioton.protocol.routed import encode_routed
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

FAR, FARTHER = bytes([1]) * 16, bytes([2]) * 16
SLOT = "chat.txt.pub-sub"
LINK = LinkRecord(False, 1)


def node(origin: bytes, number: int, links: Iterable[bytes], partings: dict[bytes, int] | None = None) -> NodeRecord:
    return NodeRecord(origin, number, "made up", 1, 1 << 16, 1 << 16, dict.fromkeys(links, LINK), partings or {})


def records(*told: Record | Digest) -> bytes:
    (body,) = encode_batch([encode_record(record) for record in told])
    return encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + b"\x80" + body


async def open_liar(net: Network) -> RawPeer[Transport]:
    """A neighbour of the server that has shaken hands, and tells of two contexts behind it."""
    peer = RawPeer(await net.host("liar").dial(parse_address("server:1")), SLOT, seed=1)
    await peer.shake_hands()
    server = peer.events[0].id.to_wire()  # type: ignore[attr-defined]  # it is the WELCOME
    await peer.stream.send_all(
        records(node(peer.id, 1, [server, FAR, FARTHER]), node(FAR, 1, [peer.id]), node(FARTHER, 1, [peer.id]))
    )
    return peer


async def test_news_of_a_parting_may_come_with_news_of_a_link_that_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    net = Network(seed=1)
    async with trioton.open_context("server", network=net.host("server")) as server:
        await server.bind("server:1")
        peer = await open_liar(net)
        await trio.sleep(1)
        assert {info.id.to_wire() for info in server.contexts} == {peer.id, FAR, FARTHER}
        own = server.id.to_wire()
        # Both in one frame: the parting is heard before any conclusion was drawn from what came in front of it.
        await peer.stream.send_all(
            records(node(peer.id, 2, [own, FAR]), node(FARTHER, 2, [], {own: 1}), node(FAR, 2, [peer.id], {own: 1}))
        )
        await trio.sleep(1)
        assert {info.id.to_wire() for info in server.contexts} == {peer.id, FAR}
        peer.stream.close()


class Nonsense:
    """Frames that are well formed, and make no sense. None is in the name of `others`: of those it would be believed."""

    def __init__(self, seed: int, made_up: list[bytes], others: list[bytes]) -> None:
        self.rng = random.Random(seed)
        self.made_up = made_up
        self.others = others

    def origin(self) -> bytes:
        return self.rng.choice(self.made_up)

    def context(self) -> bytes:
        return self.rng.choice(self.made_up + self.others)

    def number(self) -> int:
        return self.rng.choice([0, 1, 2, 3, 5, 100, MAX_SEQUENCE - 1])

    def positive(self) -> int:
        return self.rng.choice([1, 2, 3, 9, MAX_SEQUENCE - 2, MAX_SEQUENCE - 1])

    def number_or_none(self) -> int | None:
        return self.rng.choice([None, self.number()])

    def slot(self) -> str:
        return self.rng.choice([SLOT, "chat.obj.pub-sub", "other", "~direct"])

    def interest(self, origin: bytes, slot: str) -> InterestRecord:
        record = InterestRecord(origin, slot, self.positive(), 0, 0, 0, None)
        if self.rng.random() < 0.3:
            return record
        return record._replace(
            mode=self.rng.randrange(3), size=self.positive(), count=1, blocks_since=self.number_or_none()
        )

    def record(self) -> Record | Digest:
        origin, numbers = self.origin(), (self.number(), self.number())
        kind = self.rng.randrange(5)
        if kind == 0:
            links = {self.context(): LinkRecord(self.rng.random() < 0.2, self.number()) for _ in range(3)}
            partings = {self.context(): self.number() for _ in range(self.rng.randrange(3))}
            return NodeRecord(origin, self.positive(), "", 1, *numbers, links, partings)
        if kind == 1:
            return self.interest(origin, self.slot())
        if kind == 2:
            slots = sorted({self.slot(), self.slot()})
            return InterestSnapshot(origin, numbers[0], tuple(self.interest(origin, slot) for slot in slots))
        if kind == 3:
            since, number = sorted(self.rng.sample([1, 2, 3, 4, 9, MAX_SEQUENCE - 2, MAX_SEQUENCE - 1], 2))
            links = {self.context(): LinkRecord(self.rng.random() < 0.2, self.number()) for _ in range(2)}
            gone = {self.context() for _ in range(2)} - links.keys()
            return NodeChange(origin, since, number, links, tuple(sorted(gone)), {self.context(): self.number()})
        return Digest({origin: numbers, self.context(): numbers})

    def message(self) -> Control:
        flow = self.context(), self.slot(), self.number()
        messages: list[Control] = [
            control.Sync(self.number(), self.number(), self.number()),
            control.Synced(),
            control.Offer(*flow),
            control.Credit(*flow, self.number_or_none(), self.number()),
            control.Started(*flow, self.number(), self.number_or_none()),
            control.Kept(*flow, self.number()),
            control.Flush(*flow, self.number()),
            control.Unreachable(*flow, "why"),
            control.Position(*flow[1:], self.number_or_none()),
            control.AskState(self.slot()),
            control.StateKnown(self.slot(), self.number(), self.context(), bytes(8)),
        ]
        return self.rng.choice(messages)

    def frame(self) -> bytes:
        if self.rng.random() < 0.5:
            return records(*(self.record() for _ in range(self.rng.randrange(1, 4))))
        return encode_routed(self.origin(), self.context(), self.number(), self.message())


@pytest.mark.parametrize("seed", range(10))
async def test_nonsense_about_others_costs_nobody_else_anything(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    net = Network(seed=seed)
    async with (
        trioton.open_context("server", network=net.host("server")) as server,
        trioton.open_context("honest", network=net.host("honest")) as honest,
    ):
        await server.bind("server:1")
        link = await honest.connect("server:1")
        liar = await open_liar(net)
        nonsense = Nonsense(seed, [liar.id, FAR, FARTHER], [server.id.to_wire(), honest.id.to_wire()])
        try:
            for _ in range(40):
                await liar.stream.send_all(nonsense.frame())
                await trio.sleep(nonsense.rng.choice([0, 0, 0, 0.3, 2]))
        except trio.BrokenResourceError:
            pass  # it has said too much
        liar.stream.close()
        await trio.sleep(100)
        assert link.is_connected
        # A slot of which it has not spoken.
        pub, sub = trioton.PubChannel(server, "news"), trioton.SubChannel(honest, "news")
        await pub.wait_subscribers()
        await pub.send("all is well")
        assert await sub.receive() == "all is well"
