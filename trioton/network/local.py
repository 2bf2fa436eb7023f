"""The way from what a context sends to its own subscriptions: what stands where a neighbour and its link would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..protocol import control
from ..protocol.flow import Branch
from ..protocol.packages import PackageHeader, PackageKind
from ..protocol.policies import Mode

if TYPE_CHECKING:
    from ..protocol.flow import SendFlow
    from ..protocol.packages import Package
    from .receiving.grants import Grants
    from .receiving.listening import Listening
    from .receiving.reception import Reception
    from .sending.audience import Audience
    from .sending.dispatcher import Dispatcher
    from .sending.lives import Lives
    from .sending.outlet import Outlet
    from .sending.outlets import Outlets

LOCAL: Final = "local"
"""The key of the branch that leads to the subscriptions of the context itself."""


class LocalOutbox:
    """Stands where a link's outbox would: packages go straight to the context's own subscriptions."""

    links_lost = 0

    def __init__(self, reception: Reception, source: bytes) -> None:
        self._reception = reception
        self._source = source

    def add_package(self, _branch: Branch, package: Package, flow: SendFlow) -> None:
        """Deliver a package."""
        header = PackageHeader(
            PackageKind.PUBLISH, self._source, flow.stream, package.first, flow.slot, package.count, None
        )
        self._reception.local_package(header, b"".join(package.body), is_last=package.is_last)

    def remove_branch(self, branch: Branch) -> None:
        """Nothing ever waits here."""


class LocalLoop:
    """Carries between the two sides of one context what neighbours say to each other in control messages.

    Args:
        source: The 16 bytes of the context's identity.
    """

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._outlets: Outlets
        self._dispatcher: Dispatcher
        self._lives: Lives
        self._audience: Audience
        self._listening: Listening
        self._reception: Reception
        self._grants: Grants

    def join(
        self,
        outlets: Outlets,
        dispatcher: Dispatcher,
        lives: Lives,
        audience: Audience,
        listening: Listening,
        reception: Reception,
        grants: Grants,
    ) -> None:
        """Close the loop. Both sides are made with it at hand, so it hears of them last."""
        self._outlets, self._dispatcher, self._lives, self._audience = outlets, dispatcher, lives, audience
        self._listening, self._reception, self._grants = listening, reception, grants

    # ---------------------------------------------------------------- from the receiving side

    def interest_changed(self, slot: str) -> None:
        """The context's own subscriptions on a slot have changed."""
        self._audience.tell_watcher(slot)
        outlets = [outlet for outlet in self._outlets.on(slot) if outlet.is_local]
        if not outlets:
            return
        interest = self._listening.interest(slot)
        for outlet in outlets:
            if interest is None:
                self._lives.remove_branch(outlet, LOCAL)
            else:
                self._update(outlet, interest)

    def _update(self, outlet: Outlet, interest: control.Subscribe) -> None:
        flow, slot = outlet.flow, outlet.flow.slot
        branch = flow.branches.get(LOCAL)
        mode = Mode(interest.mode)
        if branch is None and flow.is_ended:
            return
        if branch is None:
            branch = Branch(LOCAL, LocalOutbox(self._reception, self._source), mode, interest.size, 0)
            outlet.add_branch(branch)
        elif branch.mode is not mode:
            branch.is_ready = mode is not Mode.BLOCK
        branch.mode, branch.size = mode, interest.size
        if mode is Mode.BLOCK and not branch.is_ready and not self._outlets.has_older(LOCAL, outlet):
            self._dispatcher.cut()
            room = self._grants.grant_local(slot, flow.stream)
            first = flow.grant_first(branch, room, now=trio.current_time(), agreed=interest.record)
            self._grants.started(self._source, slot, flow.stream, first, interest.record)
        self._lives.changed(outlet)

    def credit(self, message: control.Credit) -> None:
        """The context's own subscriptions say what they have taken and how far may be sent."""
        outlet = self._outlets.find(message.slot, message.stream)
        branch = outlet.flow.branches.get(LOCAL) if outlet is not None else None
        if outlet is None or branch is None:
            return
        kept = outlet.flow.credit(branch, message.taken or 0, message.limit, trio.current_time())
        self._lives.changed(outlet)
        if kept is not None:
            self._grants.kept(control.Kept(message.source, message.slot, message.stream, kept))

    def unreachable(self, message: control.Unreachable) -> None:
        """Nobody receives here what the context sends on a flow."""
        self._audience.unreachable(LOCAL, message)

    # ---------------------------------------------------------------- from the sending side

    def add(self, outlet: Outlet) -> None:
        """What is sent on an outlet also goes to the context's own subscriptions."""
        outlet.is_local = True
        self.interest_changed(outlet.flow.slot)

    def forget(self, slot: str) -> None:
        """The context sends no more on a slot, though the flow has not ended."""
        self._reception.forget_local(slot)
