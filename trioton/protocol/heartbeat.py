"""When to send a heartbeat, and when silence means something: all decided from times that the shell passes in."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from .._arguments import check_seconds

MIN_TIMEOUT: Final = 0.01
"""Seconds below which a timeout only measures the scheduler."""

OFTEN: Final = 0.5
"""Seconds between heartbeats below which the peer is told of it, lest it takes so many for an attack."""

ANSWERING: Final = 1.25
"""How much longer than its interval the end that only answers stays silent before it pings itself."""

MAX_LATE: Final = 1.0
"""Seconds that our own wake-up may be late before the peer is given another chance (as in Lifeguard, HashiCorp 2017)."""


def _positive(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(attribute.name, value, least=MIN_TIMEOUT)


@attrs.frozen(kw_only=True)
class Heartbeat:
    """How a context watches its links, for `open_context(heartbeat=...)`.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is not positive, or `interval` is not below `timeout`, or `timeout` is above `lease`.
    """

    interval: float = attrs.field(default=2.5, validator=_positive)
    """Seconds without sending anything, or without hearing anything, after which a heartbeat is sent."""

    timeout: float = attrs.field(default=5.0, validator=_positive)
    """Seconds of the peer's silence before `TimedOut` is reported; the link stays as it is."""

    lease: float = attrs.field(default=10.0, validator=_positive)
    """Seconds of the peer's silence after which the link is given up and dialled again."""

    def __attrs_post_init__(self) -> None:
        if not self.interval < self.timeout <= self.lease:
            raise ValueError(
                f"interval < timeout <= lease must hold, not {self.interval!r} < {self.timeout!r} <= {self.lease!r}"
            )


class Beat(enum.Enum):
    """What a heartbeat machine wants done."""

    SEND_PING = enum.auto()
    TIMED_OUT = enum.auto()
    LEASE_OVER = enum.auto()


class HeartbeatMachine:
    """Watches one link.

    Args:
        settings: The context's heartbeat.
        now: The time, in seconds of any clock that only moves forward.
        answers: Whether this end leaves the first ping to the other one: the answer to it is a sign of life as well, so one of
            both is enough on an idle link.
    """

    __slots__ = (
        "_last_ping",
        "_nonce",
        "_ping_sent_at",
        "_wake_at",
        "interval",
        "is_timed_out",
        "last_pong",
        "last_received",
        "last_sent",
        "lease",
        "rtt",
        "timeout",
    )

    def __init__(self, settings: Heartbeat, now: float, *, answers: bool = False) -> None:
        self.lease = settings.lease
        self.timeout = settings.timeout
        self.interval = settings.interval
        if answers:  # but the peer may have longer times, and then the answer to a ping must come before the timeout
            self.interval = min(ANSWERING * settings.interval, (settings.interval + settings.timeout) / 2)
        self.last_received = now
        self.last_sent = now
        self.rtt: float | None = None
        self.is_timed_out = False
        self.last_pong = 0
        self._last_ping = now
        self._nonce = 0
        self._ping_sent_at: float | None = None
        self._wake_at = now

    def peer_wants(self, seconds: float) -> bool:
        """The peer asked to hear of us at least this often; the shortest wish wins, down to `MIN_TIMEOUT`. Gives whether it is news."""
        before, self.interval = self.interval, max(MIN_TIMEOUT, min(self.interval, seconds))
        return self.interval != before

    def set_timeout(self, seconds: float) -> None:
        """Report the peer's silence after this many seconds; the lease is never shorter."""
        self.timeout = seconds
        self.lease = max(self.lease, seconds)

    def sent(self, now: float) -> None:
        """Something was handed to the transport."""
        self.last_sent = now

    def answered(self) -> None:
        """What came last is answered, with the next that is written."""
        self.last_sent = self.last_received

    def received(self, now: float) -> bool:
        """Bytes came; whether this ends a time-out."""
        self.last_received = now
        recovered, self.is_timed_out = self.is_timed_out, False
        return recovered

    @property
    def last_asked(self) -> int:
        """The nonce of the last ping."""
        return self._nonce

    def next_ping(self, now: float) -> int:
        """The nonce of the ping that is sent now."""
        self._nonce += 1
        self._ping_sent_at = self._last_ping = now
        self.last_sent = now
        return self._nonce

    def pong(self, nonce: int, now: float) -> bool:
        """A pong came; one for another ping than the last says little. Gives whether it answers a ping at all."""
        is_answer = self.last_pong < nonce <= self._nonce
        self.last_pong = max(self.last_pong, min(nonce, self._nonce))
        if nonce == self._nonce and self._ping_sent_at is not None:
            self.rtt = now - self._ping_sent_at
            self._ping_sent_at = None
        return is_answer

    def next_wake(self) -> float:
        """The time at which `wake` must be called next."""
        silence = self.lease if self.is_timed_out else min(self.timeout, self.lease)
        self._wake_at = min(self._ping_due(), self.last_received + silence)
        return self._wake_at

    def _ping_due(self) -> float:
        # A peer to which we send all the time may have nothing to say itself, and its interval may be longer than our lease: only
        # its answer to a ping is a sign of life then. While it is silent, one ping in an interval is enough.
        return max(self._last_ping, min(self.last_sent, self.last_received)) + self.interval

    def wake(self, now: float) -> list[Beat]:
        """Tell what is due now."""
        beats: list[Beat] = []
        if now - self._wake_at > MAX_LATE:
            # We were stopped or too busy to read: what the peer said meanwhile may lie unread, so its silence proves nothing.
            self.last_received = max(self.last_received, now - self.timeout + min(self.interval, self.timeout / 2))
        # Sums are compared, as in `next_wake`: differences would round otherwise and wake us again at the same time for ever.
        if now >= self.last_received + self.lease:
            return [Beat.LEASE_OVER]
        if now >= self.last_received + self.timeout and not self.is_timed_out:
            self.is_timed_out = True
            beats.append(Beat.TIMED_OUT)
        if now >= self._ping_due():
            beats.append(Beat.SEND_PING)
        return beats
