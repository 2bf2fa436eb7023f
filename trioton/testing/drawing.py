"""How a sequence diagram looks: colours, arrows, marks, bands, and the header with its legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from .. import _svg as svg
from .layout import (
    BOX_TEXT,
    LINE_HEIGHT,
    LOOP_ROOM,
    LOOP_WIDTH,
    NAME_ROOM,
    TIME_WIDTH,
    Columns,
    Layout,
    box_lines,
    lay_out,
)
from .rows import Group, Row, duration

INK: Final = "#17384f"
QUIET: Final = "#5a6772"
SILENT: Final = "#f1f4f7"
FAINT: Final = "#d5dbe1"
STOP: Final = "#c62828"
MENDED: Final = "#2e7d32"

COLORS: Final[dict[Group, str]] = {
    "link": "#7b3fa0",
    "heartbeat": "#7d8a96",
    "control": "#b25e00",
    "package": "#1565c0",
    "bytes": "#00796b",
    "connection": "#37474f",
    "fault": STOP,
    "note": "#8a6d00",
}

_GROUP_WORDS: Final[dict[Group, str]] = {
    "link": "handshake, end of a link",
    "heartbeat": "heartbeats",
    "control": "control lane",
    "package": "packages",
    "bytes": "other bytes",
}
_MARK_WORDS: Final = {
    "dial": "dials",
    "refused": "refused",
    "open": "connected",
    "end": "end of a stream",
    "close": "closed",
    "reset": "reset",
}
_SAMPLE: Final = 30
_MARGIN: Final = 20


@attrs.frozen
class Heading:
    """What stands above a diagram.

    Attributes:
        title: What the diagram is of, or "".
        facts: What there is to say about it.
        before: How many events came before the first one that is shown.
    """

    title: str
    facts: list[str]
    before: int


def draw(rows: Sequence[Row], hosts: Sequence[str], heading: Heading) -> str:
    """Draw the rows with lifelines for these hosts; give an SVG document."""
    columns = Columns.of(hosts, rows)
    header, top = _draw_header(rows, heading, columns)
    names_y = top + 16
    first = names_y + 26
    if heading.before:
        first += 24
    layout = lay_out(rows, columns, first)
    is_numbered = _numbers_matter(rows)
    bottom_names = layout.bottom + 16
    height = bottom_names + 30
    parts = [
        svg.element("title", svg.plain(heading.title or "Sequence diagram")),
        svg.element(
            "rect", x=0.5, y=0.5, width=columns.width - 1, height=height - 1, rx=10, fill="#ffffff", stroke=FAINT
        ),
        header,
        *_draw_silences(layout, columns),
        *_draw_lifelines(layout, columns, names_y, bottom_names),
        *_draw_times(rows, layout, columns, names_y),
        *(_draw_band(row, layout.starts[i], layout.ends[i], columns) for i, row in enumerate(rows) if row.is_box),
        *_draw_before(heading.before, first - 10),
        *(_draw_row(row, layout.starts[i], layout.ends[i], columns, is_numbered) for i, row in enumerate(rows)),
        *(_draw_names(columns, y) for y in (names_y, *layout.names, bottom_names)),
    ]
    return svg.document("\n".join(parts), columns.width, height)


# The header


def _draw_header(rows: Sequence[Row], heading: Heading, columns: Columns) -> tuple[str, float]:
    """The title, facts and legend, and where they end."""
    y, parts = 16.0, []
    room = columns.width - 2 * _MARGIN
    if heading.title:
        for line in svg.wrap(heading.title, room, 18, is_bold=True):
            y += 20
            parts.append(svg.text(line, _MARGIN, y, font_size=18, font_weight="bold", fill=INK))
        y += 4
    for line in svg.wrap(" · ".join(heading.facts), room):
        y += 18
        parts.append(svg.text(line, _MARGIN, y, fill=QUIET))
    y += 10
    x = float(_MARGIN)
    for sample, words in _legend(rows):
        width = _SAMPLE + 12 + svg.text_width(words) + 16
        if x + width > columns.width and x > _MARGIN:
            x, y = float(_MARGIN), y + 20
        parts.append(svg.element("g", sample, transform=f"translate({svg.number(x)} {svg.number(y + 12)})"))
        parts.append(svg.text(words, x + _SAMPLE + 12, y + 16, fill=QUIET))
        x += width
    return svg.element("g", *parts), y + 32


def _legend(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """A small picture of each look that occurs, and what it means."""
    for group, words in _GROUP_WORDS.items():
        if any(row.group == group for row in rows):
            yield _line(0, 0, _SAMPLE, 0, COLORS[group]) + svg.head(0, 0, _SAMPLE, 0, COLORS[group]), words
    if any(row.is_cut for row in rows):
        yield _line(0, 0, 20, 0, QUIET) + svg.cross(24, 0, STOP), "stopped: the way is cut"
    for kind, words in _MARK_WORDS.items():
        if any(row.first.kind == kind for row in rows):
            yield _draw_mark(kind, 0, 0, _SAMPLE, 0), words
    boxes = {_box_words(row): _box_colors(row) for row in rows if row.group in ("fault", "note")}
    for words, (fill, stroke) in sorted(boxes.items()):
        yield svg.element("rect", x=0, y=-6, width=_SAMPLE, height=12, fill=fill, stroke=stroke), words


def _box_words(row: Row) -> str:
    if row.group == "note":
        return "said by the test"
    return "fault mended" if _is_mending(row) else "fault"


# Behind the arrows


def _draw_silences(layout: Layout, columns: Columns) -> Iterator[str]:
    for silence in layout.silences:
        y = silence.y
        width = columns.width - TIME_WIDTH - 12
        yield svg.element("rect", x=TIME_WIDTH, y=y - 11, width=width, height=22, fill=SILENT)
        words = f"{duration(silence.seconds)} of silence"
        x = (columns.places or [TIME_WIDTH])[0] + 12
        yield _label(words, x, y + 4, QUIET, halo=SILENT, font_size=11, font_style="italic")


def _draw_lifelines(layout: Layout, columns: Columns, top: float, bottom: float) -> Iterator[str]:
    """The lines of the hosts: with dots where time was cut out."""
    for x in columns.places:
        y = top
        for silence in layout.silences:
            yield _line(x, y, x, silence.y - 11, "#9db3c4", width=1.5)
            yield _line(x, silence.y - 11, x, silence.y + 11, "#9db3c4", width=1.5, dashes="2 4")
            y = silence.y + 11
        yield _line(x, y, x, bottom, "#9db3c4", width=1.5)


def _draw_times(rows: Sequence[Row], layout: Layout, columns: Columns, names_y: float) -> Iterator[str]:
    """The time of each row that has another one than the row before it."""
    yield svg.text("seconds", TIME_WIDTH - 8, names_y + 4, text_anchor="end", font_size=11, fill=QUIET)
    digits = _digits({row.start for row in rows})
    shown = ""
    for i, row in enumerate(rows):
        y = layout.starts[i] + (16 if row.is_box else 0)
        words = f"{row.start:.{digits}f}"
        if words != shown:
            yield _line(TIME_WIDTH, y, columns.width - 12, y, "#e9eef2")
            yield svg.text(words, TIME_WIDTH - 8, y + 4, text_anchor="end", font_size=11, fill=QUIET)
        shown = words


def _digits(times: set[float]) -> int:
    """How many digits tell all times apart, if 6 do at all."""
    return next((digits for digits in (3, 4, 5) if len({f"{time:.{digits}f}" for time in times}) == len(times)), 6)


def _draw_names(columns: Columns, y: float) -> str:
    """The names of the hosts, on their lifelines."""
    parts = []
    for name, x in zip(columns.names, columns.places, strict=True):
        words = svg.fit(svg.one_line(name), NAME_ROOM, 14, is_bold=True)
        half = max(36, svg.text_width(words, 14, is_bold=True) / 2 + 14)
        box = svg.element(
            "rect",
            x=x - half,
            y=y - 14,
            width=2 * half,
            height=28,
            rx=8,
            fill="#f4f8fb",
            stroke="#1f5f8b",
            stroke_width=2,
        )
        parts.append(box + svg.text(words, x, y + 5, text_anchor="middle", font_size=14, font_weight="bold", fill=INK))
    return svg.element("g", *parts) if parts else ""


def _draw_before(count: int, y: float) -> Iterator[str]:
    if count:
        words = f"{count:,} {'event' if count == 1 else 'events'} came before"
        x = TIME_WIDTH + 12
        yield _label(words, x, y, QUIET, font_style="italic")


def _box_colors(row: Row) -> tuple[str, str]:
    """What a box is filled with, and its edge."""
    if row.group == "note":
        return "#fff8dc", COLORS["note"]
    return (
        ("#dff3e1", MENDED) if _is_mending(row) else ("#fde2e0", STOP) if row.group == "fault" else ("#f4f6f8", QUIET)
    )


def _is_mending(row: Row) -> bool:
    words = row.details.lower()
    return row.group == "fault" and (
        words.startswith(("heal", "resume", "restart", "no more")) or words.endswith("ends")
    )


def _draw_band(row: Row, top: float, bottom: float, columns: Columns) -> str:
    """The area of a fault or a note; with a mark on each lifeline that it names."""
    left, right = columns.box(row)
    fill, stroke = _box_colors(row)
    is_fault = row.group == "fault"
    width = {"fault": 2.0}.get(row.group, 1.0)
    box = svg.element(
        "rect",
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        rx=0 if is_fault else 6,
        fill=fill,
        stroke=stroke,
        stroke_width=width,
    )
    marks = [
        svg.element("circle", cx=x, cy=y, r=4, fill=stroke)
        for x in columns.concerned(row)
        for y in (top, bottom)
        if is_fault
    ]
    return "".join([box, *marks])


# Rows


def _numbers_matter(rows: Sequence[Row]) -> bool:
    """Whether two hosts have had several connections, so that an arrow has to say on which it goes."""
    known: dict[frozenset[str], int] = {}
    for row in rows:
        number = row.first.connection
        ends = frozenset({row.first.source, row.first.target})
        if number and known.setdefault(ends, number) != number:
            return True
    return False


def _draw_row(row: Row, start: float, end: float, columns: Columns, is_numbered: bool) -> str:
    """All of one row, in a group with its tooltip."""
    tooltip = svg.tooltip(row.story)
    if row.is_box:
        return svg.element("g", tooltip, *_draw_words(row, start, columns))
    color = _color(row)
    x = columns.x(row.first.source)
    if row.is_loop or not row.first.target:
        dot = svg.element("circle", cx=x, cy=start, r=5, fill=color)
        shape = _draw_loop(row, x, start, end) if row.is_loop else dot
        beside = LOOP_ROOM - LOOP_WIDTH - 20
        label = _draw_label(row, x + LOOP_WIDTH + 8, x + 1, start + 10, beside, color, is_numbered)
        return svg.element("g", tooltip, shape, label)
    target = columns.x(row.first.target)
    room = abs(target - x) - 30
    shape = _draw_arrow(row, x, start, target, end)
    return svg.element("g", tooltip, shape, _draw_label(row, x, target, start - 5, room, color, is_numbered))


def _color(row: Row) -> str:
    return STOP if row.first.kind in ("refused", "reset") else COLORS[row.group]


def _draw_words(row: Row, top: float, columns: Columns) -> Iterator[str]:
    left, right = columns.box(row)
    fill, stroke = _box_colors(row)
    style: dict[str, str] = {"font_weight": "bold"} if row.group == "fault" else {}
    for i, line in enumerate(box_lines(row, columns)):
        y = top + 19 + LINE_HEIGHT * i
        color = stroke if row.group == "fault" else INK
        yield _label(line, (left + right) / 2, y, color, halo=fill, text_anchor="middle", font_size=BOX_TEXT, **style)


def _draw_label(row: Row, x: float, target: float, y: float, room: float, color: str, is_numbered: bool) -> str:
    """What an arrow is, beside its start: bold in a word, and what there is room for of the rest."""
    event = row.first
    number = f" #{event.connection}" if event.connection and (is_numbered or row.group == "connection") else ""
    what = svg.fit(svg.one_line(row.what + number), room, is_bold=True)
    rest = room - svg.text_width(what, is_bold=True) - 6
    details = svg.fit(svg.one_line(row.details), rest, 11) if rest > 20 else ""
    parts = [svg.element("tspan", svg.plain(what), font_weight="bold", fill=color)]
    if details:
        parts.append(svg.element("tspan", svg.plain(details), dx=6, font_size=11, fill=QUIET))
    side, anchor = (12, "start") if target > x else (-12, "end")
    if row.is_loop or not event.target:
        side, anchor = 0, "start"
    return svg.element("text", *parts, x=x + side, y=y, text_anchor=anchor, **_halo("#ffffff"))


def _halo(color: str) -> dict[str, str | float]:
    """Attributes of a text that stays readable where it crosses lines."""
    return {"paint_order": "stroke", "stroke": color, "stroke_width": 4, "stroke_linejoin": "round"}


def _label(words: str, x: float, y: float, color: str, *, halo: str = "#ffffff", **attributes: str | float) -> str:
    return svg.text(words, x, y, fill=color, **_halo(halo), **attributes)


# Arrows


def _line(x: float, y: float, to_x: float, to_y: float, color: str, *, width: float = 1.6, dashes: str = "") -> str:
    attributes: dict[str, str | float] = {"stroke_dasharray": dashes} if dashes else {}
    return svg.path("M", x, y, "L", to_x, to_y, fill="none", stroke=color, stroke_width=width, **attributes)


def _draw_arrow(row: Row, x: float, y: float, to_x: float, to_y: float) -> str:
    """An arrow from one lifeline to another, as what it stands for looks."""
    # A broad line that is not seen makes it easy to rest the mouse on the arrow.
    area = svg.path("M", x, y, "L", to_x, to_y, fill="none", stroke="#ffffff", stroke_width=14, stroke_opacity=0)
    event, color = row.first, _color(row)
    if row.is_cut:
        end_x, end_y = x + 0.55 * (to_x - x), to_y
        dashes = "6 3" if row.group == "connection" else ""
        return area + _line(x, y, end_x, end_y, color, dashes=dashes) + svg.cross(end_x, end_y, STOP, 6)
    if row.group == "connection":
        return area + _draw_mark(event.kind, x, y, to_x, to_y)
    parts = [
        area,
        _line(x, y, to_x, to_y, color, width=3.2 if row.is_folded else 1.6),
        svg.head(x, y, to_x, to_y, color),
    ]
    if row.is_two_way:
        parts.append(svg.head(to_x, to_y, x, y, color))
    return "".join(parts)


def _draw_mark(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    """What happens to a connection, between two points."""
    color = STOP if kind in ("refused", "reset") else COLORS["connection"]
    if kind == "dial":
        return _line(x, y, to_x, to_y, color, dashes="5 4") + svg.head(x, y, to_x, to_y, color, is_open=True)
    if kind == "refused":
        return _line(x, y, to_x, to_y, color, dashes="5 4") + svg.cross(to_x, to_y, color)
    if kind == "reset":
        return _line(x, y, to_x, to_y, color) + svg.cross(x, y, color) + svg.cross(to_x, to_y, color)
    if kind == "open":
        ends = [
            svg.element("circle", cx=at, cy=end, r=4, fill="#ffffff", stroke=color, stroke_width=2)
            for at, end in ((x, y), (to_x, to_y))
        ]
        return _line(x, y, to_x, to_y, color) + "".join(ends)
    bar = _line(to_x, to_y - 6, to_x, to_y + 6, color, width=3)
    if kind == "close":
        bar += svg.element("rect", x=x - 4, y=y - 4, width=8, height=8, fill=color)
    way = math.copysign(3, to_x - x)
    return _line(x, y, to_x, to_y, color) + svg.head(x, y, to_x - way, to_y, color, is_open=True) + bar


def _draw_loop(row: Row, x: float, y: float, to_y: float) -> str:
    """The arrow of a host that sends to itself: out to the right and back."""
    color = _color(row)
    steps = ("M", x, y, "L", x + LOOP_WIDTH, y, "L", x + LOOP_WIDTH, to_y, "L", x, to_y)
    dashes: dict[str, str | float] = {"stroke_dasharray": "5 4"} if row.first.kind in ("dial", "refused") else {}
    line = svg.path(*steps, fill="none", stroke=color, stroke_width=1.6, **dashes)
    if row.is_cut or row.first.kind in ("refused", "reset"):
        return line + svg.cross(x, to_y, STOP)
    return line + svg.head(x + LOOP_WIDTH, to_y, x, to_y, color)
