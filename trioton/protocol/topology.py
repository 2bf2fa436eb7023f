"""What one context knows of all others: who there is, how to reach them, and who listens to what.

Contexts in any shape form one network. Each floods records about itself (see `records`), everybody keeps all of them, and computes
from them by which neighbour a package goes on (see `trees`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias, TypeVar

from .interests import Interests, MergedInterest, merge_interests
from .packages import MAX_SEQUENCE
from .records import (
    MAX_LINKS,
    MAX_PARTINGS,
    Digest,
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    Record,
    Route,
    is_identity,
)
from .trees import Graph, Tree, is_near

K = TypeVar("K")
V = TypeVar("V")

MOST_UNREACHABLE: Final = 10_000
"""Contexts that cannot be reached and of which records are kept: a whole large network whose last link is not known yet."""

MOST_ROUTES: Final = 65_536
"""Answers of each kind that are kept for the packages to come; about 10 MB."""

MOST_PLACES: Final = 250_000
"""Places in all trees together that are kept, of 100 bytes each: all trees of 500 contexts, or 250 trees of 1000."""

FEW_ENTRIES: Final = 16
"""Links and partings of a context up to which its record is always told whole: what has changed would not be much shorter."""

MOST_SAID: Final = 64
"""Changes of the own record that are remembered, to know them when they come back."""

Branches: TypeAlias = tuple[tuple[bytes, MergedInterest], ...]
"""Neighbours, and what those behind each of them want."""


class Changes(NamedTuple):
    """What an update has brought.

    Attributes:
        joined: Contexts that can be reached and could not before, nearest first.
        gone: Contexts that can no longer be reached.
    """

    joined: list[bytes]
    gone: list[bytes]


class Topology:
    """What one context knows of all others. Pure: it is told, and asked.

    After records of nodes or links have been told, `update` must be called before anything is asked about contexts and routes.

    Args:
        own: This context's own record.

    Attributes:
        own: This context's own record, current.
        routes: What the parent has told, by context, if this one is a stub; the first is that of the parent itself.
        version: Grows whenever records or links that are in use have changed, so that callers may keep what they have asked.

    Raises:
        ValueError: The number of the own record is not positive.
    """

    def __init__(self, own: NodeRecord) -> None:
        if own.number < 1:
            raise ValueError(f"the number of own must be positive, not {own.number!r}")
        self.own = own
        self.version = 0
        self.routes: dict[bytes, Route] = {}
        self._left: dict[bytes, None] = {}  # contexts to which the parent has led, until conclusions are drawn
        self._nodes: dict[bytes, NodeRecord] = {own.origin: own}
        self._interests = Interests()
        self._graph = Graph()
        self._graph.install(own, self._nodes)
        self._tree = Tree(own.origin, self._graph)
        self._unreachable: dict[bytes, None] = {}  # those that became so first stand first
        self._trees: dict[bytes, Tree] = {}
        self._places = 0
        self._next_hops: dict[tuple[bytes, bytes], bytes | None] = {}
        self._branches: dict[tuple[bytes, str], Branches] = {}
        self._sources_of_slot: dict[str, list[bytes]] = {}
        self._few_entries = FEW_ENTRIES
        self._whole = own.number  # who knows less of the own record must be told all of it
        # In which number since then what has changed, and whether that is a link.
        self._touched: list[tuple[int, bytes, bool]] = []
        self._said: dict[int, NodeChange] = {}

    # ------------------------------------------------------------------------------------------- what this context says

    def set_link(self, neighbour: bytes, *, is_suspended: bool, generation: int, bound: int = 0) -> bool:
        """Say how this context's end of a link is, see `LinkRecord`; gives whether that makes a new own record.

        Raises:
            ValueError: `neighbour` is no other context's identity, or there are too many links.
        """
        if not is_identity(neighbour) or neighbour == self.own.origin:
            raise ValueError(f"neighbour must be the identity of another context, not {neighbour!r}")
        link = LinkRecord(is_suspended, generation, bound)
        if self.own.links.get(neighbour) == link:
            return False
        if neighbour not in self.own.links and len(self.own.links) >= MAX_LINKS:
            raise ValueError(f"neighbour {neighbour.hex()} is one too many: there may be {MAX_LINKS}")
        self._renew_links(neighbour, {**self.own.links, neighbour: link})
        return True

    def remove_link(self, neighbour: bytes) -> bool:
        """Say that a link is gone; gives whether that makes a new own record."""
        if neighbour not in self.own.links:
            return False
        self._renew_links(neighbour, {other: link for other, link in self.own.links.items() if other != neighbour})
        return True

    def set_parting(self, context: bytes, count: int) -> bool:
        """Say how often this context has parted from another; gives whether that makes a new own record.

        Of more than `MAX_PARTINGS`, those that were said first are left out.
        """
        if self.own.partings.get(context) == count:
            return False
        partings = {other: known for other, known in self.own.partings.items() if other != context}
        partings[context] = count
        if len(partings) > MAX_PARTINGS:
            del partings[next(iter(partings))]
            self._whole = self.own.number + 1  # a change cannot say what is left out
        own = self.own._replace(number=self.own.number + 1, partings=partings)
        self._renew(own, context, is_link=False)
        return True

    def own_news(self, since: int) -> NodeRecord | NodeChange:
        """What to tell those who know the own record of this number, or a later one: what has changed, or all if that is not much more.

        When as much has changed as there is, it is all, too: so whoever has not heard everything, or has been told lies, is right again.
        """
        own = self.own
        if since < self._whole or len(own.links) + len(own.partings) <= self._few_entries:
            return own
        touched = {other for number, other, is_link in self._touched if number > since and is_link}
        parted = {other for number, other, is_link in self._touched if number > since and not is_link}
        change = NodeChange(
            own.origin,
            since,
            own.number,
            {other: own.links[other] for other in touched & own.links.keys()},
            tuple(sorted(touched - own.links.keys())),
            {other: own.partings[other] for other in parted},
        )
        self._said[own.number] = change
        if len(self._said) > MOST_SAID:
            del self._said[next(iter(self._said))]
        return change

    def _renew_links(self, neighbour: bytes, links: Mapping[bytes, LinkRecord]) -> None:
        self._renew(self.own._replace(number=self.own.number + 1, links=links), neighbour, is_link=True)

    def _renew(self, own: NodeRecord, touched: bytes, *, is_link: bool) -> None:
        self.own = own
        self._touched.append((own.number, touched, is_link))
        if len(self._touched) >= len(own.links) + len(own.partings):
            self._whole = own.number
            self._touched.clear()
        self._install(own, [touched])

    def heard_number(self, number: int) -> bool:
        """Somebody who is trusted knows the own record of this number; gives whether that makes a new own record: it was never said here."""
        return number > self.own.number and self._outnumber(number)

    def _outnumber(self, number: int) -> bool:
        """Give the own record a larger number than one that somebody has made up, so that all take it instead: whole.

        Nobody can go beyond the largest number, nor should we try.
        """
        if number + 1 >= MAX_SEQUENCE:
            return False
        self._nodes[self.own.origin] = self.own = self.own._replace(number=max(number, self.own.number) + 1)
        self._whole = self.own.number
        self.version += 1
        return True

    # ------------------------------------------------------------------------------------------------ what others say

    def learn_node(self, record: NodeRecord) -> bool:
        """Take the record of a context; gives whether it is news.

        If it is in this context's own name and not from it, this context's own record gets a larger number: then `own` must be
        flooded, not `record`.
        """
        if record.origin == self.own.origin:
            # Our own record comes back to us over every circle.
            return record.number >= self.own.number and record != self.own and self._outnumber(record.number)
        known = self._nodes.get(record.origin)
        is_led_to = record.origin in self.routes or record.origin in self._left
        if known is not None and record.number <= known.number and not is_led_to:
            return False
        self.forget_route(record.origin)
        self._note(record.origin)
        self._install(record)
        return True

    def learn_change(self, change: NodeChange) -> bool:
        """Take what has changed in the record of a context; gives whether it is news. What is not known whole cannot change.

        In this context's own name it is as with `learn_node`.
        """
        origin, since, number, links, gone, partings = change
        if origin == self.own.origin:
            return self._said.get(number) != change and self._outnumber(number)
        known = None if origin in self.routes or origin in self._left else self._nodes.get(origin)
        if known is None or not since <= known.number < number:
            return False
        after = {**known.links, **links}
        for neighbour in gone:
            after.pop(neighbour, None)
        record = known._replace(number=number, links=after, partings={**known.partings, **partings})
        if len(record.links) > MAX_LINKS or len(record.partings) > MAX_PARTINGS:
            return False  # nobody has so many: it is made up
        self._note(origin)
        self._install(record, [*links, *gone])
        return True

    def learn_interest(self, record: InterestRecord) -> bool:
        """Take what another context says about one slot; gives whether it is news. What this context listens to it knows itself."""
        if record.origin == self.own.origin:
            return False
        self._note(record.origin)
        if not self._interests.learn(record):
            return False
        self._void_slot(record.slot)
        return True

    def learn_snapshot(self, snapshot: InterestSnapshot) -> list[str]:
        """Take what a context listens to, unless newer is known; gives the slots that changed.

        A snapshot may be worth passing on though none has changed: ask `is_news` first.
        """
        if snapshot.origin == self.own.origin:
            return []
        self._note(snapshot.origin)
        return self._void_slots(self._interests.learn_snapshot(snapshot))

    def is_news(self, snapshot: InterestSnapshot) -> bool:
        """Whether a snapshot says anything that is not known, so that it should be passed on when it has been learned."""
        return snapshot.origin != self.own.origin and self._interests.is_news(snapshot)

    # ------------------------------------------------------------------------------------------ what a parent says

    def learn_route(self, parent: bytes, route: Route) -> list[str] | None:
        """Take what the parent of this stub says of a context; gives the slots on which its interest has changed.

        None if it is not believed: this context knows by itself who it is, and who is below it.
        """
        origin = route.origin
        is_parent = origin == parent
        if origin == self.own.origin or (origin in self._tree and origin not in self.routes and not is_parent):
            return None
        if is_parent is not (route.hops == 0):
            return None
        known = self.routes.get(origin)
        self._left.pop(origin, None)
        self._unreachable.pop(origin, None)  # from before; the link to the parent may not count yet
        if known is None and not is_parent:
            self._graph.remove(origin)  # what was known of it is old
            self._interests.forget(origin)
        self.routes[origin] = route
        _, name, pid, max_package, window_bytes, hops, way, partings, interests = route
        links = {self.own.origin if is_parent else parent: LinkRecord(is_suspended=False, generation=way)}
        self._nodes[origin] = node = NodeRecord(origin, 1, name, pid, max_package, window_bytes, links, partings)
        if is_parent:
            self._graph.change(node, [self.own.origin], self._nodes)
        else:
            self._graph.lead(parent, origin, hops)
        if known is None or known[3:7] != route[3:7]:
            self.version += 1
        return [] if is_parent else self._void_slots(self._interests.replace(origin, interests))

    def remove_route(self, context: bytes) -> bool:
        """The parent says that a context cannot be reached any more; gives whether it had said before that it can."""
        route = self.routes.get(context)
        if route is None or route.hops == 0:
            return False
        del self.routes[context]
        self._left[context] = None
        self._graph.lead(next(iter(self._nodes[context].links)), context, None)
        self.version += 1
        return True

    def remove_routes(self) -> None:
        """The parent is one no longer, and no link leads there."""
        for context, route in list(self.routes.items()):
            if route.hops:
                self.remove_route(context)
        self._left.update(dict.fromkeys(self.routes))
        self.routes.clear()

    def forget_route(self, context: bytes) -> None:
        """From now on a context speaks for itself: what the parent said of it counts no more."""
        self.remove_route(context)
        self._forget_left([context] if context in self._left else [])

    def _forget_left(self, contexts: Iterable[bytes]) -> None:
        for context in list(contexts):
            del self._left[context]
            self._nodes.pop(context, None)
            self._graph.remove(context)
            self._void_slots(self._interests.slots_of(context))
            self._interests.forget(context)

    # ----------------------------------------------------------------------------------------------------- comparing

    def digest(self, of: Iterable[bytes] | None = None) -> Digest:
        """What is known, for a neighbour to find out what is lacking here.

        If the neighbour has said of which contexts it knows, nothing needs to be said of others; of this context itself there always is.
        """
        origins: Iterable[bytes] = self._origins()
        if of is not None:
            origins = {each for each in of if each in self._nodes or self._interests.newest(each)} | {self.own.origin}
        known = {}
        for origin in origins:
            node = self._nodes.get(origin)
            known[origin] = (0 if node is None else node.number, self._interests.covered(origin))
        return Digest(known)

    def _origins(self) -> set[bytes]:
        """All of whom something is known, but those to whom only a parent leads: it is no record that is known of them."""
        return (self._nodes.keys() | self._interests.origins()) - self.routes.keys() - self._left.keys()

    def lacking(self, digest: Digest) -> list[Record]:
        """What somebody with this digest does not know of the contexts that are linked with this one, of the nearest first.

        What is known of others may be old. Who was told of it would not pass it on when it comes true again, since it is no news then.
        """
        tree = self._tree
        known = [origin for origin in self._origins() if origin in tree]
        origins = sorted(known, key=lambda origin: (tree.cost(origin), origin))
        records: list[Record] = []
        for origin in origins:
            number, covered = digest.known.get(origin, (0, 0))
            node = self._nodes.get(origin)
            if node is not None and node.number > number:
                records.append(node)
            if self._interests.newest(origin) > covered:
                records.append(self._interests.snapshot(origin))
        return records

    def records_of(self, origin: bytes) -> list[Record]:
        """All that is known of a context."""
        node = self._nodes.get(origin)
        records: list[Record] = [] if node is None else [node]
        if self._interests.newest(origin):
            records.append(self._interests.snapshot(origin))
        return records

    # ------------------------------------------------------------------------------------------------- reachability

    def update(self) -> Changes:
        """Find out who can be reached, after records were learned; it does nothing if no link has changed."""
        graph, tree = self._graph, self._tree
        if not graph.better and not graph.worse:
            self._forget_left(self._left)
            return Changes([], [])
        before = tree.adapt()
        if before is None:
            self._tree = Tree(self.own.origin, graph)
            before = self._tree.changed_from(tree)
        self._adapt_trees()
        graph.settle()
        self._void_answers()
        costs = {context: self._tree.cost(context) for context in before}
        joined = [context for context, cost in costs.items() if is_near(cost) and not is_near(before[context])]
        gone = [context for context, cost in costs.items() if is_near(before[context]) and not is_near(cost)]
        # Those that are linked with us but too far away are none of the unreachable: the trees of others need them.
        for context, cost in costs.items():
            if cost is not None:
                self._unreachable.pop(context, None)
        self._forget_left(self._left)
        for context in sorted(context for context, cost in costs.items() if cost is None):
            self._note(context)
        return Changes(sorted(joined, key=lambda context: (self._tree.hops(context), context)), sorted(gone))

    def _adapt_trees(self) -> None:
        """Let the trees of others follow the links that have changed; those that would have to be made anew are, when they are needed."""
        for source, tree in list(self._trees.items()):
            places = len(tree)
            if source in self._tree and tree.adapt() is not None:
                self._places += len(tree) - places
            else:
                self._places -= places
                del self._trees[source]

    def _note(self, context: bytes) -> None:
        """Something is known of a context: if it cannot be reached, the oldest of those that cannot may have to be forgotten."""
        if context not in self._tree and context not in self._unreachable and context not in self.routes:
            self._unreachable[context] = None
            if len(self._unreachable) > MOST_UNREACHABLE:
                self._forget(next(iter(self._unreachable)))

    def unreachable(self) -> list[bytes]:
        """The contexts of which something is known though they cannot be reached."""
        return list(self._unreachable)

    def forget_unreachable(self, contexts: Iterable[bytes] | None = None) -> None:
        """Forget those of some contexts, or of all, that cannot be reached; to be called now and then, when `update` has been called."""
        for context in list(self._unreachable if contexts is None else contexts):
            if context in self._unreachable:
                self._forget(context)

    def outdate(self, context: bytes, number: int) -> None:
        """A context that cannot be reached has a newer record: the one that is known must not count when it can be, before that comes."""
        node = self._nodes.get(context)
        if context in self.routes or context in self._left:
            return
        if node is not None and node.number < number and context in self._unreachable:
            del self._nodes[context]
            self._graph.remove(context)

    def _forget(self, context: bytes) -> None:
        del self._unreachable[context]
        self._nodes.pop(context, None)
        self._graph.remove(context)
        self._interests.forget(context)

    def node(self, context: bytes) -> NodeRecord | None:
        """The record of a context that can be reached, or of this one."""
        return self._nodes[context] if self._tree.reaches(context) else None

    def contexts(self) -> list[bytes]:
        """All that can be reached, without this context itself, in the order of their identities."""
        tree = self._tree
        return sorted(context for context in tree.members() if tree.reaches(context) and context != self.own.origin)

    def reaches(self, context: bytes) -> bool:
        """Whether a context can be reached, or is this one."""
        return self._tree.reaches(context)

    def is_linked(self, one: bytes, other: bytes) -> bool:
        """Whether two contexts that can be reached can reach each other, too."""
        return not self._graph.bounds or bool(self.path(one, other))

    def hops(self, context: bytes) -> int:
        """How many links away a context is.

        Raises:
            ValueError: It cannot be reached.
        """
        hops = self._tree.hops(context)
        if hops is None:
            raise ValueError(f"context {context.hex()} cannot be reached")
        return hops

    # ----------------------------------------------------------------------------------------------------- interest

    def interest(self, context: bytes, slot: str) -> InterestRecord | None:
        """What a context that can be reached, or this one, wants of a slot."""
        return None if self.node(context) is None else self._interests.get(context, slot)

    def interested(self, slot: str) -> Iterator[InterestRecord]:
        """What others that can be reached want of a slot."""
        own, tree = self.own.origin, self._tree
        return (
            record for record in self._interests.of_slot(slot) if record.origin != own and tree.reaches(record.origin)
        )

    def slots_of(self, context: bytes) -> list[str]:
        """The slots that a context that can be reached, or this one, listens to."""
        return [] if self.node(context) is None else self._interests.slots_of(context)

    # ------------------------------------------------------------------------------------------------------- routes

    def next_hop(self, source: bytes, destination: bytes) -> bytes | None:
        """The neighbour to which this context passes what `source` sends to `destination`; None if it is not on the way."""
        try:
            return self._next_hops[source, destination]
        except KeyError:
            tree = self._tree_of(source)
            if tree is None:
                return None
            hop = tree.child_towards(self.own.origin, destination)
            _make_room(self._next_hops)[source, destination] = hop
            return hop

    def branches(self, source: bytes, slot: str) -> Branches:
        """The neighbours to which this context passes what `source` publishes on a slot, and what those behind each of them want."""
        try:
            return self._branches[source, slot]
        except KeyError:
            tree = self._tree_of(source)
            if tree is None:
                return ()
            behind: dict[bytes, list[InterestRecord]] = {}
            for interest in self._interests.of_slot(slot):
                neighbour = tree.child_towards(self.own.origin, interest.origin)
                if neighbour is not None:
                    behind.setdefault(neighbour, []).append(interest)
            branches = tuple((neighbour, merge_interests(behind[neighbour])) for neighbour in sorted(behind))
            if len(self._branches) >= MOST_ROUTES:
                self._branches.clear()
                self._sources_of_slot.clear()
            self._branches[source, slot] = branches
            self._sources_of_slot.setdefault(slot, []).append(source)
            return branches

    def path(self, source: bytes, destination: bytes) -> tuple[bytes, ...]:
        """The contexts from `source` to `destination`, both included; empty if there is no way."""
        tree = self._tree_of(source)
        return () if tree is None else tree.path(destination)

    def way(self, source: bytes, destination: bytes) -> Hashable | None:
        """Something that stays equal as long as the path, and the sessions of its links as both their ends say, stay the same.

        None if there is no path.
        """
        path = self.path(source, destination)
        links = [(self._generation(near, far), self._generation(far, near)) for near, far in pairwise(path)]
        return (path, tuple(links)) if path else None

    # ---------------------------------------------------------------------------------------------------- inside

    def _generation(self, near: bytes, far: bytes) -> int:
        link = self._nodes[near].links.get(far)  # a parent's record does not name those to which it leads
        return 0 if link is None else link.generation

    def _install(self, record: NodeRecord, neighbours: Iterable[bytes] | None = None) -> None:
        """Take a new record; if `neighbours` are given, only the links to these can be others than before."""
        self._nodes[record.origin] = record
        if neighbours is None:
            has_changed = self._graph.install(record, self._nodes)
        else:
            has_changed = self._graph.change(record, neighbours, self._nodes)
        if has_changed or record.origin in self._tree:
            self.version += 1

    def _tree_of(self, source: bytes) -> Tree | None:
        if source == self.own.origin:
            return self._tree
        if source not in self._tree:
            return None
        tree = self._trees.get(source)
        if tree is None:
            tree = self._trees[source] = Tree(source, self._graph)
            self._places += len(tree)
            while self._places > MOST_PLACES and len(self._trees) > 1:
                self._places -= len(self._trees.pop(next(iter(self._trees))))
        return tree

    def _void_answers(self) -> None:
        self.version += 1
        self._next_hops.clear()
        self._branches.clear()
        self._sources_of_slot.clear()

    def _void_slots(self, slots: list[str]) -> list[str]:
        for slot in slots:
            self._void_slot(slot)
        return slots

    def _void_slot(self, slot: str) -> None:
        for source in self._sources_of_slot.pop(slot, ()):
            del self._branches[source, slot]


def _make_room(answers: dict[K, V]) -> dict[K, V]:
    """Let one more answer be kept."""
    if len(answers) >= MOST_ROUTES:
        answers.clear()
    return answers
