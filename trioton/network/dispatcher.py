"""The sending side of a context: its outlets, who listens to them, and when what has gathered is written.

The first message on an idle network is written at once, from `send`. It makes the dispatcher *hot*: what follows in the same pass
of the scheduler gathers, and leaves as one package when the flusher task next runs. Only one flow gathers at a time, so what a
context sends on several slots reaches a neighbour in the order in which it was sent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Hashable
from typing import TYPE_CHECKING, Final

import trio

from ..protocol import control
from ..protocol.flow import Branch, SendFlow
from ..protocol.policies import Mode
from .congestion import CongestionWatch
from .local import LOCAL, LocalOutbox
from .outlet import Outlet

if TYPE_CHECKING:
    from ..protocol.limits import Limits
    from ..protocol.packages import Buffer, Package
    from .connection import Connection
    from .events import EventHub
    from .reception import Reception

logger = logging.getLogger("trioton.context")

LONE_AFTER: Final = 50e-6
"""Seconds after a write in which the next message is taken for the start of a burst: about what a write costs, twice."""


class Dispatcher:
    """All that a context sends.

    Args:
        source: The 16 bytes of the context's identity.
        limits: The context's bounds.
        hub: Where events go.
        reception: The context's receiving side, whose credits are written before anything else.
        clock: Tells time in seconds; Trio's own in a simulation, else the quickest there is.

    Attributes:
        gathering: The flow whose messages gather, or None.
        is_hot: Whether the flusher runs in the next pass of the scheduler.
        outlets: The open outlets by slot.
        dropped: Messages that nobody listened to, of outlets that are closed.
        congestion: Tells of tasks that wait in `send` for long.
    """

    def __init__(
        self, source: bytes, limits: Limits, hub: EventHub, reception: Reception, clock: Callable[[], float]
    ) -> None:
        self.source = source
        self.reception = reception
        self.gathering: SendFlow | None = None
        self.is_hot = False
        self.outlets: dict[str, Outlet] = {}
        self.dropped = 0
        self._limits = limits
        self._hub = hub
        self._ending: dict[tuple[str, int], Outlet] = {}
        self._interests: dict[str, dict[Connection, control.Subscribe]] = {}
        self._unwritten: dict[Connection, None] = {}
        self._lot = trio.lowlevel.ParkingLot()
        self.congestion = CongestionWatch(hub)
        self._next_stream = 0
        self._clock = clock
        self._last_write = -math.inf

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
        """Write the lone text that has gathered past the outbox, if it is for one link only and that is idle; whether it was."""
        if len(flow.branches) != 1 or len(flow.pieces) != 1 or not flow.takes_text:
            return False
        (branch,) = flow.branches.values()
        if branch.key is LOCAL or not branch.is_ready or branch.is_behind:
            return False
        link = branch.key.open_link  # type: ignore[attr-defined]  # keys are connections, or LOCAL
        if link is None or not link.is_idle or (branch.blocks and branch.links_lost != branch.outbox.links_lost):
            return False
        self.gathering = None
        link.write_lone(flow.cut_lone())
        return True

    def add_large(self, flow: SendFlow, buffers: tuple[Buffer, ...], size: int) -> None:
        """Add a large message, whose buffers are sent as they are."""
        self.cut()
        package = flow.add_large(buffers, size)
        self._distributed(flow, package.count)
        if not self.is_hot:
            self.write()

    def skip(self, flow: SendFlow) -> None:
        """A message that was accepted cannot be sent: let all who listen see a gap."""
        self.cut()
        flow.skip()
        self._distributed(flow, 0)
        self.heat()

    def cut(self) -> None:
        """Make packages of what has gathered and put them on the links' outboxes."""
        flow, self.gathering = self.gathering, None
        if flow is not None:
            self._distributed(flow, flow.cut())

    def _distributed(self, flow: SendFlow, count: int) -> None:
        listened_to = False
        for branch in flow.branches.values():
            if branch.is_ready:
                listened_to = True
                if branch.key is not LOCAL:
                    self._unwritten[branch.key] = None  # type: ignore[index]  # keys are connections, or LOCAL
        if not listened_to and flow.slot in self.outlets:
            self.outlets[flow.slot].dropped += count

    # ---------------------------------------------------------------- writing

    def will_write(self, connection: Connection) -> None:
        """Something waits on a connection's outbox: write it in the next pass of the scheduler."""
        self._unwritten[connection] = None
        self.heat()

    def heat(self) -> None:
        """Let the flusher run in the next pass of the scheduler."""
        if not self.is_hot:
            self.is_hot = True
            self._lot.unpark()

    def write(self) -> None:
        """Write what waits on the outboxes, as far as the transports take it at once."""
        unwritten, self._unwritten = self._unwritten, {}
        for connection in unwritten:
            connection.try_write()

    @trio.lowlevel.enable_ki_protection
    async def flush_forever(self) -> None:
        """The flusher: one pass after something was written, write what has gathered since; cold again when nothing has."""
        while True:
            if not self.is_hot:
                await self._lot.park()
            self.reception.report_due()
            is_burst = False
            while self.gathering is not None or self._unwritten:
                is_burst = self.gathering is not None
                self.cut()
                self.write()
                await trio.lowlevel.checkpoint()
                self.reception.report_due()
            self.is_hot = False
            if is_burst:
                self._last_write = self._clock()  # what comes right behind belongs to it

    # ---------------------------------------------------------------- outlets

    def open_outlet(self, slot: str, *, destination: bytes | None = None) -> Outlet:
        """Give the outlet of a slot, shared by all who open it."""
        outlet = self.outlets.get(slot)
        if outlet is None:
            self._next_stream += 1
            flow = SendFlow(
                self.source, slot, self._next_stream, window_bytes=self._limits.window_bytes, destination=destination
            )
            outlet = self.outlets[slot] = Outlet(self, flow)
            for connection, interest in self._interests.get(slot, {}).items():
                self._update_branch(outlet, connection, interest)
        outlet.users += 1
        return outlet

    def drop_outlet(self, outlet: Outlet) -> None:
        """One user of an outlet is gone, and the flow goes on elsewhere: it does not end."""
        outlet.users -= 1
        if not outlet.users and self.outlets.get(outlet.flow.slot) is outlet:
            self.cut()
            del self.outlets[outlet.flow.slot]
            if LOCAL in outlet.flow.branches:
                self.reception.forget_local(outlet.flow.slot)

    def close_outlet(self, outlet: Outlet) -> None:
        """One user of an outlet is gone. After the last one the flow ends, when all that was accepted has left."""
        outlet.users -= 1
        if outlet.users:
            return
        slot = outlet.flow.slot
        if self.outlets.get(slot) is outlet:
            del self.outlets[slot]
        self.cut()
        self._ending[slot, outlet.flow.stream] = outlet
        self.end_if_done(outlet)

    def end_if_done(self, outlet: Outlet) -> None:
        """End the flow of a closed outlet when nothing waits there any more, and forget it when that has been taken."""
        flow = outlet.flow
        key = flow.slot, flow.stream
        if key not in self._ending:
            return
        if not flow.branches:
            outlet.drop_backlog()
        if not flow.is_ended and not outlet.backlog:
            self.cut()
            self._tell_end(flow, flow.end())
            self.heat()
        # A subscription of this context may have taken the end at once, and brought us here already.
        if flow.is_ended and not flow.log and self._ending.pop(key, None) is not None:
            self.dropped += outlet.dropped
            self._offer_next(flow.slot)

    def _tell_end(self, flow: SendFlow, end: Package) -> None:
        """A flow has ended. Where some block, and have not given room yet, others may have missed the last messages, and must know it."""
        self._distributed(flow, 0)
        for branch in flow.branches.values():
            if (
                not branch.is_ready
                and branch.key is not LOCAL
                and branch.begun < end.first
                and branch.subscriptions > 1
            ):
                branch.outbox.add_package(branch, end, flow)
                self._unwritten[branch.key] = None  # type: ignore[index]  # keys are connections, or LOCAL

    def _offer_next(self, slot: str) -> None:
        """A flow has ended: those that began after it on the same slot may ask for room."""
        self.local_interest(slot)
        for outlet in self._outlets_on(slot):
            for branch in outlet.flow.branches.values():
                if not branch.is_ready and branch.key is not LOCAL:
                    self._offer(branch.key, outlet)  # type: ignore[arg-type]  # keys are connections, or LOCAL

    def _offer(self, connection: Connection, outlet: Outlet) -> None:
        """Ask a blocking subscriber for room; if an earlier flow on the slot has not ended there, `_offer_next` does it."""
        if not self._has_older(connection, outlet):
            flow = outlet.flow
            connection.send_control(control.Offer(self.source, flow.slot, flow.stream))

    def _has_older(self, key: Connection | str, outlet: Outlet) -> bool:
        flow = outlet.flow
        return any(
            older.flow.stream < flow.stream and key in older.flow.branches for older in self._outlets_on(flow.slot)
        )

    def _find(self, slot: str, stream: int) -> Outlet | None:
        outlet = self.outlets.get(slot)
        if outlet is not None and outlet.flow.stream == stream:
            return outlet
        return self._ending.get((slot, stream))

    def all_outlets(self) -> list[Outlet]:
        """Those that are open and those that still have to end."""
        return [*self.outlets.values(), *self._ending.values()]

    # ---------------------------------------------------------------- what peers say

    def subscribe(self, connection: Connection, message: control.Subscribe) -> None:
        """A peer listens to a slot, or something about that has changed."""
        interests = self._interests.setdefault(message.slot, {})
        known = interests.get(connection)
        if known is not None and known.record > message.record:
            return
        interests[connection] = message
        for outlet in self._outlets_on(message.slot):
            branch = outlet.flow.branches.get(connection)
            if branch is not None and known is not None:
                self._start_again(connection, outlet.flow, branch, known.record, message)
            self._update_branch(outlet, connection, message)

    def _start_again(
        self, connection: Connection, flow: SendFlow, branch: Branch, record: int, interest: control.Subscribe
    ) -> None:
        """A subscriber that does not block says, over a new link, how much it knows: it may have missed the very beginning."""
        # Who knows nothing and is interested in another way than before may be somebody new, who has missed nothing.
        was_there = interest.record == record or interest.stream is not None
        if branch.mode is not Mode.BLOCK and was_there:
            self._tell_started(connection, flow, branch.begun, None)

    def _outlets_on(self, slot: str) -> list[Outlet]:
        """The outlets of a slot, older ones first."""
        ending = [outlet for key, outlet in self._ending.items() if key[0] == slot]
        return [*ending, self.outlets[slot]] if slot in self.outlets else ending

    def _update_branch(self, outlet: Outlet, connection: Connection, interest: control.Subscribe) -> None:
        branch = outlet.flow.branches.get(connection)
        if branch is None:
            self._new_branch(outlet, connection, interest)
        else:
            self._change_branch(outlet, connection, branch, interest)
        self._changed(outlet)

    def _new_branch(self, outlet: Outlet, connection: Connection, interest: control.Subscribe) -> None:
        flow = outlet.flow
        if flow.is_ended or flow.destination is not None:
            return
        mode = Mode(interest.mode)
        flow.window_bytes = min(flow.window_bytes, connection.window_bytes)
        branch = Branch(connection, connection.outbox, mode, interest.size, interest.count)
        branch.taken = branch.begun = flow.cut_to
        outlet.add_branch(branch)
        if mode is Mode.BLOCK:
            self._offer(connection, outlet)
        elif connection.outbox.holds(flow.slot):
            self._tell_position(connection, flow)  # behind the end of an earlier flow
        else:
            self._tell_started(connection, flow, flow.cut_to, None)

    def _change_branch(
        self, outlet: Outlet, connection: Connection, branch: Branch, interest: control.Subscribe
    ) -> None:
        flow = outlet.flow
        mode = Mode(interest.mode)
        if connection.awaits_snapshot and branch.is_ready and branch.mode is Mode.BLOCK:
            if interest.stream != flow.stream or (interest.blocks_since or 0) > branch.agreed:
                # The subscriptions that were here before are closed; those that came after begin anew.
                outlet.remove_branch(connection)
                self._new_branch(outlet, connection, interest)
                if connection in flow.branches:
                    if interest.stream == flow.stream:
                        self._tell_started(connection, flow, branch.begun, None)
                    self._tell_position(connection, flow)  # others there, which do not block, know where they have been
                return
            self._send_again(connection, outlet, branch, interest)
        branch.size = interest.size
        if mode is not Mode.BLOCK or branch.mode is Mode.BLOCK:
            branch.subscriptions = interest.count
        if mode is not Mode.BLOCK:
            if not branch.is_ready:
                branch.taken = branch.begun = flow.cut_to
                self._tell_started(connection, flow, flow.cut_to, None)
            has_missed, branch.mode, branch.is_ready = not branch.is_ready, mode, True
            flow.update_room()
            if has_missed:
                self._tell_position(
                    connection, flow
                )  # others there may have missed what was sent while it was not ready
        elif branch.mode is not Mode.BLOCK or not branch.is_ready:
            # It goes on as it was until the peer has said how much room it has: only then does the one that blocks count.
            self._offer(connection, outlet)
        if connection.awaits_snapshot and branch.mode is not Mode.BLOCK and not flow.is_ended:
            self._tell_position(connection, flow)  # so that it notices if the old link has lost the last messages

    def _tell_position(self, connection: Connection, flow: SendFlow) -> None:
        """Tell a subscriber how far the flow is, behind what waits for it."""
        connection.outbox.add_package(flow.branches[connection], flow.marker(flow.cut_to), flow)
        self.will_write(connection)

    def _tell_started(self, connection: Connection, flow: SendFlow, first: int, agreed: int | None) -> None:
        connection.send_control(control.Started(self.source, flow.slot, flow.stream, first, agreed))

    def _send_again(self, connection: Connection, outlet: Outlet, branch: Branch, interest: control.Subscribe) -> None:
        """The link to a blocking subscriber is new: send what the old one did not bring."""
        flow = outlet.flow
        self.cut()
        if interest.expected is None and branch.begun < branch.taken:
            self._tell_started(connection, flow, branch.begun, None)  # it has missed the very beginning
        self._tell_started(connection, flow, branch.taken, branch.agreed)
        flow.resume(branch, branch.taken if interest.expected is None else interest.expected)
        if not flow.log and not flow.is_ended:
            self._tell_position(connection, flow)  # what was sent before it blocked may be lost
        self.will_write(connection)

    def unsubscribe(self, connection: Connection, message: control.Unsubscribe) -> None:
        """A peer no longer listens to a slot."""
        interests = self._interests.get(message.slot, {})
        known = interests.get(connection)
        if known is not None and known.record <= message.record:
            self._forget_interest(connection, message.slot)

    def _forget_interest(self, connection: Connection, slot: str) -> None:
        interests = self._interests[slot]
        interests.pop(connection, None)
        if not interests:
            del self._interests[slot]
        for outlet in self._outlets_on(slot):
            outlet.remove_branch(connection)
            self.end_if_done(outlet)

    def forget_connection(self, connection: Connection) -> list[str]:
        """A connection, or its session, is over: nobody there listens any more.

        Returns:
            The slots on which it was the last one to listen, and blocked.
        """
        deserted = [
            outlet.flow.slot
            for outlet in self.all_outlets()
            if outlet.flow.destination is None
            and [(branch.key, branch.blocks) for branch in outlet.flow.branches.values()] == [(connection, True)]
        ]
        for slot in [slot for slot, interests in self._interests.items() if connection in interests]:
            self._forget_interest(connection, slot)
        for outlet in self.all_outlets():
            if connection in outlet.flow.branches:
                outlet.remove_branch(connection)
                if outlet.flow.destination is not None:
                    outlet.die("the context that receives here is gone")
                self.end_if_done(outlet)
        self._unwritten.pop(connection, None)
        return deserted

    def forget_unannounced(self, connection: Connection, announced: Container[str]) -> None:
        """A peer has said, over a new link, all that it listens to: it no longer listens to anything else."""
        for slot in [slot for slot, interests in self._interests.items() if connection in interests]:
            if slot not in announced:
                self._forget_interest(connection, slot)
        for outlet in self.all_outlets():
            flow = outlet.flow
            branch = flow.branches.get(connection)
            if flow.destination is not None and branch is not None and branch.is_ready and flow.slot not in announced:
                self._die(outlet, "nobody receives on this channel any more")

    def interests_of(self, connection: Connection) -> int:
        """How many slots a peer listens to."""
        return sum(connection in interests for interests in self._interests.values())

    def credit(self, connection: Connection, message: control.Credit) -> None:
        """A blocking subscriber says how much room it has."""
        outlet = self._find(message.slot, message.stream)
        branch = outlet.flow.branches.get(connection) if outlet is not None else None
        has_started = branch is not None and branch.blocks and branch.is_ready
        if outlet is None or branch is None or (message.taken is None and outlet.flow.is_ended and not has_started):
            if message.taken is None:
                # The flow has ended before it started here: the room that was given to it is free.
                connection.send_control(control.Kept(self.source, message.slot, message.stream, 0))
                if outlet is not None:
                    outlet.remove_branch(connection)
                    self.end_if_done(outlet)
            return
        now = trio.current_time()
        if message.taken is None:
            if has_started:
                return  # it asked twice for room, and this is the second answer
            self.cut()
            branch.mode = Mode.BLOCK
            interest = self._interests.get(message.slot, {}).get(connection)
            branch.subscriptions = branch.subscriptions if interest is None else interest.count
            agreed = 0 if interest is None else interest.record
            first = outlet.flow.grant_first(branch, message.limit, now=now, agreed=agreed)
            if branch.begun < first:
                self._tell_started(
                    connection, outlet.flow, branch.begun, None
                )  # others there were told before, or should have been
            self._tell_started(connection, outlet.flow, first, agreed)
            if branch.subscriptions > 1:
                self._tell_position(connection, outlet.flow)  # others there may have missed what was sent meanwhile
        else:
            kept = outlet.flow.credit(branch, message.taken, message.limit, now)
            if kept is not None:
                connection.send_control(control.Kept(self.source, message.slot, message.stream, kept))
        self._changed(outlet)

    def _changed(self, outlet: Outlet) -> None:
        outlet.changed()
        self.end_if_done(outlet)

    def unreachable(self, key: Hashable, message: control.Unreachable) -> None:
        """Nobody receives what is sent on a flow, as the neighbour says to which it leads; of others that is not believed."""
        outlet = self._find(message.slot, message.stream)
        if outlet is not None and outlet.flow.destination is not None and (key is LOCAL or key in outlet.flow.branches):
            self._die(outlet, message.reason)

    def _die(self, outlet: Outlet, reason: str) -> None:
        """The only receiver of an outlet is gone: nothing that was kept for it is needed any more."""
        outlet.die(reason)
        for key in list(outlet.flow.branches):
            outlet.remove_branch(key)
        self.end_if_done(outlet)

    def offer_direct(self, outlet: Outlet, connection: Connection) -> None:
        """Ask the only receiver of a flow for room."""
        flow = outlet.flow
        if connection not in flow.branches:
            flow.window_bytes = min(flow.window_bytes, connection.window_bytes)
            outlet.add_branch(Branch(connection, connection.outbox, Mode.BLOCK, 1, 1))
            self._offer(connection, outlet)

    def offer_again(self, connection: Connection) -> None:
        """A link is new: offers that were not answered may have been lost."""
        for outlet in self.all_outlets():
            branch = outlet.flow.branches.get(connection)
            if branch is not None and not branch.is_ready:
                self._offer(connection, outlet)
            if branch is not None and outlet.flush_to > outlet.flow.taken:
                self._send_flush(connection, outlet)

    def has_unready(self, connection: Connection) -> bool:
        """Whether a peer still has to say how much room it has for a flow of ours."""
        branches = [outlet.flow.branches.get(connection) for outlet in self.all_outlets()]
        return any(branch is not None and not branch.is_ready for branch in branches)

    def has_unsent(self, connection: Connection) -> bool:
        """Whether a peer that is out of reach has not confirmed all that was sent to it."""
        if connection.outbox:
            return True
        branches = [(outlet.flow, outlet.flow.branches.get(connection)) for outlet in self.all_outlets()]
        return any(branch is not None and branch.blocks and branch.taken < flow.next for flow, branch in branches)

    def held_outlet(self, connection: Connection) -> Outlet | None:
        """An outlet on which accepted messages for a peer wait for its room, or None."""
        for outlet in self.all_outlets():
            if outlet.backlog and connection in outlet.flow.branches:
                return outlet
        return None

    def count_held(self, connection: Connection) -> int:
        """How many accepted messages wait here for room of a peer."""
        return sum(outlet.backlog for outlet in self.all_outlets() if connection in outlet.flow.branches)

    def count_unconfirmed(self, connection: Connection) -> int:
        """How many messages were sent to a blocking peer which has not said yet that it has taken them."""
        count = 0
        for outlet in self.all_outlets():
            branch = outlet.flow.branches.get(connection)
            if branch is not None and branch.blocks and branch.is_ready:
                count += max(0, outlet.flow.next - outlet.flow.is_ended - branch.taken)
        return count

    # ---------------------------------------------------------------- flushing

    def flush_outlet(self, outlet: Outlet) -> int:
        """Ask all blocking subscribers to tell when they have taken all that was sent; gives the number to wait for."""
        self.cut()
        outlet.flush_to = outlet.flow.next
        for branch in outlet.flow.branches.values():
            if branch.blocks and branch.key is not LOCAL and branch.taken < outlet.flush_to:
                self._send_flush(branch.key, outlet)  # type: ignore[arg-type]  # keys are connections, or LOCAL
        return outlet.flush_to

    def _send_flush(self, connection: Connection, outlet: Outlet) -> None:
        flow = outlet.flow
        connection.send_control(control.Flush(self.source, flow.slot, flow.stream, outlet.flush_to))

    # ---------------------------------------------------------------- subscriptions of the context itself

    def set_local(self, outlet: Outlet) -> None:
        """What is sent on an outlet also goes to the context's own subscriptions."""
        outlet.is_local = True
        self.local_interest(outlet.flow.slot)

    def local_interest(self, slot: str) -> None:
        """The context's own subscriptions on a slot have changed."""
        outlets = [outlet for outlet in self._outlets_on(slot) if outlet.is_local]
        if not outlets:
            return
        interest = self.reception.local_interest(slot)
        for outlet in outlets:
            if interest is None:
                outlet.remove_branch(LOCAL)
                self.end_if_done(outlet)
            else:
                self._update_local(outlet, interest)

    def _update_local(self, outlet: Outlet, interest: control.Subscribe) -> None:
        flow, slot = outlet.flow, outlet.flow.slot
        branch = flow.branches.get(LOCAL)
        mode = Mode(interest.mode)
        if branch is None and flow.is_ended:
            return
        if branch is None:
            branch = Branch(LOCAL, LocalOutbox(self.reception, self.source), mode, interest.size, 0)
            outlet.add_branch(branch)
        elif branch.mode is not mode:
            branch.is_ready = mode is not Mode.BLOCK
        branch.mode, branch.size = mode, interest.size
        if mode is Mode.BLOCK and not branch.is_ready and not self._has_older(LOCAL, outlet):
            self.cut()
            room = self.reception.grant_local(slot, flow.stream)
            first = flow.grant_first(branch, room, now=trio.current_time(), agreed=interest.record)
            self.reception.started(self.source, slot, flow.stream, first, interest.record)
        self._changed(outlet)

    def local_credit(self, message: control.Credit) -> int | None:
        """The context's own subscriptions say what they have taken; see `SendFlow.credit`."""
        outlet = self._find(message.slot, message.stream)
        branch = outlet.flow.branches.get(LOCAL) if outlet is not None else None
        if outlet is None or branch is None:
            return None
        kept = outlet.flow.credit(branch, message.taken or 0, message.limit, trio.current_time())
        self._changed(outlet)
        return kept
