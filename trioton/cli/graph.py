"""``trioton graph``: a picture of a network, with contexts as boxes and links as lines, in SVG.

The same reports always give the same picture. The context that was asked stands at the top, its neighbours below it, their
other neighbours below them; in each layer a context stands as near as may be to those above that it is linked to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from .. import _svg as svg
from ..network.inspection import LinkReport
from .output import write_out
from .security import MakeSecurity
from .top import headline
from .view import (
    Edge,
    End,
    Known,
    View,
    bytes_words,
    check_heard,
    is_of_requests,
    open_viewer,
    rate_words,
    seconds_words,
    shown,
)

BOX_WIDTH: Final = 190.0
BOX_HEIGHT: Final = 66.0
ACROSS: Final = 310.0
"""From the middle of one box to that of the next in its row: there is room for the words of a link between them."""

DOWN: Final = 170.0
"""From one row to the next."""

MARGIN: Final = 30.0
HEADER: Final = 64.0
ROW_LENGTH: Final = 6
"""Boxes in a row; a layer with more takes several rows."""

NARROWEST: Final = 420.0
"""The least width of a picture: the line above it must have room."""

LABEL_AT: Final = 0.6
"""Where on a line between two rows its words stand: nearer to the lower end, where lines are further apart."""

BOW: Final = 60.0
"""How far a line bows that leads past boxes of its own row."""

MOST_SLOTS_TOLD: Final = 20
"""Slots that the tooltip of a box names."""

INK: Final = "#17384f"
QUIET: Final = "#5a6772"
EDGE: Final = "#1f5f8b"
FAINT: Final = "#d5dbe1"
STOP: Final = "#c62828"


@attrs.frozen
class Place:
    """Where a context stands: the middle of its box.

    Attributes:
        x: From the left.
        y: From the top.
        row: Its row, from the top.
        column: Its place in the row.
    """

    x: float
    y: float
    row: int
    column: int


# ---------------------------------------------------------------- where things stand


def layers_of(identities: Sequence[str], links: Sequence[tuple[str, str]], roots: Sequence[str]) -> list[list[str]]:
    """Sort contexts into layers: the roots, their neighbours, and so on; what no way leads to follows below.

    Args:
        identities: The contexts, in the order in which they shall stand where nothing else decides.
        links: Pairs of contexts that are linked.
        roots: Those that the first layer holds; by default the one with most links.
    """
    neighbours: dict[str, set[str]] = {identity: set() for identity in identities}
    for here, there in links:
        neighbours[here].add(there)
        neighbours[there].add(here)
    left = dict.fromkeys(identities)
    layers: list[list[str]] = []
    layer = [identity for identity in identities if identity in roots]
    while left:
        # `max` takes the first of those that are alike, and so always the same.
        layer = layer or [max(left, key=lambda each: len(neighbours[each]))]
        layers.append(layer)
        for identity in layer:
            del left[identity]
        above = {identity: place for place, identity in enumerate(layer)}
        below = [identity for identity in left if not neighbours[identity].isdisjoint(above)]
        layer = sorted(below, key=lambda each: _mean([above[other] for other in neighbours[each] if other in above]))
    return layers


def _mean(numbers: Sequence[int]) -> float:
    return math.fsum(numbers) / len(numbers)


def places_of(layers: Sequence[Sequence[str]]) -> dict[str, Place]:
    """Give each context its place, each row in the middle of the picture."""
    rows = [layer[start : start + ROW_LENGTH] for layer in layers for start in range(0, len(layer), ROW_LENGTH)]
    width = _width(max(map(len, rows), default=0))
    places = {}
    for row, identities in enumerate(rows):
        first = width / 2 - (len(identities) - 1) * ACROSS / 2
        y = HEADER + BOX_HEIGHT / 2 + row * DOWN
        for column, identity in enumerate(identities):
            places[identity] = Place(first + column * ACROSS, y, row, column)
    return places


def _width(boxes: int) -> float:
    return max(NARROWEST, (boxes - 1) * ACROSS + BOX_WIDTH + 2 * MARGIN)


# ---------------------------------------------------------------- the picture


def draw(view: View, roots: Sequence[str] = ()) -> str:
    """Draw what is known of a network; gives an SVG document.

    Args:
        view: What is known.
        roots: The identities of the contexts that shall stand at the top.
    """
    labels, silent, edges = view.labels(), view.silent, view.edges
    identities = sorted(labels, key=lambda each: (labels[each], each))
    places = places_of(layers_of(identities, [(edge.here, edge.there) for edge in edges], roots))
    columns = max((place.column for place in places.values()), default=0) + 1
    rows = max((place.row for place in places.values()), default=0) + 1
    width, height = _width(columns), HEADER + (rows - 1) * DOWN + BOX_HEIGHT + MARGIN + BOW / 2
    title = f"A network of {headline(view)}"
    known = {each.report.id: each for each in view.contexts}
    parts = [
        svg.element("title", svg.plain(title)),
        svg.element("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10, fill="#ffffff", stroke=FAINT),
        svg.text(
            svg.fit(title, width - 2 * MARGIN, 15, is_bold=True), MARGIN, 34, font_size=15, font_weight="bold", fill=INK
        ),
        *(_draw_line(edge, labels, places) for edge in edges),
        *(_draw_box(labels[each], places[each], known[each]) for each in identities if each in known),
        *(_draw_silent(labels[each], places[each]) for each in identities if each in silent),
        *(_draw_words(edge, places) for edge in edges),
    ]
    return svg.document("\n".join(part for part in parts if part), width, height)


def _draw_box(label: str, place: Place, known: Known) -> str:
    report = known.report
    facts = f"{report.library}, pid {report.pid}, up {seconds_words(report.uptime)}"
    return svg.element("g", svg.tooltip(_slots(known)), *_box(label, place, [facts, _flow_of(known)]))


def _flow_of(known: Known) -> str:
    """How much a context sends and receives."""
    words = []
    for verb, rates in (
        ("sends", [known.sent_rate(slot) for slot in known.report.sending]),
        ("receives", [known.received_rate(slot) for slot in known.report.receiving]),
    ):
        told = [rate for rate in rates if rate is not None]
        if told:
            words.append(f"{verb} {rate_words(math.fsum(told))}/s")
    pending = sum(each.pending for each in known.report.asking)
    if pending:
        words.append(f"{pending:,} pending")
    return ", ".join(words)


def _slots(known: Known) -> str:
    """What a tooltip says: the slots of a context, and its requests and states."""
    report = known.report
    sending = [slot for slot in report.sending if not is_of_requests(slot.slot)]
    receiving = [slot for slot in report.receiving if not is_of_requests(slot.slot)]
    lines = [f"sends {shown(slot.slot)}: {rate_words(known.sent_rate(slot))}/s" for slot in sending]
    lines += [f"receives {shown(slot.slot)}: {rate_words(known.received_rate(slot))}/s" for slot in receiving]
    lines += [f"asks {shown(slot.slot)}: {slot.pending:,} pending, {slot.running:,} running" for slot in report.asking]
    lines += [f"answers {shown(slot.slot)}: {slot.running:,} running" for slot in report.answering]
    lines += [f"holds {shown(slot.slot)}: {slot.size:,} bytes" for slot in report.states if slot.channels]
    more = len(lines) - MOST_SLOTS_TOLD
    return "\n".join([*lines[:MOST_SLOTS_TOLD], *([f"and {more} more"] if more > 0 else [])] or ["no slots"])


def _draw_silent(label: str, place: Place) -> str:
    return svg.element("g", *_box(label, place, ["no report"], dashes="5 4"))


def _box(label: str, place: Place, lines: Sequence[str], dashes: str = "") -> Iterator[str]:
    looks: dict[str, str | float] = {"stroke_dasharray": dashes} if dashes else {}
    yield svg.element(
        "rect",
        x=place.x - BOX_WIDTH / 2,
        y=place.y - BOX_HEIGHT / 2,
        width=BOX_WIDTH,
        height=BOX_HEIGHT,
        rx=8,
        fill="#f2f2f2" if dashes else "#f4f8fb",
        stroke=QUIET if dashes else EDGE,
        stroke_width=1.5 if dashes else 2,
        **looks,
    )
    room, top = BOX_WIDTH - 16, place.y - BOX_HEIGHT / 2
    name = svg.fit(svg.one_line(label), room, 14, is_bold=True)
    yield svg.text(
        name, place.x, top + 23, text_anchor="middle", font_size=14, font_weight="bold", fill=QUIET if dashes else INK
    )
    for number, line in enumerate(lines):
        words = svg.fit(svg.one_line(line), room, 11)
        yield svg.text(words, place.x, top + 41 + 15 * number, text_anchor="middle", font_size=11, fill=QUIET)


# ---------------------------------------------------------------- links


def _bend(a: Place, b: Place) -> tuple[float, float] | None:
    """The point that bends a line between boxes of one row that others stand between, or None if it is straight."""
    if a.row != b.row or abs(a.column - b.column) < 2:
        return None
    return (a.x + b.x) / 2, a.y + BOX_HEIGHT / 2 + 2 * BOW


def _draw_line(edge: Edge, labels: dict[str, str], places: dict[str, Place]) -> str:
    a, b = places[edge.here], places[edge.there]
    rates = [rate for name in ("messages_sent", "messages_received") if (rate := edge.rate(name)) is not None]
    looks: dict[str, str | float] = {
        "fill": "none",
        "stroke": EDGE if edge.is_up else STOP,
        "stroke_width": 1.5 + min(4.0, math.log10(1 + math.fsum(rates))),
    }
    if not edge.is_up:
        looks["stroke_dasharray"] = "6 4"
    bend = _bend(a, b)
    way: tuple[str | float, ...] = ("L", b.x, b.y) if bend is None else ("Q", *bend, b.x, b.y)
    tip = [f"{labels[edge.here]} - {labels[edge.there]}", *(_told(end, labels) for end in edge.ends)]
    return svg.element("g", svg.tooltip("\n".join(tip)), svg.path("M", a.x, a.y, *way, **looks))


def _told(end: End, labels: dict[str, str]) -> str:
    """What one end of a link says of it."""
    link, known = end.link, end.known
    return (
        f"{labels[known.report.id]}: {shown(link.transport or 'no transport')}, {shown(link.state)}, "
        f"sends {_flow(known, link, 'sent')}, receives {_flow(known, link, 'received')}, "
        f"round trip {seconds_words(link.rtt)}, {link.queued} queued, {link.dropped} dropped, {link.lost} links lost"
    )


def _flow(known: Known, link: LinkReport, direction: str) -> str:
    messages, size = (known.link_rate(link, f"{unit}_{direction}") for unit in ("messages", "bytes"))
    return f"{rate_words(messages)}/s ({bytes_words(size)}/s)"


def _draw_words(edge: Edge, places: dict[str, Place]) -> str:
    """The words of a link: its transport, and what goes over it in both directions."""
    x, y = _words_place(places[edge.here], places[edge.there])
    lines = [shown(edge.transport or "-", 14) if edge.is_up else edge.state]
    for unit in ("messages", "bytes"):
        there, back = edge.rate(f"{unit}_sent"), edge.rate(f"{unit}_received")
        if there is not None and back is not None:
            words = f"{rate_words(there + back)} messages" if unit == "messages" else bytes_words(there + back)
            lines.append(f"{words}/s")
    width, height = max(map(svg.text_width, lines)) + 4, 13.0 * len(lines) + 3
    parts = [svg.element("rect", x=x - width / 2, y=y - height / 2, width=width, height=height, fill="#ffffff")]
    for number, line in enumerate(lines):
        below = y - height / 2 + 11.5 + 13 * number
        color = QUIET if edge.is_up else STOP
        parts.append(svg.text(line, x, below, text_anchor="middle", font_size=11, fill=color))
    return svg.element("g", *parts)


def _words_place(a: Place, b: Place) -> tuple[float, float]:
    bend = _bend(a, b)
    if bend is not None:  # the middle of the curve
        return bend[0], (a.y + bend[1]) / 2
    if a.row == b.row:
        return (a.x + b.x) / 2, a.y
    upper, lower = (a, b) if a.row < b.row else (b, a)
    return upper.x + LABEL_AT * (lower.x - upper.x), upper.y + LABEL_AT * (lower.y - upper.y)


# ---------------------------------------------------------------- the command


async def run_graph(
    address: str, file: Path | None, *, insecure: bool, wait: bool, security: MakeSecurity | None = None
) -> int:
    """Draw a network; gives the exit code.

    Args:
        address: Where a context of it listens.
        file: Where to write the picture, or None for stdout.
        insecure: Whether another machine may be involved without TLS.
        security: Gives what proves who we are; None if nothing does.
        wait: Whether to wait until somebody answers at the address.

    Raises:
        OSError: The file cannot be written.
    """
    async with open_viewer("trioton graph", address, insecure=insecure, wait=wait, security=security) as (
        viewer,
        connection,
    ):
        view = await viewer.wait_complete(connection)
        check_heard(view)
        picture = draw(view, [f"{connection.peer.id:032x}"])
        if file is None:
            await write_out(picture)
        else:
            await trio.Path(file).write_text(picture, encoding="utf-8")
    return 0
