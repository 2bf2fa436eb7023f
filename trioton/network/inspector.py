"""The library's own slot on which a context tells what it is and does, while somebody listens there.

A context that nobody looks at pays for this module, an `Inspector`, and nothing else: what a report is made of (`inspection`) is
imported when the first one is wanted.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import trio

from ..protocol.permissions import REPORTS_SLOT

if TYPE_CHECKING:
    from .association import Association
    from .context import Context
    from .sending.outlet import Outlet

logger = logging.getLogger("trioton.context")

OWN_PREFIX: Final = "trioton."
"""With what the names of the library's own slots begin: programs may subscribe to them, not publish there."""

REPORTS: Final = OWN_PREFIX + "reports"
"""The slot of the reports, as a subscriber names it; the messages are OBJECT."""

INTERVAL: Final = 1.0
"""Seconds from one report to the next."""

SHORTEST: Final = 0.1
"""The same if somebody new listens. Who comes and goes all the time does not get more."""

MOST_ENTRIES: Final = (200, 40, 8, 0)
"""Links, slots and branches of which a report tells in detail: fewer if a subscriber does not take a message of that size."""


class Inspector:
    """Publishes a context's reports while somebody in another context subscribes to them, and knows who may.

    Args:
        context: The context.
    """

    __slots__ = ("_context", "_is_asked", "_is_reporting", "_last", "_since")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._since = trio.current_time()
        self._is_reporting = False
        self._is_asked = False
        self._last = -math.inf

    @property
    def uptime(self) -> float:
        """Seconds for which the context has been open, by Trio's clock."""
        return trio.current_time() - self._since

    def may_inspect(self, association: Association) -> bool:
        """Whether a context may see what this one is and does; interest of one that may not is never learnt.

        For contexts that are no neighbours, whoever has let their interest into the network has asked that.
        """
        permissions = None if association.connection is None else association.connection.permissions
        return permissions is None or permissions.inspect

    def interest_changed(self) -> None:
        """A neighbour listens to the reports: see to it that there is one soon, and then one each second."""
        self._is_asked = True
        if not self._is_reporting and not self._context._closing:
            self._is_reporting = True
            self._context._start_soon(self._report)

    async def _report(self) -> None:
        """Publish a report whenever somebody new listens, and each second, until nobody does any more."""
        context = self._context
        outlet = None
        try:
            outlet = context._open_outlet(REPORTS_SLOT)
            outlet.is_own = True
            while outlet.flow.branches and not context._closing:
                due = self._last + (SHORTEST if self._is_asked else INTERVAL)
                # One that blocks must first say how much room it has; then it is heard of, as of any change, below.
                if outlet.is_listened_to and trio.current_time() >= due:
                    self._last, self._is_asked = trio.current_time(), False
                    self._publish(outlet)
                    continue
                with trio.move_on_at(due if outlet.is_listened_to else math.inf):
                    await outlet.wait_changed()
        except trio.ClosedResourceError:
            pass  # the context closes
        except Exception:  # who looks at a program must not be its end
            logger.exception("%s: no report could be made; nobody gets one before somebody asks again", context)
        finally:
            self._is_reporting = False
            if outlet is not None:
                context._traffic.lives.close(outlet)

    def _publish(self, outlet: Outlet) -> None:
        """Send a report to those who have room for it; nobody waits for the others."""
        from ..protocol.values import encode_value
        from .inspection import inspect

        context, dispatcher = self._context, self._context._dispatcher
        if outlet.flow.room <= 0:
            return
        for most in MOST_ENTRIES:
            data = encode_value(inspect(context, most).to_message())
            if len(data) <= context._limits.max_package and outlet.objection(len(data)) is None:
                outlet.add(((data,), len(data)))
                break
        if dispatcher.gathering is outlet.flow:
            dispatcher.cut()  # while somebody listens: what nobody hears would be counted as the program's
