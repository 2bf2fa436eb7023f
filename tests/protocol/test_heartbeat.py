"""The heartbeat: when to send one, and when silence means something. Time is a number here, and nobody waits."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioton.protocol.heartbeat import MAX_LATE, MIN_TIMEOUT, Beat, Heartbeat, HeartbeatMachine

NAMES = [field.name for field in attrs.fields(Heartbeat)]
SETTINGS = Heartbeat(interval=2, timeout=5, lease=10)


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, MIN_TIMEOUT / 2, float("nan"), float("inf"), None, "1", True])
def test_wrong_values_are_named(name: str, value: Any) -> None:
    expected = TypeError if value is None or isinstance(value, (str, bool)) else ValueError
    with pytest.raises(expected, match=f"{name} must be .*, not {value!r}"):
        Heartbeat(**{name: value})


@pytest.mark.parametrize("values", [(2, 2, 3), (3, 2, 4), (1, 4, 3)])
def test_the_times_keep_their_order(values: tuple[float, float, float]) -> None:
    interval, timeout, lease = values
    with pytest.raises(ValueError, match="interval < timeout <= lease must hold"):
        Heartbeat(interval=interval, timeout=timeout, lease=lease)


# -------------------------------------------------------------------------------------------------------------- stories


def test_a_quiet_link_pings_times_out_and_is_given_up() -> None:
    machine = HeartbeatMachine(SETTINGS, now=100)
    story = []
    while True:
        now = machine.next_wake()
        beats = machine.wake(now)
        story.append((now, *beats))
        if Beat.SEND_PING in beats:
            machine.next_ping(now)
        if Beat.LEASE_OVER in beats:
            break
    assert story == [
        (102, Beat.SEND_PING),
        (104, Beat.SEND_PING),
        (105, Beat.TIMED_OUT),
        (106, Beat.SEND_PING),
        (108, Beat.SEND_PING),
        (110, Beat.LEASE_OVER),
    ]


@pytest.mark.parametrize(
    ("pinged", "sent", "received", "due"),
    [
        (0, 0, 0, 2),
        (0, 1.5, 1.5, 3.5),  # who sends and hears needs no ping
        (0, 1.5, 1, 3),
        (0, 0, 1.5, 2),  # who only hears must be heard
        (0, 1.5, 0, 2),  # who only sends must hear: nothing else makes the peer answer
        (1, 1, 0, 3),  # one ping for each interval of silence
        (1, 1.5, 0, 3),
        (1, 1.5, 1.25, 3.25),
    ],
)
def test_a_ping_is_due_when_either_direction_was_silent(
    pinged: float, sent: float, received: float, due: float
) -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    if pinged:
        machine.next_ping(pinged)
    machine.sent(sent)
    machine.received(received)
    assert machine.next_wake() == due
    assert machine.wake(due - 0.01) == []
    assert machine.wake(due) == [Beat.SEND_PING]


def test_who_sends_without_pause_pings_once_in_an_interval_of_silence() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    pings = []
    for tenth in range(1, 100):
        now = tenth / 10
        machine.sent(now)
        machine.next_wake()
        if Beat.SEND_PING in machine.wake(now):
            machine.next_ping(now)
            pings.append(now)
    assert pings == [2, 4, 6, 8]


def test_a_peer_that_is_heard_again_has_recovered() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    machine.next_ping(4)
    machine.next_wake()
    assert machine.received(1) is False
    assert machine.wake(6) == [Beat.TIMED_OUT, Beat.SEND_PING]
    assert machine.is_timed_out
    assert machine.wake(6.1) == [Beat.SEND_PING]
    assert machine.received(7) is True
    assert not machine.is_timed_out
    assert machine.received(8) is False


@pytest.mark.parametrize(("timeout", "interval"), [(5, 2.5), (2.75, 2.375), (2.1, 2.05)])
def test_the_end_that_only_answers_still_pings_before_its_timeout(timeout: float, interval: float) -> None:
    settings = Heartbeat(interval=2, timeout=timeout, lease=timeout)
    assert HeartbeatMachine(settings, now=0, answers=True).next_wake() == pytest.approx(interval)
    assert HeartbeatMachine(settings, now=0).next_wake() == 2


def test_a_round_trip_is_measured() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    assert machine.rtt is None
    first, second = machine.next_ping(1), machine.next_ping(2)
    machine.pong(first, 2.25)
    assert (machine.rtt, machine.last_pong) == (None, first)
    machine.pong(second, 2.5)
    assert (machine.rtt, machine.last_pong) == (0.5, second)
    machine.pong(second, 9)
    assert machine.rtt == 0.5


def test_a_pong_that_nobody_asked_for_proves_nothing() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    machine.pong(0, 1)
    assert machine.rtt is None
    nonce = machine.next_ping(1)
    machine.pong(nonce + 1000, 2)
    assert machine.last_pong == nonce
    machine.pong(0, 2)
    assert machine.last_pong == nonce


def test_the_shortest_wish_of_a_peer_wins() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    for seconds, interval in [(3, 2), (1, 1), (1.5, 1), (0, MIN_TIMEOUT)]:
        machine.peer_wants(seconds)
        assert machine.interval == interval
        assert machine.next_wake() == interval


def test_a_timeout_of_its_own_may_be_longer_than_the_lease_was() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    machine.set_timeout(1)
    assert (machine.timeout, machine.lease) == (1, 10)
    machine.set_timeout(20)
    assert (machine.timeout, machine.lease) == (20, 20)
    machine.next_wake()
    machine.next_ping(19)
    machine.next_wake()
    assert machine.wake(20) == [Beat.LEASE_OVER]


@pytest.mark.parametrize("settings", [SETTINGS, Heartbeat(interval=0.05, timeout=0.1, lease=0.2)], ids=repr)
def test_who_was_stopped_gives_the_peer_another_chance(settings: Heartbeat) -> None:
    """A laptop that slept for an hour has an hour of silence behind it, which proves nothing."""
    machine = HeartbeatMachine(settings, now=0)
    machine.next_wake()
    assert machine.wake(3600) == [Beat.SEND_PING]
    machine.next_ping(3600)
    now = machine.next_wake()
    assert now > 3600
    while Beat.LEASE_OVER not in machine.wake(now):
        machine.next_ping(now)
        now = machine.next_wake()
    assert now <= 3600 + settings.lease


def test_who_was_only_late_does_not() -> None:
    machine = HeartbeatMachine(SETTINGS, now=0)
    machine.sent(9)
    machine.next_wake()
    assert machine.wake(2 + MAX_LATE) == [Beat.SEND_PING]
    machine.next_ping(2 + MAX_LATE)
    assert machine.next_wake() == 5
    assert machine.wake(5 + MAX_LATE) == [Beat.TIMED_OUT, Beat.SEND_PING]


# ----------------------------------------------------------------------------------------------------- whatever happens

STEP = st.floats(0, 20)


class HeartbeatWorld(RuleBasedStateMachine):
    """A link that is used as the shell does it: it sleeps until `next_wake`, or something happens before."""

    @initialize(
        start=st.floats(0, 1e9),
        interval=st.floats(MIN_TIMEOUT, 5),
        more=st.floats(0.001, 5),
        most=st.floats(0, 10),
    )
    def open(self, start: float, interval: float, more: float, most: float) -> None:
        self.now = self.heard = self.said = self.pinged = start
        settings = Heartbeat(interval=interval, timeout=interval + more, lease=interval + more + most)
        self.machine = HeartbeatMachine(settings, start)
        self.timed_out = self.over = self.late = False
        self.is_fresh = True
        self.wake_at = self.machine.next_wake()

    def running(self) -> bool:
        return not self.over

    @precondition(running)
    @rule(late=st.sampled_from([0, 0, 0, 0.5, 5, 1000]))
    def sleep(self, late: float) -> None:
        """Time passes until the machine wants to be woken, or a little or much longer."""
        self.now = max(self.now, self.wake_at) + late
        was_stopped = self.now - self.wake_at > MAX_LATE
        self.late = self.late or was_stopped
        beats = self.machine.wake(self.now)
        assert len(set(beats)) == len(beats)
        assert beats or late or was_stopped or not self.is_fresh, "woken for nothing"
        if Beat.TIMED_OUT in beats:
            assert not self.timed_out
            assert self.late or self.now >= self.heard + self.machine.timeout
            self.timed_out = True
        if Beat.SEND_PING in beats:
            silent_since = max(self.pinged, min(self.said, self.heard))
            assert self.now >= silent_since + self.machine.interval
            self.machine.next_ping(self.now)
            self.said = self.pinged = self.now
        if Beat.LEASE_OVER in beats:
            assert not was_stopped
            assert beats == [Beat.LEASE_OVER]
            assert self.late or self.now >= self.heard + self.machine.lease
            self.over = True
        elif not was_stopped:
            assert self.late or self.now < self.heard + self.machine.lease
        self.wake_at = self.machine.next_wake()
        self.is_fresh = True
        assert self.over or self.wake_at > self.now, "it would spin"

    @precondition(running)
    @rule(share=st.floats(0, 1))
    def hear(self, share: float) -> None:
        self.now += max(self.wake_at - self.now, 0) * share
        assert self.machine.received(self.now) == self.timed_out
        self.heard, self.timed_out, self.late, self.is_fresh = self.now, False, False, False

    @precondition(running)
    @rule(share=st.floats(0, 1))
    def say(self, share: float) -> None:
        self.now += max(self.wake_at - self.now, 0) * share
        self.machine.sent(self.now)
        self.said, self.is_fresh = self.now, False

    @precondition(lambda self: self.over)
    @rule()
    def dial_again(self) -> None:
        self.open(self.now, 1, 1, 1)

    @precondition(running)
    @rule(seconds=st.floats(0, 5))
    def hear_wish(self, seconds: float) -> None:
        self.machine.peer_wants(seconds)
        self.wake_at = self.machine.next_wake()

    @precondition(running)
    @rule(seconds=st.floats(MIN_TIMEOUT, 30))
    def change_timeout(self, seconds: float) -> None:
        self.machine.set_timeout(seconds)
        self.wake_at = self.machine.next_wake()

    @invariant()
    def lease_is_longest(self) -> None:
        assert self.machine.timeout <= self.machine.lease
        assert self.machine.interval >= MIN_TIMEOUT


TestHeartbeat = HeartbeatWorld.TestCase


@given(st.floats(0, 1e12), st.floats(MIN_TIMEOUT, 100))
def test_it_never_spins_at_a_time_that_rounds(start: float, interval: float) -> None:
    machine = HeartbeatMachine(Heartbeat(interval=interval, timeout=2 * interval, lease=3 * interval), start)
    for _ in range(10):
        now = machine.next_wake()
        beats = machine.wake(now)
        assert beats
        if Beat.LEASE_OVER in beats:
            return
        if Beat.SEND_PING in beats:
            machine.next_ping(now)
    raise AssertionError("the lease is never over")
