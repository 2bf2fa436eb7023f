"""The sending end that `PubChannel` and `Sender` share: the fast path of `send`, and what it does when there is no room."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar

import trio

from ..errors import CongestedError
from ..network.cancellation import is_cancelled
from ..network.sending.outlet import TEXT_HEAD
from ..protocol.flow import CUT_BYTES, LARGE_MESSAGE
from ..protocol.limits import MAX_RUN_MESSAGES
from . import references
from .messages import BINARY, TEXT, MessageType, value_encoder

if TYPE_CHECKING:
    from ..network.context import Context
    from ..network.sending.outlet import Outlet, Piece

T_contra = TypeVar("T_contra", contravariant=True)

CHUNK: Final = 256
"""Messages that `send_many` hands over at a time: a quarter of the default window, so that both sides are busy at once."""


class SendStatistics(NamedTuple):
    """What a sending channel has done."""

    sent: int
    """Messages that were accepted."""
    subscribers: int
    """Subscriptions of other contexts that get what is sent now."""
    backlog: int
    """Messages that wait for the first subscriber."""
    unheard: int
    """Messages on the slot that nobody listened to, or that fell out of the backlog."""
    waiting: int
    """Tasks that wait for room."""
    unconfirmed: int
    """Messages on the slot that a blocking subscriber has not taken yet, as far as is known."""
    refused: int = 0
    """Messages on the slot that some who listen did not get, since this context may not publish there; see `Refused`."""


class SendingEnd(trio.abc.SendChannel[T_contra], Generic[T_contra]):
    """Messages go in here. Any number of tasks may send at once; each waits its turn."""

    _outlet: Outlet

    def __init__(self, context: Context, message_type: MessageType[Any], outlet: Outlet) -> None:
        self._context = context
        self._type = message_type
        if message_type is not TEXT and message_type is not BINARY:
            value_encoder()
        # The short paths do not look at the size beyond LARGE_MESSAGE.
        self._is_text = message_type is TEXT and context._limits.max_package >= LARGE_MESSAGE
        self._outlet = outlet
        self._flow = outlet.flow
        self._dispatcher = context._dispatcher
        self._pace = context._pace
        self._max_package = context._limits.max_package
        self._block_deadline: float | None = None
        self._sent = 0
        self._closed = False
        # How many messages the short path of `send` may still send, and what that number was at first.
        self._countdown = 0
        self._allowed = 0

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._closed

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: T_contra) -> None:
        """Send one message, when every blocking subscriber has room for it.

        It checks for cancellation always and yields when the context's budget is spent or when it must wait. Cancelled, nothing was
        sent. Returned, the message has been accepted into the window of every blocking subscriber.

        Raises:
            trio.ClosedResourceError: The channel, or its context, was closed, before or while it waited.
            trio.BrokenResourceError: Nothing that is sent here can arrive any more.
            MessageTypeError: The message type cannot carry this message, or there is a closed `Sender` in it.
            ValueError: The message is larger than `Limits.max_package`, here, at a subscriber, or on the way to one.
            CongestedError: There was no room within the channel's `block_deadline`.
        """
        # This is the path of a short text that finds room; all else is in `_send_slowly`. Each call that it saves can be measured.
        flow = self._flow
        text: Any = value
        if self._countdown > 0 and flow.room > 0 and flow.takes_text and type(text) is str and text.isascii():
            size = len(text) + TEXT_HEAD
            if size < LARGE_MESSAGE and not is_cancelled():
                self._countdown -= 1
                pieces = flow.pieces
                pieces.append(text)
                flow.room -= 1
                flow.piece_bytes = gathered = flow.piece_bytes + size
                dispatcher = self._dispatcher
                if gathered >= CUT_BYTES or len(pieces) >= MAX_RUN_MESSAGES:
                    dispatcher.added(flow, due=True)
                elif dispatcher.gathering is not flow or not dispatcher.is_hot:
                    dispatcher.added(flow, due=False)
                return
        await self._send_slowly(value)

    async def _send_slowly(self, value: T_contra) -> None:
        """Do all that `send` promises."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._pace.spend(self._settle() + 1):
            await trio.lowlevel.cancel_shielded_checkpoint()
        await self._send_chunk([value])
        if self._is_text and not self._closed:
            self._allowed = self._countdown = self._pace.quantum - 1

    def _settle(self) -> int:
        """Count what was sent by the short path, and close that path until the long one opens it again."""
        sent = self._allowed - self._countdown
        self._sent += sent
        self._allowed = self._countdown = 0
        return sent

    def send_nowait(self, value: T_contra) -> None:
        """Send one message if every blocking subscriber has room for it now and no task waits to send.

        Like all of Trioton it may be called only from Trio's own thread, which is not checked here.

        Raises:
            trio.WouldBlock: `send` would wait.
            trio.ClosedResourceError: As `send`; and so are `trio.BrokenResourceError`, `MessageTypeError` and `ValueError`.
        """
        piece = self._encode(value)
        leaving = references.take_leaving()
        if not self._try_add(piece):
            raise trio.WouldBlock
        self._sent += 1
        if leaving and self._is_heard():
            for sender in leaving:
                sender._has_left()

    @trio.lowlevel.enable_ki_protection
    async def send_many(self, values: Iterable[T_contra]) -> None:
        """Send messages one after another, faster than so many calls of `send`.

        It yields once for each 512 messages, and whenever it must wait. Cancelled or failed, it has sent the first messages: as many as
        `statistics().sent` has grown by.

        Raises:
            trio.ClosedResourceError: As `send`; and so are `trio.BrokenResourceError`, `MessageTypeError`, `ValueError` and
                `CongestedError`.
            Exception: Whatever the iterable raises, when all that it gave before has been sent.
        """
        await trio.lowlevel.checkpoint()
        iterator = iter(values)
        sent = 0
        failure: Exception | None = None
        while failure is None:
            chunk: list[T_contra] = []
            try:
                chunk.extend(islice(iterator, CHUNK))
            except Exception as error:  # noqa: BLE001  # raised below
                failure = error
            if not chunk:
                break
            await self._send_chunk(chunk)
            sent += len(chunk)
            if sent >= 2 * CHUNK:
                sent = 0
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
        if failure is not None:
            raise failure

    async def _send_chunk(self, chunk: list[T_contra]) -> None:
        """Send messages in their order, each as soon as there is room."""
        position = 0
        while position < len(chunk):
            rest = chunk[position:] if position else chunk
            sent = self._send_texts(rest)
            if not sent:
                texts = self._texts_to_wait_with(rest)
                if texts:
                    await self._wait_for_room(None, texts)
                else:
                    await self._add(rest[0])
                sent = len(texts) or 1
            position += sent

    async def _add(self, value: T_contra) -> None:
        """Encode a message and add it as soon as there is room."""
        piece = self._encode(value)
        leaving = references.take_leaving()
        is_heard = True
        if not self._try_add(piece):
            await self._wait_for_room(piece, [])
        elif leaving:
            is_heard = self._is_heard()
        self._sent += 1
        if is_heard:
            for sender in leaving:
                sender._has_left()

    def _is_heard(self) -> bool:
        """Whether what was just sent, without waiting, is on its way to somebody or waits for the first subscriber."""
        return self._outlet.is_listened_to or self._outlet.backlog > 0

    def _send_texts(self, texts: list[Any]) -> int:
        """Send the first of these messages for which there is room, if they are short ASCII texts; gives how many that were."""
        flow = self._flow
        room = flow.room
        if not self._is_text or room <= 0 or not flow.takes_text or self._closed or self._context._closing:
            return 0
        texts, size = _short_texts(texts[:room] if room < len(texts) else texts)
        if texts:
            due = flow.add_texts(texts, size)
            self._sent += len(texts)
            self._dispatcher.added(flow, due=due)
        return len(texts)

    def _texts_to_wait_with(self, texts: list[Any]) -> list[str]:
        """The first of these messages if they are short ASCII texts, and must wait because there is no room."""
        if not self._is_text or self._flow.room > 0 or self._closed or self._context._closing:
            return []
        return _short_texts(texts)[0] if self._outlet.lets_wait else []

    def _encode(self, value: T_contra) -> Piece:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")
        references.forget_leaving()
        buffers = self._type.encode_buffers(value, references.ENCODE_EXTRA)
        size = sum([len(buffer) for buffer in buffers])
        if size > self._max_package:
            raise ValueError(f"the message takes {size} bytes; limits.max_package is {self._max_package}")
        return buffers, size

    def _try_add(self, piece: Piece) -> bool:
        if self._context._closing:
            raise trio.ClosedResourceError(f"the context of {self!r} was closed")
        outlet = self._outlet
        objection = outlet.objection(piece[1])
        if objection is not None:
            raise objection
        if self._flow.room > 0:
            outlet.add(piece)
            return True
        return outlet.try_add(piece)

    async def _wait_for_room(self, piece: Piece | None, texts: list[str]) -> None:
        deadline = self._block_deadline
        if deadline is None:
            await self._outlet.wait_add(self, piece, texts)
            return
        with trio.move_on_after(deadline) as scope:
            await self._outlet.wait_add(self, piece, texts)
        if scope.cancelled_caught:
            branch = self._flow.slowest()
            peer = getattr(branch.key, "peer", "a subscription of this context") if branch is not None else "anybody"
            raise CongestedError(f"no room on {self._flow.slot!r} within {deadline:g} s: waiting for {peer}")

    def _count_sent(self, count: int) -> None:
        """So many messages with which a task waited were sent; the outlet tells."""
        self._sent += count

    def _close_end(self) -> None:
        """Close the end at once; what was accepted still leaves."""
        if not self._closed:
            self._closed = True
            self._settle()
            self._outlet.abandon_waiting(self)
            self._context._traffic.lives.close(self._outlet)

    def close(self) -> None:
        """As `aclose`, but without waiting: what was accepted still leaves while the context lives. May be called twice."""
        self._close_end()

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Close, and wait until what was accepted has been written to the connections that are up; at most for the context's `grace`.

        It does not wait until subscribers have taken it, nor for connections that are suspended: the context goes on with that while
        it lives, and `Context.flush` waits for it. A backlog that has found subscribers is waited for; one without is dropped, and
        counted as unheard. Cancelled, the channel is closed all the same.
        """
        self._close_end()
        with trio.move_on_after(self._context._grace):
            await self._drain()
        await trio.lowlevel.checkpoint()

    async def _drain(self) -> None:
        self._dispatcher.cut()
        while self._outlet.is_releasing:
            await self._outlet.wait_changed()
        for key in list(self._flow.branches):
            link = getattr(key, "_link", None)
            if link is not None:
                link.try_write()
                await link.wait_drained()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> SendStatistics:
        """What the channel has done so far."""
        outlet, flow = self._outlet, self._flow
        return SendStatistics(
            sent=self._sent + self._allowed - self._countdown,
            subscribers=outlet.subscribers,
            backlog=outlet.backlog,
            unheard=outlet.dropped,
            waiting=outlet.waiting,
            unconfirmed=flow.next - flow.taken,
            refused=outlet.denied,
        )


def _short_texts(messages: list[Any]) -> tuple[list[str], int]:
    """The first of these messages, and their bytes, if all are ASCII texts; as many as one run can take whatever it holds already."""
    if set(map(type, messages)) != {str} or not all(map(str.isascii, messages)):
        return [], 0
    while True:
        size = sum(map(len, messages)) + TEXT_HEAD * len(messages)
        if size < LARGE_MESSAGE:
            return messages, size
        messages = messages[: len(messages) // 2]
