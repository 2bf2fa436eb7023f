"""What stands in the rows of a sequence diagram, in words: one event each, or a run of heartbeats that is folded into one row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs

from ..protocol.frames import BODY_KINDS, HANDSHAKE_KINDS, FrameKind
from .trace import TraceEvent

FOLD_FROM: Final = 3
"""So many heartbeats between two hosts, one after the other, become one row."""

Group = Literal["link", "heartbeat", "control", "package", "bytes", "connection", "fault", "note"]
"""What events have in common that look the same."""

_HEARTBEATS: Final = frozenset({FrameKind.PING, FrameKind.PONG, FrameKind.BEAT})
_LINK_KINDS: Final = HANDSHAKE_KINDS | {FrameKind.CLOSE, FrameKind.SYNC, FrameKind.SYNCED}


def group_of(event: TraceEvent) -> Group:
    """The group that an event belongs to."""
    if event.kind == "frame":
        kind = event.content[0] if isinstance(event.content, bytes) and event.content else 0
        if kind in _HEARTBEATS:
            return "heartbeat"
        if kind in _LINK_KINDS:
            return "link"
        return "package" if kind in BODY_KINDS else "control"
    if event.kind in ("bytes", "fault", "note"):
        return event.kind
    return "connection"


def names_in(words: str) -> list[str]:
    """The hosts that the source or target of an event names: one, or for a fault several, with commas between."""
    return [name.strip() for name in words.split(",") if name.strip()]


def hosts_of(event: TraceEvent) -> list[str]:
    """The hosts that an event concerns, each once; none of them means all."""
    return list(dict.fromkeys(names_in(event.source) + names_in(event.target)))


@attrs.frozen
class Row:
    """One row of a diagram.

    Attributes:
        events: The event; or those that were folded, in order.
    """

    events: tuple[TraceEvent, ...]

    @property
    def first(self) -> TraceEvent:
        """The event that the row is like."""
        return self.events[0]

    @property
    def group(self) -> Group:
        """The group of its events."""
        return group_of(self.first)

    @property
    def is_folded(self) -> bool:
        """Whether it stands for several events."""
        return len(self.events) > 1

    @property
    def is_two_way(self) -> bool:
        """Whether both hosts have sent what it stands for."""
        return any(event.source != self.first.source for event in self.events)

    @property
    def is_cut(self) -> bool:
        """Whether what was sent does not arrive, because the way is cut."""
        return self.first.arrival == math.inf

    @property
    def is_loop(self) -> bool:
        """Whether a host sends to itself."""
        return self.first.source == self.first.target != ""

    @property
    def is_box(self) -> bool:
        """Whether it is words across lifelines, and no arrow."""
        return self.group in ("fault", "note") or not self.first.source

    @property
    def start(self) -> float:
        """When it began."""
        return self.first.time

    @property
    def end(self) -> float:
        """When the last of its events was."""
        return self.events[-1].time

    @property
    def arrival(self) -> float | None:
        """When it arrives, if that is later than it was sent and known; what is folded does so at once."""
        arrival = self.first.arrival
        if self.is_folded or arrival is None or not self.start < arrival < math.inf:
            return None
        return arrival

    @property
    def what(self) -> str:
        """In a word or two; of folded heartbeats also how many there were."""
        if not self.is_folded:
            return f"{self.first.size:,} bytes" if self.first.kind == "bytes" else self.first.what
        counts = Counter(event.what for event in self.events)
        if len(set(counts.values())) == 1:
            counts = Counter({"/".join(counts): counts[self.first.what]})
        return ", ".join(f"{what} \N{MULTIPLICATION SIGN} {count}" for what, count in counts.items())

    @property
    def details(self) -> str:
        """What else there is to say."""
        if self.is_folded:
            return f"in {duration(self.end - self.start)}"
        details = self.first.details
        return f"{details} ({self.first.size:,} bytes)" if self.group == "package" else details

    @property
    def story(self) -> str:
        """All that is known about it, in several lines."""
        event = self.first
        if self.is_folded:
            return "\n".join(
                [f"{self.what} {self.details}", f"from {_moment(self.start)} to {_moment(self.end)}", *_way(event)]
            )
        lines = [f"{event.number}: {event.what} {event.details}".rstrip(), *_way(event), f"at {_moment(event.time)}"]
        if self.is_cut:
            lines.append("does not arrive: the way is cut")
        elif event.arrival is not None:
            lines.append(f"arrives at {_moment(event.arrival)}, {duration(event.arrival - event.time)} later")
        if event.size:
            lines.append(f"{event.size:,} bytes")
        return "\n".join(lines)


def _way(event: TraceEvent) -> list[str]:
    way = f"{event.source} → {event.target}" if event.source and event.target else event.source or event.target
    connection = f"connection {event.connection}" if event.connection else ""
    return [", ".join(word for word in (way, connection) if word)] if way or connection else []


def _moment(time: float) -> str:
    return f"{time!r} s"


def duration(seconds: float) -> str:
    """Say how long something takes, to three digits."""
    if seconds and abs(seconds) < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def make_rows(events: Iterable[TraceEvent]) -> list[Row]:
    """Put each event into a row, and heartbeats that nothing else interrupts into one row for each connection."""
    rows: list[Row] = []
    run: list[TraceEvent] = []
    for event in events:
        if group_of(event) == "heartbeat":
            run.append(event)
            continue
        rows += _fold(run)
        run = []
        rows.append(Row((event,)))
    return rows + _fold(run)


def _fold(run: Sequence[TraceEvent]) -> list[Row]:
    """The rows of a run of heartbeats: they stand where the first event of each was."""
    folded: dict[object, list[TraceEvent]] = {}
    for event in run:
        folded.setdefault(_fold_key(event), []).append(event)
    rows = []
    for event in run:
        alike = folded[_fold_key(event)]
        if len(alike) < FOLD_FROM:
            rows.append(Row((event,)))
        elif event is alike[0]:
            rows.append(Row(tuple(alike)))
    return rows


def _fold_key(event: TraceEvent) -> object:
    """What heartbeats have in common that are told as one: those that are lost are none with those that are not."""
    is_cut = event.arrival == math.inf
    # What does not arrive is told for each of the two by itself: who has heard nothing is the point.
    return (event.source if is_cut else ""), frozenset({event.source, event.target}), event.connection, is_cut
