"""Packages that go to several contexts through the same neighbour: one copy for all of them.

What is published leaves once for each neighbour behind which somebody listens, however many do. There it counts as blocking if one of
them blocks, since nothing may be dropped for that one; else the most patient policy of all decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .policies import Mode

if TYPE_CHECKING:
    from .flow import Branch
    from .outbox import PositionedFlow
    from .packages import Package


class Lane(Protocol):
    """A neighbour through which packages go."""

    def __hash__(self) -> int:
        """Neighbours are keys of dictionaries."""

    def add_shared(self, way: Way, package: Package, flow: PositionedFlow) -> None:
        """Take a package for those behind it."""


class Way:
    """The way of one flow through one neighbour.

    Attributes:
        lane: The neighbour.
        mode: What happens when it has no room.
        size: Messages that may wait for it in a mode that drops.
        is_wanted: Whether anybody behind it gets what is sent now.
        members: The branches of all contexts to which it leads.
        own: That of the neighbour itself, if that listens.
        queued: Packages that wait for it in its outbox.
        queued_messages: The messages in them.
        is_behind: Whether the newest messages of the flow were dropped for it, and nobody there knows.
    """

    __slots__ = ("is_behind", "is_wanted", "lane", "members", "mode", "own", "queued", "queued_messages", "size")

    def __init__(self, lane: Lane, mode: Mode = Mode.BLOCK, size: int = 1) -> None:
        self.lane = lane
        self.mode = mode
        self.size = size
        self.is_wanted = True
        self.members: list[Branch] = []
        self.own: Branch | None = None
        self.queued = 0
        self.queued_messages = 0
        self.is_behind = False

    @property
    def passes_by(self) -> bool:
        """Whether the neighbour itself listens, but cannot take what is sent now: then nothing may come there that it would take for its own."""
        own = self.own
        return own is not None and not (own.is_ready and (own.links_lost == own.outbox.links_lost or not own.blocks))

    def add(self, package: Package, flow: PositionedFlow) -> None:
        """Send a package this way."""
        self.lane.add_shared(self, package, flow)
