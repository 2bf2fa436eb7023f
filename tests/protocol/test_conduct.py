"""How fast a peer may do things, what makes it wait, and what closes its link: plain numbers, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.conduct import LONGEST_PAUSE, MOST_OWED, PING_SECONDS, Conduct
from trioton.protocol.heartbeat import MIN_TIMEOUT
from trioton.protocol.limits import Limits
from trioton.protocol.rates import Strikes, TokenBucket

# ---------------------------------------------------------------- rates


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=4, now=100)
    assert [bucket.take(100) for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.take(100.5) for _ in range(2)] == [True, False]
    assert [bucket.take(200) for _ in range(5)] == [True] * 4 + [False]


def test_a_bucket_that_is_overdrawn_says_how_long_to_wait() -> None:
    bucket = TokenBucket(rate=10, burst=1, now=0)
    assert bucket.overdraw(0) == 0
    assert bucket.overdraw(0) == pytest.approx(0.1)
    assert bucket.overdraw(0, 2) == pytest.approx(0.3)
    assert not bucket.take(0.25)
    assert bucket.level(0.3) == pytest.approx(0)
    assert bucket.take(0.5)


def test_what_is_added_does_not_come_again() -> None:
    bucket = TokenBucket(rate=1, burst=2, now=0)
    bucket.add(3)
    assert [bucket.take(0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.level(100) == 2


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=10)
    assert bucket.take(10)
    assert not bucket.take(5)
    assert bucket.take(11)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=50), st.floats(0.1, 100), st.floats(0, 100))
def test_a_bucket_never_gives_more_than_it_says(steps: list[tuple[float, float]], rate: float, burst: float) -> None:
    bucket = TokenBucket(rate, burst, 0)
    now = taken = 0.0
    for pause, amount in steps:
        now += pause
        if bucket.take(now, amount):
            taken += amount
        assert taken <= burst + now * rate + 1e-6


def test_strikes_are_forgotten() -> None:
    strikes = Strikes(3, 60)
    assert [strikes.strike(now) for now in (0, 1, 60, 61.5, 200, 201)] == [False, False, False, False, False, False]
    assert strikes.strike(202)


def test_one_strike_may_be_enough() -> None:
    assert Strikes(1, 60).strike(0)


# ---------------------------------------------------------------- pings


LIMITS = Limits(pings=4, strikes=3, interest_changes=10, record_changes=2, subscriptions=5)


def pings_until_closed(conduct: Conduct, now: float, heard: int = 0) -> int:
    """How many pings at once a peer may send."""
    for count in range(10_000):
        try:
            conduct.ping(now, heard)
        except ProtocolError as error:
            assert str(error) == "calm down: more than 4 pings a second, for the 3rd time within a minute"
            return count
    return 10_000


def test_pings_that_follow_nothing_are_counted() -> None:
    assert pings_until_closed(Conduct(LIMITS, 0), 0) == 4 * PING_SECONDS + 2
    conduct = Conduct(LIMITS, 0)
    for tick in range(1000):
        conduct.ping(tick / 4, 0)


def test_a_ping_that_follows_something_costs_nothing() -> None:
    conduct = Conduct(LIMITS, 0)
    for heard in range(1, 5000):
        conduct.ping(0, heard)
    assert pings_until_closed(conduct, 0, heard) == 22


def test_what_was_said_long_ago_allows_few_pings() -> None:
    assert pings_until_closed(Conduct(LIMITS, 0), 0, 10**6) == MOST_OWED + 22


def test_the_count_begins_anew_with_each_link() -> None:
    conduct = Conduct(LIMITS, 0)
    for number in range(1, 101):
        conduct.ping(0, number)
    conduct.begin()
    conduct.ping(1, 1)
    assert pings_until_closed(conduct, 1, 1) == 22


def test_a_heart_that_beats_fast_may() -> None:
    conduct = Conduct(LIMITS, 0)
    conduct.beats(0.1, 0)
    for tick in range(1000):
        conduct.ping(tick * 0.1, 0)
    conduct.beats(2.5, 100)  # a slower wish changes nothing
    for _ in range(int(20 * PING_SECONDS)):
        conduct.ping(110, 0)


def test_no_heart_beats_faster_than_the_fastest() -> None:
    conduct = Conduct(LIMITS, 0)
    conduct.beats(1e-9, 0)
    with pytest.raises(ProtocolError, match=f"more than {2 / MIN_TIMEOUT:g} pings a second"):
        for _ in range(2000):
            conduct.ping(0, 0)


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd")],
)
def test_the_last_strike_has_a_number(number: int, text: str) -> None:
    conduct = Conduct(Limits(strikes=number), 0)
    with pytest.raises(ProtocolError, match=f"^calm down: nonsense, for the {text} time within a minute$"):
        for _ in range(number):
            conduct.strike(0, "nonsense")


# ---------------------------------------------------------------- what makes it wait


def test_interest_that_changes_too_fast_makes_the_peer_wait() -> None:
    conduct = Conduct(LIMITS, 0)
    for _ in range(50):
        conduct.interest_changed(0)
    assert conduct.pause(0) == 0
    conduct.interest_changed(0)
    assert conduct.pause(0) == pytest.approx(0.1)
    assert conduct.pause(0.2) == 0
    for _ in range(1000):
        conduct.interest_changed(0.2)
    assert conduct.pause(0.2) == LONGEST_PAUSE
    assert conduct.pause(50) == LONGEST_PAUSE
    assert conduct.pause(105) == 0


def test_all_that_a_peer_may_listen_to_may_be_told_at_once_over_each_link() -> None:
    conduct = Conduct(LIMITS, 0)
    for _ in range(3):
        conduct.begin()
        for _ in range(2 * LIMITS.subscriptions):
            conduct.interest_changed(0)
    assert conduct.pause(0) == 0


def test_records_that_change_too_fast_make_the_peer_wait() -> None:
    conduct = Conduct(LIMITS, 0)
    for _ in range(10):
        conduct.record_changed(0)
    assert conduct.pause(0) == 0
    conduct.record_changed(0)
    assert conduct.pause(0) == pytest.approx(0.5)
