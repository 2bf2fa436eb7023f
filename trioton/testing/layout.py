"""Where everything in a sequence diagram stands: the columns of the hosts, and how far down each moment is.

Time is not to scale. Each row has its place below the one before, and each arrival one between the rows, so that an arrow
slants, and the more the more happens while it is under way. Silence is cut out.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from .. import _svg as svg
from .rows import Row, hosts_of

TIME_WIDTH: Final = 100
"""The column of the times, at the left."""

SIDE: Final = 96
"""From the times to the first lifeline, and from the last to the edge."""

NAME_ROOM: Final = 144
"""For the name of a host, which must not reach into the times."""

LOOP_WIDTH: Final = 34
"""How far the arrow of a host that sends to itself goes out."""

LOOP_ROOM: Final = 260
"""For such an arrow and what stands beside it."""

BOX_TEXT: Final = 13
LINE_HEIGHT: Final = 18

_ROW: Final = 28
_BASE: Final = 19
_LOOP: Final = 14
_ARRIVAL: Final = 9
_SILENCE: Final = 34
_NAMES: Final = 44
_NAMES_AFTER: Final = 900
_LONG_SILENCE: Final = 1.0
_LEAST_WIDTH: Final = 760


@attrs.frozen
class Columns:
    """Where the lifelines are.

    Attributes:
        names: The hosts, from left to right.
        gap: From one lifeline to the next.
        width: Of the whole picture.
    """

    names: list[str]
    gap: float
    width: float

    @classmethod
    def of(cls, names: Sequence[str], rows: Sequence[Row]) -> Columns:
        """Make room for the arrows between the hosts: the more the fewer hosts there are."""
        gap = {1: 420, 2: 420, 3: 340}.get(len(names), 280)
        needs_room_behind = any(_stays_at(row, names[-1:]) for row in rows)
        last = TIME_WIDTH + SIDE + gap * max(0, len(names) - 1)
        width = last + (LOOP_ROOM if needs_room_behind else SIDE)
        return cls(list(names), gap, max(width, _LEAST_WIDTH))

    def x(self, name: str) -> float:
        """The place of the lifeline of a host."""
        lowered = [known.lower() for known in self.names]
        return TIME_WIDTH + SIDE + self.gap * lowered.index(name.lower())

    @property
    def places(self) -> list[float]:
        """The places of all lifelines."""
        return [TIME_WIDTH + SIDE + self.gap * place for place in range(len(self.names))]

    def concerned(self, row: Row) -> list[float]:
        """The places of those lifelines that a box concerns; none: it concerns all or none that are shown."""
        known = {name.lower() for name in self.names}
        return sorted(self.x(name) for name in hosts_of(row.first) if name.lower() in known)

    def box(self, row: Row) -> tuple[float, float]:
        """The left and right end of a box."""
        places = self.concerned(row)
        left, right = TIME_WIDTH + 6, self.width - 16
        if not places:
            return left, right
        half = min(self.gap / 2 - 10, SIDE + 40)
        start, end = max(left, places[0] - half), min(right, places[-1] + half)
        return start, max(end, start + 2 * half)


def _stays_at(row: Row, names: Sequence[str]) -> bool:
    """Whether the arrow of a row, or its mark, stands at one of these hosts alone."""
    return (
        not row.is_box
        and row.first.source.lower() in {name.lower() for name in names}
        and (row.is_loop or not row.first.target)
    )


@attrs.frozen
class Silence:
    """A time in which nothing happened."""

    y: float
    """Its middle."""
    seconds: float


@attrs.define
class Layout:
    """How far down everything is.

    Attributes:
        starts: Of each row: where its arrow begins, or the top of its box.
        ends: Of each row: where its arrow ends, or the bottom of its box.
        silences: What was cut out.
        names: Where the names of the hosts are repeated: the middle of them.
        bottom: Below everything.
    """

    starts: list[float] = attrs.field(factory=list)
    ends: list[float] = attrs.field(factory=list)
    silences: list[Silence] = attrs.field(factory=list)
    names: list[float] = attrs.field(factory=list)
    bottom: float = 0.0


@attrs.frozen
class _Step:
    """A row, or the arrival of what was sent in it."""

    start: float
    end: float
    row: int
    is_arrival: bool


def _steps(rows: Sequence[Row]) -> Iterator[_Step]:
    """All that happens, in order: what arrives does so before anything that happens at the same moment or later."""
    under_way: list[tuple[float, int]] = []
    for number, row in enumerate(rows):
        while under_way and under_way[0][0] <= row.start:
            time, sent = heapq.heappop(under_way)
            yield _Step(time, time, sent, is_arrival=True)
        yield _Step(row.start, row.end, number, is_arrival=False)
        if row.arrival is not None:
            heapq.heappush(under_way, (row.arrival, number))
    while under_way:
        time, sent = heapq.heappop(under_way)
        yield _Step(time, time, sent, is_arrival=True)


def _gaps(steps: Sequence[_Step]) -> list[float]:
    """How long nothing has happened before each step."""
    gaps, busy = [], steps[0].start if steps else 0.0
    for step in steps:
        gaps.append(max(0.0, step.start - busy))
        busy = max(busy, step.end)
    return gaps


def _shortest_silence(gaps: Sequence[float]) -> float:
    """From when on a gap is told as one: when it is long, or long for what is usual here."""
    lengths = [gap for gap in gaps if gap > 0]
    return min(_LONG_SILENCE, 8 * statistics.median_low(lengths)) if lengths else math.inf


def lay_out(rows: Sequence[Row], columns: Columns, top: float) -> Layout:
    """Give each row its place below `top`."""
    layout = Layout([0.0] * len(rows), [0.0] * len(rows))
    steps = list(_steps(rows))
    gaps = _gaps(steps)
    shortest = _shortest_silence(gaps)
    y, named = top, top
    for step, gap in zip(steps, gaps, strict=True):
        if gap >= shortest:
            layout.silences.append(Silence(y + _SILENCE / 2, gap))
            y += _SILENCE
        if y - named > _NAMES_AFTER:
            layout.names.append(y + _NAMES / 2)
            y += _NAMES
            named = y
        if step.is_arrival:
            y += _ARRIVAL
            layout.ends[step.row] = y
        else:
            y = _place(layout, step.row, rows[step.row], columns, y)
    layout.bottom = y + 14
    return layout


def _place(layout: Layout, number: int, row: Row, columns: Columns, y: float) -> float:
    """Give one row its place, and tell where the next may begin."""
    if row.is_box:
        layout.starts[number] = y + 6
        layout.ends[number] = y + 6 + 12 + LINE_HEIGHT * len(box_lines(row, columns))
        return layout.ends[number] + 6
    start = y + _BASE
    layout.starts[number] = start
    # Where it arrives later, the step of its arrival says how far down; what is cut off sinks a little, and ends there.
    layout.ends[number] = start + (_LOOP if row.is_loop else 7 if row.is_cut else 0)
    return y + _ROW + (_LOOP if row.is_loop else 0)


def box_lines(row: Row, columns: Columns) -> list[str]:
    """The words of a box, in lines that fit into it."""
    left, right = columns.box(row)
    words = row.details or row.what
    return svg.wrap(words, right - left - 20, BOX_TEXT, is_bold=row.group == "fault")
