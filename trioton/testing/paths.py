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

if TYPE_CHECKING:
    from ..transports.base import Buffer
    from .quality import LinkQuality

NEVER: Final = math.inf
"""When a piece arrives whose way is cut."""


class Path:
    """What was sent in one direction and has not been taken yet.

    The cuts of `LinkQuality.chunk` lie at drawn distances along the stream, wherever the writes begin and end, so the
    way in which a sender gathers its writes does not move them. A piece also never crosses the border of a write.

    Attributes:
        quality: The latency, chunks and buffer; a new one holds for what is sent from then on.
        is_held: Whether the way is cut.
        is_reader_stopped: Whether the reader gets nothing because its host is paused.
        sent: Bytes that were written since the beginning.
        taken: Bytes that were read since the beginning.
        pieces: How many pieces they were cut into.
        has_ended: Whether the sender has ended the stream or closed its end.
    """

    def __init__(self, rng: random.Random, quality: LinkQuality) -> None:
        self.quality = quality
        self.is_held = False
        self.is_reader_stopped = False
        self.sent = 0
        self.taken = 0
        self.pieces = 0
        self.has_ended = False
        self._random = rng
        self._queue: deque[tuple[float, Buffer]] = deque()
        self._size = 0
        self._until_cut = 0
        self._last_arrival = 0.0
        self._passed_at = 0.0
        self._stopped_at: int | None = None
        self._end_is_stopped = False
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
        return self.quality.draw_latency(self._random)

    def breaks(self) -> bool:
        """Draw whether the next packet breaks the connection."""
        return self.quality.resets > 0 and self._random.random() < self.quality.resets

    def push(self, data: bytes, now: float) -> float:
        """Send `data`, which is not empty and for which there is room; gives when its last byte arrives."""
        self.sent += len(data)
        self._size += len(data)
        if self._is_discarded:
            # The reader has closed, and its word is still on the way: the sender cannot know yet.
            return NEVER
        if self.quality.chunk is None:
            arrival = self._schedule(now, len(data))
            self._queue.append((arrival, data))
            self.pieces += 1
            return arrival
        arrival = NEVER
        view = memoryview(data)
        while view:
            if self._until_cut < 1:
                self._until_cut = self._random.randint(*self.quality.chunk)
            piece = view[: self._until_cut]
            view = view[len(piece) :]
            self._until_cut -= len(piece)
            arrival = self._schedule(now, len(piece))
            self._queue.append((arrival, piece))
            self.pieces += 1
        return arrival

    def push_end(self, now: float) -> None:
        """Send the end of the stream, behind all bytes."""
        if not self.has_ended:
            self.has_ended = True
            self._end_is_stopped = self._stopped_at is not None
            self._end_arrival = self._schedule(now, 0)

    def push_close(self, now: float) -> None:
        """Send that the sender has closed both directions, behind all bytes."""
        self.push_end(now)
        self._close_arrival = self._schedule(now, 0)

    def _schedule(self, now: float, size: int) -> float:
        # Everything that goes into a path passes here, and here alone: it is the place to count, to lose and to delay.
        if self.is_held or self._stopped_at is not None:
            return NEVER
        return self._schedule_passing(now, size)

    def _schedule_passing(self, now: float, size: int) -> float:
        if self.quality.bandwidth is not None:
            now = self._passed_at = max(self._passed_at, now) + size / self.quality.bandwidth
        self._last_arrival = max(self._last_arrival, now + self.draw_latency())
        return self._last_arrival

    def has_arrived(self, now: float) -> bool:
        """Whether a read returns at once: with bytes, or with the end of the stream."""
        return self.next_arrival() <= now

    def next_arrival(self) -> float:
        """When there is something to be read, if nothing else happens; infinity if nothing is on its way."""
        if self.is_reader_stopped:
            return NEVER
        if self._queue:
            return self._queue[0][0]
        return NEVER if self._end_arrival is None else self._end_arrival

    def end_arrival(self) -> float:
        """When the end of the stream arrives, if nothing else happens."""
        return NEVER if self._end_arrival is None else self._end_arrival

    def close_arrival(self) -> float:
        """When the reader learns that the sender has closed, if nothing else happens."""
        return NEVER if self._close_arrival is None or self.is_reader_stopped else self._close_arrival

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
            self._passed_at = now
            self._last_arrival = now + self.draw_latency()
            self._move(now, self._last_arrival)

    def stop_writer(self) -> None:
        """What is sent from now on leaves at `start_writer` only; what was sent before is on its way."""
        if self._stopped_at is None:
            self._stopped_at = self.pieces

    def start_writer(self, now: float) -> None:
        """All that was sent since `stop_writer` leaves now."""
        stopped_at, self._stopped_at = self._stopped_at, None
        if stopped_at is None or self.is_held:
            return
        gone = self.pieces - len(self._queue)
        for index in range(max(0, stopped_at - gone), len(self._queue)):
            data = self._queue[index][1]
            self._queue[index] = (self._schedule_passing(now, len(data)), data)
        if self._end_is_stopped:
            self._end_arrival = self._schedule_passing(now, 0)
        if self._close_arrival == NEVER:
            self._close_arrival = self._schedule_passing(now, 0)

    def forget_stopped(self) -> None:
        """What was sent since `stop_writer` never leaves, nor does an end of the stream."""
        if self._stopped_at is None:
            return
        gone = self.pieces - len(self._queue)
        while self._queue and gone + len(self._queue) > self._stopped_at:
            self._size -= len(self._queue.pop()[1])
            self.pieces -= 1
        if self._end_is_stopped:
            self.has_ended, self._end_arrival, self._close_arrival = False, None, None
        self._stopped_at, self._end_is_stopped = None, False

    def _move(self, now: float, arrival: float) -> None:
        """Let all that has left the sender, and has not arrived by `now`, arrive at `arrival`."""
        left = len(self._queue)
        if self._stopped_at is not None:
            left = max(0, self._stopped_at - (self.pieces - len(self._queue)))
        self._queue = deque(
            (arrival if due > now and index < left else due, data) for index, (due, data) in enumerate(self._queue)
        )
        if self._stopped_at is not None and self._end_is_stopped:
            return
        if self._end_arrival is not None and self._end_arrival > now:
            self._end_arrival = arrival
        if self._close_arrival is not None and self._close_arrival > now:
            self._close_arrival = arrival

    def discard(self) -> None:
        """Forget the bytes: nobody will read them. Their room is not given back, for the sender does not know yet."""
        self._is_discarded = True
        self._queue.clear()
