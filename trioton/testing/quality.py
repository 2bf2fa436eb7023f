"""What the way between two simulated hosts is like: how long bytes take, how they are cut, how many fit.

Times are numbers, ranges or distributions. All of them draw from the chance that they are given, so a seed decides.
"""

from __future__ import annotations

import math
import random
from typing import Final, Protocol, runtime_checkable

import attrs


@runtime_checkable
class Distribution(Protocol):
    """Something to draw seconds from; a class of your own will do."""

    def draw(self, source: random.Random) -> float:
        """Draw a number of seconds, which must not be negative."""


def _positive(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} must be finite and above 0, not {value!r}")


@attrs.frozen
class Exponential:
    """Mostly short and sometimes long: what remains of many small causes.

    Raises:
        TypeError: `mean` is no number.
        ValueError: `mean` is not above 0.
    """

    mean: float = attrs.field(validator=_positive)
    """Seconds."""

    def draw(self, source: random.Random) -> float:
        """Draw a number of seconds."""
        return source.expovariate(1 / self.mean)


@attrs.frozen
class LogNormal:
    """What round trips through the internet look like: a hump and a tail to the right.

    Raises:
        TypeError: A value is no number.
        ValueError: A value is not above 0.
    """

    median: float = attrs.field(validator=_positive)
    """Seconds below which half of what is drawn lies."""
    sigma: float = attrs.field(default=0.5, validator=_positive)
    """How wide it is: two thirds of what is drawn lie within a factor of e to the sigma of the median."""

    def draw(self, source: random.Random) -> float:
        """Draw a number of seconds."""
        return source.lognormvariate(math.log(self.median), self.sigma)


@attrs.frozen
class Pareto:
    """Never below a least value, and now and then far above it: a heavy tail, as of retransmissions and full queues.

    Raises:
        TypeError: A value is no number.
        ValueError: A value is not above 0.
    """

    least: float = attrs.field(validator=_positive)
    """Seconds."""
    shape: float = attrs.field(default=2.0, validator=_positive)
    """The larger, the rarer large values are; at 1 and below there is no mean."""

    def draw(self, source: random.Random) -> float:
        """Draw a number of seconds."""
        return self.least * source.paretovariate(self.shape)


Latency = float | tuple[float, float] | Distribution
"""Seconds that a packet is under way: always as many, or a range to draw from, evenly, or a distribution."""

Chunk = tuple[int, int]
"""The least and the most bytes that one piece has when writes are cut up."""

BUFFER_SIZE: Final = 256 * 1024
"""How many bytes are on their way or unread, in one direction, before a sender must wait."""


def check_latency(latency: object, name: str = "latency") -> Latency:
    """Give `latency` back if it is a number of seconds, a (low, high) pair of them, or a distribution.

    Raises:
        TypeError: It is something else.
        ValueError: It is negative, infinite or not a number, or low is above high.
    """
    if isinstance(latency, Distribution):
        return latency
    if isinstance(latency, tuple):
        if len(latency) != 2:
            raise ValueError(f"{name} must be seconds or a pair (low, high), not {latency!r}")
        low, high = (_check_seconds(value, name, latency) for value in latency)
        if low > high:
            raise ValueError(f"{name} must be a pair (low, high) with low <= high, not {latency!r}")
        return (low, high)
    return _check_seconds(latency, name, latency)


def _check_seconds(value: object, name: str, whole: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, a pair (low, high) or a distribution, not {whole!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative, not {whole!r}")
    return float(value)


def check_seconds(value: object, name: str, *, is_finite: bool = False) -> None:
    """Refuse what is no number of seconds.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not finite where it must be.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if is_finite and not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, not {value!r}")


def check_chunk(chunk: object, name: str = "chunk") -> Chunk | None:
    """Give `chunk` back if it is None or a (low, high) pair of numbers of bytes.

    Raises:
        TypeError: It is something else.
        ValueError: low is below 1 or above high.
    """
    if chunk is None:
        return None
    if not isinstance(chunk, tuple) or any(isinstance(size, bool) or not isinstance(size, int) for size in chunk):
        raise TypeError(f"{name} must be None or a pair (low, high) of numbers of bytes, not {chunk!r}")
    if len(chunk) != 2 or not 1 <= chunk[0] <= chunk[1]:
        raise ValueError(f"{name} must be a pair (low, high) with 1 <= low <= high, not {chunk!r}")
    return (chunk[0], chunk[1])


def check_buffer_size(size: object, name: str = "buffer_size") -> int:
    """Give `size` back if it is a positive number of bytes.

    Raises:
        TypeError: It is not an int.
        ValueError: It is below 1.
    """
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} must be a number of bytes, not {size!r}")
    if size < 1:
        raise ValueError(f"{name} must be at least 1 byte, not {size!r}")
    return size


def check_bandwidth(bandwidth: object, name: str = "bandwidth") -> float | None:
    """Give `bandwidth` back if it is None or a positive number of bytes per second.

    Raises:
        TypeError: It is something else.
        ValueError: It is not above 0.
    """
    if bandwidth is None:
        return None
    if isinstance(bandwidth, bool) or not isinstance(bandwidth, (int, float)):
        raise TypeError(f"{name} must be None or a number of bytes per second, not {bandwidth!r}")
    if not bandwidth > 0:
        raise ValueError(f"{name} must be above 0 bytes per second, not {bandwidth!r}")
    return float(bandwidth)


def check_chance(chance: object, name: str = "resets") -> float:
    """Give `chance` back if it is a number from 0 to 1.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    if isinstance(chance, bool) or not isinstance(chance, (int, float)):
        raise TypeError(f"{name} must be a number from 0 to 1, not {chance!r}")
    if not 0 <= chance <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {chance!r}")
    return float(chance)


def _check_jitter(jitter: object) -> Latency:
    return check_latency(jitter, "jitter")


@attrs.frozen(kw_only=True)
class LinkQuality:
    """What the way between two hosts is like, in either direction.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range.
    """

    latency: Latency = attrs.field(default=0.0, converter=check_latency)
    """Seconds that a packet is under way: a number, or a range (low, high) or distribution to draw from for every piece."""

    jitter: Latency = attrs.field(default=0.0, converter=_check_jitter)
    """Seconds more, likewise: what comes on top of the length of the way."""

    bandwidth: float | None = attrs.field(default=None, converter=check_bandwidth)
    """Bytes per second that pass in each direction of a connection; None: as many as you like."""

    chunk: Chunk | None = attrs.field(default=None, converter=check_chunk)
    """None: a read takes all that has arrived. (low, high): bytes are cut into pieces of such size, one per read."""

    buffer_size: int = attrs.field(default=BUFFER_SIZE, converter=check_buffer_size)
    """Bytes on their way or unread before a sender must wait."""

    resets: float = attrs.field(default=0.0, converter=check_chance)
    """How probable it is that a piece that is sent breaks the connection, from 0 to 1."""

    def draw_latency(self, source: random.Random) -> float:
        """Draw how long a packet is under way, in seconds."""
        return draw(self.latency, source) + draw(self.jitter, source)


def draw(latency: Latency, source: random.Random) -> float:
    """Draw seconds. Nothing is drawn where nothing is left to chance, so that it changes no other draw."""
    if isinstance(latency, float):
        return latency
    if isinstance(latency, tuple):
        return source.uniform(*latency)
    seconds: object = latency.draw(source)
    if not isinstance(seconds, (int, float)) or not seconds < math.inf:
        raise ValueError(f"draw() of {latency!r} must give a finite number of seconds, not {seconds!r}")
    return max(0.0, seconds)
