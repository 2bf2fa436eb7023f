"""A neighbour that tells nonsense of states: at worst it loses its link, and what honest contexts write goes on to win."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.raw_peer import RawPeer
from trioton import Limits, StateChannel
from trioton.protocol import codec, control
from trioton.protocol.control import encode_control
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.retained import (
    MOST_AHEAD,
    UNKNOWN,
    RetainedPackage,
    RowKind,
    Version,
    check_of,
    encode_known,
    encode_mark,
    encode_value_head,
)
from trioton.protocol.session import RetainedReceived
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

SLOT = "spam.txt.state"
DEFAULTS = Limits()
GREETING = encode_mark(RowKind.ALL_NAMED), encode_mark(RowKind.NOTHING_LACKS)


def value(counter: int, text: str, *, slot: str = SLOT, writer: bytes = bytes(16)) -> bytes:
    """The row of a value."""
    data = codec.text_head(len(text.encode())) + text.encode()
    return encode_value_head(slot, Version(counter, writer, b""), len(data)) + data


def frame(*rows: bytes) -> bytes:
    return RetainedPackage(rows, len(rows)).frame()


@attrs.define
class Story:
    """A server with an honest client, each with a channel, and a liar."""

    server: trioton.Context
    honest: trioton.Context
    at_server: StateChannel[str]
    at_honest: StateChannel[str]
    liar: RawPeer[Transport]

    async def tell(self, *rows: bytes) -> None:
        await self.liar.stream.send_all(frame(*rows))
        await trio.sleep(1)

    async def check_honest_win(self) -> None:
        """What honest contexts write replaces what there is, everywhere."""
        for number, channel in enumerate((self.at_server, self.at_honest)):
            await channel.send(f"honest {number}")
            with trio.fail_after(10):
                await self.at_server.wait_value(f"honest {number}")
                await self.at_honest.wait_value(f"honest {number}")

    def is_linked(self) -> bool:
        """Whether the liar still is."""
        return any(peer.name == "raw" for peer in self.server.peers)


@asynccontextmanager
async def open_story(*, retains: bool = True, limits: Limits = DEFAULTS) -> AsyncIterator[Story]:
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("server", network=net.host("server"), limits=limits) as server,
        trioton.open_context("honest", network=net.host("honest")) as honest,
    ):
        await server.bind("server:1")
        await honest.connect("server:1")
        channels = StateChannel(server, "spam"), StateChannel(honest, "spam")
        await channels[0].send("first")
        await channels[0].wait_synced()
        liar = RawPeer(await net.host("liar").dial(parse_address("server:1")), SLOT, seed=1)
        liar.hello = attrs.evolve(liar.hello, retains=retains)
        await liar.shake_hands()
        if retains:
            await liar.stream.send_all(frame(*GREETING))
            await trio.sleep(0.5)
            await liar.stream.send_all(frame(encode_mark(RowKind.INSTALLED)))
        await trio.sleep(1)
        story = Story(server, honest, *channels, liar)
        assert story.is_linked()
        yield story
        assert honest.connections[0].is_connected
        liar.stream.close()


async def test_a_neighbour_hears_what_it_lacks(autojump_clock: object) -> None:
    async with open_story() as story:
        await story.liar.read()
        bodies = [event.body for event in story.liar.events if isinstance(event, RetainedReceived)]
        assert any(b"first" in body for body in bodies)


async def test_who_keeps_no_states_is_told_of_none_and_not_heard(autojump_clock: object) -> None:
    async with open_story(retains=False) as story:
        await story.tell(value(9, "lie"))
        await story.at_server.send("second")
        await trio.sleep(1)
        assert not [event for event in story.liar.events if isinstance(event, RetainedReceived)]
        assert story.at_server.value == "second"
        assert story.is_linked()


async def test_a_counter_that_leaps_is_told_and_not_believed(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_story() as story:
        events = watch(story.server)
        for counter in (MAX_SEQUENCE - 1, 2 * MOST_AHEAD, MOST_AHEAD + 10):
            await story.tell(value(counter, "for ever"))
        assert story.at_server.value == "first"
        assert len(events.all(trioton.BadMessage)) == 3
        assert "too far ahead" in events.all(trioton.BadMessage)[0].reason
        assert story.is_linked()
        await story.check_honest_win()


async def test_the_largest_counter_that_is_believed_can_be_outdone(autojump_clock: object) -> None:
    async with open_story() as story:
        await story.tell(value(MOST_AHEAD, "for long"))
        assert story.at_honest.value == "for long"
        await story.check_honest_win()


async def test_a_lie_in_the_name_of_the_one_who_hears_it_can_be_outdone(autojump_clock: object) -> None:
    async with open_story() as story:
        await story.tell(value(50, "not mine", writer=story.server.id.to_wire()))
        assert story.at_server.value == "not mine"
        await story.check_honest_win()


async def test_two_values_of_one_version_do_not_part_those_who_hear_them(autojump_clock: object) -> None:
    async with open_story() as story:
        await story.tell(value(50, "to the one"))
        await story.tell(value(50, "to the other"))
        assert story.at_server.value == story.at_honest.value
        largest = max(
            ("to the one", "to the other"), key=lambda text: check_of(codec.text_head(len(text)) + text.encode())
        )
        assert story.at_server.value == largest


NONSENSE = {
    "no rows": b"\x80\x80",
    "a row of an unknown kind": b"\x81\x81\x09",
    "not an array": b"\xa0",
    "cut": b"\x81\x85\x00",
    "a counter of 2**62": b"\x81\x85\x00\x61s\x1b\x40" + bytes(7) + b"\x50" + bytes(16) + b"\x41\x01",
    "named twice": b"\x81" + encode_mark(RowKind.ALL_NAMED),
    "told twice": b"\x81" + encode_mark(RowKind.ALL_TOLD),
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_costs_the_link_of_who_tells_it(autojump_clock: object, body: bytes) -> None:
    async with open_story() as story:
        package = RetainedPackage([], 0)
        package._body, package.body_size = (body,), len(body)
        await story.liar.stream.send_all(package.frame())
        await story.liar.read_to_end()
        assert not story.is_linked()
        await story.check_honest_win()


async def test_who_fills_the_memory_only_gets_so_far(autojump_clock: object) -> None:
    async with open_story(limits=Limits(retained=100_000)) as story:
        for number in range(300):
            await story.liar.stream.send_all(frame(value(1, "x" * 1000, slot=f"{number}.txt.state")))
        await trio.sleep(5)
        statistics = story.server.statistics()
        assert statistics.state_bytes <= 100_000
        assert statistics.states_given_way > 200
        assert story.at_server.value == "first"
        await story.check_honest_win()


async def test_a_value_larger_than_is_taken_costs_the_link(autojump_clock: object) -> None:
    async with open_story(limits=Limits(max_package=100_000)) as story:
        await story.liar.stream.send_all(frame(value(9, "x" * 110_000)))
        with trio.move_on_after(5):
            await story.liar.read_to_end()
        assert story.at_server.value == "first"
        assert not story.is_linked()
        await story.check_honest_win()


async def test_who_asks_again_and_again_is_answered_without_end_but_not_stored(autojump_clock: object) -> None:
    async with open_story() as story:
        for _ in range(100):
            await story.liar.stream.send_all(frame(*[encode_known(SLOT, UNKNOWN)] * 500))
        await trio.sleep(1)
        connection = next(each for each in story.server.connections if each.name == "raw")
        assert connection.statistics().packages_queued <= 1
        await story.check_honest_win()


async def test_a_lie_about_what_it_knows_holds_up_only_who_waits_for_it(autojump_clock: object) -> None:
    async with open_story() as story:
        lie = control.StateKnown(SLOT, MAX_SEQUENCE - 1, bytes(16), bytes(8))
        await story.liar.stream.send_all(encode_control(lie))
        with trio.move_on_after(5) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(story.at_server.wait_synced)
                await trio.sleep(1)
                await story.liar.stream.send_all(encode_control(lie))
        assert scope.cancelled_caught
        await story.check_honest_win()
        story.liar.stream.close()
        await trio.sleep(1)
        with trio.fail_after(60):
            await story.at_server.wait_synced()


@pytest.mark.parametrize("seed", range(10))
async def test_any_nonsense_leaves_the_honest_in_agreement(autojump_clock: object, seed: int) -> None:
    rng = random.Random(seed)
    async with open_story() as story:
        writers = [bytes(16), story.server.id.to_wire(), story.honest.id.to_wire(), b"\xff" * 12 + bytes(4)]
        try:
            for _ in range(40):
                rows = [
                    value(rng.choice([1, 2, 3, 9, 1000, MOST_AHEAD]), f"{rng.random()}", writer=rng.choice(writers))
                    if rng.random() < 0.7
                    else encode_known(SLOT, Version(rng.randint(1, 9), rng.choice(writers), bytes(8)))
                    for _ in range(rng.randrange(1, 5))
                ]
                await story.liar.stream.send_all(frame(*rows))
                await trio.sleep(rng.choice([0, 0, 0.05, 0.3]))
                if rng.random() < 0.2:
                    await rng.choice([story.at_server, story.at_honest]).send(f"{rng.random()}")
        except trio.BrokenResourceError:
            pass  # it has said too much
        await trio.sleep(5)
        assert story.at_server.value == story.at_honest.value
        await story.check_honest_win()
