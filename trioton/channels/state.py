"""States: a slot that always has a value, the newest that anybody in the network has sent."""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Self, TypeVar, overload

import trio

from .._arguments import check_answer, check_function
from ..errors import ProtocolError
from ..network.cancellation import is_cancelled
from ..network.events import BadMessage
from ..protocol import codec
from ..protocol.identity import ContextId
from ..protocol.scan import scan
from .base import check_context, check_not_own, slot_name
from .messages import BINARY, TEXT, DecodeFailure, MessageType, as_message_type, value_encoder

if TYPE_CHECKING:
    from ..network.context import Context
    from ..protocol.retained import Retained

T = TypeVar("T")

PATTERN: Final = "state"


class Unset(enum.Enum):
    """The type of `UNSET`, so that type checkers can tell it from values."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "trioton.UNSET"

    __str__ = __repr__

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""What a state is before anybody has sent a value. There is only one, so compare with ``is``; it counts as false.

None, False, 0 and empty texts are values like any other.
"""


class _Missing(enum.Enum):
    MISSING = enum.auto()


MISSING: Final = _Missing.MISSING
"""What an argument is that was not given, where None could be meant."""


class StateStatistics(NamedTuple):
    """What a state channel has done."""

    sent: int
    """Values sent here that were another than the one before."""
    unchanged: int
    """Values sent here that were the same as the one before, which nobody was told of."""
    changes: int
    """Changes of the value since the channel was made, whoever sent it; those of other contexts may have been joined."""
    taken: int
    """Values that `receive` and its kin have given out."""
    waiting: int
    """Tasks that wait for something here."""


class StateChannel(trio.abc.Channel[T], Generic[T]):
    """A value that all contexts of a network share: who sends one replaces it for all.

    An async context manager and an async iterator; usable at once. Any number of channels, in any context, may be on a slot, and
    each may send. Who sends last wins, and all agree on who that was, also after they could not reach each other for a while. The value
    outlives whoever sent it, as long as any context of the network is left.

    Args:
        ctx: The context.
        slot: The name of the state. Case does not matter.
        message_type: What the values are; others must use the same type.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, or one of the library's own.
        trio.ClosedResourceError: The context was closed.
    """

    @overload
    def __init__(self: StateChannel[str], ctx: Context, slot: str) -> None: ...

    @overload
    def __init__(self, ctx: Context, slot: str, message_type: MessageType[T] | type[MessageType[T]]) -> None: ...

    def __init__(self, ctx: Context, slot: str, message_type: Any = TEXT) -> None:
        context = check_context(ctx)
        self._type: MessageType[Any] = as_message_type(message_type)
        self._slot = slot_name(slot, self._type, PATTERN)
        check_not_own(self._slot)
        context._check_open()
        self._context = context
        self._retaining = context._mesh.retaining
        self._pace = context._pace
        self._is_plain = self._type is TEXT or self._type is BINARY
        if not self._is_plain:
            value_encoder()
        self._closed = False
        self._lot = trio.lowlevel.ParkingLot()
        self._looked_at: object = None  # the version whose value was decoded last
        self._value: T | Unset = UNSET
        self._news: DecodeFailure | bool = False  # whether that is still to be handed out, or what comes in its place
        self._sent = self._unchanged = self._changes = self._taken = 0
        self._retaining.watch(self._slot, self._changed)

    # ---------------------------------------------------------------- what the value is

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.state``."""
        return self._slot

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._closed

    @property
    def value(self) -> T | Unset:
        """The newest value that is known here, or `UNSET`. Looking at it takes nothing away, and it stays when the channel is closed.

        It is made of the bytes that were sent, so nothing that the sender does to its object afterwards changes it. It is the same object
        each time: do not change it. If the newest value makes no sense here, it is the one before.
        """
        self._look()
        return self._value

    @property
    def writer(self) -> ContextId | None:
        """The context that has sent the newest value, which may be gone; None before any."""
        retained = self._retaining.get(self._slot)
        return None if retained is None else ContextId.from_wire(retained.version.writer)

    def _changed(self) -> None:
        """There is a newer value, or the context was closed."""
        self._changes += not self._context._closed
        self._lot.unpark_all()

    def _look(self) -> None:
        """Decode the value, if that is another than at the last look."""
        retained = self._retaining.get(self._slot)
        if retained is None or retained.version == self._looked_at or self._closed:
            return
        self._looked_at = retained.version
        try:
            message = self._decode(retained)
        except ProtocolError as error:
            writer = ContextId.from_wire(retained.version.writer)
            self._context._hub.emit(BadMessage(writer, self._slot, str(error)))
            return
        if type(message) is DecodeFailure:
            self._news = message
        else:
            self._value, self._news = message, True

    def _decode(self, retained: Retained) -> Any:
        data = retained.data
        assert data is not None
        if self._is_plain:
            scan(data)
            value = codec.decode_strings(codec.array_head(1) + data)[0]
        else:
            from ..protocol import values  # see `ReceivingEnd`

            value = values.decode_value(data)
        return self._type.decode_many([value])[0]

    # ---------------------------------------------------------------- sending

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: T) -> None:
        """Replace the value, here at once and elsewhere soon.

        It checks for cancellation always and yields when the context's budget is spent; it never waits for others. Cancelled, nothing was
        sent. If values follow each other quickly, others may get only the last. A value that is encoded to the same bytes as the present one
        changes nothing, and nobody is told of it.

        Raises:
            trio.ClosedResourceError: The channel, or its context, was closed.
            MessageTypeError: The message type cannot carry this value.
            ValueError: The value is larger than `Limits.max_package`, here or in another context that can be reached.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._pace.spend(1):
            await trio.lowlevel.cancel_shielded_checkpoint()
        self.send_nowait(value)

    def send_nowait(self, value: T) -> None:
        """Replace the value, as `send`, but without ever yielding.

        Raises:
            trio.ClosedResourceError: As `send`; and so are `MessageTypeError` and `ValueError`.
        """
        self._check_open()
        if self._context._closing:
            raise trio.ClosedResourceError(f"the context of {self!r} was closed")
        data = b"".join(self._type.encode_buffers(value))
        limit = self._context._limits.max_package
        if len(data) > limit:
            raise ValueError(f"the value takes {len(data)} bytes; limits.max_package is {limit}")
        if self._retaining.put(self._slot, data):
            self._sent += 1
        else:
            self._unchanged += 1

    # ---------------------------------------------------------------- receiving

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T:
        """Wait for a value that this channel object has not given out yet, and give the newest.

        What is there when the channel is made counts as not given out, and so does what is sent here. Several changes may be joined, but the
        last is never lost. If several tasks wait, only one gets a value.

        It checks for cancellation always and yields when the context's budget is spent or when it must wait. Cancelled, nothing was taken.

        Raises:
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed, and the last value has been given out.
            MessageDecodeError: The message type made no sense of the newest value; the next call goes on with the next one.
        """
        if is_cancelled():
            await trio.lowlevel.checkpoint_if_cancelled()
        if self._pace.spend(1):
            await trio.lowlevel.checkpoint()
        while not self._has_news():
            self._check_end()
            await self._lot.park()
            self._pace.refill()
        return self._take()

    def receive_nowait(self) -> T:
        """Give the newest value, if this channel object has not given it out yet.

        Raises:
            trio.WouldBlock: It has, or there is none.
            trio.ClosedResourceError: As `receive`; and so are `trio.EndOfChannel` and `MessageDecodeError`.
        """
        if not self._has_news():
            self._check_end()
            raise trio.WouldBlock
        return self._take()

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T:
        """As `receive`, and ends the loop where that raises `trio.EndOfChannel`."""
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def _has_news(self) -> bool:
        self._check_open()
        self._look()
        return self._news is not False

    def _take(self) -> T:
        news, self._news = self._news, False
        self._taken += 1
        if isinstance(news, DecodeFailure):
            raise news.error
        return self._value  # type: ignore[return-value]  # there is news, so it is set

    # ---------------------------------------------------------------- waiting

    @overload
    async def wait_value(self, value: T) -> T: ...

    @overload
    async def wait_value(self, *, predicate: Callable[[T], bool]) -> T: ...

    async def wait_value(self, value: Any = MISSING, *, predicate: Callable[[Any], bool] | None = None) -> Any:
        """Wait until the value equals one, or until a function says that it is the right one; a checkpoint.

        A value that is replaced at once may be missed. For `receive` this takes nothing away.

        Args:
            value: The value to wait for.
            predicate: A function, not an async one, that is called with each value, in the task that waits; what it raises is raised here.

        Returns:
            The value that was waited for.

        Raises:
            TypeError: Not exactly one of both was given, or `predicate` is no function or an async one.
            MessageTypeError: The message type cannot carry `value`, so nobody will ever send it.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed, and the last value is not the right one.
        """
        is_right = self._condition(value, predicate)
        await trio.lowlevel.checkpoint()
        looked_at: object = None
        while True:
            self._check_open()
            self._look()
            if self._value is not UNSET and (looked_at is None or looked_at != self._looked_at):
                looked_at = self._looked_at
                found = self._value
                if is_right(found):
                    return found
            self._check_end()
            await self._lot.park()

    def _condition(self, value: Any = MISSING, predicate: Callable[[Any], bool] | None = None) -> Callable[[Any], bool]:
        """What tells of a value whether it is the one to wait for.

        Raises:
            TypeError: As `wait_value`; and so is `MessageTypeError`.
        """
        if (value is MISSING) is (predicate is None):
            raise TypeError("wait_value takes either a value or predicate=a function")
        if predicate is None:
            self._type.encode_buffers(value)
            return lambda found: bool(found == value)
        check_function("predicate", predicate)
        return lambda found: check_answer("predicate", predicate(found))

    async def wait_synced(self) -> None:
        """Wait until this context and all that it can reach have the same news of this state; a checkpoint.

        All are asked which value they know. When it returns, every context that can be reached, over however many links, and this one know
        the newest of those, or a newer one: what was sent here before has come everywhere, and what others had is here. Where nobody
        else can be reached it returns at once. A context that does not answer is waited for until it is gone; one that may not read the state,
        or has connected to a context that does not let it hold up others, is not waited for: see `Permissions`.

        Raises:
            NotPermittedError: Another context does not let this one read the state, or did not take what was sent here last.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_waits()
        await self._retaining.wait_synced(self._slot, self._check_waits)

    def _check_waits(self) -> None:
        self._check_open()
        if self._context._closing:  # and so has begun to leave all others
            raise trio.EndOfChannel

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")

    def _check_end(self) -> None:
        if self._context._closed:
            raise trio.EndOfChannel

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Close at once. Tasks that wait get `trio.ClosedResourceError`; what was sent still leaves. May be called twice."""
        if not self._closed:
            self._look()  # `value` stays what it is
            self._closed = True
            self._retaining.unwatch(self._slot, self._changed)
            self._lot.unpark_all()

    async def aclose(self) -> None:
        """Close, as `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> StateStatistics:
        """What the channel has done so far."""
        return StateStatistics(self._sent, self._unchanged, self._changes, self._taken, len(self._lot))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "set" if self._retaining.get(self._slot) else "unset"
        return f"<StateChannel {self._slot!r} of {self._context}, {state}>"
