"""What a parent knows of a stub: what it wants to be told of, and what it was told.

A stub is a context at the edge that does not learn the whole network. Its parent, the one neighbour that is not below it, tells it of
those contexts only that it has to do with. All others see it as the parent's neighbour that it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from .records import NoRoute, Route, Want, WantKind

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from .topology import Topology

Wish: TypeAlias = tuple[int, str | bytes]
"""What is wanted: a `WantKind`, and the slot, name or identity."""


MOST_BELOW: Final = 10_000
"""Contexts for which a stub may speak."""


class View:
    """What one stub of a context knows of the network.

    Args:
        stub: The stub's identity.
        most: How many slots, names and contexts together it may want to be told of.

    Attributes:
        stub: The stub's identity.
        wishes: What it wants to be told of.
        told: What it was told of each context last.
        below: The contexts of which it was believed what it said; also some that are not below it any more.
        has_warned: Whether it is known that it wants too much.
    """

    def __init__(self, stub: bytes, most: int) -> None:
        self.stub = stub
        self.wishes: dict[Wish, None] = {}
        self.told: dict[bytes, Route] = {}
        self.below: dict[bytes, None] = {}
        self._most = most
        self._unconfirmed: dict[Wish, None] = {}
        self.has_warned = False

    def begin(self) -> list[bytes]:
        """A link is new: what the stub wanted counts until it has said what it wants now; gives of whom it was told before."""
        self._unconfirmed = dict(self.wishes)
        known = list(self.told)
        self.told.clear()
        return known

    def settle(self) -> list[Wish]:
        """It has said all that it wants now; gives what it wanted before and does not want any more."""
        unconfirmed = list(self._unconfirmed)
        self._unconfirmed.clear()
        for wish in unconfirmed:
            del self.wishes[wish]
        return unconfirmed

    def hear(self, want: Want) -> bool:
        """The stub wants to be told of something, or does so no longer; gives whether that counts: it does not if it wants too much."""
        wish = want.what, want.key
        self._unconfirmed.pop(wish, None)
        if not want.is_wanted:
            self.wishes.pop(wish, None)
        elif want.what != WantKind.ONCE and wish not in self.wishes:
            if len(self.wishes) >= self._most:
                return False
            self.wishes[wish] = None
        return True

    def told_on(self, slot: str) -> list[bytes]:
        """Who listens to a slot, as far as the stub was told."""
        routes = self.told.items()
        return [context for context, route in routes if any(each.slot == slot for each in route.interests)]

    def may_speak_for(self, topology: Topology, context: bytes) -> bool:
        """Whether a stub is believed what it says of a context: that is the stub, or may be below it, since no other way leads there."""
        own = topology.own.origin
        if context == self.stub:
            return True
        if context == own or topology.next_hop(own, context) not in {None, self.stub}:
            return False
        if context not in self.below:
            if len(self.below) >= MOST_BELOW:
                return False
            self.below[context] = None
        return True

    def forget_those_gone(self, topology: Topology) -> None:
        """If the stub has spoken for as many as it may, make room: some may not be below it any more. To be called after `Topology.update`."""
        if len(self.below) >= MOST_BELOW:
            own = topology.own.origin
            self.below = {each: None for each in self.below if topology.next_hop(own, each) == self.stub}

    def update(self, topology: Topology, context: bytes, way: int) -> Route | NoRoute | None:
        """What the stub must be told of a context now; None if it knows that. It counts as told then.

        Args:
            topology: What is known here.
            context: The context.
            way: The number of the way that leads there.
        """
        route = self._route(topology, context, way)
        if route is None:
            return None if self.told.pop(context, None) is None else NoRoute(context)
        if self.told.get(context) == route:
            return None
        self.told[context] = route
        return route

    def _route(self, topology: Topology, context: bytes, way: int) -> Route | None:
        own = topology.own.origin
        node = topology.node(context)
        if node is None or context == own or topology.next_hop(own, context) in {None, self.stub}:
            return None
        if not topology.is_linked(self.stub, context):
            return None
        on_the_way = (topology.node(each) for each in topology.path(own, context)[1:])
        slots = [slot for slot in topology.slots_of(context) if (WantKind.SLOT, slot) in self.wishes]
        records = (topology.interest(context, slot) for slot in slots)
        return Route(
            context,
            node.name,
            node.pid,
            min(each.max_package for each in on_the_way if each is not None),
            node.window_bytes,
            topology.hops(context),
            way,
            self.partings(topology, node.partings),
            tuple(record for record in records if record is not None),
        )

    def partings(self, topology: Topology, partings: Mapping[bytes, int]) -> dict[bytes, int]:
        """Those of a context's partings that the stub, and those below it, must know of."""
        own, stub = topology.own.origin, self.stub
        return {
            other: count for other, count in partings.items() if other == stub or topology.next_hop(own, other) == stub
        }

    def own_route(self, topology: Topology) -> Route:
        """What the stub must know of the parent itself."""
        origin, _, name, pid, max_package, window_bytes, _, partings = topology.own
        return Route(origin, name, pid, max_package, window_bytes, 0, 0, self.partings(topology, partings), ())


class Ways:
    """Numbers the ways to contexts: each has another number than the one before it."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Hashable, int]] = {}
        self._last = 0

    def number(self, topology: Topology, context: bytes) -> int:
        """The number of the way that leads to a context now."""
        way = topology.way(topology.own.origin, context)
        known = self._known.get(context)
        if known is not None and known[0] == way:
            return known[1]
        self._last += 1
        self._known[context] = way, self._last
        return self._last

    def has_changed(self, topology: Topology, context: bytes) -> bool:
        """Whether another way leads to a context than when it was last asked for its number."""
        known = self._known.get(context)
        return known is not None and known[0] != topology.way(topology.own.origin, context)

    def forget(self, context: bytes) -> None:
        """Nobody needs to know how to reach a context any more."""
        self._known.pop(context, None)
