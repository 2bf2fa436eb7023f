"""All jobs that a context pushes on one slot: they wait here for room, go to pullers, and are forgotten when those say that they are done.

Nothing here is a task: what arrives is handled in the pass of the scheduler in which it comes.
"""

from __future__ import annotations

import enum
import heapq
import logging
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import DeadError, JobFailed, ProtocolError
from ...network.events import BadMessage
from ...network.receiving.handled import HandledSubscription
from ...network.sending.addressed import AddressedEnd, addressed_slot
from ...protocol import jobs, values
from ...protocol.identity import ContextId
from ...protocol.jobs import Answer, Pull
from ...protocol.policies import Block
from ...protocol.rooms import Choice

if TYPE_CHECKING:
    from ...network.context import Context
    from ...network.sending.outlet import Piece
    from ..direct import Sender
    from .push import PushChannel

logger = logging.getLogger("trioton.pipeline")

WINDOW: Final = 1024
"""Messages that may be ahead of those who handle them at once."""

MOST_DEATHS: Final = 3
"""Pullers that may die over a job before it counts as failed."""


def answer_slot(slot: str) -> str:
    """Where pullers answer, for the jobs of a slot."""
    return f"{slot.removesuffix('.push-pull')}.pull-push"


class Stage(enum.Enum):
    """How far a job is."""

    QUEUED = enum.auto()
    SENT = enum.auto()
    WAITS = enum.auto()
    STARTED = enum.auto()
    OVER = enum.auto()


class Job:
    """A job that is not done.

    Attributes:
        channel: Who pushes it.
        message: What was sent.
        piece: The same, encoded.
        leaving: The sending ends in it that have not left yet.
        order: How many were pushed before it.
        stage: How far it is.
        again: Whether somebody may have got it before.
        deaths: What the pullers died of that may have begun it.
    """

    __slots__ = ("again", "channel", "deaths", "leaving", "message", "order", "piece", "stage")

    def __init__(self, channel: PushChannel[Any], message: object, piece: Piece, leaving: list[Sender[Any]]) -> None:
        self.channel = channel
        self.message = message
        self.piece = piece
        self.leaving = leaving
        self.order = 0
        self.stage = Stage.QUEUED
        self.again = False
        self.deaths: list[DeadError] = []

    def __lt__(self, other: Job) -> bool:
        return self.order < other.order


class Puller:
    """A context that pulls.

    Attributes:
        wire_id: The 16 bytes of its identity.
        capacity: Jobs that it may have at once, as it tells everybody.
        count: How many channels pull there; 0 if none does any more.
        end: What is sent to it.
        pending: The jobs that are there, by the number under which each was sent.
        limit: Jobs that may be sent to it, or None while it has said nothing about that.
        refused: The number of the last job that it has turned away.
        is_blocked: Whether nothing can be sent to it before it has taken what was sent.
        last_chosen: A number that grows with each choice.
    """

    __slots__ = (
        "capacity",
        "count",
        "end",
        "is_blocked",
        "last_chosen",
        "limit",
        "pending",
        "refused",
        "wire_id",
    )

    def __init__(self, wire_id: bytes) -> None:
        self.wire_id = wire_id
        self.capacity = 0
        self.count = 0
        self.end: AddressedEnd
        self.pending: dict[int, Job] = {}
        self.limit: int | None = None
        self.refused = 0
        self.is_blocked = False
        self.last_chosen = 0

    @property
    def room(self) -> int:
        """Jobs that may be sent to it now, as far as is known."""
        if self.is_blocked or not self.count or not self.end.is_reachable:
            return 0
        return self.capacity - len(self.pending) if self.limit is None else self.limit

    def told(self, room: int, heard: int) -> None:
        """It has said how much room there is behind the job of a number."""
        for number in reversed(self.pending):
            if number <= heard:
                break
            room -= 1
        self.limit = max(0, room)


class PushDesk:
    """Sends the jobs of all channels of a context on one slot.

    Args:
        context: The context.
        slot: The full name of the slot.
        is_local: Whether the context's own pullers get jobs, too.

    Attributes:
        channels: Those who use it.
        pullers: The contexts that pull, or have something of ours.
    """

    def __init__(self, context: Context, slot: str, *, is_local: bool) -> None:
        self.slot = slot
        self.is_local = is_local
        self.channels: dict[PushChannel[Any], None] = {}
        self.pullers: dict[bytes, Puller] = {}
        self._context = context
        self._traffic = context._traffic
        self._choice: Choice[Puller] = Choice()
        self._queue: list[Job] = []
        self._denied: dict[bytes, str] = {}  # pullers to whom this context may give no jobs, and how that was said last
        self._last_order = 0
        self._last_number = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._answers = HandledSubscription(
            self._traffic.listening,
            addressed_slot(context._wire_id, answer_slot(slot)),
            Block(WINDOW),
            values.decode_run,
            self._heard,
            self._nonsense,
            own=(context._wire_id, context._dispatcher.do_later),
        )
        self._traffic.listening.add(self._answers)
        self._traffic.audience.watch(slot, self._pullers_changed)
        context._before_closing[self] = self._context_closing
        self._pullers_changed()

    def _context_closing(self) -> None:
        for channel in list(self.channels):
            channel.close()

    def leave(self, channel: PushChannel[Any]) -> None:
        """A channel is closed: what it has not sent is dropped, and nobody waits for the rest."""
        del self.channels[channel]
        for job in [*self._queue, *(job for puller in self.pullers.values() for job in puller.pending.values())]:
            if job.channel is channel:
                job.stage = Stage.OVER
        self._lot.unpark_all()
        if not self.channels:
            self._close()
            return
        self._queue = [job for job in self._queue if job.channel is not channel]
        heapq.heapify(self._queue)

    def _close(self) -> None:
        """Nobody uses it any more."""
        del self._context._shared["pushes"][self.slot]
        del self._context._before_closing[self]
        self._traffic.audience.watch(self.slot, None)
        for puller in list(self.pullers.values()):
            puller.end.close()
        self.pullers.clear()
        self._queue.clear()
        self._answers.close()

    # ---------------------------------------------------------------- pullers

    def _pullers_changed(self) -> None:
        """Something has changed about who pulls, or who can be reached."""
        self._denied.clear()  # they are tried again
        present: dict[bytes, tuple[int, int]] = {}
        for association, interest in self._traffic.interests.on(self.slot):
            present[association.peer.wire_id] = interest.size, interest.count
        own = self._traffic.listening.interest(self.slot) if self.is_local else None
        if own is not None:
            present[self._context._wire_id] = own.size, own.count
        for wire_id, (capacity, count) in present.items():
            puller = self.pullers.get(wire_id) or self._open(wire_id)
            if puller is not None:
                puller.capacity, puller.count = capacity, count
        for wire_id in self.pullers.keys() - present.keys():
            self.pullers[wire_id].count = 0
            self._forget_if_idle(self.pullers[wire_id])
        self.pump()
        self._lot.unpark_all()

    def _open(self, wire_id: bytes) -> Puller | None:
        puller = Puller(wire_id)
        puller.end = AddressedEnd(
            self._context,
            self.slot,
            wire_id,
            lambda reason: self._died(puller, reason),
            lambda: self._has_room_again(puller),
        )
        if puller.end.dead_reason is not None:
            return None
        self.pullers[wire_id] = puller
        return puller

    def _has_room_again(self, puller: Puller) -> None:
        if puller.is_blocked:
            puller.is_blocked = False
            self.pump()

    def _forget_if_idle(self, puller: Puller) -> None:
        """A context that pulls no more is forgotten when nothing of ours is there."""
        if not puller.count and not puller.pending and self.pullers.get(puller.wire_id) is puller:
            del self.pullers[puller.wire_id]
            puller.end.close()

    def _died(self, puller: Puller, reason: str) -> None:
        """Nothing reaches a puller any more, and nothing that it says is heard."""
        if self.pullers.get(puller.wire_id) is puller:
            del self.pullers[puller.wire_id]
        pending, puller.pending = puller.pending, {}
        if puller.end.denier is not None:
            self._denied_by(puller, reason, pending)
            return
        waits_ahead = False
        for job in pending.values():  # in the order in which they were sent, and so begun
            waits_ahead = waits_ahead or job.stage is Stage.WAITS
            if job.stage is Stage.OVER:
                continue
            if job.stage is Stage.STARTED or not waits_ahead:
                started = True if job.stage is Stage.STARTED else None
                job.deaths.append(DeadError(reason, context=ContextId.from_wire(puller.wire_id), started=started))
            if len(job.deaths) >= MOST_DEATHS:
                self._fail(job, f"{len(job.deaths)} pullers have died over a job, the last one since {reason}")
            else:
                self._put_back(job, again=True)
        self.pump()
        self._lot.unpark_all()

    def _denied_by(self, puller: Puller, reason: str, pending: dict[int, Job]) -> None:
        """This context may not give jobs to a puller. They go to others, if there are any to whom it may."""
        self._denied[puller.wire_id] = reason
        for job in pending.values():
            self._put_back(job, again=puller.end.has_begun)
        self.pump()
        if not any(other.count for other in self.pullers.values()):
            while self._queue:
                self._fail(heapq.heappop(self._queue), reason)
        self._lot.unpark_all()

    @property
    def count(self) -> int:
        """How many channels pull, as far as is known."""
        return sum(puller.count for puller in self.pullers.values())

    def count_running(self, channel: PushChannel[Any]) -> int:
        """How many jobs of a channel are with somebody."""
        return sum(job.channel is channel for puller in self.pullers.values() for job in puller.pending.values())

    async def wait_changed(self) -> None:
        """Wait until something about the pullers, or the channels, changes."""
        await self._lot.park()

    # ---------------------------------------------------------------- jobs

    def add(self, job: Job) -> None:
        """A job was pushed."""
        if self._denied:
            self._pullers_changed()  # what was not permitted before may be now
        self._last_order += 1
        job.order = self._last_order
        heapq.heappush(self._queue, job)
        self.pump()

    def _put_back(self, job: Job, *, again: bool) -> None:
        """A job goes to somebody else, before those that were pushed after it."""
        if job.stage is Stage.OVER:
            return
        job.stage = Stage.QUEUED
        job.again = job.again or again
        job.channel._redelivered += again
        heapq.heappush(self._queue, job)

    def pump(self) -> None:
        """Send as many jobs as there is room for."""
        while self._queue:
            puller = self._choice.choose(self.pullers.values(), lambda puller: puller.end.is_reachable)
            if puller is None:
                return
            self._send(heapq.heappop(self._queue), puller)

    def _send(self, job: Job, puller: Puller) -> None:
        """Send a job to a puller that has room for it."""
        if job.stage is Stage.OVER:
            return
        self._last_number += 1
        number = self._last_number
        head = jobs.job_head(number, puller.refused, again=job.again)
        buffers, size = job.piece
        size += len(head)
        objection = puller.end.objection(size)
        if objection is not None:
            self._fail(job, str(objection))
            return
        limit = puller.limit
        job.stage = Stage.SENT
        puller.pending[number] = job
        if limit is not None:
            puller.limit = limit - 1
        if puller.end.try_send(((head, *buffers), size)):
            for sender in job.leaving:
                sender._has_left()
            job.leaving = []
            return
        del puller.pending[number]
        puller.limit = limit
        puller.is_blocked = True
        self._put_back(job, again=False)

    def _over(self, job: Job, failure: JobFailed | None = None) -> None:
        if job.stage is not Stage.OVER:
            job.stage = Stage.OVER
            job.channel._ended(failure)

    def _fail(self, job: Job, reason: str) -> None:
        logger.warning("a job on %r is given up: %s", self.slot, reason)
        self._over(job, JobFailed(reason, job=job.message, deaths=tuple(job.deaths)))

    # ---------------------------------------------------------------- what pullers say

    def _nonsense(self, source: bytes, reason: str) -> None:
        self._context._hub.emit(BadMessage(ContextId.from_wire(source), self.slot, reason))

    def _heard(self, source: bytes, message: object) -> None:
        try:
            answer = jobs.check_pull(message)
            if max(answer.number, answer.heard) > self._last_number:
                raise ProtocolError(f"a puller speaks of job {max(answer.number, answer.heard)}, which nobody pushed")
        except ProtocolError as error:
            self._nonsense(source, str(error))
            return
        puller = self.pullers.get(source)
        if puller is not None:  # else it is dead for us
            self._answered(puller, answer)
            self._forget_if_idle(puller)
            self.pump()
            if answer.kind is Pull.ROOM and puller.limit:
                puller.end.send_soon(((jobs.PASS,), len(jobs.PASS)))

    def _answered(self, puller: Puller, answer: Answer) -> None:
        kind = answer.kind
        if kind is Pull.LEAVES:
            self._left(puller, answer.heard)
            return
        if kind is Pull.WAITS or kind is Pull.STARTED:
            job = puller.pending.get(answer.number)
            if job is not None and job.stage is not Stage.OVER:
                job.stage = Stage.WAITS if kind is Pull.WAITS else Stage.STARTED
            return
        job = puller.pending.pop(answer.number, None)  # None if it was moved on, since its puller seemed to be dead
        puller.told(answer.room, answer.heard)
        if kind is Pull.BUSY:
            puller.refused = max(puller.refused, answer.number)
        if job is None:
            return
        if kind is Pull.DONE:
            self._over(job)
        elif kind is Pull.FAILED:
            self._fail(job, f"it cannot be received: {answer.reason}")
        else:
            self._put_back(job, again=answer.started)

    def _left(self, puller: Puller, heard: int) -> None:
        """A context pulls no more; what it has not heard of it has not begun."""
        puller.count = puller.limit = 0
        for number in [number for number in puller.pending if number > heard]:
            self._put_back(puller.pending.pop(number), again=False)
