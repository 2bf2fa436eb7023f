"""Which contexts are linked, and the tree by which each of them reaches all others.

Every context computes the trees of all sources by itself. Since all have the same records and nothing is left to chance, all
compute the same trees, and a package needs to carry nothing but its source to find its way.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from typing import Final

from .bounds import BoundTree
from .records import BOUND_BITS, NodeRecord

MAX_HOPS: Final = 16
"""Links that a package may take; whoever is farther away is not reached. It also ends what a wrong record could send in circles."""

SUSPENDED_COST: Final = 1000
"""What a suspended link costs, where another costs 1: no detour of legal length is so long that it is not taken instead."""

_WHOM: Final = (1 << BOUND_BITS) - 1

# What counts is the cost, and of equal ones the number of links. One number holds both: links in the lower bits.
_HOP_BITS: Final = 32
_HOPS: Final = (1 << _HOP_BITS) - 1
PLAIN_STEP: Final = 1 << _HOP_BITS | 1
SUSPENDED_STEP: Final = SUSPENDED_COST << _HOP_BITS | 1


class Graph:
    """The links that count: those of which the records of both ends know.

    Attributes:
        steps: For each context that has a record, what it takes to each of its neighbours.
        better: The links that are new, or cost less than before, since `settle` was called.
        worse: Those that are gone or cost more, or of which an end believes the other in another way.
        bounds: For each context that binds any: which of its neighbours may not speak for others, and whether by `BELOW` or `ITSELF`.
    """

    def __init__(self) -> None:
        self.steps: dict[bytes, dict[bytes, int]] = {}
        self.better: set[tuple[bytes, bytes]] = set()
        self.worse: set[tuple[bytes, bytes]] = set()
        self.bounds: dict[bytes, dict[bytes, int]] = {}
        self._leads: dict[tuple[bytes, bytes], int] = {}

    def install(self, record: NodeRecord, nodes: Mapping[bytes, NodeRecord]) -> bool:
        """Take the links of a context from its new record, which is among `nodes`; gives whether any has changed."""
        return self.change(record, self.steps.get(record.origin, {}).keys() | record.links.keys(), nodes)

    def change(self, record: NodeRecord, neighbours: Iterable[bytes], nodes: Mapping[bytes, NodeRecord]) -> bool:
        """The same, if only the links to some neighbours may be others than in the record before."""
        origin, steps = record.origin, self.steps
        own = steps.setdefault(origin, {})
        has_changed = False
        for neighbour in neighbours:
            known = own.get(neighbour)
            step = self._leads.get((origin, neighbour)) or _step(record, neighbour, nodes)
            if self._bind(record, neighbour, nodes, counts=step is not None):
                has_changed = True
            if step == known:
                continue
            has_changed = True
            if step is None:
                del own[neighbour], steps[neighbour][origin]
            else:
                own[neighbour] = steps[neighbour][origin] = step
            is_better = known is None or (step is not None and step < known)
            (self.better if is_better else self.worse).add((origin, neighbour))
        return has_changed

    def _bind(self, record: NodeRecord, neighbour: bytes, nodes: Mapping[bytes, NodeRecord], *, counts: bool) -> bool:
        """Take what both ends of a link, if that counts, say of each other; gives whether one believes the other in another way."""
        link = record.links.get(neighbour) if counts else None
        back = nodes[neighbour].links.get(record.origin) if link is not None and neighbour in nodes else None
        forth_bound, back_bound = 0 if link is None else link.bound, 0 if back is None else back.bound
        if not (forth_bound or back_bound or self.bounds):
            return False
        has_changed = False
        for one, other, bound in ((record.origin, neighbour, forth_bound), (neighbour, record.origin, back_bound)):
            bounds, kind = self.bounds.setdefault(one, {}), bound & _WHOM
            if bounds.get(other, 0) != kind:
                has_changed = True
                bounds[other] = kind
                self.worse.add((one, other))
            if not kind:
                self._unbind(one, other)
        return has_changed

    def _unbind(self, one: bytes, other: bytes) -> None:
        bounds = self.bounds.get(one)
        if bounds is not None:
            bounds.pop(other, None)
            if not bounds:
                del self.bounds[one]

    def lead(self, near: bytes, far: bytes, hops: int | None) -> None:
        """A way of so many links leads from one context to another, as somebody says who knows; None if none does any more."""
        step = None if hops is None else hops * PLAIN_STEP
        known = self.steps.get(near, {}).get(far)
        for one, other in ((near, far), (far, near)):
            steps = self.steps.setdefault(one, {})
            if step is None:
                self._leads.pop((one, other), None)
                steps.pop(other, None)
            else:
                steps[other] = self._leads[one, other] = step
        if step != known:
            is_better = known is None or (step is not None and step < known)
            (self.better if is_better else self.worse).add((near, far))

    def remove(self, origin: bytes) -> None:
        """Forget a context, which nobody can reach, with its links."""
        for neighbour in self.steps.pop(origin, ()):
            del self.steps[neighbour][origin]
            self._unbind(origin, neighbour)
            self._unbind(neighbour, origin)

    def settle(self) -> None:
        """All that has changed has been considered."""
        self.better.clear()
        self.worse.clear()


def _step(record: NodeRecord, neighbour: bytes, nodes: Mapping[bytes, NodeRecord]) -> int | None:
    """What the link between a context and a neighbour costs; None if not both know of it."""
    link, other = record.links.get(neighbour), nodes.get(neighbour)
    back = None if link is None or other is None or other is record else other.links.get(record.origin)
    if link is None or back is None:
        return None
    return SUSPENDED_STEP if link.is_suspended or back.is_suspended else PLAIN_STEP


def is_near(cost: int | None) -> bool:
    """Whether a context to which a way of this cost leads is reached; None stands for no way."""
    return cost is not None and cost & _HOPS <= MAX_HOPS


class Tree:
    """How one source reaches all others: at the least cost, then over the fewest links, then over the parent with the smallest id.

    Contexts that are more than `MAX_HOPS` away have their place in it, so that it can grow; they count as not reached. Where some
    contexts may not speak for others, see `BoundTree`; such a tree is made anew unless only leaves come and go.

    Args:
        source: Its root.
        graph: The links.

    Attributes:
        source: Its root.
        parents: For each context but the source, the one before it on the way from the source.
    """

    __slots__ = ("_costs", "_graph", "_bound", "parents", "source")

    def __init__(self, source: bytes, graph: Graph) -> None:
        self.source = source
        self._graph = graph
        self._costs = {source: 0}
        self.parents: dict[bytes, bytes] = {}
        self._bound: BoundTree | None = None
        if graph.bounds:
            self._bound = BoundTree(source, graph.steps, graph.bounds, is_near)
            self._costs, self.parents = self._bound.costs, self._bound.parents
        else:
            self._grow({0: [source]}, {})

    def __contains__(self, context: bytes) -> bool:
        return context in self._costs

    def __len__(self) -> int:
        return len(self._costs)

    def members(self) -> KeysView[bytes]:
        """All contexts that are linked with the source, however far away, and the source."""
        return self._costs.keys()

    def cost(self, context: bytes) -> int | None:
        """What the way to a context costs; None if there is none, however long."""
        return self._costs.get(context)

    def changed_from(self, before: Tree) -> dict[bytes, int | None]:
        """What the ways cost in another tree of the same source, for all contexts to which they cost something else here."""
        known = before._costs
        changed = {context: known.get(context) for context, cost in self._costs.items() if known.get(context) != cost}
        changed.update((context, cost) for context, cost in known.items() if context not in self._costs)
        return changed

    def adapt(self) -> dict[bytes, int | None] | None:
        """Follow the links that have changed since the graph was settled, if that takes little.

        New links let the tree grow. What is lost matters if it was part of the tree; but a context that has lost its only link just leaves it.

        Returns:
            What the ways cost before, for all contexts to which they cost something else now. None if the tree must be made anew, and is
            as it was.
        """
        if self._bound is not None:
            return self._bound.adapt(self._graph.better | self._graph.worse)
        if self._graph.bounds:
            return None
        parents, steps = self.parents, self._graph.steps
        lost: dict[
            bytes, None
        ] = {}  # a link may be lost more than once: at either end, or again after it had come back
        for one, other in self._graph.worse:
            for parent, child in ((one, other), (other, one)):
                if parents.get(child) == parent:
                    if steps.get(child):
                        return None
                    lost[child] = None
        before: dict[bytes, int | None] = {}
        for child in lost:
            del parents[child]
            before[child] = self._costs.pop(child)
        to_visit: dict[int, list[bytes]] = {}
        for one, other in self._graph.better:
            step = steps.get(one, {}).get(other)
            if step is not None:
                self._take(one, other, step, to_visit, before)
                self._take(other, one, step, to_visit, before)
        self._grow(to_visit, before)
        return before

    def _grow(self, to_visit: dict[int, list[bytes]], before: dict[bytes, int | None]) -> None:
        """Look where the ways lead on from contexts to which there is a way of another cost now; they are ordered by it."""
        costs, parents, steps = self._costs, self.parents, self._graph.steps
        while to_visit:
            cost = min(to_visit)
            for context in to_visit.pop(cost):
                if costs[context] != cost:
                    continue  # there was a better way to it
                for neighbour, step in steps.get(context, {}).items():
                    known = costs.get(neighbour)
                    # As in `_take`: this is done for each link of the network.
                    if known is None or cost + step < known or (cost + step == known and context < parents[neighbour]):
                        self._take(context, neighbour, step, to_visit, before)

    def _take(
        self,
        context: bytes,
        neighbour: bytes,
        step: int,
        to_visit: dict[int, list[bytes]],
        before: dict[bytes, int | None],
    ) -> None:
        """Take the way over a context to its neighbour, if there is one and it is better than what was known."""
        cost = self._costs.get(context)
        if cost is None:
            return
        further, known = cost + step, self._costs.get(neighbour)
        if known is None or further < known:
            before.setdefault(neighbour, known)
            self._costs[neighbour] = further
            self.parents[neighbour] = context
            to_visit.setdefault(further, []).append(neighbour)
        elif further == known and context < self.parents[neighbour]:
            self.parents[neighbour] = context

    def reaches(self, context: bytes) -> bool:
        """Whether a context is the source, or in the tree and not too far away."""
        return is_near(self._costs.get(context))

    def hops(self, context: bytes) -> int | None:
        """How many links away a context is; None if it is not reached."""
        cost = self._costs.get(context)
        return None if cost is None or not is_near(cost) else cost & _HOPS

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
