"""Everything that one context sends on one slot: its flow, the tasks that wait for room, and the backlog before anyone listens.

All channels of a context that send on the same slot share one outlet, and so one order.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ...errors import DeadError
from ...protocol.codec import text_head
from ...protocol.flow import LARGE_MESSAGE, Branch, SendFlow
from ...protocol.limits import MAX_RUN_BYTES, MIB

if TYPE_CHECKING:
    from ...protocol.packages import Buffer
    from .dispatcher import Dispatcher

logger = logging.getLogger("trioton.context")

BACKLOG_BYTES: Final = MIB

TEXT_HEAD: Final = 3
"""Bytes in front of a text, as far as the size of a run is concerned."""

Piece = tuple[tuple["Buffer", ...], int]
"""One encoded message: its buffers, and their bytes in all."""


class Sender(Protocol):
    """What a channel that sends is to its outlet."""

    def _count_sent(self, count: int) -> None:
        """So many messages with which a task waited were sent."""


class _WaitingSend:
    """A task in `send` or `send_many`, with what it wants to send: one encoded message, or several short texts.

    Attributes:
        task: The task.
        owner: Its channel.
        piece: The message, if there is just one.
        texts: The texts otherwise.
        since: When it began to wait.
        told: Whether an event has told of it.
        error: What the task shall raise.
    """

    __slots__ = ("error", "owner", "piece", "since", "task", "texts", "told")

    def __init__(self, owner: Sender, piece: Piece | None, texts: list[str]) -> None:
        self.task = trio.lowlevel.current_task()
        self.owner = owner
        self.piece = piece
        self.texts = texts
        self.since = trio.current_time()
        self.told = False
        self.error: Exception | None = None


def _text_piece(text: str) -> Piece:
    """A short ASCII text as an encoded message."""
    data = text_head(len(text)) + text.encode()
    return (data,), len(data)


class Outlet:
    """The shared sending end of one slot of a context.

    Args:
        dispatcher: The context's dispatcher.
        flow: The flow that the outlet fills.

    Attributes:
        backlog_size: Messages that wait before anyone has ever listened.
        users: How many channels use the outlet.
        dropped: Messages that nobody listened to, or that fell out of the backlog.
        is_local: Whether the context's own subscriptions get what is sent here, too.
        is_own: Whether the library itself sends here, of which programs need not know: it is not counted, and no flush waits for it.
        flush_to: The number up to which somebody waits for all to have been taken.
        dead_reason: Why nothing that is sent here can arrive any more, or None.
        denier: Who does not let this context send here, if that is why; else None.
        was_closed: Whether one of several users has closed it.
        on_change: Called when there may be more room, or when nothing can arrive any more.
    """

    def __init__(self, dispatcher: Dispatcher, flow: SendFlow) -> None:
        self.dispatcher = dispatcher
        self.flow = flow
        self.backlog_size = 0
        self.users = 0
        self.dropped = 0
        self.is_local = False
        self.is_own = False
        self.flush_to = 0
        self.dead_reason: str | None = None
        self.denier: int | None = None
        self.was_closed = False
        self.on_change: Callable[[], None] | None = None
        self._backlog: deque[Piece] = deque()
        self._backlog_bytes = 0
        self._had_subscriber = False
        self._waiting: deque[_WaitingSend] = deque()
        self._takes_no_more = False
        self._denied: dict[
            Hashable, None
        ] = {}  # those who would get what is sent here, if this context were permitted to send it
        self._denied_from = 0
        self._denied_before = 0
        self._changed = trio.lowlevel.ParkingLot()
        flow.hold(held=True)

    # ---------------------------------------------------------------- who listens

    @property
    def subscribers(self) -> int:
        """Subscriptions of other contexts that get what is sent now."""
        return sum(branch.subscriptions for branch in self.flow.branches.values() if branch.is_ready)

    @property
    def has_begun(self) -> bool:
        """Whether anything was sent to anybody; until then all waits in the backlog."""
        return self._had_subscriber

    @property
    def is_listened_to(self) -> bool:
        """Whether anyone, in any context, gets what is sent now."""
        return any(branch.is_ready for branch in self.flow.branches.values())

    async def wait_changed(self) -> None:
        """Wait until subscriptions, or what they have taken, change."""
        await self._changed.park()

    def changed(self) -> None:
        """Something about the branches has changed: release what may go now, and tell those who wait for changes."""
        self._release()
        self._changed.unpark_all()
        if self.on_change is not None:
            self.on_change()

    def _release(self) -> None:
        if self.dead_reason is not None:
            return
        branches = self.flow.branches.values()
        if not self._had_subscriber:
            if self._waiting and not branches and self.flow.destination is None:
                self._expect_nobody()
            if not self.is_listened_to or not all(branch.is_ready for branch in branches):
                return
            self._had_subscriber = True
        flow = self.flow
        if flow.is_held:
            flow.hold(held=False)
        while self._backlog and flow.room > 0:
            piece = self._backlog.popleft()
            self._backlog_bytes -= piece[1]
            objection = self.objection(piece[1])
            if objection is None:
                self.add(piece)
            else:
                self.dropped += 1
                self.dispatcher.skip(flow)
                logger.warning("%r: %s: it had waited for a subscriber, and is dropped", flow.slot, objection)
        if not self._backlog:
            self._release_waiting()
        if self._backlog or self._waiting or self._takes_no_more:
            flow.hold(held=True)

    def _expect_nobody(self) -> None:
        """Those who were to give room for the first time listen no more: tasks need not wait for that, and the oldest messages give way."""
        while self._waiting:
            send = self._waiting.popleft()
            for piece in map(_text_piece, send.texts) if send.piece is None else [send.piece]:
                self._add_to_backlog(piece)
            send.owner._count_sent(len(send.texts))
            trio.lowlevel.reschedule(send.task)

    def _release_waiting(self) -> None:
        waiting, flow = self._waiting, self.flow
        while waiting and flow.room > 0:
            send = waiting[0]
            if send.piece is None:
                self._release_texts(send)
                if send.texts:
                    continue
            else:
                send.error = self.objection(send.piece[1])
                if send.error is None:
                    self.add(send.piece)
            waiting.remove(send)
            trio.lowlevel.reschedule(send.task)

    def _release_texts(self, send: _WaitingSend) -> None:
        """Add as many of the texts as there is room for."""
        flow = self.flow
        if not flow.takes_text:
            self.dispatcher.cut()
        texts, send.texts = send.texts[: flow.room], send.texts[flow.room :]
        send.owner._count_sent(len(texts))
        due = flow.add_texts(texts, sum(map(len, texts)) + TEXT_HEAD * len(texts))
        self.dispatcher.added(flow, due=due)

    # ---------------------------------------------------------------- sending

    def objection(self, size: int) -> ValueError | None:
        """Why a message of so many bytes cannot be sent, or None: what a subscriber does not take would end its link."""
        if size > MAX_RUN_BYTES:
            for branch in self.flow.branches.values():
                most = getattr(branch.key, "max_package", size)
                if size > most:
                    return ValueError(f"the message takes {size} bytes; {branch.key.peer} takes at most {most}")  # type: ignore[attr-defined]  # keys are associations, or LOCAL
        return None

    def add(self, piece: Piece) -> None:
        """Add a message for which there is room, whatever else waits."""
        buffers, size = piece
        if size >= LARGE_MESSAGE:
            self.dispatcher.add_large(self.flow, buffers, size)
        else:
            self.dispatcher.added(self.flow, due=self.flow.add(b"".join(buffers)))

    def try_add(self, piece: Piece) -> bool:
        """Add a message if it needs not wait for anything; to be called when the flow has no room at first sight.

        Raises:
            trio.BrokenResourceError: What is sent here cannot arrive any more.
        """
        if self.dead_reason is not None:
            raise self.broken()
        if self.flow.room > 0:
            self.add(piece)
            return True
        if self._had_subscriber or self._waiting:
            return False
        return self._add_to_backlog(piece)

    def _add_to_backlog(self, piece: Piece) -> bool:
        """Keep a message for the first subscriber; the oldest give way while there is none."""
        expected = bool(self.flow.branches) or self.flow.destination is not None
        if expected and (len(self._backlog) >= self.backlog_size or self._backlog_bytes >= BACKLOG_BYTES):
            return False
        self._backlog.append(piece)
        self._backlog_bytes += piece[1]
        while len(self._backlog) > self.backlog_size or (self._backlog_bytes > BACKLOG_BYTES and not expected):
            _, size = self._backlog.popleft()
            self._backlog_bytes -= size
            self.dropped += 1
        return True

    def keeps(self, size: int) -> bool:
        """Whether a message of so many bytes that is sent now reaches somebody, or waits for the first subscriber and no older one gives way."""
        if self.is_listened_to or (self.flow.branches and not self._had_subscriber):
            return True
        has_place = len(self._backlog) < self.backlog_size and self._backlog_bytes + size <= BACKLOG_BYTES
        return has_place and not self._had_subscriber

    @property
    def lets_wait(self) -> bool:
        """Whether a message for which there is no room must wait, and is not kept for a first subscriber."""
        return self.dead_reason is None and (self._had_subscriber or bool(self._waiting))

    async def wait_add(self, owner: Sender, piece: Piece | None, texts: list[str]) -> None:
        """Wait for room and add a message for a channel, or short ASCII texts, one after the other, each as soon as there is room.

        The channel counts the texts that are added. Cancelled or failed, the first of them were; a single message was not.

        Raises:
            trio.BrokenResourceError: What is sent here cannot arrive any more.
            trio.ClosedResourceError: The channel or the context was closed.
        """
        send = _WaitingSend(owner, piece, texts)
        self._waiting.append(send)
        self.flow.hold(held=True)
        self.dispatcher.congestion.watch(self)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiting.remove(send)
            self._release()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if send.error is not None:
            raise send.error

    @property
    def waiting(self) -> int:
        """Tasks that wait for room."""
        return len(self._waiting)

    def abandon_waiting(self, owner: object) -> None:
        """A channel was closed: its tasks need not wait any longer."""
        for send in [send for send in self._waiting if send.owner is owner]:
            self._waiting.remove(send)
            send.error = trio.ClosedResourceError(f"{owner!r} was closed")
            trio.lowlevel.reschedule(send.task)
        self.changed()  # the owner may also wait for subscribers

    def abandon_all_waiting(self) -> None:
        """The context closes: no task need wait any longer, and what waited to be sent is not; only the backlog still leaves."""
        self._takes_no_more = True
        self.flow.hold(held=True)
        for owner in {id(send.owner): send.owner for send in self._waiting}.values():
            self.abandon_waiting(owner)
        self._changed.unpark_all()

    def congested_since(self) -> float:
        """Since when the task that waits longest has waited, if nobody was told of it yet; else infinity."""
        if self._waiting and not self._waiting[0].told and self.flow.is_blocked_by_branch:
            return self._waiting[0].since
        return math.inf

    def told_congestion(self) -> None:
        """The congestion of the task that waits longest has been reported."""
        self._waiting[0].told = True

    # ---------------------------------------------------------------- branches

    def add_branch(self, branch: Branch) -> None:
        """A neighbour wants what is sent here."""
        self._permit(branch.key)
        self.flow.add_branch(branch)

    def remove_branch(self, key: Hashable) -> None:
        """A neighbour no longer wants what is sent here, or is gone."""
        self._permit(key)
        branch = self.flow.branches.get(key)
        if branch is not None:
            self.flow.remove_branch(key)
            branch.outbox.remove_branch(branch)
            self.changed()

    # ---------------------------------------------------------------- those who may not get it

    def deny(self, key: Hashable, since: int) -> None:
        """One who listens does not get what is sent here, since this context may not send it there: from message `since` on."""
        if not self._denied:
            self._denied_from = since
        self._denied[key] = None
        if not self.flow.branches:
            self._had_subscriber = True  # nobody need wait for the first one

    def _permit(self, key: Hashable) -> None:
        """That is over: it is tried again, or one does not listen any more."""
        if key in self._denied:
            del self._denied[key]
            if not self._denied:
                self._denied_before += self.flow.next - self._denied_from

    @property
    def denied_by(self) -> list[Hashable]:
        """Those who do not get what is sent here now."""
        return list(self._denied)

    @property
    def denied(self) -> int:
        """Messages so far that some who listen did not get, since this context may not send them there."""
        return self._denied_before + (self.flow.next - self._denied_from if self._denied else 0)

    def broken(self) -> trio.BrokenResourceError:
        """The error that tells why nothing that is sent here can arrive any more."""
        error = trio.BrokenResourceError(self.dead_reason)
        error.__cause__ = DeadError(self.dead_reason or "")
        return error

    def die(self, reason: str) -> None:
        """Nothing that is sent here can arrive any more: everybody who waits hears why."""
        self.dead_reason = reason
        self.flow.hold(held=True)
        while self._waiting:
            send = self._waiting.popleft()
            send.error = self.broken()
            trio.lowlevel.reschedule(send.task)
        self._backlog.clear()
        self._backlog_bytes = 0
        self._changed.unpark_all()
        if self.on_change is not None:
            self.on_change()

    @property
    def backlog(self) -> int:
        """Messages that wait for the first subscriber."""
        return len(self._backlog)

    @property
    def is_releasing(self) -> bool:
        """Whether messages wait here for room of subscribers that exist."""
        return bool(self._backlog and self.flow.branches)

    def drop_backlog(self) -> None:
        """Forget what waits for a first subscriber."""
        self.dropped += len(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0
