"""One direction of a simulated connection: the bytes between a write and the read that takes them.

Theory of operation. A write is scheduled at once: each piece gets the moment at which it arrives, never before the
piece ahead of it, as TCP keeps its order. Nothing runs until then: the reader waits for the moment that stands at the
head of the queue. While the way is cut (`Path.hold`), what has not arrived is given no moment at all, and when it is
whole again (`Path.release`) everything held arrives one latency later, as if TCP had sent it again. An end of the
stream and a close travel behind the bytes under the same rules.

This module never looks at a clock: `now` is an argument everywhere. Nor does it wake a task; `streams.py` does.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ..transports.base import Buffer

Latency = float | tuple[float, float]
"""Seconds that a packet is under way: always as many, or a range to draw from, evenly."""

Chunk = tuple[int, int]
"""The least and the most bytes that one piece has when writes are cut up."""

BUFFER_SIZE: Final = 256 * 1024
"""How many bytes are on their way or unread, in one direction, before a sender must wait."""

NEVER: Final = math.inf
"""When a piece arrives whose way is cut."""


def check_latency(latency: object, name: str = "latency") -> Latency:
    """Give `latency` back if it is a number of seconds or a (low, high) pair of them.

    Raises:
        TypeError: It is something else.
        ValueError: It is negative, infinite or not a number, or low is above high.
    """
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
        raise TypeError(f"{name} must be a number of seconds or a pair (low, high), not {whole!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative, not {whole!r}")
    return float(value)


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


@attrs.frozen(kw_only=True)
class LinkQuality:
    """What the way between two hosts is like, in either direction.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range.
    """

    latency: Latency = attrs.field(default=0.0, converter=check_latency)
    """Seconds that a packet is under way, or a range (low, high) from which it is drawn for every piece."""

    chunk: Chunk | None = attrs.field(default=None, converter=check_chunk)
    """None: a read takes all that has arrived. (low, high): bytes are cut into pieces of such size, one per read."""

    buffer_size: int = attrs.field(default=BUFFER_SIZE, converter=check_buffer_size)
    """Bytes on their way or unread before a sender must wait."""


class Path:
    """What was sent in one direction and has not been taken yet.

    The cuts of `LinkQuality.chunk` lie at drawn distances along the stream, wherever the writes begin and end, so the
    way in which a sender gathers its writes does not move them. A piece also never crosses the border of a write.

    Attributes:
        quality: The latency, chunks and buffer; a new one holds for what is sent from then on.
        is_held: Whether the way is cut.
        sent: Bytes that were written since the beginning.
        taken: Bytes that were read since the beginning.
        pieces: How many pieces they were cut into.
        has_ended: Whether the sender has ended the stream or closed its end.
    """

    def __init__(self, rng: random.Random, quality: LinkQuality) -> None:
        self.quality = quality
        self.is_held = False
        self.sent = 0
        self.taken = 0
        self.pieces = 0
        self.has_ended = False
        self._random = rng
        self._queue: deque[tuple[float, Buffer]] = deque()
        self._size = 0
        self._until_cut = 0
        self._last_arrival = 0.0
        self._end_arrival: float | None = None
        self._close_arrival: float | None = None
        self._is_discarded = False

    @property
    def size(self) -> int:
        """Bytes that are on their way or unread."""
        return self._size

    @property
    def room(self) -> int:
        """How many bytes may be sent now."""
        return max(0, self.quality.buffer_size - self._size)

    @property
    def has_much_room(self) -> bool:
        """Whether a sender that found no room should try again.

        As in a kernel that is later than "there is some room", so that a slow reader does not cost one wake-up for each
        of its reads.
        """
        return self._size <= self.quality.buffer_size // 2

    def draw_latency(self) -> float:
        """Draw how long the next packet is under way, in seconds."""
        latency = self.quality.latency
        if isinstance(latency, tuple):
            return self._random.uniform(*latency)
        return latency

    def push(self, data: bytes, now: float) -> None:
        """Send `data`, which is not empty and for which there is room."""
        self.sent += len(data)
        self._size += len(data)
        if self._is_discarded:
            # The reader has closed, and its word is still on the way: the sender cannot know yet.
            return
        if self.quality.chunk is None:
            self._queue.append((self._schedule(now), data))
            self.pieces += 1
            return
        view = memoryview(data)
        while view:
            if self._until_cut < 1:
                self._until_cut = self._random.randint(*self.quality.chunk)
            piece = view[: self._until_cut]
            view = view[len(piece) :]
            self._until_cut -= len(piece)
            self._queue.append((self._schedule(now), piece))
            self.pieces += 1

    def push_end(self, now: float) -> None:
        """Send the end of the stream, behind all bytes."""
        if not self.has_ended:
            self.has_ended = True
            self._end_arrival = self._schedule(now)

    def push_close(self, now: float) -> None:
        """Send that the sender has closed both directions, behind all bytes."""
        self.push_end(now)
        self._close_arrival = self._schedule(now)

    def _schedule(self, now: float) -> float:
        # Everything that goes into a path passes here, and here alone: it is the place to count, to lose and to delay.
        if self.is_held:
            return NEVER
        self._last_arrival = max(self._last_arrival, now + self.draw_latency())
        return self._last_arrival

    def has_arrived(self, now: float) -> bool:
        """Whether a read returns at once: with bytes, or with the end of the stream."""
        return self.next_arrival() <= now

    def next_arrival(self) -> float:
        """When there is something to be read, if nothing else happens; infinity if nothing is on its way."""
        if self._queue:
            return self._queue[0][0]
        return NEVER if self._end_arrival is None else self._end_arrival

    def close_arrival(self) -> float:
        """When the reader learns that the sender has closed, if nothing else happens."""
        return NEVER if self._close_arrival is None else self._close_arrival

    def take(self, limit: int, now: float) -> bytes:
        """Take at most `limit` of the bytes that have arrived; none are left or none has arrived: ``b""``."""
        parts = self._take_parts(limit, now)
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def take_into(self, buffer: memoryview, now: float) -> int:
        """Take as many bytes as have arrived and `buffer` has room for, and say how many."""
        count = 0
        for part in self._take_parts(len(buffer), now):
            buffer[count : count + len(part)] = part
            count += len(part)
        return count

    def _take_parts(self, limit: int, now: float) -> list[Buffer]:
        parts: list[Buffer] = []
        queue = self._queue
        room = limit
        while room and queue and queue[0][0] <= now:
            arrival, data = queue.popleft()
            if len(data) > room:
                view = memoryview(data)
                queue.appendleft((arrival, view[room:]))
                data = view[:room]
            parts.append(data)
            room -= len(data)
            if self.quality.chunk is not None:
                break
        self._size -= limit - room
        self.taken += limit - room
        return parts

    def hold(self, now: float) -> None:
        """Cut the way: what has arrived can be read, everything else waits for `release`."""
        if not self.is_held:
            self.is_held = True
            self._move(now, NEVER)

    def release(self, now: float) -> None:
        """Make the way whole: everything that was held arrives together, one latency from now."""
        if self.is_held:
            self.is_held = False
            self._last_arrival = now + self.draw_latency()
            self._move(now, self._last_arrival)

    def _move(self, now: float, arrival: float) -> None:
        """Let all that has not arrived by `now` arrive at `arrival`."""
        self._queue = deque((arrival if due > now else due, data) for due, data in self._queue)
        if self._end_arrival is not None and self._end_arrival > now:
            self._end_arrival = arrival
        if self._close_arrival is not None and self._close_arrival > now:
            self._close_arrival = arrival

    def discard(self) -> None:
        """Forget the bytes: nobody will read them. Their room is not given back, for the sender does not know yet."""
        self._is_discarded = True
        self._queue.clear()
