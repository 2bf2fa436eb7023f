"""Sequence diagrams of what happened in a simulated network: who sent what to whom, when, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, get_args

from ..protocol.frames import FrameKind
from .drawing import Heading, draw
from .rows import Row, group_of, hosts_of, make_rows
from .trace import EventKind, Trace, TraceEvent

MOST: Final = 500
"""Rows that a diagram has unless more are asked for."""

_EVENT_KINDS: Final = frozenset(get_args(EventKind))
_FRAME_KINDS: Final = frozenset(kind.name for kind in FrameKind)


def sequence_diagram(
    events: Iterable[TraceEvent],
    *,
    hosts: Iterable[str] | None = None,
    title: str = "",
    kinds: Iterable[str] | None = None,
    most: int = MOST,
) -> str:
    """Draw who sent what to whom, and when: each host is a line downwards, each frame an arrow between two of them.

    Events stand below each other in their order, with their times at the left; where nothing happens for long, the picture says
    so and goes on. An arrow ends where it arrives, so that what was under way at the same time crosses. One that ends with a
    cross was stopped by a partition. Heartbeats that nothing else interrupts become one arrow with a count. In a browser all that
    is known about an event is shown when the mouse rests on it.

    Args:
        events: A `Trace`, or events of one: see `Trace.last`.
        hosts: Which hosts to show, from left to right; None: all, in the order in which they appear. What only other hosts have
            to do with is left out.
        title: Stands above it all.
        kinds: Which events to show, by their kinds (``"fault"``) or those of their frames (``"PACKAGE"``); None: all.
        most: How many rows to show at most: the last ones. How many events came before is said.

    Returns:
        An SVG document; the same for the same arguments.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `kinds` names something that is no kind, `hosts` a host twice, or `most` is below 1.
    """
    shown_hosts = _check_hosts(hosts)
    shown_kinds = _check_kinds(kinds)
    _check_title_and_most(title, most)
    listed = list(events)
    for event in listed:
        if not isinstance(event, TraceEvent):
            raise TypeError(f"events must be those of a trace, not {event!r}")
    before = listed[0].number - 1 if listed else 0
    chosen = [event for event in listed if _is_shown(event, shown_hosts, shown_kinds)]
    rows = make_rows(chosen)
    before += sum(len(row.events) for row in rows[:-most])
    rows = rows[-most:]
    heading = Heading(title=title, facts=_facts(events, rows), before=max(0, before))
    return draw(rows, _columns(rows) if shown_hosts is None else shown_hosts, heading)


def write_diagram(
    path: str | os.PathLike[str],
    events: Iterable[TraceEvent],
    *,
    hosts: Iterable[str] | None = None,
    title: str = "",
    kinds: Iterable[str] | None = None,
    most: int = MOST,
) -> None:
    """Write the `sequence_diagram` of `events` to a file, which any browser shows.

    Args:
        path: The file; what it held before is lost.
        events: See `sequence_diagram`, as for all that follows.
        hosts: Which hosts to show, from left to right.
        title: Stands above it all.
        kinds: Which events to show.
        most: How many rows to show at most.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
        OSError: The file cannot be written.
    """
    diagram = sequence_diagram(events, hosts=hosts, title=title, kinds=kinds, most=most)
    Path(path).write_text(diagram, encoding="utf-8", newline="\n")


def _check_strings(argument: str, values: Iterable[str]) -> list[str]:
    listed = None if isinstance(values, str) else list(values)
    if listed is None or not all(isinstance(value, str) for value in listed):
        raise TypeError(f"{argument} must be several str, not {values!r}")
    return listed


def _check_hosts(hosts: Iterable[str] | None) -> list[str] | None:
    if hosts is None:
        return None
    listed = _check_strings("hosts", hosts)
    if len({name.lower() for name in listed}) < len(listed):
        raise ValueError(f"hosts must name each host once, not {listed!r}")
    return listed


def _check_kinds(kinds: Iterable[str] | None) -> set[str] | None:
    if kinds is None:
        return None
    listed = _check_strings("kinds", kinds)
    for kind in listed:
        if kind not in _EVENT_KINDS | _FRAME_KINDS:
            known = ", ".join([*get_args(EventKind), *(kind.name for kind in FrameKind)])
            raise ValueError(f"kinds must be some of {known}, not {kind!r}")
    return set(listed)


def _check_title_and_most(title: object, most: object) -> None:
    if not isinstance(title, str):
        raise TypeError(f"title must be a str, not {title!r}")
    if isinstance(most, bool) or not isinstance(most, int):
        raise TypeError(f"most must be a number of rows, not {most!r}")
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most!r}")


def _is_shown(event: TraceEvent, hosts: Sequence[str] | None, kinds: set[str] | None) -> bool:
    if kinds is not None and event.kind not in kinds and event.what not in kinds:
        return False
    if hosts is None:
        return True
    concerned = {name.lower() for name in hosts_of(event)}
    known = {name.lower() for name in hosts}
    if group_of(event) in ("fault", "note"):
        return not concerned or not concerned.isdisjoint(known)
    return concerned <= known


def _columns(rows: Iterable[Row]) -> list[str]:
    """All hosts that are named, in the order in which they appear; capitals make no difference."""
    columns: dict[str, str] = {}
    for row in rows:
        for event in row.events:
            for name in hosts_of(event):
                columns.setdefault(name.lower(), name)
    return list(columns.values())


def _facts(events: Iterable[TraceEvent], rows: Sequence[Row]) -> list[str]:
    """What stands in the header below the title."""
    count = sum(len(row.events) for row in rows)
    facts = [f"{count:,} {'event' if count == 1 else 'events'}"]
    if rows:
        start = min(row.start for row in rows)
        end = max(row.end if row.arrival is None else row.arrival for row in rows)
        facts.append(f"{start:.3f} s to {end:.3f} s")
    if isinstance(events, Trace):
        facts.append(f"digest {events.digest()}")
    return facts
