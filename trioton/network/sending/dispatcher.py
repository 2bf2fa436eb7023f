"""When what is sent becomes packages, and when these are written.

The first message on an idle network is written at once, from `send`. It makes the dispatcher *hot*: what follows in the same pass
of the scheduler gathers, and leaves as one package when the flusher task next runs. Only one flow gathers at a time, so what a
context sends on several slots reaches a neighbour in the order in which it was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from ..local import LOCAL
from .congestion import CongestionWatch

if TYPE_CHECKING:
    from ...protocol.flow import SendFlow
    from ...protocol.packages import Buffer
    from ..association import Association
    from ..events import EventHub
    from ..link import Link
    from .outlet import Outlet

LONE_AFTER: Final = 50e-6
"""Seconds after a write in which the next message is taken for the start of a burst: about what a write costs, twice."""


class Dispatcher:
    """Gathers messages, cuts them into packages and writes these.

    Args:
        outlets: The open outlets by slot, which count what nobody listens to.
        hub: Where events go.
        clock: Tells time in seconds; Trio's own in a simulation, else the quickest there is.

    Attributes:
        gathering: The flow whose messages gather, or None.
        is_hot: Whether the flusher runs in the next pass of the scheduler.
        watch_shared: Called when packages were sent that go on behind a neighbour.
        congestion: Tells of tasks that wait in `send` for long.
    """

    def __init__(self, outlets: Mapping[str, Outlet], hub: EventHub, clock: Callable[[], float]) -> None:
        self.gathering: SendFlow | None = None
        self.is_hot = False
        self.congestion = CongestionWatch(hub)
        self._outlets = outlets
        self._unwritten: dict[Association, None] = {}
        self._lot = trio.lowlevel.ParkingLot()
        self._clock = clock
        self._last_write = -math.inf
        self.watch_shared: Callable[[SendFlow], None] | None = None
        self._later: list[Callable[[], None]] = []

    # ---------------------------------------------------------------- messages

    def added(self, flow: SendFlow, *, due: bool) -> None:
        """A message was added to a flow; `due` says that its run is full."""
        if self.gathering is not flow:
            if self.gathering is not None:
                self.cut()
            self.gathering = flow
        if due:
            self.cut()
            self.write()
            self.heat()
        elif not self.is_hot:
            self._add_when_cold(flow)

    def write_at_once(self, flow: SendFlow, piece: bytes) -> bool:
        """Send a small encoded message, for which there is room, if it is alone: nothing gathers, and nothing waits for the one link it leaves on.

        The same as adding it, by a shorter way; gives whether it was sent.
        """
        if self.is_hot or self.gathering is not None:
            return False
        now = self._clock()
        if now - self._last_write <= LONE_AFTER:
            return False
        link = self._idle_link(flow)
        if link is None:
            return False
        self._last_write = now
        link.write_lone(flow.pass_lone(piece))
        return True

    def _add_when_cold(self, flow: SendFlow) -> None:
        """Write a lone message at once; one that follows closely waits for those that come behind it."""
        now = self._clock()
        if now - self._last_write > LONE_AFTER:
            self._last_write = now
            if not self._write_lone(flow):
                self.cut()
                self.write()
        else:
            self.heat()

    def _write_lone(self, flow: SendFlow) -> bool:
        """Write the lone message that has gathered past the outbox, if it is for one link only and that is idle; whether it was."""
        link = self._idle_link(flow) if len(flow.pieces) == 1 else None
        if link is None:
            return False
        self.gathering = None
        link.write_lone(flow.cut_lone())
        return True

    @staticmethod
    def _idle_link(flow: SendFlow) -> Link | None:
        """The only link on which what a flow sends leaves, if nothing waits there."""
        if len(flow.branches) != 1:
            return None
        (branch,) = flow.branches.values()
        if branch.key is LOCAL or not branch.is_ready or branch.is_behind or branch.way is not None:
            return None
        link: Link | None = branch.key.open_link  # type: ignore[attr-defined]  # keys are associations, or LOCAL
        if link is None or not link.is_idle or (branch.blocks and branch.links_lost != branch.outbox.links_lost):
            return None
        return link

    def add_large(self, flow: SendFlow, buffers: tuple[Buffer, ...], size: int) -> None:
        """Add a large message, whose buffers are sent as they are."""
        self.cut()
        package = flow.add_large(buffers, size)
        self.distributed(flow, package.count)
        if not self.is_hot:
            self.write()

    def skip(self, flow: SendFlow) -> None:
        """A message that was accepted cannot be sent: let all who listen see a gap."""
        self.cut()
        flow.skip()
        self.distributed(flow, 0)
        self.heat()

    def cut(self) -> None:
        """Make packages of what has gathered and put them on the links' outboxes."""
        flow, self.gathering = self.gathering, None
        if flow is not None:
            self.distributed(flow, flow.cut())

    def distributed(self, flow: SendFlow, count: int) -> None:
        """Packages with so many messages were put on the outboxes of all who listen to a flow: remember what is to be written."""
        listened_to = False
        for branch in flow.branches.values():
            if branch.is_ready:
                listened_to = True
                if branch.key is not LOCAL and branch.way is None:
                    self._unwritten[branch.key] = None  # type: ignore[index]  # keys are associations, or LOCAL
        for lane in flow.ways:
            self._unwritten[lane] = None  # type: ignore[index]  # lanes are connections
        if flow.ways and self.watch_shared is not None:
            self.watch_shared(flow)
        if not listened_to and flow.slot in self._outlets:
            self._outlets[flow.slot].dropped += count

    # ---------------------------------------------------------------- writing

    def will_write(self, association: Association) -> None:
        """Something waits on an association's outbox: write it in the next pass of the scheduler."""
        self._unwritten[association] = None
        self.heat()

    def forget(self, association: Association) -> None:
        """An association is over: nothing there is to be written."""
        self._unwritten.pop(association, None)

    def heat(self) -> None:
        """Let the flusher run in the next pass of the scheduler."""
        if not self.is_hot:
            self.is_hot = True
            self._lot.unpark()

    def do_later(self, function: Callable[[], None]) -> None:
        """Call a function in the next pass of the scheduler."""
        self._later.append(function)
        self.heat()

    def _do_what_was_left(self) -> None:
        later, self._later = self._later, []
        for function in later:
            function()

    def write(self) -> None:
        """Write what waits on the outboxes, as far as the transports take it at once."""
        unwritten, self._unwritten = self._unwritten, {}
        for association in unwritten:
            association.try_write()

    @trio.lowlevel.enable_ki_protection
    async def flush_forever(self, report_due: Callable[[], None]) -> None:
        """The flusher: one pass after something was written, write what has gathered since; cold again when nothing has.

        Args:
            report_due: Says what is due to the sources of what the context receives, which goes before anything else.
        """
        while True:
            if not self.is_hot:
                await self._lot.park()
            report_due()
            is_burst = False
            if self._later:
                self._do_what_was_left()
            while self.gathering is not None or self._unwritten or self._later:
                is_burst = self.gathering is not None
                self.cut()
                self.write()
                await trio.lowlevel.checkpoint()
                report_due()
                if self._later:
                    self._do_what_was_left()
            self.is_hot = False
            if is_burst:
                self._last_write = self._clock()  # what comes right behind belongs to it
