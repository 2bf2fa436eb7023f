"""One live transport to a neighbour: the task that reads it, and the one that writes when that takes more than a moment.

The transport is written in two places only: by the writer task, and by `Link.try_write`, a plain function that never waits. It
keeps what the transport did not take for the writer, and leaves errors to the reader. So no cancelled user task can cut a frame.
"""

from __future__ import annotations

import enum
import functools
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from ..errors import ProtocolError
from ..protocol import control
from ..protocol.heartbeat import Beat, HeartbeatMachine
from ..protocol.limits import MAX_EVENTS

if TYPE_CHECKING:
    from ..protocol.outbox import Outbox
    from ..protocol.packages import Buffer, Package
    from ..protocol.session import Event, Session
    from ..transports.base import Transport
    from .heart import Heart

logger = logging.getLogger("trioton.link")

MAX_WRITE: Final = 1 << 20
"""Bytes that `try_write` hands over at most before it lets the writer task go on, so that other tasks get their turn."""


LAST_WORDS: Final = 0.5
"""Seconds that a goodbye, and what is being written before it, may take when the tasks of the link were cancelled."""

LITTLE: Final = 4096
"""Bytes that are read at once from one who says too much, so that not much of it waits here."""

MANY_EVENTS: Final = 4096
"""So much at once only one says who wants to keep us busy."""

AFTER_LARGE: Final = 4096
"""Bytes that are read at once behind a large body."""


@functools.cache
def prepare_for_large_bodies() -> None:
    """Keep the C library from giving the memory of each large message back to the system, only to ask for it again.

    glibc hands out blocks above a threshold as fresh pages and returns them when they are freed; the page faults cost several times
    what it takes to receive a message of 1 MiB. It raises the threshold when a larger such block is freed (mallopt(3),
    M_MMAP_THRESHOLD), so one block that is never touched is enough. Elsewhere this does nothing.
    """
    bytes(32 * 1024 * 1024 - 64 * 1024)


class LinkEnd(enum.Enum):
    """Why a link is over."""

    GOODBYE = "goodbye"
    LOST = "lost"
    SILENT = "silent"
    DAMAGED = "damaged"
    CLOSED = "closed"
    REPLACED = "replaced"


class LinkResult(NamedTuple):
    """Why and how a link ended."""

    end: LinkEnd
    reason: str


class Link:
    """A transport in use, after the handshake.

    Args:
        transport: The transport; the link closes it when it ends.
        session: What makes events of its bytes.
        outbox: What waits to be written.
        machine: The heartbeat.
        heart: Looks at the heartbeat when that is due.
        on_events: Called with what has come, in order; may raise `ProtocolError`.
        pause: Called after what has come was dealt with; gives the seconds for which the peer should not be read.
        on_beat: Called when the heartbeat says that the peer timed out (True) or recovered (False).
        on_damage: Called with what is wrong when the peer breaks the protocol, before the link ends.
        on_cancel: Called when the surrounding scope was cancelled, to put the goodbye on the control lane and to drop the rest.
        name: Whom it leads to, for log lines.

    Attributes:
        makes_wait: Whether the peer is to wait, as long as `pause` says, before more of it is read.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        outbox: Outbox,
        machine: HeartbeatMachine,
        heart: Heart,
        *,
        on_events: Callable[[list[Event]], None],
        pause: Callable[[], float],
        on_beat: Callable[[bool], None],
        on_damage: Callable[[str], None],
        on_cancel: Callable[[], None],
        name: str,
    ) -> None:
        self.transport = transport
        self.session = session
        self.machine = machine
        self.name = name
        self.bytes_sent = 0
        self.makes_wait = False
        self._was_told_of = False
        self._outbox = outbox
        self._heart = heart
        self._on_events = on_events
        self._pause = pause
        self._on_beat = on_beat
        self._on_damage = on_damage
        self._on_cancel = on_cancel
        self._now = trio.lowlevel.current_clock().current_time  # what `trio.current_time` finds anew each time
        self._unwritten: list[Buffer] = []
        # What most links never need is made when it is: they are many, and idle.
        self._writer_lot: trio.lowlevel.ParkingLot | None = None
        self._writer_is_idle = True
        self._said_goodbye = False
        self._is_sending = False
        self._sending: trio.CancelScope | None = None
        self._last_words_until = math.inf
        self._drained: trio.lowlevel.ParkingLot | None = None
        self._result: LinkResult | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._reads_rest = False
        self._flush_mark = -1

    # ---------------------------------------------------------------- life

    async def run(self, first_events: list[Event]) -> LinkResult:
        """Read and write until the link ends, then close the transport.

        Args:
            first_events: What came behind the handshake.

        Raises:
            trio.Cancelled: The surrounding scope was cancelled; the transport is closed all the same.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._heart.watch(self)
                    if not self._writer_is_idle:
                        self._rouse_writer()
                    await self._read(first_events)
            if self._reads_rest:
                with trio.move_on_after(LAST_WORDS):
                    await self._read([])
        finally:
            self._nursery = None
            self._heart.forget(self)
            self.session.release_memory()
            if self._result is None:
                await self._say_last_words()  # shielded, with a deadline, inside  # noqa: ASYNC102  # shielded, with a deadline, inside
                self._result = LinkResult(LinkEnd.CLOSED, "the surrounding scope was cancelled")
            self.transport.close()
            self._tell_drained()
            logger.debug("%s: link over %s ended: %s", self.name, self.transport.kind, self._result.reason)
        return self._result

    def end(self, end: LinkEnd, reason: str) -> None:
        """End the link now. Only the first call counts."""
        if self._result is None:
            self._result = LinkResult(end, reason)
            self._scope.cancel()
            if self._sending is not None:
                self._sending.cancel()

    async def _say_last_words(self) -> None:
        """The tasks of the link were cancelled: say goodbye all the same, behind the frame that is under way."""
        self._on_cancel()
        transport = self.transport
        try:
            with trio.move_on_at(min(self._last_words_until, trio.current_time() + LAST_WORDS), shield=True):
                if transport.can_try_send:
                    while not self._write_now():
                        await transport.wait_send_all_might_not_block()
                elif not self._is_sending:
                    await transport.send_all(b"".join(self._outbox.next_buffers()))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            logger.debug("%s: could not say goodbye: %s", self.name, error)

    def _write_failed(self, error: Exception) -> None:
        """End the link, which the other end has left; what came from there before, perhaps a goodbye, is still read."""
        if self._result is None:
            self._reads_rest = True
            self.end(LinkEnd.LOST, f"connection lost: {error.__cause__ or error}")

    @property
    def is_over(self) -> bool:
        """Whether the link has ended or is about to."""
        return self._result is not None

    # ---------------------------------------------------------------- reading

    @trio.lowlevel.enable_ki_protection
    async def _read(self, first_events: list[Event]) -> None:
        try:
            if first_events:
                self._on_events(first_events)
            await self._read_events()
        except ProtocolError as error:
            self._damaged(error)
        except trio.BrokenResourceError as error:
            self.end(LinkEnd.LOST, f"connection lost: {error.__cause__ or error}")
        finally:
            # If the link was cancelled, what is being written may end, so that a goodbye can follow.
            self._last_words_until = self._now() + LAST_WORDS
            if self._sending is not None:
                self._sending.deadline = self._last_words_until

    def _damaged(self, error: ProtocolError) -> None:
        """The peer has broken the rules: tell it and the log, and end the link."""
        logger.warning("%s at %s: %s; link closed", self.name, self.transport.remote_address, error)
        self._on_damage(str(error))
        self.end(LinkEnd.DAMAGED, str(error))

    async def _read_events(self) -> None:
        session, transport = self.session, self.transport
        size: int | None = None
        events: list[Event] = []
        while True:
            # Behind events there is seldom the start of a large body, and then one read more that is copied does no harm.
            buffer = None if events else session.wanted_buffer()
            if buffer is None:
                data = await transport.receive_some(size)
                count, size = len(data), None
                events = session.receive_data(data)
            else:
                prepare_for_large_bodies()
                count = await transport.receive_into(buffer)
                buffer.release()
                events = session.buffer_filled(count)
                # Another large body often follows. What is read with its head must be copied: so read not much more.
                size = AFTER_LARGE
            if not count:
                self._end_of_stream()
                return
            if self.machine.received(self._now()):
                self._on_beat(False)
            if events:
                if len(events) <= MAX_EVENTS:
                    self._on_events(events)
                else:
                    await self._hand_out(events)
                    if len(events) > MANY_EVENTS:
                        size = LITTLE
                if self.makes_wait:
                    await self._let_wait()
                    size = LITTLE

    async def _let_wait(self) -> None:
        """Read no more of a peer that is too fast until it has waited long enough. That it is silent meanwhile is our own doing."""
        self.makes_wait = False
        if not self._was_told_of:
            self._was_told_of = True
            logger.info("%s at %s: is too fast, and made to wait", self.name, self.transport.remote_address)
        while pause := self._pause():
            await trio.sleep(pause)
            self.machine.received(self._now())

    async def _hand_out(self, events: list[Event]) -> None:
        """Deal with what has come in parts, between which all other tasks have their turn."""
        for start in range(0, len(events), MAX_EVENTS):
            if start:
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._on_events(events[start : start + MAX_EVENTS])

    def _end_of_stream(self) -> None:
        try:
            self.session.receive_end()
        except ProtocolError as error:
            self.end(LinkEnd.LOST, str(error))
        else:
            self.end(LinkEnd.LOST, "the peer dropped the connection without a goodbye")

    # ---------------------------------------------------------------- writing

    def say_goodbye(self, reason: str) -> None:
        """Put the goodbye on the control lane. Nothing may be sent after it, heartbeats and the ends of flows included."""
        self.send_control(control.Close(control.shorten_reason(reason)))
        self._said_goodbye = True
        self._outbox = self._outbox.last_words()

    def send_control(self, message: control.Control) -> None:
        """Put a message on the control lane; it leaves with the next `try_write`."""
        self._outbox.add_control(control.encode_control(message))

    def try_write(self) -> None:
        """Write what waits, as far as the transport takes it at once; the writer task does the rest."""
        if self._unwritten or not self._writer_is_idle or self._result is not None:
            return
        if self.transport.can_try_send:
            try:
                finished = self._write_now()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._write_failed(error)
                return
            if finished:
                return
        if self._unwritten or self._outbox:
            self._rouse_writer()

    def _rouse_writer(self) -> None:
        """Let the writer task go on; there is none before it is needed, and most links never need one."""
        self._writer_is_idle = False
        if self._writer_lot is not None:
            self._writer_lot.unpark()
        elif self._nursery is not None:
            self._writer_lot = trio.lowlevel.ParkingLot()
            self._nursery.start_soon(self._write)

    @property
    def is_idle(self) -> bool:
        """Whether a frame could be written at once, since nothing waits before it."""
        if not self._writer_is_idle or self._unwritten or self._outbox or self._result is not None:
            return False
        return self.transport.can_try_send

    def write_lone(self, package: Package) -> None:
        """Write a package past the outbox; to be called only while the link is idle. What the transport does not take waits here."""
        self._outbox.passed(package)
        frame = package.frame()
        try:
            sent = self.transport.try_send((frame,))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._write_failed(error)
            return
        self.bytes_sent += sent
        if sent:
            self.machine.sent(self._now())
        if sent < len(frame) or self.transport.holds_back:
            self._unwritten = [memoryview(frame)[sent:]]
            self._rouse_writer()

    def _write_now(self) -> bool:
        """Write until nothing waits (True), the transport is full, or it was enough for one turn."""
        total = 0
        while total < MAX_WRITE:
            buffers = self._unwritten or self._outbox.next_buffers()
            if not buffers:
                break
            sent = self.transport.try_send(buffers)
            total += sent
            self._unwritten = _rest(buffers, sent)
            if self.transport.holds_back and not self._unwritten:
                self._unwritten = [b""]  # what is held back leaves with the next call
            if self._unwritten or not self._outbox:
                break
        if total:
            self.bytes_sent += total
            self.machine.sent(self._now())
        if self._unwritten or self._outbox:
            return False
        if self._drained:
            self._drained.unpark_all()
        return True

    def _tell_drained(self) -> None:
        if self._drained is not None:
            self._drained.unpark_all()

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        """Write what `try_write` could not."""
        transport, lot = self.transport, self._writer_lot
        assert lot is not None
        try:
            while True:
                if self._writer_is_idle:
                    await lot.park()
                if transport.can_try_send:
                    await transport.wait_send_all_might_not_block()
                    self._writer_is_idle = self._write_now()
                else:
                    await self._write_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._write_failed(error)

    async def _write_all(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # so that what waits is still there for the last words
        buffers = self._outbox.next_buffers()
        if buffers:
            data = b"".join(buffers)
            self._is_sending = True  # and stays so if this is cut off: then nothing may follow
            # When the link is cancelled, `_read` sets the deadline.
            with trio.CancelScope(shield=True) as self._sending:
                await self.transport.send_all(data)
                self._is_sending = False
            await trio.lowlevel.checkpoint_if_cancelled()
            self.bytes_sent += len(data)
            self.machine.sent(self._now())
        if not self._outbox:
            self._writer_is_idle = True
            self._tell_drained()

    @property
    def is_drained(self) -> bool:
        """Whether everything has been handed to the transport."""
        return not self._unwritten and not self._outbox and self._writer_is_idle

    @property
    def is_mid_frame(self) -> bool:
        """Whether the transport has taken only a part of what it was handed."""
        return bool(self._unwritten)

    async def wait_drained(self) -> None:
        """Wait until everything has been handed to the transport, or the link is over."""
        await trio.lowlevel.checkpoint()
        while not self.is_drained and not self.is_over:
            self._drained = self._drained or trio.lowlevel.ParkingLot()
            await self._drained.park()

    def ask_for_answer(self) -> int:
        """Ask the peer whether it has read all that was written, if anything was since it was last asked; gives the ping's number."""
        if self.bytes_sent != self._flush_mark:
            self.send_control(control.Ping(self.machine.next_ping(self._now())))
            self.try_write()
            self._flush_mark = self.bytes_sent
        return self.machine.last_asked

    # ---------------------------------------------------------------- watching

    def beat(self, now: float) -> None:
        """Do what the heartbeat says is due."""
        machine = self.machine
        if self.session.has_unfinished:
            try:
                self.session.check_progress(now)
            except ProtocolError as error:
                self._damaged(error)
                return
        for beat in machine.wake(now):
            if beat is Beat.SEND_PING:
                nonce = machine.next_ping(now)
                if not self._said_goodbye:
                    self.send_control(control.Ping(nonce))
                    self.try_write()
            elif beat is Beat.TIMED_OUT:
                self._on_beat(True)
            else:
                self.end(LinkEnd.SILENT, f"the peer was silent for {machine.lease:g} s")


def _rest(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """What is left of buffers after their first `sent` bytes."""
    for index, buffer in enumerate(buffers):
        size = len(buffer)
        if sent < size:
            return [memoryview(buffer)[sent:], *buffers[index + 1 :]]
        sent -= size
    return []
