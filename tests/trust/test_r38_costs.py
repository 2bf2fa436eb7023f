"""What a peer's bytes may cost, whatever was said before them: computing time per 64 KiB, on a machine as fast as this one is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
import trio
import trio.testing

import trioton
from fuzz.cost import measure_slowness
from fuzz.cost import seconds_of as seconds
from tests.raw_peer import RawPeer
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.interests import Interests
from trioton.protocol.records import InterestRecord, InterestSnapshot, encode_record
from trioton.testing import Network
from trioton.transports.address import parse_address

ORIGIN = bytes([1]) * 16
MANY = 10_000
FAR_AHEAD = 1 << 40


def interest(slot: str, number: int, count: int = 1) -> InterestRecord:
    return InterestRecord(ORIGIN, slot, number, 0, min(count, 1), count, None)


def filled(records: Iterable[InterestRecord]) -> Interests:
    interests = Interests()
    for record in records:
        interests.learn(record)
    return interests


WORLDS: dict[str, tuple[Callable[[], Interests], Callable[[int], InterestRecord | InterestSnapshot]]] = {
    "one who listens to many slots": (
        lambda: filled(interest(f"s{number}", number) for number in range(1, MANY + 1)),
        lambda number: interest(f"s{number}", MANY + number),
    ),
    "withdrawals that nothing covers": (
        lambda: filled(interest(f"s{number}", FAR_AHEAD + 2 * number, 0) for number in range(MANY)),
        lambda number: interest(f"t{number}", 2 * FAR_AHEAD + 2 * number, 0),
    ),
    "numbers far ahead": (
        lambda: filled(interest("s", FAR_AHEAD + 2 * number) for number in range(1023)),
        lambda number: interest("t", number),
    ),
    "snapshots of nothing": (
        lambda: filled(interest(f"s{number}", FAR_AHEAD + number) for number in range(MANY)),
        lambda number: InterestSnapshot(ORIGIN, number, ()),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_r38_interest_takes_no_look_at_all_that_is_known(name: str) -> None:
    """It took up to 20 seconds for 64 KiB when each record took a look at all others of its origin."""
    make, next_record = WORLDS[name]
    interests = make()
    records = [next_record(number) for number in range(1, 1001)]

    def learn() -> None:
        for record in records:
            if isinstance(record, InterestSnapshot):
                interests.learn_snapshot(record)
            else:
                interests.learn(record)

    # 1000 records of 22 to 60 bytes. A look at all 10 000 slots of the origin, each time, would take a second and more.
    size = sum(len(encode_record(record)) for record in records)
    assert size < 65536
    assert seconds(learn) < 0.1 * measure_slowness()


@pytest.mark.slow
async def test_r38_the_end_of_a_snapshot_takes_long_only_once(autojump_clock: trio.testing.MockClock) -> None:
    """Each SYNC of 12 bytes took a look at all that the peer listens to: 64 KiB took minutes."""
    net = Network(seed=1)
    async with trioton.open_context("server", network=net.host("server")) as server:
        await server.bind("server:1")
        peer = RawPeer(await net.host("liar").dial(parse_address("server:1")), "slot", seed=1)
        await peer.shake_hands()
        slots = [control.Subscribe(f"s{number}", number, 1, 1, 1, None, None, None) for number in range(1, 2001)]
        await peer.stream.send_all(b"".join(map(encode_control, slots)))
        await trio.sleep(1)
        peer.events.clear()
        await peer.stream.send_all(encode_control(control.Sync(2000, 2000, 0)) * 1000)
        started = time.thread_time()
        await trio.sleep(1)
        assert time.thread_time() - started < 0.3 * measure_slowness()
        peer.events += peer.session.receive_data(await peer.stream.receive_some(1 << 20))
        assert peer.events.count(control.Synced()) > 100
        peer.stream.close()
