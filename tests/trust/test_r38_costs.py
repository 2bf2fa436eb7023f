"""What a peer's bytes may cost, whatever was said before them: computing time per 64 KiB, on a machine as fast as this one is now."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from fuzz.cost import measure_slowness
from fuzz.cost import seconds_of as seconds
from trioton.protocol.interests import Interests
from trioton.protocol.records import InterestRecord, InterestSnapshot, encode_record

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
