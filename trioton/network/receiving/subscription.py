"""What a channel holds to receive: an inbox, and the tasks that wait for something to come into it; and which of these there are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import ProtocolError
from ...protocol.inbox import Inbox, ReceiveFlow, Run

if TYPE_CHECKING:
    from ...protocol.policies import Policy
    from ...protocol.window import Window
    from .listening import Listening

NEVER: Final = 1 << 62


class Subscription:
    """The receiving end of a slot for one channel.

    Args:
        listening: Who listens in the context.
        slot: The slot.
        policy: What happens when there is no room.

    Attributes:
        inbox: What waits.
        until_credit: Messages that may be taken before the sources must hear of it; the channel counts it down.
        countdown: Messages that the channel may take before it must look at anything else than the next message.
        allowed: What `countdown` was when the channel last looked.
        is_closed: Whether the channel has closed it.
        is_ended: Whether nothing more will come.
        error: Why nothing more will come, if that is no clean end.
        on_arrival: Called when something has come, for those who wait on several subscriptions.
        decode_lone: The channel's way to make a message of a run of one; raises `ProtocolError` or gives None if that fails.
        is_shared: Whether all contexts may send to it, though it is addressed.
        scans_lone: Whether it scans packages of one message itself, where that is needed; then it has its slot alone.
    """

    is_shared = False
    scans_lone = False

    def __init__(self, listening: Listening, slot: str, policy: Policy) -> None:
        self.slot = slot
        self.inbox = Inbox(policy)
        self.until_credit = NEVER
        self.countdown = 0
        self.allowed = 0
        self.is_closed = False
        self.is_ended = False
        self.error: Exception | None = None
        self.on_arrival: list[Callable[[], None]] = []
        self.decode_lone: Callable[[bytes], Any] | None = None
        self._listening = listening
        self._reports = listening.reports
        self._waiters: deque[trio.lowlevel.Task] = deque()
        self._handed: dict[trio.lowlevel.Task, Any] = {}

    def hand_over(self, flow: ReceiveFlow, body: bytes) -> bool:
        """Give the message of a run of one straight to a task that waits, if nothing else waits; whether that was done.

        It counts as taken from now on. As in Trio's memory channels, the task gets it even if it is cancelled before its turn.
        """
        inbox = self.inbox
        if not self._waiters or inbox.pending or self.on_arrival or inbox.is_broken or self.decode_lone is None:
            return False
        try:
            message = self.decode_lone(body)
        except ProtocolError:
            return False  # whoever takes it will say so
        if message is None:
            return False
        task = self._waiters.popleft()
        self._handed[task] = message
        trio.lowlevel.reschedule(task)
        inbox.handed_over(flow, len(body))
        if inbox.window is not None:
            if self.until_credit:
                self._watch_room(flow, inbox.window)
            self.until_credit -= 1
            if self.until_credit < 0:
                self.credit_due()
        return True

    def deliver(self, run: Run) -> int:
        """Take a run in; gives how many messages were dropped."""
        inbox = self.inbox
        dropped = inbox.add(run)
        window = inbox.window
        if window is not None:
            if self.until_credit:
                self._watch_room(run.flow, window)
            if len(window.rooms) > 1 and window.is_starved(run.flow):
                self.credit_due()  # others may hold more than their share, and are asked for it
        if self._waiters or self.on_arrival:
            self.wake(run.stop - run.start)
        return dropped

    def _watch_room(self, flow: ReceiveFlow, window: Window) -> None:
        """If a source is short of room, it must hear at once of what is taken, and of what was."""
        room = window.rooms.get(flow)
        short = room is not None and room.limit - room.received < window.size // 2
        if short or self.inbox.bytes_ahead >= flow.window_bytes // 2:
            self.hear_next_take()
            position = self.inbox.taken_position(flow)
            if position is not None and position > flow.reported[0]:
                self.credit_due()

    def hear_next_take(self) -> None:
        """The sources must hear of the very next message that is taken."""
        self.until_credit = 0
        self.allowed -= self.countdown
        self.countdown = 0

    def hear_after(self, count: int) -> None:
        """The sources must hear of what is taken when it is more than `count` messages."""
        self.until_credit = count
        excess = self.countdown - count
        if excess > 0:
            self.allowed -= excess
            self.countdown = count

    def wake(self, count: float = math.inf) -> None:
        """Wake tasks that wait: as many as there are messages for, or all."""
        waiters = self._waiters
        while waiters and count > 0:
            trio.lowlevel.reschedule(waiters.popleft())
            count -= 1
        for callback in self.on_arrival:
            callback()

    async def wait(self) -> Any:
        """Wait until something may have come, or the end.

        Returns:
            A message that was handed over, which counts as taken; or None: the caller looks again.
        """
        task = trio.lowlevel.current_task()
        self._waiters.append(task)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiters.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return self._handed.pop(task, None)

    def credit_due(self) -> None:
        """Messages were taken: tell the sources in the next pass of the scheduler."""
        self.until_credit = NEVER
        self._reports.soon(self.slot)

    def close(self) -> None:
        """Stop receiving; what waits is dropped."""
        if not self.is_closed:
            self.is_closed = True
            self._listening.remove(self)
            self.inbox.clear()
            self.wake()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come, for the reason given if that is no clean end; what waits may still be taken."""
        if not self.is_ended:
            self.is_ended = True
            self.error = error
            self.wake()

    def source_gone(self, source: bytes) -> None:
        """A context that has sent here sends no more."""

    @property
    def waiting(self) -> int:
        """Tasks that wait for a message."""
        return len(self._waiters)

    @property
    def is_over(self) -> bool:
        """Whether no message will ever be received here again."""
        return self.is_closed or (not self.inbox.pending and (self.is_ended or self.inbox.is_broken))


class Subscriptions:
    """The subscriptions of a context. They are put in and taken out by `Listening`.

    Attributes:
        by_slot: The subscriptions of each slot that has any, older ones first.
        scanning: The slots whose subscription scans packages of one message itself.
    """

    def __init__(self) -> None:
        self.scanning: set[str] = set()
        self.by_slot: dict[str, list[Subscription]] = {}

    def __len__(self) -> int:
        return len(self.by_slot)

    def on(self, slot: str) -> list[Subscription]:
        """The subscriptions of a slot."""
        return self.by_slot.get(slot, [])

    def blocking(self, slot: str) -> list[Subscription]:
        """Those of them that block."""
        return [each for each in self.by_slot.get(slot, []) if each.inbox.window is not None]

    def end(self) -> None:
        """The context closes: all end after what waits."""
        for subscriptions in list(self.by_slot.values()):
            for subscription in list(subscriptions):
                subscription.end()
