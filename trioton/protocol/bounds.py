"""Ways that lead through those only who may speak for others.

A context says in its record which of its neighbours it believes nothing of others: those are *bound*. Some may speak for themselves only
(`ITSELF`), others, which are stubs, also for those below them (`BELOW`). So a link to a bound neighbour is no part of a way but at its
ends: whatever comes over it must come from that neighbour, or from below it, and what goes over it must be for that.

A way is thus a row of links in three stretches. On the first it may climb, from stubs to their parents; on the last it may go down to stubs; and
its very first and last link may be one to a context that speaks for itself only. That holds for a way and for its reverse alike, so two
contexts reach each other, or neither reaches the other. It is a rule, not a cost: no way is so long that one through a bound
neighbour would be taken instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from .records import BELOW, ITSELF

if TYPE_CHECKING:
    from .topology import Topology

Steps: TypeAlias = Mapping[bytes, Mapping[bytes, int]]
"""For each context, what it takes to each of its neighbours."""

Bounds: TypeAlias = Mapping[bytes, Mapping[bytes, int]]
"""For each context that binds any, which of its neighbours, and whether by `BELOW` or `ITSELF`."""

_NONE: Final[Mapping[bytes, int]] = {}


class BoundTree:
    """How one source reaches all others, over links of which some lead to bound neighbours.

    What can be reached without going down to a stub is reached so, at the least cost; of the rest what can be reached by going down; and
    then what is reached by a last link to a context that speaks for itself only. Each context has one place. Of ways that cost the same,
    that over the parent with the smallest id is taken.

    Args:
        source: Its root.
        steps: The links.
        bounds: Who may not speak for others.
        is_near: Whether a way of some cost is short enough.

    Attributes:
        costs: What the way to each context costs.
        parents: For each context but the source, the one before it on the way.
    """

    def __init__(self, source: bytes, steps: Steps, bounds: Bounds, is_near: Callable[[int], bool]) -> None:
        self.costs: dict[bytes, int] = {source: 0}
        self.parents: dict[bytes, bytes] = {}
        self._source = source
        self._steps = steps
        self._bounds = bounds
        self._is_near = is_near
        self._closed: frozenset[bytes] = (
            frozenset()
        )  # they have their places, which nothing that is found later changes
        self._grow([source], self._may_climb)
        self._closed = self._climbed = self._near()
        self._grow(self._take_all(self._may_go_down), self._may_go_on_down)
        self._closed = self._near()
        self._ends = self._take_all(self._may_end)

    def adapt(self, changed: Collection[tuple[bytes, bytes]]) -> dict[bytes, int | None] | None:
        """Follow the links that have changed, if at one end of each is one whom nobody believes more than what it says of itself.

        Returns:
            As `Tree.adapt`.
        """
        ends: dict[bytes, None] = {}
        for link in changed:
            end = next((each for each in link if self._is_end(each)), None)
            if end is None:
                return None
            ends[end] = None
        before: dict[bytes, int | None] = {}
        for end in ends:
            known = self.costs.pop(end, None)
            self.parents.pop(end, None)
            self._ends.pop(end, None)
            for near in self._steps.get(end, _NONE):
                if near in self._closed and self._may_end(near, end):
                    self._take(near, end, self.costs[near] + self._steps[near][end])
                    self._ends[end] = None
            if self.costs.get(end) != known:
                before[end] = known
        return before

    def _is_end(self, context: bytes) -> bool:
        """Whether a context is reached by the last link of a way if at all, and no way leads on from it."""
        if context == self._source or (context in self.costs and context not in self._ends):
            return False
        return all(self._binds(near, context) == ITSELF for near in self._steps.get(context, ()))

    # ---------------------------------------------------------------- which links are taken

    def _binds(self, one: bytes, other: bytes) -> int:
        return self._bounds.get(one, _NONE).get(other, 0)

    def _is_believed(self, near: bytes, far: bytes) -> bool:
        """Whether a context that has come from the source without going down believes what it says of the source."""
        bound = self._binds(far, near)
        return bound != ITSELF or near == self._source

    def _may_climb(self, near: bytes, far: bytes) -> bool:
        return not self._binds(near, far) and self._is_believed(near, far)

    def _may_go_down(self, near: bytes, far: bytes) -> bool:
        return self._binds(near, far) == BELOW and self._is_believed(near, far) and self._binds(far, near) != BELOW

    def _may_go_on_down(self, near: bytes, far: bytes) -> bool:
        return self._binds(near, far) != ITSELF and not self._binds(far, near)

    def _may_end(self, near: bytes, far: bytes) -> bool:
        if self._binds(near, far) != ITSELF:
            return False
        return self._is_believed(near, far) if near in self._climbed else not self._binds(far, near)

    # ---------------------------------------------------------------- growing

    def _near(self) -> frozenset[bytes]:
        return frozenset(context for context, cost in self.costs.items() if self._is_near(cost))

    def _grow(self, starts: Iterable[bytes], may: Callable[[bytes, bytes], bool]) -> None:
        """Go on from some contexts, and from those that are found, over all links that may be taken; the nearest first."""
        costs, steps = self.costs, self._steps
        to_visit: dict[int, list[bytes]] = {}
        for context in starts:
            to_visit.setdefault(costs[context], []).append(context)
        while to_visit:
            cost = min(to_visit)
            for context in to_visit.pop(cost):
                if costs[context] != cost:
                    continue  # there was a better way to it
                for neighbour, step in steps.get(context, _NONE).items():
                    if may(context, neighbour) and self._take(context, neighbour, cost + step):
                        to_visit.setdefault(cost + step, []).append(neighbour)

    def _take_all(self, may: Callable[[bytes, bytes], bool]) -> dict[bytes, None]:
        """Take the links that lead on from those that have their places, and no further; gives what was found."""
        found: dict[bytes, None] = {}
        for context in self._closed:
            for neighbour, step in self._steps.get(context, _NONE).items():
                if may(context, neighbour) and self._take(context, neighbour, self.costs[context] + step):
                    found[neighbour] = None
        return found

    def _take(self, context: bytes, neighbour: bytes, cost: int) -> bool:
        """Take the way over a context to its neighbour, if that is better than what is known; gives whether it costs less."""
        if neighbour in self._closed:
            return False
        known = self.costs.get(neighbour)
        if known is None or cost < known:
            self.costs[neighbour] = cost
            self.parents[neighbour] = context
            return True
        if cost == known and context < self.parents[neighbour]:
            self.parents[neighbour] = context
        return False


def bounds_of(topology: Topology, contexts: Collection[bytes]) -> dict[bytes, set[int]]:
    """For whom some contexts may speak, see `LinkRecord`, as those say who are linked with them, may speak for others, and are not behind them.

    The one that asks, whose topology it is, knows what it says itself.
    """
    found: dict[bytes, set[int]] = {context: set() for context in contexts}
    for other in topology.contexts():
        node = topology.node(other)
        links = {} if node is None else node.links
        for context in links.keys() & found.keys():
            if _is_believed(topology, other, context):
                found[context].add(links[context].bound)
    return found


def _is_believed(topology: Topology, context: bytes, doubted: bytes) -> bool:
    """Whether nobody on the way to a context binds the one after it, and one who is doubted is not on it."""
    path = topology.path(topology.own.origin, context)
    nodes = [topology.node(each) for each in path]
    return doubted not in path and not any(
        near is not None and (link := near.links.get(far)) is not None and link.bound
        for near, far in zip(nodes, path[1:], strict=False)
    )
