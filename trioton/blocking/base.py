"""What channels for threads have in common whose work is done by an async channel in the loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from .portal import check_timeout

if TYPE_CHECKING:
    from .context import Context


class Fronted:
    """Stands for an async channel in the loop. A context manager, which closes it at its end.

    Args:
        ctx: The context.
        channel: The async channel.
    """

    def __init__(self, ctx: Context, channel: Any) -> None:
        self._context = ctx
        self._loop = ctx._loop
        self._channel = channel

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        closed: bool = self._channel.closed
        return closed

    def close(self) -> None:
        """Close; see the subclasses."""
        raise NotImplementedError

    def _close_within(self, timeout: float | None, close: Callable[[], Awaitable[object]]) -> None:
        """Wait until an async function has closed it in the loop, which it does also if it is cancelled.

        Raises:
            TimeoutError: It has taken longer than `timeout` seconds.
        """
        check_timeout(timeout)
        if self._loop.is_forked:
            return
        try:
            self._loop.run(close, timeout=timeout)
        except trio.ClosedResourceError:
            pass  # with its context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class OnSlot(Fronted):
    """Stands for an async channel that others find by its slot."""

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        slot: str = self._channel.slot
        return slot

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<blocking {type(self).__name__} {self.slot!r} of {self._context}, {state}>"
