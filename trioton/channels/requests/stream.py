"""The items of a remote generator, as they come."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import trio

from ...protocol import values
from .. import references
from ..direct import open_channel
from .future import Future

if TYPE_CHECKING:
    from ..direct import Receiver, Sender
    from .requester import ReqChannel

ITEMS: Final = 64
"""Items that may wait at the requester; beyond that the generator waits."""


class ResultStream:
    """The items that a replier's generator yields. An async context manager, and inside its block an async iterator.

    Made by ``req.stream(...)``; the request is made when the block is entered.
    """

    def __init__(
        self, channel: ReqChannel, method: str, body: bytes, leaving: list[Sender[Any]], target: bytes | None
    ) -> None:
        self._channel = channel
        self._method = method
        self._body = body
        self._leaving = leaving
        self._target = target
        self._future: Future[None] | None = None
        self._receiver: Receiver[Any]

    async def __aenter__(self) -> Self:
        if self._future is not None:
            raise RuntimeError(f"{self!r} can be entered only once")
        channel = self._channel
        await trio.lowlevel.checkpoint_if_cancelled()
        channel._check_open()
        if channel._pending >= channel._max_pending:
            raise trio.WouldBlock
        sender, self._receiver = open_channel(channel._context, size=ITEMS)
        references.forget_leaving()
        reference = values.encode_value(sender, references.ENCODE_EXTRA)
        leaving = [*self._leaving, *references.take_leaving()]
        future: Future[None] = Future(channel, self._method, self._body, leaving, target=self._target)
        future._stream = reference
        self._future = future
        future.add_done_callback(lambda _: self._ended(sender))
        channel._add(future)
        channel._desk.start_new(future, trio.current_effective_deadline())
        return self

    def _ended(self, sender: Sender[Any]) -> None:
        """The request is done. The items end by themselves where it was answered, perhaps a little later."""
        assert self._future is not None
        if not self._future._is_answered:
            self._receiver._subscription.end()
        sender.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Receive the next item. Cancelled, none was taken, and the generator goes on until the block is left.

        Raises:
            Exception: Whatever the generator raised, after its last item; see `Future.result` for what else may come.
        """
        if self._future is None:
            raise RuntimeError(f"{self!r} is to be used as: async with req.stream(...) as items")
        broken: BaseException | None = None
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            pass
        except trio.BrokenResourceError as error:
            broken = error.__cause__ or error  # the request tells more, as a rule
        await self._future.wait()
        self._future._was_looked_at = True
        if self._future._error is not None:
            raise self._future._error
        if broken is not None:
            raise broken
        raise StopAsyncIteration

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        future = self._future
        assert future is not None
        try:
            if not future.done():
                future.cancel()
                with trio.CancelScope(shield=True):  # bounded by the channel's cancel_grace
                    await future.wait()
        finally:
            future._was_looked_at = True
            self._receiver.close()
        if exc is None:
            await trio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        return f"<ResultStream of {self._method!r} on {self._channel.slot!r}>"
