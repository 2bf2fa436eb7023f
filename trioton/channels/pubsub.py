"""Publishing and subscribing: what one channel sends on a slot, every subscription to the slot gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import trio

from .._arguments import check_count, check_flag, check_seconds
from ..network.receiving.subscription import Subscription
from ..protocol.policies import Block, Policy
from .base import check_context, check_not_own, slot_name
from .messages import TEXT, MessageType, as_message_type
from .receiving import ReceivingEnd
from .sending import SendingEnd

if TYPE_CHECKING:
    from ..network.context import Context

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

PATTERN: Final = "pub-sub"
MAX_BACKLOG: Final = 1_000_000


class PubChannel(SendingEnd[T_contra]):
    """Publishes messages on a slot. An async context manager; usable at once.

    Before the channel has ever had a subscriber, messages wait in its backlog: at most `backlog` of them and 1 MiB, the oldest give
    way. Later, what is sent while nobody listens is dropped and counted in ``statistics().unheard``.

    Args:
        ctx: The context.
        slot: What subscribers must name, too. Case does not matter.
        message_type: What the messages are; subscribers must use the same type.
        local: Whether subscriptions of the same context get the messages, too.
        backlog: Messages that wait for the first subscriber; 0 for none.
        block_deadline: Seconds after which a `send` that finds no room raises `CongestedError`; None waits for ever.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name or one of the library's own, a number is out of range, or another channel of this context and slot has another `local`.
        trio.ClosedResourceError: The context was closed.
    """

    @overload
    def __init__(
        self: PubChannel[str],
        ctx: Context,
        slot: str,
        *,
        local: bool = ...,
        backlog: int = ...,
        block_deadline: float | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: MessageType[T_contra] | type[MessageType[T_contra]],
        *,
        local: bool = ...,
        backlog: int = ...,
        block_deadline: float | None = ...,
    ) -> None: ...

    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: Any = TEXT,
        *,
        local: bool = False,
        backlog: int = 1000,
        block_deadline: float | None = None,
    ) -> None:
        context = check_context(ctx)
        type_ = as_message_type(message_type)
        check_flag("local", local)
        check_count("backlog", backlog, 0, MAX_BACKLOG)
        if block_deadline is not None:
            check_seconds("block_deadline", block_deadline)
        self._slot = slot_name(slot, type_, PATTERN)
        check_not_own(self._slot)
        present = context._traffic.outlets.open.get(self._slot)
        if present is not None and present.is_local != local:
            raise ValueError(f"local={local!r}, but another channel on {self._slot!r} has local={present.is_local!r}")
        outlet = context._open_outlet(self._slot, local=local)
        outlet.backlog_size = max(outlet.backlog_size, backlog)
        super().__init__(context, type_, outlet)
        self._block_deadline = block_deadline

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def subscribers(self) -> int:
        """Subscriptions in other contexts, neighbours or not, that get what is sent now."""
        return self._outlet.subscribers

    async def wait_subscribers(self, count: int = 1) -> None:
        """Wait until at least `count` subscriptions in other contexts, neighbours or not, get what is sent; a checkpoint.

        Raises:
            TypeError: `count` is not an int.
            ValueError: It is negative.
            trio.ClosedResourceError: The channel or its context was closed.
        """
        check_count("count", count, 0)
        await trio.lowlevel.checkpoint()
        while self._closed or self._outlet.subscribers < count:
            if self._closed or self._context._closing:
                raise trio.ClosedResourceError(f"{self!r} was closed")
            await self._outlet.wait_changed()
            # Closing the context cancels its tasks: such a one, woken at the same moment, is not to fail instead.
            await trio.lowlevel.checkpoint_if_cancelled()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.subscribers} subscribers"
        return f"<PubChannel {self._slot!r} of {self._context}, {state}>"


class SubChannel(ReceivingEnd[T_co]):
    """Receives what is published on a slot, by any number of publishers, wherever in the network they are.

    An async context manager and an async iterator.

    After the last publisher has gone it just waits: `trio.EndOfChannel` comes when the context closes.

    Args:
        ctx: The context.
        slot: What publishers name, too. Case does not matter.
        message_type: What the messages are; publishers must use the same type.
        policy: What happens when messages come faster than they are received.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name.
        trio.ClosedResourceError: The context was closed.
    """

    @overload
    def __init__(self: SubChannel[str], ctx: Context, slot: str, *, policy: Policy = ...) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: MessageType[T_co] | type[MessageType[T_co]],
        *,
        policy: Policy = ...,
    ) -> None: ...

    def __init__(self, ctx: Context, slot: str, message_type: Any = TEXT, *, policy: Policy = Block()) -> None:  # noqa: B008
        context = check_context(ctx)
        type_ = as_message_type(message_type)
        if not isinstance(policy, Policy):
            raise TypeError(f"policy must be Block, DropOldest, DropNewest, Latest or Disconnect, not {policy!r}")
        self._slot = slot_name(slot, type_, PATTERN)
        context._check_open()
        subscription = Subscription(context._traffic.listening, self._slot, policy)
        context._traffic.listening.add(subscription)
        super().__init__(context, type_, subscription)

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def policy(self) -> Policy:
        """What happens when messages come faster than they are received."""
        return self._inbox.policy

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ended" if self._subscription.is_over else f"{self.pending} pending"
        return f"<SubChannel {self._slot!r} of {self._context}, {self.policy}, {state}>"
