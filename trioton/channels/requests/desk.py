"""All requests of a context on one slot: they wait here for room, go to repliers, and come back here.

Nothing here is a task: what arrives is handled in the pass of the scheduler in which it comes.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import DeadError, NotPermittedError, ProtocolError, RequestCancelled
from ...network.events import BadMessage
from ...network.receiving.handled import HandledSubscription
from ...network.sending.addressed import AddressedEnd, addressed_slot
from ...protocol import requests
from ...protocol.failures import decode_failure
from ...protocol.identity import ContextId
from ...protocol.policies import Block
from ...protocol.requests import Answer
from ...protocol.rooms import Candidate, Choice
from .. import references
from .future import ABANDONED, CANCELLED, UNKNOWN, Stage

if TYPE_CHECKING:
    from ...network.context import Context
    from .future import Future
    from .requester import ReqChannel

logger = logging.getLogger("trioton.requests")

WINDOW: Final = 1024
"""Messages that may be ahead of the desk; it handles them at once."""

NO_CONTEXT: Final = "the context that was asked cannot be reached"


def reply_slot(slot: str) -> str:
    """Where replies come back, for the requests of a slot."""
    return f"{slot.removesuffix('.req-rep')}.rep-req"


class Replier(Candidate):
    """A context that answers.

    Attributes:
        wire_id: The 16 bytes of its identity.
        count: How many channels answer there; 0 if none takes requests any more.
        end: What is sent to it.
        pending: The requests that are there.
    """

    __slots__ = ("count", "end", "pending", "wire_id")

    def __init__(self, wire_id: bytes) -> None:
        super().__init__(0)
        self.wire_id = wire_id
        self.count = 0
        self.end: AddressedEnd
        self.pending: dict[int, Future[Any]] = {}

    @property
    def id(self) -> ContextId:
        """Its identity."""
        return ContextId.from_wire(self.wire_id)


class RequestDesk:
    """Sends the requests of all channels of a context on one slot.

    Args:
        context: The context.
        slot: The full name of the slot.

    Attributes:
        channels: Those who use it.
        repliers: The contexts that answer, or have something of ours.
        last_id: The number of the newest request.
    """

    def __init__(self, context: Context, slot: str) -> None:
        self.slot = slot
        self.channels: dict[ReqChannel, None] = {}
        self.repliers: dict[bytes, Replier] = {}
        self._context = context
        self._traffic = context._traffic
        self._choice: Choice[Replier] = Choice()
        # Those that may go to repliers of this context, too, and those that may not.
        self._queues: dict[bool, deque[Future[Any]]] = {True: deque(), False: deque()}
        self._denied: dict[bytes, NotPermittedError] = {}  # repliers that this context may not ask, as they said last
        self._targeted: dict[bytes, deque[Future[Any]]] = {}
        self._new: deque[Future[Any]] = deque()
        self.last_id = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._replies = HandledSubscription(
            self._traffic.listening,
            addressed_slot(context._wire_id, reply_slot(slot)),
            Block(WINDOW),
            references.run_decoder(context),
            self._heard,
            self._refused,
            own=(context._wire_id, context._dispatcher.do_later),
            handle_plain=self._heard_plain,
        )
        self._traffic.listening.add(self._replies)
        self._traffic.audience.watch(slot, self.repliers_changed)
        context._before_closing[self] = self._context_closing
        self.repliers_changed()

    def _context_closing(self) -> None:
        for channel in list(self.channels):
            channel.close()

    def leave(self, channel: ReqChannel) -> None:
        """A channel is closed."""
        del self.channels[channel]
        self._lot.unpark_all()
        if not self.channels:
            self._close()

    def _close(self) -> None:
        """Nobody uses it any more."""
        del self._context._shared["requests"][self.slot]
        del self._context._before_closing[self]
        self._traffic.audience.watch(self.slot, None)
        for replier in list(self.repliers.values()):
            replier.end.close()
        self.repliers.clear()
        self._replies.close()

    # ---------------------------------------------------------------- repliers

    def repliers_changed(self) -> None:
        """Something has changed about who answers."""
        self._denied.clear()  # they are asked again
        present: dict[bytes, tuple[int, int]] = {}
        for association, interest in self._traffic.interests.on(self.slot):
            present[association.peer.wire_id] = interest.size, interest.count
        own = self._traffic.listening.interest(self.slot) if self._uses_own else None
        if own is not None:
            present[self._context._wire_id] = own.size, own.count
        for wire_id, (capacity, count) in present.items():
            replier = self.repliers.get(wire_id) or self._open(wire_id)
            if replier is not None:
                replier.capacity, replier.count = capacity, count
        for wire_id in self.repliers.keys() - present.keys():
            replier = self.repliers[wire_id]
            replier.capacity = replier.count = 0
            self._forget_if_idle(replier)
        for target in list(self._targeted):
            self._fail_targeted(target)
        self.pump()
        self._lot.unpark_all()

    _uses_own = False

    def use_own(self) -> None:
        """Repliers of the context itself are asked, too, by some."""
        if not self._uses_own:
            self._uses_own = True
            self.repliers_changed()

    def _open(self, wire_id: bytes) -> Replier | None:
        replier = Replier(wire_id)
        slot = self.slot
        replier.end = AddressedEnd(
            self._context, slot, wire_id, lambda reason: self._died(replier, reason), self._pump_if_needed
        )
        if replier.end.dead_reason is not None:
            return None
        self.repliers[wire_id] = replier
        return replier

    def _died(self, replier: Replier, reason: str) -> None:
        """Nothing reaches a replier any more."""
        if self.repliers.get(replier.wire_id) is replier:
            del self.repliers[replier.wire_id]
        pending, replier.pending = replier.pending, {}
        if replier.end.denier is not None:
            self._denied[replier.wire_id] = NotPermittedError(reason, slot=self.slot, by=replier.end.denier)
            if not replier.end.has_begun:
                self._move_on(pending)
                return
        for future in pending.values():
            if future._ask_to_stop:
                error: Exception = RequestCancelled(UNKNOWN, is_clean=False)
            else:
                started = True if replier.end.taken > future._position else None
                error = DeadError(reason, context=replier.id, started=started)
            future._finish(None, error)
        self._fail_targeted(replier.wire_id)
        self._fail_denied()
        self._lot.unpark_all()

    def _move_on(self, pending: dict[int, Future[Any]]) -> None:
        """This context may not ask a replier. What was to go there goes to others, if there are any whom it may ask."""
        for future in pending.values():
            if future._ask_to_stop:
                future._finish(None, RequestCancelled(CANCELLED, is_clean=True))
            elif future._stage is not Stage.DONE:
                self._queue_again(future)
                future._channel._watch_patience(future)
        self.pump()
        self._fail_denied()
        self._lot.unpark_all()

    def _fail_denied(self) -> None:
        """Let those requests fail that nobody may be asked to run, though somebody is there."""
        for target in list(self._targeted):
            if target in self._denied:
                for future in self._targeted.pop(target):
                    future._finish(None, _again(self._denied[target]))
        own = self._context._wire_id
        for is_local, queue in self._queues.items():
            others = [replier for replier in self.repliers.values() if is_local or replier.wire_id != own]
            if self._denied and not any(replier.count for replier in others):
                error = next(iter(self._denied.values()))
                while queue:
                    queue.popleft()._finish(None, _again(error))

    def _fail_targeted(self, wire_id: bytes) -> None:
        if self._context._associations.get(wire_id) is None and wire_id != self._context._wire_id:
            for future in self._targeted.pop(wire_id, ()):
                future._finish(None, DeadError(NO_CONTEXT, context=ContextId.from_wire(wire_id), started=False))

    def _forget_if_idle(self, replier: Replier) -> None:
        """A context that answers no more is forgotten when nothing of ours is there."""
        if not replier.count and not replier.pending and self.repliers.get(replier.wire_id) is replier:
            del self.repliers[replier.wire_id]
            replier.end.close()

    def count(self, *, is_local: bool) -> int:
        """How many channels answer, in all other contexts or in really all."""
        own = self._context._wire_id
        return sum(replier.count for replier in self.repliers.values() if is_local or replier.wire_id != own)

    async def wait_changed(self) -> None:
        """Wait until something about the repliers, or the requests, changes."""
        await self._lot.park()

    # ---------------------------------------------------------------- requests

    def add(self, future: Future[Any]) -> None:
        """A request was made. If there is a deadline where it was, the one who awaits it at once says so; else it starts now."""
        if trio.current_effective_deadline() == math.inf:
            if self._new:
                self.start_all_new()
            self._start(future, math.inf)
            return
        self._new.append(future)
        self._context._dispatcher.do_later(self.start_all_new)

    def start_new(self, future: Future[Any], deadline: float) -> None:
        """Send a new request, behind those that were made before it."""
        while self._new:
            first = self._new.popleft()
            self._start(first, deadline if first is future else math.inf)
            if first is future:
                return

    def start_all_new(self) -> None:
        """Send all new requests."""
        while self._new:
            self._start(self._new.popleft(), math.inf)

    def _start(self, future: Future[Any], deadline: float) -> None:
        if future._stage is not Stage.NEW:
            return
        if self._denied:
            self.repliers_changed()  # what was not permitted before may be now
        future._stage = Stage.QUEUED
        if deadline != math.inf:
            future._deadline = deadline
        target = future._target
        if target is not None:
            self._context._associations.seek(target)
            self._targeted.setdefault(target, deque()).append(future)
            self._pump_targeted(target)
            if future._stage is Stage.QUEUED:
                self._fail_targeted(target)
            return
        queue = self._queues[future._channel._is_local]
        if queue:
            queue.append(future)
            self.pump()
        elif not self._send_to_best(future):
            queue.append(future)

    def pump(self) -> None:
        """Send as many of the requests that wait as there is room for."""
        for target in list(self._targeted):
            self._pump_targeted(target)
        for queue in self._queues.values():
            _send_all(queue, self._send_to_best)

    def _pump_targeted(self, target: bytes) -> None:
        queue = self._targeted.get(target)
        if queue is not None:
            _send_all(queue, lambda future: self._send(future, self.repliers.get(target)))
            if not queue and self._targeted.get(target) is queue:
                del self._targeted[target]

    def _send_to_best(self, future: Future[Any]) -> bool:
        repliers: Collection[Replier] = self.repliers.values()
        if self._uses_own and not future._channel._is_local:
            own = self._context._wire_id
            repliers = [replier for replier in repliers if replier.wire_id != own]
        if len(repliers) == 1:
            (only,) = repliers
            return self._send(future, only)
        return self._send(future, self._choice.choose(repliers, lambda replier: replier.end.is_reachable))

    def _send(self, future: Future[Any], replier: Replier | None) -> bool:
        """Send a request to a replier if that has room; whether it waits no longer."""
        if replier is None or replier.room <= 0:
            return False
        end = replier.end
        deadline = future._deadline
        seconds = None if deadline == math.inf else deadline - trio.current_time()
        piece = requests.encode_call(future._id, seconds, future._stream, future._body)
        size = len(piece)
        objection = end.objection(size)
        if objection is not None:
            future._finish(None, objection)
            return True
        position = end.sent
        if end.is_over or not end.try_send(((piece,), size)):
            return False
        future._position = position
        future._stage = Stage.SENT
        future._replier = replier
        replier.running += 1
        replier.pending[future._id] = future
        if future._leaving:
            for sender in future._leaving:
                sender._has_left()
            future._leaving = ()
        return True

    # ---------------------------------------------------------------- stopping

    def stop(self, future: Future[Any]) -> None:
        """A request shall not go on."""
        if future._stage is not Stage.SENT:
            self._unqueue(future)
            future._finish(None, RequestCancelled(CANCELLED, is_clean=True))
            return
        end: AddressedEnd = future._replier.end
        message = requests.encode_cancel(future._id)
        end.send_soon(((message,), len(message)))
        if not end.is_reachable:
            future._finish(None, RequestCancelled(UNKNOWN, is_clean=False))
        else:
            self._context._start_soon(self._give_up_later, future)

    async def _give_up_later(self, future: Future[Any]) -> None:
        with trio.move_on_after(future._channel._cancel_grace):
            await future.wait()
        future._finish(None, RequestCancelled(UNKNOWN, is_clean=False))

    def _unqueue(self, future: Future[Any]) -> None:
        waiting = (
            self._queues[future._channel._is_local] if future._target is None else self._targeted.get(future._target)
        )
        for queue in (self._new, waiting):
            if queue and future in queue:
                queue.remove(future)
        if waiting is not None and not waiting and future._target is not None:
            del self._targeted[future._target]

    def fail(self, future: Future[Any], error: Exception) -> None:
        """A request that waits for a replier ends otherwise."""
        self._unqueue(future)
        future._finish(None, error)

    # ---------------------------------------------------------------- what repliers say

    def _refused(self, source: bytes, reason: str) -> None:
        self._context._hub.emit(BadMessage(ContextId.from_wire(source), self.slot, reason))

    def _heard_plain(self, source: bytes, body: bytes) -> bool:
        """A lone message has come; whether it is a reply that was easily read."""
        reply = requests.read_plain_reply(body)
        replier = None if reply is None else self.repliers.get(source)
        if reply is None or replier is None or reply[0] not in replier.pending:
            return False
        self._answered(replier, [Answer.DONE, *reply])
        return True

    def _heard(self, source: bytes, message: object) -> None:
        replier = self.repliers.get(source)
        try:
            fields = requests.check_answer(message)
            if replier is None:
                return  # it is gone for us
            if fields[0] == Answer.ROOM:
                self._invited(replier)
            else:
                self._answered(replier, fields)
        except ProtocolError as error:
            self._refused(source, str(error))

    def _invited(self, replier: Replier) -> None:
        """A replier that was full has room now."""
        replier.is_full = False
        running = replier.running
        self.pump()
        if replier.running == running:
            replier.end.send_soon(((requests.PASS,), len(requests.PASS)))

    def _answered(self, replier: Replier, fields: list[Any]) -> None:
        kind, number = fields[0], fields[1]
        future = replier.pending.get(number)
        if future is None:
            raise ProtocolError(f"the replier answers request {number}, which is none of ours there")
        if kind == Answer.FAILED:
            error: Exception | None = decode_failure(fields[2])  # while the request is still there, if that fails
        elif kind == Answer.GONE:
            error = DeadError(fields[2], context=replier.id, started=True)
        else:
            error = None
        del replier.pending[number]
        if kind == Answer.BUSY:
            self._turned_away(replier, future)
            return
        replier.ended()
        future._is_answered = kind == Answer.DONE or kind == Answer.FAILED
        value = fields[2] if kind == Answer.DONE else None
        if future._ask_to_stop:
            is_clean = kind != Answer.CANCELLED or fields[2]
            future._finish(None, RequestCancelled(CANCELLED if is_clean else ABANDONED, is_clean=is_clean))
        elif kind == Answer.CANCELLED:
            reason = "the request was stopped at the replier, since its deadline had passed there"
            future._finish(None, RequestCancelled(reason, is_clean=fields[2]))
        else:
            future._finish(value, error)
        self._settled(replier)

    def _turned_away(self, replier: Replier, future: Future[Any]) -> None:
        replier.turned_away()
        if future._stage is Stage.DONE:
            pass  # nobody waits for it any more
        elif future._ask_to_stop:
            future._finish(None, RequestCancelled(CANCELLED, is_clean=True))
        elif future._impatient_at <= trio.current_time():
            future._finish(None, future._channel._out_of_patience(future))
        else:
            self._queue_again(future)
            future._channel._watch_patience(future)
        self._settled(replier)

    def _queue_again(self, future: Future[Any]) -> None:
        """A request has not begun where it was sent: it waits in its place."""
        future._stage, future._replier = Stage.QUEUED, None
        target = future._target
        queue = (
            self._queues[future._channel._is_local] if target is None else self._targeted.setdefault(target, deque())
        )
        queue.insert(sum(1 for _ in takewhile(lambda other: other._id < future._id, queue)), future)

    def _settled(self, replier: Replier) -> None:
        self._forget_if_idle(replier)
        self._pump_if_needed()

    def _pump_if_needed(self) -> None:
        """There may be room for requests that wait."""
        if self._queues[False] or self._queues[True] or self._targeted:
            self.pump()


def _again(error: NotPermittedError) -> NotPermittedError:
    """The same for another request: each gets one of its own."""
    return NotPermittedError(str(error), slot=error.slot, by=error.by)


def _send_all(queue: deque[Future[Any]], send: Callable[[Future[Any]], bool]) -> None:
    """Send requests in their order until one finds no room. A callback of one that fails may make others meanwhile."""
    while queue:
        future = queue[0]
        if future._stage is Stage.QUEUED and not send(future):
            return
        if queue and queue[0] is future:
            queue.popleft()
