"""Receiving from several channels in the order in which their messages came."""

from __future__ import annotations

from typing import Any, Self, TypeVar

import trio

from .receiving import ReceivingEnd

T = TypeVar("T")


class Merge:
    """The messages of several channels; made by `merge`. An async iterator of pairs of a channel and a message."""

    def __init__(self, channels: tuple[ReceivingEnd[Any], ...]) -> None:
        self._channels = list(channels)
        self._lot = trio.lowlevel.ParkingLot()
        self._listening = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[ReceivingEnd[Any], Any]:
        """Receive the message that came first. Checkpoints as `SubChannel.receive`; cancelled, no message was taken.

        Raises:
            trio.BrokenResourceError: A channel has ended with an error; it is left out of the next calls.
            MessageDecodeError: As `SubChannel.receive`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            channel = self._first()
            if channel is not None:
                if channel._pace.spend(1):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    channel = self._first()
                    if channel is None:  # others have taken what was there, or closed the channel
                        continue
                try:
                    return channel, channel.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel, trio.BrokenResourceError):
                    continue  # what waited there made no sense; an end is looked at below
            self._drop_ended()
            if not self._channels:
                raise StopAsyncIteration
            await self._wait()

    def _wake(self) -> None:
        self._lot.unpark_all()

    def _first(self) -> ReceivingEnd[Any] | None:
        best, best_arrival = None, 0
        for channel in self._channels:
            arrival = channel._inbox.next_arrival
            if arrival is not None and (best is None or arrival < best_arrival):
                best, best_arrival = channel, arrival
        return best

    def _drop_ended(self) -> None:
        for channel in list(self._channels):
            if channel._subscription.is_over:
                self._channels.remove(channel)
                if not channel.closed:
                    try:
                        channel._check_end()
                    except trio.EndOfChannel:
                        pass

    async def _wait(self) -> None:
        channels = list(self._channels)
        wake = self._wake
        for channel in channels:
            channel._subscription.on_arrival.append(wake)
        try:
            await self._lot.park()
        finally:
            for channel in channels:
                channel._subscription.on_arrival.remove(wake)


def merge(*channels: ReceivingEnd[Any]) -> Merge:
    """Receive from several channels of one context in the order in which their messages came.

    Use as ``async for channel, message in trioton.merge(out, err): ...``. The loop ends when all channels have ended, or were
    closed here. What a neighbour sends on several slots comes in the order in which it was sent, as long as its messages are smaller
    than 32 KiB, its subscribers were known before the first of them, and the link holds: larger messages let others pass, and a backlog
    or a new link sends slot by slot.

    Args:
        channels: `SubChannel` and `Receiver` objects of one context, each once.

    Raises:
        TypeError: One of them is no receiving channel.
        ValueError: There are none, one is named twice, or they belong to different contexts.
    """
    for channel in channels:
        if not isinstance(channel, ReceivingEnd):
            raise TypeError(f"merge takes receiving channels, not {channel!r}")
    if not channels:
        raise ValueError("merge takes at least one channel")
    if len(set(map(id, channels))) < len(channels):
        raise ValueError("merge takes each channel once")
    if len({id(channel._context) for channel in channels}) > 1:
        raise ValueError("merge takes channels of one context")
    return Merge(channels)
