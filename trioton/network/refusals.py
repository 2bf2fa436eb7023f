"""Who was turned away at the door, as the log hears of it: a stranger who dials on and on must not fill it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from ..transports.base import Transport
    from .context import Context

logger = logging.getLogger("trioton.link")

PERIOD: Final = 60.0
"""Seconds for which those from an address that was told of are only counted."""

MOST_ADDRESSES: Final = 100
"""Of how many addresses it is known that they were told of; those from all others count together."""

ELSEWHERE: Final = "other addresses"

TURNED_AWAY: Final = "turned away"
"""What happened to those that are counted."""


@attrs.define(eq=False)
class _Told:
    """An address that was told of.

    Attributes:
        until: When counting ends.
        more: How many were turned away since.
        last: Why the last of them was.
    """

    until: float
    more: int = 0
    last: str = ""


class Refusals:
    """Tells the log of each address the first that was turned away, in full, and then once a minute how many more there were.

    Args:
        context: The context, which owns the tasks that tell.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told: dict[tuple[str, int, str], _Told] = {}

    def tell(self, level: int, transport: Transport, reason: str, *, what: str = TURNED_AWAY) -> None:
        """Tell of a transport that is turned away, or count it; or of something else that is refused, which is counted by itself."""
        now = trio.current_time()
        place = _place(transport), level, what
        told = self._told.get(place)
        if told is None and len(self._told) >= MOST_ADDRESSES:
            self._forget_old(now)
            if len(self._told) >= MOST_ADDRESSES:
                place = ELSEWHERE, level, what
                told = self._told.get(place)
        if told is None or (not told.more and now >= told.until):
            self._told[place] = _Told(now + PERIOD)
            logger.log(level, "%s: %s", transport.remote_address, reason)
            return
        told.more += 1
        told.last = reason
        if told.more == 1:
            self._context._start_soon(self._tell_more_later, place, told)

    async def _tell_more_later(self, place: tuple[str, int, str], told: _Told) -> None:
        await trio.sleep_until(told.until)
        self._tell_more(place, told)
        told.until += PERIOD

    def _tell_more(self, place: tuple[str, int, str], told: _Told) -> None:
        address, level, what = place
        if told.more:
            logger.log(level, "%s: %d more %s; the last one: %s", address, told.more, what, told.last)
            told.more = 0

    def end(self) -> None:
        """Tell of all that were only counted so far."""
        for place, told in self._told.items():
            self._tell_more(place, told)

    def _forget_old(self, now: float) -> None:
        for place in [place for place, told in self._told.items() if not told.more and now >= told.until]:
            del self._told[place]


def _place(transport: Transport) -> str:
    """Where a transport comes from: its address without the port, which is another one each time."""
    host, _, port = transport.remote_address.rpartition(":")
    return host if port.isdigit() else transport.remote_address
