"""Peers that were let in and then do too much of something: they wait, or their links are closed; nobody else notices (T6 to T9, T17, T18)."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from tests.conftest import OpenPair
from tests.raw_peer import read_to_end
from tests.trust.hostile import open_raw_peer, open_scene, open_stage
from trioton import OBJECT, Block, Heartbeat, Limits, PubChannel, RepChannel, ReqChannel, SubChannel
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.limits import MAX_EVENTS, MIB

CHANGES = int(os.environ.get("TRIOTON_CHANGES", "8000"))
"""How often a peer changes its mind about what it listens to; 1 000 000 in the long runs."""


def subscribe(slot: str, number: int = 1) -> bytes:
    return encode_control(control.Subscribe(slot, number, 1, 1, 1, None, None, None))


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unsubscribe(slot: str, number: int) -> bytes:
    return encode_control(control.Unsubscribe(slot, number))


# ---------------------------------------------------------------- pings


@pytest.mark.net
async def test_t09_r54_a_flood_of_pings_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with open_stage(caplog) as stage:
        peer = await open_raw_peer(stage)
        async with peer.stream:
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await peer.stream.send_all(encode_control(control.Ping(1)) * 100)
                    await trio.sleep(0.01)
        [line] = stage.warnings()
        assert "calm down: more than 4 pings a second, for the 10th time within a minute; link closed" in line
        await stage.check_innocent()
        assert len(stage.warnings()) == 1


async def test_r54_the_reason_reaches_the_peer(autojump_clock: object) -> None:
    async with open_scene() as scene:
        peer = await scene.intrude()
        await peer.stream.send_all(encode_control(control.Ping(1)) * 60)
        assert await peer.read_to_end() == "calm down: more than 4 pings a second, for the 10th time within a minute"


async def test_r54_answers_to_pings_that_were_never_sent(autojump_clock: object) -> None:
    async with open_scene() as scene:
        peer = await scene.intrude()
        for number in range(10):
            await peer.stream.send_all(encode_control(control.Pong(1000 + number)))
        assert "calm down: the answer to a ping that was never sent" in await peer.read_to_end()


async def test_t09_no_honest_use_is_ever_a_strike(open_pair: OpenPair, caplog: pytest.LogCaptureFixture) -> None:
    """Flushing on and on, with something to send or without, by many at once, and a heart that beats fast."""
    beat = Heartbeat(interval=0.02, timeout=0.1, lease=10)
    async with open_pair(a_options={"heartbeat": beat}) as pair, trio.open_nursery() as nursery:
        there, back = PubChannel(pair.b, "there", OBJECT), PubChannel(pair.a, "back", OBJECT)
        at_a, at_b = SubChannel(pair.a, "there", OBJECT), SubChannel(pair.b, "back", OBJECT)
        pair.to_b.timeout = 0.05

        async def flush(connection: trioton.Connection, pub: PubChannel[int] | None, times: int) -> None:
            for number in range(times):
                if pub is not None:
                    await pub.send(number)
                await connection.flush()

        async def drain(sub: SubChannel[int]) -> None:
            async for _ in sub:
                pass

        nursery.start_soon(drain, at_a)
        nursery.start_soon(drain, at_b)
        async with trio.open_nursery() as flushing:
            for connection, pub in ((pair.to_a, there), (pair.to_b, back)):
                flushing.start_soon(flush, connection, None, 500)
                for _ in range(5):
                    flushing.start_soon(flush, connection, pub, 200)
        await trio.sleep(200)
        assert pair.to_a.is_connected
        assert pair.to_a.statistics().transports == 1
        # Nothing of all that came near to a strike.
        for connection in (pair.to_a, pair.to_b):
            assert not connection.conduct._strikes._times
        assert not [line for line in warnings_of(caplog) if "calm" in line]
        nursery.cancel_scope.cancel()


async def test_flushing_what_was_flushed_says_nothing(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        pub = PubChannel(pair.b, "x", OBJECT)
        SubChannel(pair.a, "x", OBJECT)
        await pub.wait_subscribers()
        await pub.send(1)
        await pair.to_a.flush()
        sent = pair.to_a.statistics().bytes_sent
        for _ in range(100):
            await pair.to_a.flush()
        assert pair.to_a.statistics().bytes_sent - sent < 100


# ---------------------------------------------------------------- interest


@pytest.mark.net
@pytest.mark.long
async def test_t17_r52_a_flood_of_subscriptions_is_slowed_down(caplog: pytest.LogCaptureFixture) -> None:
    """Always other slots, as fast as the line takes it: no memory grows, and all others have their turn."""
    limits = Limits(interest_changes=max(1000, CHANGES // 20), subscriptions=1000)
    async with open_stage(caplog, limits, patience=120) as stage:
        peer = await open_raw_peer(stage)
        async with peer.stream, trio.open_nursery() as nursery:
            lags: list[float] = []

            async def watch() -> None:
                while True:
                    before = time.perf_counter()
                    await trio.sleep(0.001)
                    lags.append(time.perf_counter() - before)

            async def listen() -> None:
                await read_to_end(peer.stream)

            nursery.start_soon(listen)
            nursery.start_soon(watch)
            before = resident()
            for number in range(0, CHANGES, 100):
                data = b"".join(
                    subscribe(f"s{n}.obj.pub-sub", 2 * n + 1) + unsubscribe(f"s{n}.obj.pub-sub", 2 * n + 2)
                    for n in range(number // 2, number // 2 + 50)
                )
                await peer.stream.send_all(data)
            assert resident() - before < 20 * MIB
            assert sorted(lags)[len(lags) * 9 // 10] < 0.1
            assert stage.server.connection("raw").is_connected
            nursery.cancel_scope.cancel()
        while len(stage.server.connections) > 1:
            await stage.server._changed.park()
        await stage.check_innocent()
        assert stage.warnings() == []


async def test_t17_who_is_too_fast_is_not_read_faster(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trioton")
    async with open_scene(Limits(subscriptions=10)) as scene:
        peer = await scene.intrude()
        begin = trio.current_time()
        count = 5020 + 3000  # what is allowed at once, and three seconds' worth
        peer.events.clear()
        for number in range(count // 2):
            slot = f"s{number}.obj.pub-sub"
            await peer.stream.send_all(subscribe(slot, 2 * number + 1) + unsubscribe(slot, 2 * number + 2))
        await peer.stream.send_all(encode_control(control.Sync()))
        while control.Synced() not in peer.events:
            await peer.read()
        assert 2.5 < trio.current_time() - begin < 4
    assert [record.getMessage() for record in caplog.records if "made to wait" in record.getMessage()] == [
        "a: raw at tcp://evil:42000: is too fast, and made to wait"
    ]


async def test_t17_what_a_peer_listens_to_is_charged_to_it(autojump_clock: object) -> None:
    async with open_scene(Limits(link_memory=50_000)) as scene:
        peer = await scene.intrude()
        before = scene.server._memory.used
        await peer.stream.send_all(subscribe("one.obj.pub-sub"))
        await trio.sleep(0.1)
        assert scene.server._memory.used == before + 1000
        for number in range(60):
            await peer.stream.send_all(subscribe(f"s{number}.obj.pub-sub"))
        assert "over the 50000 bytes for one link" in await peer.read_to_end()
        await trio.sleep(1)
        assert scene.server._memory.used == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            encode_prefix(FrameKind.SUBSCRIBE, 0, 65_411, 0) + bytes(65_411),
            "a header of 65411 bytes is over the limit of 8192",
        ),
        (subscribe("/" * 600), "the peer subscribed to a slot of 600 characters"),
    ],
    ids=["65 400 levels", "600 levels"],
)
async def test_r52_a_slot_of_very_many_levels(autojump_clock: object, data: bytes, reason: str) -> None:
    """Slots are looked up whole, so levels cost nothing; how long they are has a bound."""
    async with open_scene() as scene:
        peer = await scene.intrude()
        await peer.stream.send_all(data)
        assert await peer.read_to_end() == reason


# ---------------------------------------------------------------- packages


async def test_t18_r55_packages_that_do_not_end_are_given_up(autojump_clock: object) -> None:
    async with open_scene() as scene:
        peer = await scene.intrude()
        begin = trio.current_time()
        for tag in range(16):
            await peer.stream.send_all(peer.opening(2 * MIB, tag=tag))
        await trio.sleep(0.1)
        assert 32 * MIB <= scene.server._memory.used < 33 * MIB
        async with trio.open_nursery() as nursery:

            async def stay_alive() -> None:
                while True:
                    await peer.stream.send_all(encode_control(control.Ping(1)))
                    await trio.sleep(2)

            nursery.start_soon(stay_alive)
            reason = await peer.read_to_end()
            nursery.cancel_scope.cancel()
        assert "has not grown for 1" in reason
        assert 10 <= trio.current_time() - begin < 16
        assert scene.server._memory.used == 0


async def test_r55_no_more_is_ever_under_way_than_a_link_may_hold(autojump_clock: object) -> None:
    async with open_scene(Limits(link_memory=5 * MIB)) as scene:
        peer = await scene.intrude()
        for tag in range(16):
            await peer.stream.send_all(peer.opening(2 * MIB, tag=tag))
        assert (
            await peer.read_to_end()
            == "calm down: 4194304 bytes wait here already, and 2097152 more would be over the 5 MiB for one link"
        )
        await trio.sleep(1)
        assert scene.server._memory.used == 0


async def test_t06_all_links_share_one_budget_and_who_asks_for_too_much_is_closed(autojump_clock: object) -> None:
    async with open_scene(Limits(memory=5 * MIB)) as scene:
        first = await scene.intrude("one", seed=1)
        second = await scene.intrude("two", seed=2)
        for tag in range(2):
            await first.stream.send_all(first.opening(2 * MIB, tag=tag))
        await trio.sleep(1)
        await second.stream.send_all(second.opening(2 * MIB))
        assert "over the 5 MiB for all links" in await second.read_to_end()
        # The first one did nothing wrong, and lives on.
        await first.stream.send_all(encode_control(control.Ping(7)))
        while control.Pong(7) not in first.events:
            await first.read()
        first.stream.close()
        await trio.sleep(40)
        assert scene.server._memory.used == 0


async def test_t06_what_waits_to_be_received_is_charged(open_pair: OpenPair) -> None:
    async with open_pair(a_options={"limits": Limits(link_memory=MIB)}) as pair:
        pub = PubChannel(pair.b, "x", OBJECT)
        subs = [SubChannel(pair.a, "x", OBJECT, policy=Block(100)) for _ in range(3)]
        await pub.wait_subscribers()
        used = pair.a._memory.used
        for _ in range(10):
            await pub.send(bytes(10_000))
        await pair.to_a.flush()
        # Three hold what is there once.
        assert 100_000 < pair.a._memory.used - used < 120_000
        for sub in subs[:2]:
            for _ in range(10):
                await sub.receive()
        assert 33_000 < pair.a._memory.used - used < 40_000
        subs[2].close()
        assert pair.a._memory.used == used


async def test_t06_a_publisher_that_fills_the_memory_is_closed_with_a_reason(
    open_pair: OpenPair, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(a_options={"limits": Limits(link_memory=MIB)}) as pair:
        pub = PubChannel(pair.b, "x", OBJECT)
        sub = SubChannel(pair.a, "x", OBJECT, policy=Block(1000))
        await pub.wait_subscribers()
        with trio.move_on_after(5):
            for _ in range(200):
                await pub.send(bytes(10_000))
        await pair.to_a.wait_closed()
        assert pair.to_a.close_reason is not None
        assert "over the 1 MiB for one link" in pair.to_a.close_reason
        assert len([line for line in warnings_of(caplog) if "calm down" in line]) == 1
        # What has come before may still be taken.
        assert await sub.receive() == bytes(10_000)
        sub.close()
        await trio.sleep(1)
        assert pair.a._memory.used == 0


async def test_t07_a_flood_of_frames_leaves_all_others_their_turns(autojump_clock: object) -> None:
    """All of it comes with one read."""
    count = 10_000
    async with open_scene() as scene, trio.open_nursery() as nursery:
        peer = await scene.intrude()
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        connection = scene.server.connection("raw")
        link = connection._link
        assert link is not None
        events = link.session.receive_data(encode_control(control.Beat(5000)) * count)
        assert len(events) == count
        nursery.start_soon(take_turns)
        await link._hand_out(events)
        assert turns >= count // MAX_EVENTS - 5
        nursery.cancel_scope.cancel()
        peer.stream.close()


# ---------------------------------------------------------------- requests


async def test_t08_requests_that_are_cancelled_at_once_keep_their_places_until_they_have_ended(
    open_pair: OpenPair,
) -> None:
    """What a rapid reset does: what runs is counted, and not what anybody waits for."""
    running = most = 0

    class Slow(RepChannel):
        async def work(self) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
                running -= 1

    async with open_pair(a_options={"limits": Limits(running_handlers=100)}) as pair:
        slots = [f"slot{number}" for number in range(5)]
        reps = [Slow(pair.a, slot) for slot in slots]
        reqs = [ReqChannel(pair.b, slot) for slot in slots]

        async def storm(req: ReqChannel) -> None:
            with trio.move_on_after(0.1):
                await req.work()

        async with trio.open_nursery() as nursery:
            for _ in range(400):
                for req in reqs:
                    nursery.start_soon(storm, req)
                await trio.sleep(0.05)
        assert most == 100
        await trio.sleep(30)
        assert running == 0
        # All places are free again.
        assert await reqs[0].echo("there") == ("there", hex(pair.a.id))
        assert sum(rep.statistics().running for rep in reps) == 0
        for req in reqs:
            req.close()
        await trio.sleep(30)
        assert pair.a._shared["askers"] == {}


async def test_t08_who_cancels_all_the_time_waits_for_its_places(open_pair: OpenPair) -> None:
    class Quick(RepChannel):
        async def work(self) -> None:
            await trio.sleep_forever()

    limits = Limits(running_handlers=64, cancels=50)
    async with open_pair(a_options={"limits": limits}) as pair, trio.open_nursery() as nursery:
        rep = Quick(pair.a, "slot")
        req = ReqChannel(pair.b, "slot")

        async def storm() -> None:
            while True:
                with trio.move_on_after(0.05):
                    await req.work()

        for _ in range(100):
            nursery.start_soon(storm)
        await trio.sleep(6)
        # 50 at once, 64 whose places were not given back at first, and 50 a second.
        assert 300 < rep.statistics().started < 50 + 64 + 6 * 50 + 64
        nursery.cancel_scope.cancel()
    # Whoever else asks has not noticed: see tests/requests/test_sharing.py for how room is shared.
