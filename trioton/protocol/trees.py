"""Which contexts are linked, and the tree by which each of them reaches all others.

Every context computes the trees of all sources by itself. Since all have the same records and nothing is left to chance, all
compute the same trees, and a package needs to carry nothing but its source to find its way.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, KeysView, Mapping
from typing import Final

from .records import NodeRecord

MAX_HOPS: Final = 16
"""Links that a package may take; whoever is farther away is not reached. It also ends what a wrong record could send in circles."""

SUSPENDED_COST: Final = 1000
"""What a suspended link costs, where another costs 1: no detour of legal length is so long that it is not taken instead."""

# What counts is the cost, and of equal ones the number of links. One number holds both: links in the lower bits.
_HOP_BITS: Final = 32
_HOPS: Final = (1 << _HOP_BITS) - 1
PLAIN_STEP: Final = 1 << _HOP_BITS | 1
SUSPENDED_STEP: Final = SUSPENDED_COST << _HOP_BITS | 1


class Graph:
    """The links that count: those of which the records of both ends know.

    Attributes:
        steps: For each context that has a record, what it takes to each of its neighbours.
        touched: Contexts with a link that is new, gone or of another cost since `settle` was called.
        is_worse: Whether one of these is gone or costs more than before.
    """

    def __init__(self) -> None:
        self.steps: dict[bytes, dict[bytes, int]] = {}
        self.touched: set[bytes] = set()
        self.is_worse = False

    def install(self, record: NodeRecord, nodes: Mapping[bytes, NodeRecord]) -> bool:
        """Take the links of a context from its new record, which is among `nodes`; gives whether any has changed."""
        origin = record.origin
        before = self.steps.get(origin, {})
        after = self._steps_of(record, nodes)
        self.steps[origin] = after
        if before == after:
            return False
        for neighbour in before.keys() - after.keys():
            del self.steps[neighbour][origin]
            self.touched.add(neighbour)
            self.is_worse = True
        for neighbour, step in after.items():
            known = before.get(neighbour)
            if known != step:
                self.steps[neighbour][origin] = step
                self.touched.add(neighbour)
                self.is_worse = self.is_worse or (known is not None and known < step)
        self.touched.add(origin)
        return True

    def remove(self, origin: bytes) -> None:
        """Forget a context, which nobody can reach, with its links."""
        for neighbour in self.steps.pop(origin, ()):
            del self.steps[neighbour][origin]
        self.touched.discard(origin)

    def settle(self) -> None:
        """All that was touched has been considered."""
        self.touched.clear()
        self.is_worse = False

    @staticmethod
    def _steps_of(record: NodeRecord, nodes: Mapping[bytes, NodeRecord]) -> dict[bytes, int]:
        origin = record.origin
        steps: dict[bytes, int] = {}
        for neighbour, link in record.links.items():
            other = nodes.get(neighbour)
            back = None if other is None or other is record else other.links.get(origin)
            if back is not None:
                steps[neighbour] = SUSPENDED_STEP if link.is_suspended or back.is_suspended else PLAIN_STEP
        return steps


class Tree:
    """How one source reaches all others: at the least cost, then over the fewest links, then over the parent with the smallest id.

    Contexts that are more than `MAX_HOPS` away have their place in it, so that it can grow; they count as not reached.

    Args:
        source: Its root.
        graph: The links.

    Attributes:
        source: Its root.
        parents: For each context but the source, the one before it on the way from the source.
    """

    __slots__ = ("_costs", "_graph", "parents", "source")

    def __init__(self, source: bytes, graph: Graph) -> None:
        self.source = source
        self._graph = graph
        self._costs = {source: 0}
        self.parents: dict[bytes, bytes] = {}
        self.grow((source,))

    def __contains__(self, context: bytes) -> bool:
        return context in self._costs

    def __len__(self) -> int:
        return len(self._costs)

    def members(self) -> KeysView[bytes]:
        """All contexts that are linked with the source, however far away, and the source."""
        return self._costs.keys()

    def grow(self, touched: Iterable[bytes]) -> None:
        """Take in links that are new or cost less than before, at both ends of which are `touched` contexts."""
        costs, parents, steps = self._costs, self.parents, self._graph.steps
        to_visit: dict[int, list[bytes]] = {}
        for context in touched:
            if context in costs:
                to_visit.setdefault(costs[context], []).append(context)
        order = list(to_visit)
        heapq.heapify(order)
        while order:
            cost = heapq.heappop(order)
            for context in to_visit.pop(cost):
                if costs[context] != cost:
                    continue  # there was a better way to it
                for neighbour, step in steps[context].items():
                    further = cost + step
                    known = costs.get(neighbour)
                    if known is None or further < known:
                        costs[neighbour] = further
                        parents[neighbour] = context
                        if further in to_visit:
                            to_visit[further].append(neighbour)
                        else:
                            to_visit[further] = [neighbour]
                            heapq.heappush(order, further)
                    elif further == known and context < parents[neighbour]:
                        parents[neighbour] = context

    def reached(self) -> dict[bytes, int]:
        """The contexts that are reached, without the source, and how many links away each is."""
        reached = {context: hops for context, cost in self._costs.items() if (hops := cost & _HOPS) <= MAX_HOPS}
        del reached[self.source]
        return reached

    def reaches(self, context: bytes) -> bool:
        """Whether a context is the source, or in the tree and not too far away."""
        cost = self._costs.get(context)
        return cost is not None and cost & _HOPS <= MAX_HOPS

    def child_towards(self, context: bytes, destination: bytes) -> bytes | None:
        """The neighbour of `context` that is next on the way to a destination below it; None if that is not below it."""
        if not self.reaches(destination):
            return None
        parents = self.parents
        child = destination
        parent = parents.get(child)
        while parent is not None and parent != context:
            child = parent
            parent = parents.get(child)
        return None if parent is None else child

    def path(self, destination: bytes) -> tuple[bytes, ...]:
        """The contexts from the source to a destination, both included; none if that is not reached."""
        if not self.reaches(destination):
            return ()
        path = [destination]
        while path[-1] != self.source:
            path.append(self.parents[path[-1]])
        return tuple(reversed(path))
