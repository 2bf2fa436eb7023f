"""How a peer behaves: what is too fast for an honest one, and what is done about it. No I/O, no clock.

There are two answers. What honest programs may do in a hurry, such as subscribing to thousands of slots, only makes the peer wait: it is not
read for a while (`Conduct.pause`). What none of our own ever does, such as pings without end, is a *strike*, and a few of these within
a minute close the link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from .heartbeat import MIN_TIMEOUT
from .rates import Strikes, TokenBucket

if TYPE_CHECKING:
    from .limits import Limits

PERIOD: Final = 60.0
"""Seconds after which a strike is forgotten."""

PING_SECONDS: Final = 5.0
"""For how many seconds' pings there is room at once: so many may gather while a network or a process stands still."""

MOST_OWED: Final = 1000
"""Pings that may follow each other if as much else was said before."""

INTEREST_BURST: Final = 5.0
"""For how many seconds' changes of interest there is room at once."""

RECORD_BURST: Final = 5.0
"""The same for records."""

LONGEST_PAUSE: Final = 1.0
"""Seconds for which a peer is not read, at most, before it is looked at again."""


class Conduct:
    """What a peer does, over all its links.

    Args:
        limits: The context's bounds.
        now: The time, in seconds of any clock that only moves forward.
    """

    __slots__ = (
        "_heard",
        "_interest",
        "_limits",
        "_owed",
        "_paused_until",
        "_pings",
        "_records",
        "_snapshots",
        "_strikes",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._strikes = Strikes(limits.strikes, PERIOD)
        self._pings: TokenBucket | None = None
        self._interest: TokenBucket | None = None
        self._records: TokenBucket | None = None
        self._heard = 0
        self._owed = 0
        self._snapshots = 0
        self._paused_until = now

    def begin(self) -> None:
        """A new link is up, over which the peer says again all that it listens to."""
        self._heard = self._owed = 0
        self._snapshots += 1

    # ---------------------------------------------------------------- strikes

    def strike(self, now: float, what: str) -> None:
        """The peer has done what no honest one does.

        Raises:
            ProtocolError: It was once too often.
        """
        if self._strikes.strike(now):
            raise ProtocolError(f"calm down: {what}, for the {_ordinal(self._limits.strikes)} time within a minute")

    # ---------------------------------------------------------------- pings

    def beats(self, interval: float, now: float) -> None:
        """The peer may have to send a heartbeat this often, in seconds."""
        bucket = self._ping_bucket(now)
        rate = 2.0 / max(interval, MIN_TIMEOUT)
        if rate > bucket.rate:
            bucket.add((rate - bucket.rate) * PING_SECONDS)
            bucket.rate, bucket.burst = rate, rate * PING_SECONDS

    def ping(self, now: float, heard: int) -> None:
        """A ping came.

        One that follows something else asks whether that has come: it costs no more than that did. Only those that follow nothing but
        pings are counted.

        Args:
            now: The time.
            heard: Everything that came over the link so far, but for pings.

        Raises:
            ProtocolError: The peer does so all the time.
        """
        self._owed = min(self._owed + heard - self._heard, MOST_OWED)
        self._heard = heard
        if self._owed > 0:
            self._owed -= 1
        elif not self._ping_bucket(now).take(now):
            self.strike(now, f"more than {self._ping_bucket(now).rate:g} pings a second")

    def _ping_bucket(self, now: float) -> TokenBucket:
        if self._pings is None:
            self._pings = TokenBucket(self._limits.pings, self._limits.pings * PING_SECONDS, now)
        return self._pings

    # ---------------------------------------------------------------- what makes it wait

    def interest_changed(self, now: float) -> None:
        """The peer listens to a slot, or does no longer."""
        self._wait(now, self._interest_bucket(now).overdraw(now))

    def record_changed(self, now: float) -> None:
        """The peer says anew what it is connected to."""
        if self._records is None:
            self._records = TokenBucket(self._limits.record_changes, self._limits.record_changes * RECORD_BURST, now)
        self._wait(now, self._records.overdraw(now))

    def _interest_bucket(self, now: float) -> TokenBucket:
        if self._interest is None:
            rate = self._limits.interest_changes
            self._interest = TokenBucket(rate, rate * INTEREST_BURST, now)
        if self._snapshots:
            self._interest.level(now)
            self._interest.add(2 * self._limits.subscriptions * self._snapshots)
            self._snapshots = 0
        return self._interest

    def _wait(self, now: float, seconds: float) -> None:
        self._paused_until = max(self._paused_until, now + seconds)

    def pause(self, now: float) -> float:
        """Seconds for which the peer should not be read before this is asked again."""
        return min(max(0.0, self._paused_until - now), LONGEST_PAUSE)


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in {11, 12, 13} else "th"
    return f"{number}{ending}"
