"""All jobs that a context pulls on one slot: who asks for them, which of them run, and who hears when they are done."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import ProtocolError
from ...network.cancellation import is_cancelled
from ...network.events import BadMessage
from ...network.receiving.handled import Advertisement, HandledSubscription
from ...network.sending.addressed import AddressedEnd, addressed_slot
from ...protocol import jobs
from ...protocol.identity import ContextId
from ...protocol.jobs import Answer, Pull
from ...protocol.policies import Block, DropNewest
from ...protocol.turns import KEPT_FOR, Turns
from .. import references
from .desk import WINDOW, answer_slot

if TYPE_CHECKING:
    from ...network.context import Context
    from .pull import PullChannel

LINGER: Final = 10.0
"""Seconds for which jobs that are on their way when the last channel is closed are still told to go elsewhere."""

MOST_LATE: Final = 10_000
"""Answers that wait for a pusher to give room for them; whoever lets more wait does not mean to take them."""


class Pusher:
    """A context that pushes.

    Attributes:
        wire_id: The 16 bytes of its identity.
        end: What is said to it.
        heard: The number of its last job that has come.
        refused: The number of its last job that was turned away.
        is_gone: Whether it pushes no more, and hears nothing.
    """

    def __init__(self, wire_id: bytes) -> None:
        self.wire_id = wire_id
        self.end: AddressedEnd
        self.heard = 0
        self.refused = 0
        self.is_gone = False


class Taken:
    """A job that is here.

    Attributes:
        pusher: Whose it is.
        job: What has come.
        channel: Who has it, or None while it waits.
        has_waited: Whether its pusher was told that it waits.
        is_over: Whether it was answered.
    """

    __slots__ = ("channel", "has_waited", "is_over", "job", "pusher")

    def __init__(self, pusher: Pusher, job: jobs.Job) -> None:
        self.pusher = pusher
        self.job = job
        self.channel: PullChannel[Any] | None = None
        self.has_waited = False
        self.is_over = False


class Asker:
    """A task that asks for a job.

    Attributes:
        channel: On which channel.
        taken: The job that it gets, or None if its channel was closed.
    """

    __slots__ = ("channel", "taken", "task")

    def __init__(self, channel: PullChannel[Any]) -> None:
        self.channel = channel
        self.taken: Taken | None = None
        self.task: trio.lowlevel.Task | None = None

    async def wait(self, asking: dict[Asker, None]) -> None:
        """Wait until there is a job, or there will be none. Cancelled, it asks no more."""
        self.task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            asking.pop(self, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """It has got what it asked for."""
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)


class Intake:
    """Takes in the jobs of all contexts on one slot.

    When the last channel is closed it stays for a while, so that jobs which come then are turned away instead of being lost.

    Attributes:
        channels: Those who pull, older ones first.
        pushers: The contexts that push.
    """

    @classmethod
    def of(cls, context: Context, slot: str) -> Intake:
        """The one of a context and slot."""
        intakes: dict[str, Intake] = context._shared.setdefault("intakes", {})
        intake = intakes.get(slot)
        if intake is None:
            intake = intakes[slot] = cls(context, slot, intakes)
        return intake

    def __init__(self, context: Context, slot: str, intakes: dict[str, Intake]) -> None:
        self.slot = slot
        self.channels: list[PullChannel[Any]] = []
        self.pushers: dict[bytes, Pusher] = {}
        self._intakes = intakes
        self._context = context
        self._listening = context._traffic.listening
        self._turns: Turns[bytes] = Turns()
        self._asking: dict[Asker, None] = {}
        self._waiting: deque[Taken] = deque()
        self._held = 0
        self._most = 0
        self._advertised: list[Advertisement] = []
        self._advertised_as = (0, 0)
        self._is_expiring = False
        self._is_ending = False
        self._has_left = False
        self._lot = trio.lowlevel.ParkingLot()
        self._jobs = HandledSubscription(
            self._listening,
            addressed_slot(context._wire_id, slot),
            Block(WINDOW),
            references.run_decoder(context),
            self._heard,
            self._nonsense,
            self._source_gone,
            own=(context._wire_id, context._dispatcher.do_later),
        )
        self._listening.add(self._jobs)
        context._before_closing[self] = self._context_closing

    # ---------------------------------------------------------------- who pulls

    def add(self, channel: PullChannel[Any]) -> None:
        """A channel pulls from now on."""
        self.channels.append(channel)
        self._changed()

    def remove(self, channel: PullChannel[Any]) -> None:
        """A channel pulls no more: those who ask there hear so, and what it has goes back."""
        self.channels.remove(channel)
        for asker in [asker for asker in self._asking if asker.channel is channel]:
            del self._asking[asker]
            asker.wake()
        for taken in list(channel._held):
            self.give_back(taken)
        while self._waiting and len(self._waiting) > self._prefetch:
            self._return(self._waiting.pop())
        self._changed()
        if not self.channels:
            self._most = 0
            if not self._is_ending and not self._context._closing:
                self._is_ending = True
                self._context._start_soon(self._end_later)

    async def _end_later(self) -> None:
        """Stop listening when nobody has pulled or pushed for a while."""
        await trio.sleep(LINGER)
        while not self.channels and self.pushers:
            await self._lot.park()
        self._is_ending = False
        if not self.channels:
            self._jobs.close()
            del self._intakes[self.slot]
            del self._context._before_closing[self]

    def _context_closing(self) -> None:
        """All goes back, and what is on its way here was not begun. A context that is cancelled says no more than goodbye."""
        if is_cancelled():
            for pusher in list(self.pushers.values()):
                self._forget(pusher)
        for channel in list(self.channels):
            channel._end(trio.EndOfChannel)
        self._has_left = True
        for pusher in self.pushers.values():
            self._say(pusher, Answer(Pull.LEAVES, heard=pusher.heard))

    @property
    def _prefetch(self) -> int:
        return sum(channel._prefetch for channel in self.channels)

    def _changed(self) -> None:
        """Somebody asks, or no longer does; or a job has come or gone."""
        self._turns.free = len(self._asking) + self._prefetch - len(self._waiting)
        self._most = max(self._most, self._held + len(self._asking))
        count = sum(channel._has_asked for channel in self.channels)
        advertise_as = (count, self._most + self._prefetch if count else 0)
        if advertise_as != self._advertised_as:
            self._advertised_as = advertise_as
            self._advertise()

    def _advertise(self) -> None:
        """Tell others how many channels pull here, and how many jobs they may have at once."""
        count, size = self._advertised_as
        before = self._advertised
        self._advertised = [Advertisement(self._listening, self.slot, DropNewest(size)) for _ in range(count)]
        for advertised in self._advertised:
            self._listening.add(advertised)
        for advertised in before:
            advertised.close()
        self._lot.unpark_all()

    # ---------------------------------------------------------------- what pushers say

    def _nonsense(self, source: bytes, reason: str) -> None:
        self._context._hub.emit(BadMessage(ContextId.from_wire(source), self.slot, reason))

    def _heard(self, source: bytes, message: object) -> None:
        try:
            job = jobs.check_push(message)
        except ProtocolError as error:
            self._nonsense(source, str(error))
            return
        pusher = self.pushers.get(source) or self._open(source)
        if job is None:
            self._turns.passed(source)
        elif pusher.is_gone or self._has_left:
            references.let_go(job.message)
        elif job.number <= pusher.heard:
            self._nonsense(source, f"job {job.number} comes behind {pusher.heard}")
        else:
            self._job_came(pusher, job)
        self._invite()

    def _open(self, source: bytes) -> Pusher:
        pusher = Pusher(source)
        pusher.end = AddressedEnd(self._context, answer_slot(self.slot), source, lambda _: self._source_gone(source))
        if pusher.end.dead_reason is None:
            self.pushers[source] = pusher
        else:
            pusher.is_gone = True
        return pusher

    def _job_came(self, pusher: Pusher, job: jobs.Job) -> None:
        source, pusher.heard = pusher.wire_id, job.number
        if job.refused < pusher.refused:
            self._turns.refused(source)
        elif self._turns.enter(source, trio.current_time()):
            taken = Taken(pusher, job)
            if self._asking:
                self._hand(taken, next(iter(self._asking)))
            else:
                taken.has_waited = True
                self._waiting.append(taken)
                self._say(pusher, Answer(Pull.WAITS, job.number))
            self._changed()
            return
        references.let_go(job.message)
        pusher.refused = job.number
        self._say(pusher, Answer(Pull.BUSY, job.number, 0, job.number))

    def _source_gone(self, source: bytes) -> None:
        """A context pushes no more. What runs for it runs on; what waits is its affair, since others may have got it by now."""
        pusher = self.pushers.get(source)
        if pusher is not None:
            self._forget(pusher)

    def _forget(self, pusher: Pusher) -> None:
        self.pushers.pop(pusher.wire_id, None)
        pusher.is_gone = True
        pusher.end.close()
        self._turns.forget(pusher.wire_id)
        for taken in [taken for taken in self._waiting if taken.pusher is pusher]:
            self._waiting.remove(taken)
            references.let_go(taken.job.message)
        self._lot.unpark_all()
        self._changed()
        self._invite()

    # ---------------------------------------------------------------- who asks

    async def next(self, channel: PullChannel[Any], before: Taken | None = None) -> Taken:
        """Give a task the next job; the one that it had before is done.

        Raises:
            trio.ClosedResourceError: The channel was closed.
            trio.EndOfChannel: The context was closed.
        """
        if is_cancelled() or channel.closed:
            self.done(before)
            await trio.lowlevel.checkpoint_if_cancelled()
        channel._check_open()
        channel._has_asked = True
        asker = Asker(channel)
        self._asking[asker] = None
        self.done(before)  # what its pusher is told counts the room for the next one
        self._changed()
        if self._waiting and asker in self._asking:
            self._hand(self._waiting.popleft(), asker)
            self._changed()
        self._invite()
        if asker.taken is None:
            try:
                await asker.wait(self._asking)
            except trio.Cancelled:
                self._changed()
                raise
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()  # its pusher is told before anything can happen to it
        if asker.taken is None or asker.taken.is_over:
            channel._check_open()
        assert asker.taken is not None
        return asker.taken

    def _hand(self, taken: Taken, asker: Asker) -> None:
        del self._asking[asker]
        if taken.has_waited:
            self._say(taken.pusher, Answer(Pull.STARTED, taken.job.number))
        taken.channel = asker.channel
        asker.channel._held[taken] = None
        self._held += 1
        asker.taken = taken
        asker.wake()

    # ---------------------------------------------------------------- ends of jobs

    def done(self, taken: Taken | None) -> None:
        """A job is done."""
        if taken is not None:
            self._over(taken, Pull.DONE)

    def failed(self, taken: Taken, reason: str) -> None:
        """A job cannot be received."""
        self._over(taken, Pull.FAILED, reason=reason)

    def give_back(self, taken: Taken) -> None:
        """Somebody has got a job, and does not do it. Nor does he use the sending ends in it."""
        if not taken.is_over:
            references.let_go(taken.job.message)
        self._over(taken, Pull.BACK, started=True)

    def _return(self, taken: Taken) -> None:
        """Nobody has got a job that has waited, and nobody will."""
        references.let_go(taken.job.message)
        self._over(taken, Pull.BACK)

    def _over(self, taken: Taken, kind: Pull, *, started: bool = False, reason: str = "") -> None:
        if taken.is_over:
            return
        taken.is_over = True
        if taken.channel is not None:
            del taken.channel._held[taken]
            taken.channel._count(kind)
            self._held -= 1
        self._changed()
        pusher = taken.pusher
        if not pusher.is_gone:
            room = 0 if self._has_left else self._turns.room_for(pusher.wire_id)
            self._say(pusher, Answer(kind, taken.job.number, room, pusher.heard, started, reason))
        self._invite()

    def _say(self, pusher: Pusher, answer: Answer) -> None:
        if not pusher.is_gone:
            data = jobs.encode_answer(answer)
            pusher.end.send_soon(((data,), len(data)))
            if pusher.end.late > MOST_LATE:
                self._nonsense(pusher.wire_id, "it pushes, and takes no answers")
                self._forget(pusher)

    # ---------------------------------------------------------------- room

    def _invite(self) -> None:
        """Tell those who wait that there is room, in turn."""
        self._invite_now()
        if self._turns.must_expire and not self._is_expiring and not self._context._closing:
            self._is_expiring = True
            self._context._start_soon(self._expire)

    def _invite_now(self) -> None:
        for source, room in self._turns.to_invite(trio.current_time()):
            pusher = self.pushers.get(source)
            if pusher is not None:
                self._say(pusher, Answer(Pull.ROOM, 0, room, pusher.heard))

    async def _expire(self) -> None:
        """Let go of room that was kept in vain, while somebody else wants it."""
        while self._turns.must_expire:
            await trio.sleep(KEPT_FOR)
            self._turns.expire(trio.current_time())
            self._invite_now()
        self._is_expiring = False
