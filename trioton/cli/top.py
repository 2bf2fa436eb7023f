"""``trioton top``: a table of what the contexts of a network are doing, once or again and again."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Literal, Self

import attrs
import trio
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

import trioton

from ..network.inspection import AnsweringReport, AskingReport, ReceivingReport, SendingReport
from .output import say, write_out
from .security import MakeSecurity
from .view import (
    Edge,
    Known,
    View,
    bytes_words,
    check_heard,
    count_words,
    is_of_requests,
    open_viewer,
    rate_words,
    seconds_words,
    short_id,
    shown,
)

REDRAW_AFTER: Final = 1.0
"""Seconds from one picture to the next."""

QUIET_AFTER: Final = 3.0
"""Seconds without a report after which a context is shown as one that is quiet."""

EXTRA: Final = frozenset({"identity", "version", "hops", "pid", "tasks", "bytes out/s", "bytes in/s", "lost links"})
"""The columns that a narrow terminal can do without."""

NARROWEST: Final = 8
"""Cells that a text has at least where there is little room."""

GAP: Final = 2
"""Cells between two columns."""

LOCAL_WORDS: Final = "(itself)"
"""What a context's own subscriptions are called."""


@attrs.frozen
class Column:
    """One column of a table.

    Attributes:
        title: What stands above it.
        is_number: Whether it is set to the right, and never cut.
        is_extra: Whether a narrow terminal can do without it.
    """

    title: str
    is_number: bool = True
    is_extra: bool = False


@attrs.frozen
class Section:
    """One table, with texts that may be shown as they are.

    Attributes:
        title: What it is about.
        columns: Its columns.
        rows: Its rows.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]


def _columns(left: Sequence[str], right: Sequence[str]) -> tuple[Column, ...]:
    return tuple(Column(title, is_number=title in right, is_extra=title in EXTRA) for title in (*left, *right))


# ---------------------------------------------------------------- what stands in the tables


def sections(view: View, now: float) -> list[Section]:
    """Give the tables for what is known now."""
    labels = view.labels()
    return [
        _contexts(view, labels, now),
        _links(view, labels),
        _slots(view, labels),
        _branches(view, labels),
        _requests(view, labels),
        _states(view, labels),
    ]


def headline(view: View) -> str:
    """Say in a line how much is shown."""
    silent, omitted = len(view.silent), sum(known.report.omitted for known in view.contexts)
    words = [_several(len(view.contexts), "context"), _several(len(view.edges), "link")]
    if silent:
        words.append(f"{silent} without a report")
    if omitted:
        words.append(f"{_several(omitted, 'more entry', 'more entries')} left out of reports")
    return ", ".join(words)


def _several(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _sum(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _contexts(view: View, labels: dict[str, str], now: float) -> Section:
    rows: list[tuple[str, ...]] = []
    for known in view.contexts:
        report, quiet = known.report, now - known.at
        rows.append(
            (
                labels[report.id],
                short_id(report.id),
                shown(report.library, 12),
                f"quiet for {seconds_words(quiet)}" if quiet > QUIET_AFTER else "",
                count_words(view.hops(report.id)),
                str(report.pid),
                seconds_words(report.uptime),
                rate_words(_rate_of_all(known, is_sending=True)),
                rate_words(_rate_of_all(known, is_sending=False)),
                count_words(sum(each.pending for each in report.receiving)),
                count_words(_dropped(known)),
            )
        )
    rows += [
        (labels[each], short_id(each), "", "no report", count_words(view.hops(each)), *["-"] * 6)
        for each in view.silent
    ]
    left = ("context", "identity", "version", "")
    return Section(
        "Contexts", _columns(left, ("hops", "pid", "up", "sent/s", "received/s", "pending", "dropped")), rows
    )


def _rate_of_all(known: Known, *, is_sending: bool) -> float | None:
    report = known.report
    if known.earlier is None:
        return None
    rates = map(known.sent_rate, report.sending) if is_sending else map(known.received_rate, report.receiving)
    return _sum(rates) or 0.0


def _dropped(known: Known) -> int:
    report = known.report
    at_receivers = sum(each.dropped for each in report.receiving)
    return at_receivers + sum(link.dropped for link in report.links) + sum(each.unheard for each in report.sending)


def _links(view: View, labels: dict[str, str]) -> Section:
    left = ("context", "neighbour", "over", "state")
    right = ("rtt", "out/s", "in/s", "bytes out/s", "bytes in/s", "queued", "dropped", "lost links")
    return Section("Links", _columns(left, right), [_link_row(edge, labels) for edge in view.edges])


def _link_row(edge: Edge, labels: dict[str, str]) -> tuple[str, ...]:
    return (
        labels[edge.here],
        labels[edge.there],
        shown(edge.transport or "-", 12),
        edge.state,
        seconds_words(edge.rtt),
        rate_words(edge.rate("messages_sent")),
        rate_words(edge.rate("messages_received")),
        bytes_words(edge.rate("bytes_sent")),
        bytes_words(edge.rate("bytes_received")),
        count_words(edge.both("queued")),
        count_words(edge.both("dropped")),
        count_words(edge.lost),
    )


def _slots(view: View, labels: dict[str, str]) -> Section:
    rows = []
    for known in view.contexts:
        label, report = labels[known.report.id], known.report
        rows += [_sending_row(known, label, slot) for slot in report.sending if not is_of_requests(slot.slot)]
        rows += [_receiving_row(known, label, slot) for slot in report.receiving if not is_of_requests(slot.slot)]
    rows.sort(key=lambda row: (row[0], row[2] != "sends"))
    right = ("messages", "per s", "subs", "queued", "tasks", "room", "dropped")
    return Section("Slots", _columns(("slot", "context", "does"), right), rows)


def _sending_row(known: Known, label: str, slot: SendingReport) -> tuple[str, ...]:
    return (
        shown(slot.slot),
        label,
        "sends",
        count_words(slot.sent),
        rate_words(known.sent_rate(slot)),
        count_words(slot.subscribers),
        count_words(slot.backlog),
        count_words(slot.waiting),
        count_words(slot.room),
        count_words(slot.unheard),
    )


def _receiving_row(known: Known, label: str, slot: ReceivingReport) -> tuple[str, ...]:
    return (
        shown(slot.slot),
        label,
        shown(f"receives, {', '.join(slot.policies)}"),
        count_words(slot.received),
        rate_words(known.received_rate(slot)),
        count_words(slot.subscriptions),
        count_words(slot.pending),
        count_words(slot.waiting),
        count_words(slot.room),
        count_words(slot.dropped),
    )


def _branches(view: View, labels: dict[str, str]) -> Section:
    rows = []
    for known in view.contexts:
        for sending in known.report.sending:
            if is_of_requests(sending.slot):
                continue
            for branch in sending.branches:
                is_local = branch.peer == known.report.id
                label = LOCAL_WORDS if is_local else labels.get(branch.peer) or shown(branch.name or branch.peer)
                rows.append(
                    (
                        shown(sending.slot),
                        labels[known.report.id],
                        label,
                        shown(branch.mode, 12) + ("" if branch.ready else ", not ready"),
                        "-" if is_local else count_words(branch.subscriptions),
                        count_words(branch.taken),
                        count_words(branch.limit),
                        count_words(branch.queued),
                    )
                )
    rows.sort(key=lambda row: row[:3])
    right = ("subs", "taken", "limit", "queued")
    return Section("Who gets it", _columns(("slot", "from", "to", "mode"), right), rows)


def _requests(view: View, labels: dict[str, str]) -> Section:
    rows = []
    for known in view.contexts:
        label, report = labels[known.report.id], known.report
        rows += [_asking_row(known, label, slot) for slot in report.asking]
        rows += [_answering_row(known, label, slot) for slot in report.answering]
    rows.sort(key=lambda row: (row[0], row[2] != "asks"))
    right = ("requests", "per s", "pending", "running", "repliers", "failed")
    return Section("Requests", _columns(("slot", "context", "does"), right), rows)


def _asking_row(known: Known, label: str, slot: AskingReport) -> tuple[str, ...]:
    return (
        shown(slot.slot),
        label,
        "asks",
        count_words(slot.made),
        rate_words(known.made_rate(slot)),
        count_words(slot.pending),
        count_words(slot.running),
        count_words(slot.repliers),
        "-",
    )


def _answering_row(known: Known, label: str, slot: AnsweringReport) -> tuple[str, ...]:
    return (
        shown(slot.slot),
        label,
        "answers",
        count_words(slot.taken),
        rate_words(known.taken_rate(slot)),
        "-",
        count_words(slot.running),
        count_words(slot.channels),
        count_words(slot.failed),
    )


def _states(view: View, labels: dict[str, str]) -> Section:
    rows = []
    for state in view.states:
        newest = state.newest
        rows.append(
            (
                shown(newest.slot),
                labels.get(newest.writer) or short_id(newest.writer),
                count_words(newest.size),
                count_words(state.channels),
                count_words(state.has_newest),
                count_words(state.is_behind),
            )
        )
    return Section("States", _columns(("slot", "sent by"), ("bytes", "channels", "known by", "behind")), rows)


# ---------------------------------------------------------------- as plain text


def plain_text(view: View, now: float) -> str:
    """Give all tables as plain text."""
    parts = [headline(view) + "\n"]
    parts += [_plain_table(section) for section in sections(view, now) if section.rows]
    parts += [f"{line}\n" for line in _complaints(view)]
    return "\n".join(parts)


def _complaints(view: View) -> list[str]:
    return [f"{_several(count, 'message')} made no sense: {words}" for words, count in view.complaints.items()]


def _widths(section: Section) -> list[int]:
    """How many cells each column takes."""
    titles = [column.title for column in section.columns]
    return [max(map(cell_len, cells)) for cells in zip(titles, *section.rows, strict=True)]


def _plain_table(section: Section) -> str:
    heads = tuple(column.title.upper() for column in section.columns)
    widths = _widths(section)
    lines = []
    for row in (heads, *section.rows):
        cells = []
        for cell, width, column in zip(row, widths, section.columns, strict=True):
            padding = " " * (width - cell_len(cell))
            cells.append(padding + cell if column.is_number else cell + padding)
        lines.append((" " * GAP).join(cells).rstrip() + "\n")
    return f"{section.title}\n{''.join(lines)}"


# ---------------------------------------------------------------- in a terminal


def live_picture(view: View, now: float, width: int, remark: str = "") -> RenderableType:
    """Give all tables as they stand in a terminal of so many columns. Nothing in them is read as markup."""
    parts: list[RenderableType] = [Text(f"trioton top: {headline(view)}", style="bold")]
    if remark:
        parts.append(Text(remark, style="red"))
    for section in sections(view, now):
        if section.rows:
            parts += [Text(""), _live_table(section, width)]
    parts += [Text(line, style="dim") for line in _complaints(view)]
    return Group(*parts)


def _live_table(section: Section, width: int) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="reverse")
    fitted = _fit(section, width)
    for place, cells in fitted.items():
        column = section.columns[place]
        justify: Literal["right", "left"] = "right" if column.is_number else "left"
        table.add_column(Text(column.title), justify=justify, no_wrap=True, width=cells)
    for row in section.rows:
        table.add_row(*[Text(row[place]) for place in fitted])
    return table


def _fit(section: Section, room: int) -> dict[int, int]:
    """Which columns have a place in a terminal, and how many cells each takes: texts are cut, the longest first, numbers are not."""
    kept = dict(enumerate(_widths(section)))
    extra = [place for place in kept if section.columns[place].is_extra]
    while True:
        cut = dict(kept)
        texts = [place for place in kept if not section.columns[place].is_number]
        excess = sum(cut.values()) + GAP * len(cut) - room
        while excess > 0 and texts and cut[longest := max(texts, key=cut.__getitem__)] > NARROWEST:
            cut[longest] -= 1
            excess -= 1
        if excess <= 0 or not extra:
            return cut
        del kept[extra.pop()]


class LiveTop:
    """The tables in a terminal, on a screen of their own, which is given back at the end. A context manager."""

    def __init__(self, console: Console) -> None:
        self._live = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    async def draw(self, picture: RenderableType) -> None:
        """Show a picture; in a thread, since a terminal may let its writer wait. Cancelled, it leaves the writing to itself."""
        await trio.to_thread.run_sync(lambda: self._live.update(picture, refresh=True), abandon_on_cancel=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()


# ---------------------------------------------------------------- the command


async def run_top(
    address: str, *, once: bool, as_json: bool, insecure: bool, wait: bool, security: MakeSecurity | None = None
) -> int:
    """Show a network; gives the exit code.

    Args:
        address: Where a context of it listens.
        once: Show it once and end.
        as_json: Write one document of JSON and end.
        insecure: Whether another machine may be involved without TLS.
        security: Gives what proves who we are; None if nothing does.
        wait: Whether to wait until somebody answers at the address.
    """
    async with open_viewer("trioton top", address, insecure=insecure, wait=wait, security=security) as (
        viewer,
        connection,
    ):
        view = await viewer.wait_complete(connection)
        check_heard(view)
        if as_json:
            # All that is not ASCII is written as escapes, and so can do nothing to a terminal.
            await write_out(json.dumps(view.to_json(), indent=2).replace("\x7f", "\\u007f") + "\n")
            return 0
        if once:
            await write_out(plain_text(view, trio.current_time()))
            return 0
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # names are in any script, and terminals are not
        console = Console()
        if not console.is_terminal:
            return await _print_forever(view, connection)
        with LiveTop(console) as screen:
            while not connection.is_closed:
                viewer.refresh()
                remark = "" if connection.is_connected else "the connection is lost, and dialled again"
                await screen.draw(live_picture(view, trio.current_time(), console.width, remark))
                await _pause(connection)
    return _ended(connection)


async def _print_forever(view: View, connection: trioton.Connection) -> int:
    """Print the tables again and again, for a pipe or a file."""
    while not connection.is_closed:
        await write_out(plain_text(view, trio.current_time()) + "\n")
        await _pause(connection)
    return _ended(connection)


async def _pause(connection: trioton.Connection) -> None:
    """Wait until the next picture is due, or the connection has ended."""
    with trio.move_on_after(REDRAW_AFTER):
        await connection.wait_closed()


def _ended(connection: trioton.Connection) -> int:
    say(f"the connection has ended: {shown(connection.close_reason or '', 200)}")
    return 0
