"""How often something may happen. No clock: the time is an argument, in seconds of any clock that only moves forward."""

from __future__ import annotations


class TokenBucket:
    """Lets something happen so many times a second, and some more at once if it has not happened for a while.

    Args:
        rate: Times a second.
        burst: Times at once.
        now: The time.

    Attributes:
        rate: Times a second.
        burst: Times at once.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def level(self, now: float) -> float:
        """How often it may happen now; negative by what was overdrawn."""
        if now > self._at:
            if self._level < self.burst:
                self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def take(self, now: float, amount: float = 1.0) -> bool:
        """It wants to happen: whether it may. If not, nothing is taken."""
        if self.level(now) < amount:
            return False
        self._level -= amount
        return True

    def overdraw(self, now: float, amount: float = 1.0) -> float:
        """It has happened: gives the seconds until it may happen again."""
        self._level = self.level(now) - amount
        return max(0.0, -self._level / self.rate)

    def add(self, amount: float) -> None:
        """It may happen so often beside what the rate allows, once."""
        self._level += amount


class Strikes:
    """Counts what no honest peer does.

    Args:
        most: How many there may be within `period`.
        period: Seconds after which one is forgotten.
    """

    __slots__ = ("_most", "_period", "_times")

    def __init__(self, most: int, period: float) -> None:
        self._most = most
        self._period = period
        self._times: list[float] = []  # few at most, and mostly none: an empty deque takes 700 bytes more for each link

    def strike(self, now: float) -> bool:
        """There was one more; whether that was the last that is borne."""
        self._times = [*self._times, now][-self._most :]
        return len(self._times) == self._most and now - self._times[0] < self._period
