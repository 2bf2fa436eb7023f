"""The receiving side: one flow as it comes in, and what waits for a subscription.

`ReceiveFlow` removes what came twice and finds gaps. `Inbox` holds the runs of one subscription, undecoded, and applies its
policy to single messages without a look at them: a run is only a range of numbers until somebody takes it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProtocolError
from .packages import PackageHeader
from .policies import Block, Disconnect, Mode, Policy
from .window import Window

if TYPE_CHECKING:
    from .memory import MemoryScope

MOST_OLDER: Final = 8
"""Earlier lives of a flow that are remembered; a channel that is opened and closed more often at once loses count."""


class ReceiveFlow:
    """What is known here of one flow of another context.

    Attributes:
        source: The 16 bytes of the sender's identity.
        slot: The slot.
        stream: Which life of the flow it is.
        expected: The next sequence number, or None before anything is known.
        first_seen: The number with which it began here, if the sender has not said with which it starts.
        granted: Messages before this number may come, or None if the flow does not block (yet).
        is_ended: Whether the sender has ended it.
        reported: What was last told to the sender: all before it taken, and its limit.
        flush_to: The sender wants to hear when all before this number has been taken.
        offered: The room that a sender which has not started was told of, and may count on; None if it was told of none.
        is_asked_back: Whether the sender was asked for room back, and has not answered yet.
        older: Earlier lives of the flow that have begun and whose end has not come, by their streams.
        window_bytes: Bytes that the sender may be ahead of what has been taken.
    """

    __slots__ = (
        "expected",
        "first_seen",
        "flush_to",
        "granted",
        "is_asked_back",
        "is_ended",
        "offered",
        "older",
        "reported",
        "slot",
        "source",
        "stream",
        "window_bytes",
    )

    def __init__(self, source: bytes, slot: str, stream: int, window_bytes: int) -> None:
        self.source = source
        self.slot = slot
        self.stream = stream
        self.expected: int | None = None
        self.first_seen: int | None = None
        self.granted: int | None = None
        self.is_ended = False
        self.reported = (0, 0)
        self.flush_to = 0
        self.offered: int | None = None
        self.is_asked_back = False
        self.older: dict[int, ReceiveFlow] = {}
        self.window_bytes = window_bytes

    def succeed(self, older: ReceiveFlow) -> None:
        """This life of a flow began before the end of another has come: what is still on its way of that one is wanted, too."""
        known = [flow for flow in (*older.older.values(), older) if flow.expected is not None and not flow.is_ended]
        self.older = {flow.stream: flow for flow in known[-MOST_OLDER:]}
        older.older = {}

    def overtake(self, stream: int) -> ReceiveFlow:
        """News of this life of a flow came before the first package of an earlier one; gives that one."""
        flow = ReceiveFlow(self.source, self.slot, stream, self.window_bytes)
        self.older = dict([*self.older.items(), (stream, flow)][-MOST_OLDER:])
        return flow

    def start(self, first: int) -> int:
        """The sender says with which number it starts, unless that is known already.

        Returns:
            How many messages are missing before the first that has come.
        """
        if self.expected is None:
            self.expected = first
        begun, self.first_seen = self.first_seen, None
        return 0 if begun is None else max(0, begun - first)

    def receive_next(self, first: int, count: int) -> bool:
        """Take note of a package which is the very next one, and for which there is room; False if it is not, and nothing has changed.

        A quicker way for what nearly all packages are; `receive` takes any.
        """
        if first != self.expected or self.is_ended or (self.granted is not None and first + count > self.granted):
            return False
        self.expected = first + count
        return True

    def receive(self, header: PackageHeader, *, is_last: bool) -> tuple[int, int]:
        """Take note of a package.

        Returns:
            How many of its messages were here before, and how many are missing in front of it.

        Raises:
            ProtocolError: The sender has no room left for it, or it goes on after its end.
        """
        first, end = header.first, header.first + header.count
        if self.is_ended and end > (self.expected or 0):
            raise ProtocolError(f"the flow on {self.slot!r} goes on after its end")
        if self.granted is not None and end > self.granted:
            raise ProtocolError(f"message {end - 1} on {self.slot!r} was sent beyond its limit of {self.granted}")
        if self.expected is None:
            self.expected = self.first_seen = first
        expected = self.expected
        known = min(max(expected - first, 0), header.count)
        missing = max(first - expected, 0)
        self.expected = max(expected, end)
        if is_last and not self.is_ended and end >= expected:
            self.is_ended = True
            self.expected = end + 1
        return known, missing


class Run:
    """Messages of one flow that wait: those at positions `start` to `stop` of an encoded array.

    Attributes:
        flow: Whose they are.
        first: The sequence number of the array's first message.
        body: The encoded array, or the message itself if `is_lone_bytes`.
        is_lone_bytes: Whether the run is one message that is bytes, which has been decoded already.
        start: The first position that still counts.
        stop: The position after the last one.
        arrival: Its place in the order in which all packages came to this context.
        memory: What it is charged to while it waits; None for what this context has sent itself.
        share: Bytes that are charged: its part of the body, which others may hold as well.
    """

    __slots__ = ("arrival", "body", "first", "flow", "is_lone_bytes", "memory", "share", "start", "stop")

    def __init__(
        self,
        flow: ReceiveFlow,
        first: int,
        body: bytes,
        start: int,
        stop: int,
        arrival: int,
        is_lone_bytes: bool = False,  # made once a package, by position
        memory: MemoryScope | None = None,
        share: int = 0,
    ) -> None:
        self.flow = flow
        self.first = first
        self.body = body
        self.is_lone_bytes = is_lone_bytes
        self.start = start
        self.stop = stop
        self.arrival = arrival
        self.memory = memory
        self.share = share

    def left(self) -> None:
        """It waits no longer."""
        if self.memory is not None:
            self.memory.release(self.share)


class InboxCounts:
    """What an inbox has seen.

    Attributes:
        received: Messages that came.
        dropped: Messages that were lost, here or on the way here.
        bytes: Bytes of the packages.
    """

    __slots__ = ("bytes", "dropped", "received")

    def __init__(self) -> None:
        self.received = 0
        self.dropped = 0
        self.bytes = 0


class Inbox:
    """What waits for one subscription, under its policy.

    The owner decodes runs, one at a time: `next_run` gives one out, its messages go into `ready`, and are taken from there.

    Args:
        policy: What happens when there is no room.

    Attributes:
        ready: Decoded messages of the run that was given out last.
        window: The room of a blocking policy, else None.
        counts: Messages received and dropped, and bytes received.
        is_broken: Whether a `Disconnect` policy has ended the subscription.
        broken_because: Why it has.
        bytes_ahead: Bytes of the runs that wait, and of those given out since the sources last heard what was taken.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.ready: deque[Any] = deque()
        self.window = Window(policy.size) if isinstance(policy, Block) else None
        self.counts = InboxCounts()
        self.is_broken = False
        self.broken_because = ""
        self.bytes_ahead = 0
        self._runs: deque[Run] = deque()
        self._waiting = 0
        self._waiting_bytes = 0
        self._current: Run | None = None
        self._runs_of: dict[ReceiveFlow, int] = {}
        self._first_of: dict[ReceiveFlow, int] = {}
        self._orphans: set[ReceiveFlow] = set()

    @property
    def pending(self) -> int:
        """Messages that wait, decoded or not."""
        return self._waiting + len(self.ready)

    @property
    def next_arrival(self) -> int | None:
        """The place in the order of arrival of the next message, or None if none waits."""
        if self.ready and self._current is not None:
            return self._current.arrival
        return self._runs[0].arrival if self._runs else None

    def add(self, run: Run) -> int:
        """Add the messages of a run; gives how many messages, these or older ones, were dropped for want of room.

        Raises:
            OverMemoryError: Whoever has sent it, or passed it on, makes too much wait here. The run was not added.
        """
        count, size = run.stop - run.start, len(run.body)
        if self.is_broken:
            return 0
        if run.memory is not None:
            run.memory.charge(run.share)
        counts = self.counts
        counts.received += count
        counts.bytes += size
        self._runs.append(run)
        self._waiting += count
        window = self.window
        if window is not None:
            # A source that was granted room cannot have sent more than that; one that was not has what is free.
            dropped = 0 if run.flow.granted is not None else self._drop_excess(run)
            if run.stop > run.start:
                self._await_take(run, size, window)
            return dropped
        return self._drop_excess(run)

    def _drop_excess(self, run: Run) -> int:
        """Drop what there is no room for, now that a run was added."""
        excess = self.pending - self.policy.size
        if excess <= 0:
            return 0
        if self.policy.mode is Mode.DROP_OLDEST:
            self._drop_oldest(excess)
        else:
            excess = min(excess, run.stop - run.start)  # those who were granted room may have filled more than that
            self._drop_newest(run, excess)
        self.counts.dropped += excess
        return excess

    def handed_over(self, flow: ReceiveFlow, size: int) -> None:
        """A message of `size` bytes, the newest of its flow, was taken as it came; to be called while nothing else waits."""
        counts = self.counts
        counts.received += 1
        counts.bytes += size
        if self.window is not None:
            self.bytes_ahead += size
            room = self.window.rooms.get(flow)
            if room is not None and flow.expected is not None and room.received < flow.expected:
                room.received = flow.expected

    def _await_take(self, run: Run, size: int, window: Window) -> None:
        """Take note of messages that their source wants to know taken."""
        flow = run.flow
        self.bytes_ahead += size
        self._waiting_bytes += size
        runs = self._runs_of.get(flow, 0)
        self._runs_of[flow] = runs + 1
        if not runs:
            self._first_of[flow] = run.first + run.start
        room = window.rooms.get(flow)
        if room is not None and room.received < run.first + run.stop:
            room.received = run.first + run.stop

    def missed(self, count: int) -> None:
        """Messages were lost on the way; a subscription that may not lose any ends with those that came before."""
        self.counts.dropped += count
        if isinstance(self.policy, Disconnect):
            self._break(f"{'1 message was' if count == 1 else f'{count} messages were'} lost on the way here")

    def _break(self, reason: str) -> None:
        if not self.is_broken:
            self.is_broken, self.broken_because = True, reason

    def _drop_oldest(self, excess: int) -> None:
        while excess and self.ready:
            self.ready.popleft()
            excess -= 1
        while excess:
            oldest = self._runs[0]
            dropped = min(excess, oldest.stop - oldest.start)
            oldest.start += dropped
            self._waiting -= dropped
            excess -= dropped
            if oldest.start == oldest.stop:
                self._runs.popleft().left()

    def _drop_newest(self, run: Run, excess: int) -> None:
        run.stop -= excess
        self._waiting -= excess
        if run.start == run.stop:
            self._runs.pop().left()
        if isinstance(self.policy, Disconnect):
            self._break(f"more than {self.policy.size} message{'s' * (self.policy.size != 1)} waited")

    def next_run(self) -> Run | None:
        """Give the next run out to be decoded, or None if none waits. The messages of the one before count as taken."""
        self._current = run = self._runs.popleft() if self._runs else None
        if run is not None:
            if run.memory is not None:
                run.memory.release(run.share)
            self._waiting -= run.stop - run.start
            if self.window is not None:
                self._give_out(run, self.window)
        return run

    def _give_out(self, run: Run, window: Window) -> None:
        flow = run.flow
        self._waiting_bytes -= len(run.body)
        self._runs_of[flow] -= 1
        self._first_of[flow] = run.first + run.stop
        if flow in self._orphans:
            window.orphans -= run.stop - run.start
        if not self._runs_of[flow]:
            del self._runs_of[flow], self._first_of[flow]
            self._orphans.discard(flow)

    def forget_current(self) -> None:
        """The run that was given out last could not be decoded: its messages count as dropped."""
        if self._current is not None:
            self.counts.dropped += self._current.stop - self._current.start

    def taken_position(self, flow: ReceiveFlow) -> int | None:
        """The number before which nothing of a flow waits any more, or None if the flow has not started."""
        current = self._current
        if self.ready and current is not None and current.flow is flow:
            return current.first + current.stop - len(self.ready)
        return self._first_of.get(flow, flow.expected)

    def forget(self, flow: ReceiveFlow) -> None:
        """A flow is gone; what came from it still waits, and takes room until it has been taken."""
        if self.window is not None and flow in self.window.rooms:
            self.window.leave(flow)
            if flow in self._runs_of:
                self._orphans.add(flow)
                self.window.orphans += sum(run.stop - run.start for run in self._runs if run.flow is flow)

    def reported(self) -> None:
        """The sources have heard what was taken; they keep what they have sent until all of its run has been taken."""
        current = self._current
        self.bytes_ahead = self._waiting_bytes + (len(current.body) if self.ready and current is not None else 0)

    def ask_back_again(self, flow: ReceiveFlow) -> None:
        """A source may not have heard that it was asked for room back."""
        if self.window is not None and flow in self.window.rooms:
            self.window.rooms[flow].asked_back = False

    def clear(self) -> None:
        """Drop everything that waits."""
        for run in self._runs:
            run.left()
        self._runs.clear()
        self.ready.clear()
        self._waiting = 0
        self._current = None
