"""The receiving end that `SubChannel` and `Receiver` share: the fast path of `receive`, and how it waits."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Self, TypeVar

import trio

from .._arguments import check_count
from ..errors import ProtocolError
from ..network.cancellation import is_cancelled
from ..network.events import BadMessage
from ..protocol import codec
from ..protocol.identity import ContextId
from . import references
from .messages import BINARY, TEXT, DecodeFailure, MessageType

if TYPE_CHECKING:
    from ..network.context import Context
    from ..network.receiving.subscription import Subscription

T_co = TypeVar("T_co", covariant=True)


class ReceiveStatistics(NamedTuple):
    """What a receiving channel has done."""

    received: int
    """Messages that came here, those that were dropped here included."""
    taken: int
    """Messages that `receive` and its kin have given out."""
    pending: int
    """Messages that wait."""
    dropped: int
    """Messages that were lost, here or on the way here: by the policy, or with a link."""
    bytes: int
    """Bytes of the packages that came here."""
    waiting: int
    """Tasks that wait for a message."""


class ReceivingEnd(trio.abc.ReceiveChannel[T_co], Generic[T_co]):
    """Messages come out here. Any number of tasks may receive at once; each message goes to one of them."""

    def __init__(self, context: Context, message_type: MessageType[Any], subscription: Subscription) -> None:
        self._context = context
        self._type = message_type
        self._subscription = subscription
        self._inbox = subscription.inbox
        self._ready = subscription.inbox.ready
        self._pace = context._pace
        self._taken = 0
        self._has_failures = False
        self._decode: Callable[[bytes], list[Any]] = codec.decode_strings
        if message_type is not TEXT and message_type is not BINARY:
            self._decode = references.run_decoder(context)
        subscription.decode_lone = self._decode_lone

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._subscription.is_closed

    @property
    def pending(self) -> int:
        """Messages that wait to be received."""
        return self._inbox.pending

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T_co:
        """Receive the next message.

        It checks for cancellation always and yields when the context's budget is spent or when it must wait. Cancelled, no message
        was taken.

        Raises:
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: Nothing more will come, and all that came has been received.
            trio.BrokenResourceError: A `Disconnect` policy has ended the subscription, and all before that has been received.
            MessageDecodeError: The message type made no sense of this message; the next call goes on with the next one.
        """
        # The path of a message that has been decoded already; all else is in `_receive_slowly`.
        subscription = self._subscription
        if subscription.countdown > 0 and self._ready and not is_cancelled():
            subscription.countdown -= 1
            return self._ready.popleft()  # type: ignore[no-any-return]  # the message type vouches for it
        return await self._receive_slowly()

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T_co:
        """As `receive`, and ends the loop where that raises `trio.EndOfChannel`."""
        subscription = self._subscription
        if subscription.countdown > 0 and self._ready and not is_cancelled():
            subscription.countdown -= 1
            return self._ready.popleft()  # type: ignore[no-any-return]
        try:
            return await self._receive_slowly()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def _receive_slowly(self) -> T_co:
        """Do all that `receive` promises."""
        if is_cancelled():
            await trio.lowlevel.checkpoint_if_cancelled()
        taken = self._settle()
        is_there = bool(self._ready) or self._fill()
        if is_there and self._pace.spend(taken + 1):
            await trio.lowlevel.checkpoint_if_cancelled()
            await trio.lowlevel.cancel_shielded_checkpoint()
            is_there = bool(self._ready) or self._fill()  # others may have taken it
        while not is_there:
            handed = await self._subscription.wait()
            self._pace.refill()  # a task that has waited has yielded
            if handed is not None:
                self._taken += 1
                return handed  # type: ignore[no-any-return]
            is_there = bool(self._ready) or self._fill()
        message = self._ready.popleft()
        self._took(1)
        if type(message) is DecodeFailure:
            self._fail(message)
        self._open_short_path()
        return message  # type: ignore[no-any-return]

    def _open_short_path(self) -> None:
        """Let the short path take as many messages as need no look at the budget, the credit, or what could not be decoded."""
        subscription = self._subscription
        if not self._has_failures and subscription.until_credit > 0:
            quantum, until_credit = self._pace.quantum - 1, subscription.until_credit
            subscription.allowed = subscription.countdown = min(until_credit, quantum)

    def _settle(self) -> int:
        """Count what was taken by the short path, and close that path until the long one opens it again."""
        subscription = self._subscription
        taken = subscription.allowed - subscription.countdown
        subscription.allowed = subscription.countdown = 0
        if taken:
            self._took(taken)
        return taken

    def __aiter__(self) -> Self:
        return self

    def receive_nowait(self) -> T_co:
        """Receive the next message if one waits.

        Raises:
            trio.WouldBlock: None waits.
            trio.ClosedResourceError: As `receive`; and so are `trio.EndOfChannel`, `trio.BrokenResourceError` and
                `MessageDecodeError`.
        """
        self._settle()
        if not self._ready and not self._fill():
            raise trio.WouldBlock
        message = self._ready.popleft()
        self._took(1)
        if type(message) is DecodeFailure:
            self._fail(message)
        return message  # type: ignore[no-any-return]

    @trio.lowlevel.enable_ki_protection
    async def receive_many(self, max: int | None = None) -> list[T_co]:  # noqa: A002
        """Wait until at least one message is there, and receive all that came with it in one package, or at most `max`.

        It yields always. Cancelled, no message was taken.

        Raises:
            ValueError: `max` is below 1.
            trio.ClosedResourceError: As `receive`; and so are `trio.EndOfChannel`, `trio.BrokenResourceError` and
                `MessageDecodeError`, which is raised only if the message that made no sense would be the first.
        """
        if max is not None:
            check_count("max", max)
        await trio.lowlevel.checkpoint()
        self._settle()
        while not self._ready:
            if not self._fill():
                handed = await self._subscription.wait()
                if handed is not None:
                    self._taken += 1
                    return [handed]
        return self._take_ready(max)

    def receive_all_nowait(self) -> list[T_co]:
        """Receive all that waits; an empty list if nothing does.

        Raises:
            trio.ClosedResourceError: The channel was closed here.
            MessageDecodeError: As `receive_many`.
        """
        if self.closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")
        self._settle()
        messages: list[T_co] = []
        while self._ready or self._inbox.pending:
            if not self._ready and not self._fill():
                break
            if messages and type(self._ready[0]) is DecodeFailure:
                break
            messages += self._take_ready(None)
        return messages

    def _take_ready(self, most: int | None) -> list[T_co]:
        ready = self._ready
        if type(ready[0]) is DecodeFailure:
            self._took(1)
            self._fail(ready.popleft())
        if (most is None or len(ready) <= most) and not self._has_failures:
            messages = list(ready)
            ready.clear()
        else:
            messages = []
            while ready and len(messages) != most and type(ready[0]) is not DecodeFailure:
                messages.append(ready.popleft())
        self._took(len(messages))
        return messages

    def _took(self, count: int) -> None:
        self._taken += count
        subscription = self._subscription
        subscription.until_credit -= count
        if subscription.until_credit < 0:
            subscription.credit_due()

    def _fill(self) -> bool:
        """Decode the next run; whether there are messages now. To be called when none is ready.

        Raises:
            trio.ClosedResourceError: See `receive`; and so are `trio.EndOfChannel` and `trio.BrokenResourceError`.
        """
        subscription = self._subscription
        while True:
            if subscription.is_closed:
                raise trio.ClosedResourceError(f"{self!r} was closed")
            run = self._inbox.next_run()
            if run is None:
                self._check_end()
                return False
            try:
                values = [run.body] if run.is_lone_bytes else self._decode(run.body)
            except ProtocolError as error:
                self._inbox.forget_current()
                source = ContextId.from_wire(run.flow.source)
                self._context._hub.emit(BadMessage(source, subscription.slot, str(error)))
                continue
            if run.start or run.stop < len(values):
                values = values[run.start : run.stop]
            messages = self._type.decode_many(values)
            self._has_failures = messages is not values and DecodeFailure in set(map(type, messages))
            self._ready.extend(messages)
            return True

    def _decode_lone(self, body: bytes) -> Any:
        """The message of a run of one, or None if it is None or none that the message type knows."""
        if self._type is TEXT:
            text = codec.decode_lone_text(body)
            if text is not None:
                return text
        (message,) = self._type.decode_many(self._decode(body))
        return None if type(message) is DecodeFailure else message

    def _check_end(self) -> None:
        if self._inbox.is_broken:
            raise trio.BrokenResourceError(
                f"the Disconnect policy of {self!r} has ended it: {self._inbox.broken_because}"
            )
        if self._subscription.error is not None:
            raise trio.BrokenResourceError(str(self._subscription.error)) from self._subscription.error
        if self._subscription.is_ended:
            raise trio.EndOfChannel

    def _fail(self, failure: DecodeFailure) -> NoReturn:
        raise failure.error

    def close(self) -> None:
        """Close at once. What waits is dropped, and tasks that wait get `trio.ClosedResourceError`. May be called twice."""
        self._subscription.close()

    async def aclose(self) -> None:
        """Close, as `close`; a checkpoint."""
        self._subscription.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> ReceiveStatistics:
        """What the channel has done so far."""
        counts = self._inbox.counts
        return ReceiveStatistics(
            received=counts.received,
            taken=self._taken + self._subscription.allowed - self._subscription.countdown,
            pending=self._inbox.pending,
            dropped=counts.dropped,
            bytes=counts.bytes,
            waiting=self._subscription.waiting,
        )
