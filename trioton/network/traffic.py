"""All that a context sends and receives: which rooms there are for it, and which of them knows which.

They are made one after the other, and each gets what it uses: only what was made before it. Two ways lead back. `LocalLoop`, which brings
what a context sends to its own subscriptions, is made before both sides and joins them at the end; and the flusher, before it
writes, calls `Traffic.report_due`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .interest import Interests
from .local import LocalLoop
from .receiving.claims import Claims
from .receiving.grants import Grants
from .receiving.incoming import IncomingFlows
from .receiving.listening import Listening
from .receiving.reception import Reception
from .receiving.reports import Reports
from .receiving.subscription import Subscriptions
from .sending.audience import Audience
from .sending.branches import Branches
from .sending.dispatcher import Dispatcher
from .sending.lives import Lives
from .sending.outlets import Outlets
from .sending.progress import Progress

if TYPE_CHECKING:
    from ..protocol.limits import Limits
    from .association import Association
    from .events import EventHub


class Traffic:
    """Makes the rooms of a context and joins them.

    Args:
        own_id: The 16 bytes of the context's identity.
        limits: The context's bounds.
        hub: Where events go.
        clock: Tells time in seconds; Trio's own in a simulation, else the quickest there is.
        route: Gives the association that leads to a context, or None.
        neighbours: Gives the associations that must hear of changed interest.

    Attributes:
        interests: Which neighbours listen to what.
        local: The way to the context's own subscriptions.
        outlets: The outlets that there are.
        dispatcher: Gathers, cuts and writes.
        branches: The ways of flows to neighbours.
        lives: Opens and ends outlets.
        audience: Hears what neighbours say about what is sent to them.
        progress: Knows how far what was sent has come.
        subscriptions: The subscriptions that there are.
        incoming: The flows that arrive.
        reports: Tells sources how much room they have.
        claims: Who may send on one-to-one channels.
        listening: Opens and closes subscriptions, and announces interest.
        reception: Delivers packages.
        grants: Hears what sources say about their room.
    """

    def __init__(
        self,
        own_id: bytes,
        limits: Limits,
        hub: EventHub,
        clock: Callable[[], float],
        route: Callable[[bytes], Association | None],
        neighbours: Callable[[], list[Association]],
    ) -> None:
        window_bytes = limits.window_bytes
        self.interests = interests = Interests()
        self.local = local = LocalLoop(own_id)

        self.outlets = outlets = Outlets()
        self.dispatcher = dispatcher = Dispatcher(outlets.open, hub, clock)
        self.branches = branches = Branches(own_id, outlets, dispatcher)
        self.lives = lives = Lives(own_id, window_bytes, outlets, dispatcher, interests, branches, local)
        self.audience = Audience(own_id, outlets, interests, dispatcher, branches, lives)
        self.progress = Progress(outlets, dispatcher, branches)

        self.subscriptions = subscriptions = Subscriptions()
        self.incoming = incoming = IncomingFlows(window_bytes, route, subscriptions)
        self.reports = reports = Reports(own_id, subscriptions, incoming, route, local, dispatcher)
        self.claims = claims = Claims(own_id, subscriptions, incoming, reports, route, local)
        self.listening = listening = Listening(subscriptions, incoming, reports, claims, neighbours, local)
        self.reception = reception = Reception(own_id, hub, subscriptions, incoming, reports, claims, listening)
        self.grants = Grants(own_id, subscriptions, incoming, reports, claims, listening, reception)

        local.join(outlets, dispatcher, lives, self.audience, listening, reception, self.grants)

    def report_due(self) -> None:
        """Put on the control lanes what neighbours are to hear about what is received here: interest first, then room."""
        # The flusher asks in every pass, and mostly there is nothing.
        if self.listening.changed:
            self.listening.announce_changes()
        if self.reports.due:
            self.reports.send_due()
