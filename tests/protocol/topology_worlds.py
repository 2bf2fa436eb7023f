"""Records and topologies for tests: contexts are numbers, and links are pairs of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trioton.protocol.records import InterestRecord, InterestSnapshot, LinkRecord, NodeChange, NodeRecord, Record
from trioton.protocol.topology import Topology


def ident(number: int) -> bytes:
    return number.to_bytes(16, "big")


def numbers(contexts: Iterable[bytes]) -> list[int]:
    return [int.from_bytes(context, "big") for context in contexts]


def node(origin: int, links: Iterable[int] = (), *, number: int = 1, suspended: Iterable[int] = ()) -> NodeRecord:
    ends = {ident(other): LinkRecord(other in suspended, 1) for other in links}
    return NodeRecord(ident(origin), number, f"n{origin}", 1, 1000, 2000, ends, {})


def interest(origin: int, slot: str, record: int, *, mode: int = 0, size: int = 5, count: int = 1) -> InterestRecord:
    if not count:
        mode = size = 0
    return InterestRecord(ident(origin), slot, record, mode, size, count, None)


def nodes_of(pairs: Iterable[tuple[int, int]], suspended: Iterable[tuple[int, int]] = ()) -> list[NodeRecord]:
    """The records of all contexts in a graph. Of a link in `suspended`, the end at its first context says so."""
    links: dict[int, set[int]] = {}
    for a, b in pairs:
        links.setdefault(a, set()).add(b)
        links.setdefault(b, set()).add(a)
    off = list(suspended)
    return [
        node(origin, others, suspended=[b for a, b in off if a == origin]) for origin, others in sorted(links.items())
    ]


def topology_of(own: int, nodes: Iterable[NodeRecord]) -> Topology:
    """What one of them knows when it has learned all these records."""
    by_origin: Mapping[bytes, NodeRecord] = {record.origin: record for record in nodes}
    topology = Topology(by_origin[ident(own)])
    for record in by_origin.values():
        topology.learn_node(record)
    topology.update()
    return topology


def tell(topology: Topology, records: Iterable[Record]) -> None:
    for record in records:
        if isinstance(record, NodeRecord):
            topology.learn_node(record)
        elif isinstance(record, NodeChange):
            topology.learn_change(record)
        elif isinstance(record, InterestSnapshot):
            topology.learn_snapshot(record)
        else:
            topology.learn_interest(record)
    topology.update()


def came_from(topology: Topology, source: bytes) -> bytes | None:
    """The neighbour from which packages of a source come; None if they do not."""
    path = topology.path(source, topology.own.origin)
    return path[-2] if len(path) > 1 else None


class Listener:
    """What a context listens to, as it tells its neighbours; its own topology need not know."""

    def __init__(self, origin: bytes) -> None:
        self.origin = origin
        self.record = 0
        self.slots: dict[str, InterestRecord] = {}

    def listen(self, slot: str, *, mode: int, size: int, count: int) -> InterestRecord:
        self.record += 1
        self.slots.pop(slot, None)
        if not count:
            return InterestRecord(self.origin, slot, self.record, 0, 0, 0, None)
        said = self.slots[slot] = InterestRecord(self.origin, slot, self.record, mode, size, count, None)
        return said

    def snapshot(self) -> InterestSnapshot:
        return InterestSnapshot(self.origin, self.record, tuple(self.slots[slot] for slot in sorted(self.slots)))
