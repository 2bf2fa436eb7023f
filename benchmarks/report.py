"""The tables: on the terminal, and as reStructuredText for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .cases import GROUPS, PEERS, Group
from .goals import GOALS
from .results import Results, label

TRANSPORTS: Final = {"tcp": "TCP", "unix": "Unix socket", "secret": "secret", "tls": "TLS", "pipe": "pipe", "": ""}

Table = tuple[str, list[str], list[list[str]]]
"""Title, heads of the columns, rows."""


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def group_table(results: Results, group: Group) -> Table | None:
    """All libraries that were measured in one group."""
    shown = list(results.shown(group))
    if not shown:
        return None
    # The 99th percentile belongs to latencies only; the name under which an import stands is no transport.
    slow = group.value == "median"
    head = ["library", "transport", group.unit]
    head += ["p99"] * slow + ["half"] * (group.key == "round_trip")
    head += ["one end"] * (group.key == "idle")
    head += [f"/ {group.reference}"] * bool(group.reference)
    rows = []
    for series, value in shown:
        row = [label(series), TRANSPORTS[series.transport], number(value)]
        if slow:
            row.append(number(results.value(*series, "p99")))
        if group.key == "round_trip":
            row.append(number(value / 2))
        if group.key == "idle":
            row.append(number(results.value(*series, "hub_per_1000")))
        if group.reference:
            row.append(times(results.against_reference(series)))
        rows.append(row)
    return group.title, head, rows


def times(ratio: float | None) -> str:
    """A ratio."""
    return "-" if ratio is None else f"{number(ratio)} x"


def goal_table(results: Results) -> Table:
    """Each goal with its figure and what became of it."""
    rows = []
    for goal in GOALS:
        figure = goal.measure(results)
        sign = "≥" if goal.at_least else "≤"
        bound = f"{sign} {number(goal.bound)} {goal.unit}"
        if figure is None:
            verdict = "not measured"
        elif not goal.met(figure):
            verdict = "missed"
        elif goal.aim is None:
            verdict = "met"
        else:
            verdict = "met, aim reached" if goal.met(figure, goal.aim) else f"met, aim {number(goal.aim)}"
        rows.append([goal.text, bound, "-" if figure is None else f"{number(figure)} {goal.unit}", verdict])
    return "Goals", ["goal", "bound", "measured", "verdict"], rows


def tables(results: Results) -> list[Table]:
    """All that there is to show; without the goals if Trioton itself was not measured."""
    found = [table for group in GROUPS.values() if (table := group_table(results, group))]
    if any(series.peer.startswith("trioton") for series in results.rounds):
        found.append(goal_table(results))
    return found


def conditions(results: Results) -> str:
    """One sentence on where the figures come from."""
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"Python {about['python']}, {about['system']}, {about['cores']} cores; {versions}; "
        f"medians of {about['rounds']} rounds of {about['seconds']} s each; the idle network has {about['links']} links."
    )


def print_report(results: Results) -> None:
    """Print all tables, with rich if it is installed."""
    try:
        print_rich(results)
    except ImportError:
        for title, head, rows in tables(results):
            print(f"\n{title}\n{plain_table(head, rows)}")
    print(f"\n{conditions(results)}")
    for what, why in results.problems.items():
        print(f"not measured: {what}: {why}")


def print_rich(results: Results) -> None:
    """Print with colours and lines."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console.width = 120
    colours = {"met": "green", "missed": "red", "not measured": "yellow"}
    for title, head, rows in tables(results):
        table = RichTable(title=title, title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(head):
            table.add_column(name, justify="left" if place < 1 or head[0] == "goal" else "right")
        for row in rows:
            style = "bold" if row[0].startswith("trioton") else None
            if head[0] == "goal":
                style = colours[row[-1].split(",")[0]]
            table.add_row(*row, style=style)
        console.print("", table, sep="\n")


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def rst_report(results: Results) -> str:
    """The fragment for the documentation: conditions, tables, and what each library does."""
    parts = [".. Written by ``python -m benchmarks``; changes are lost at the next run.", "", conditions(results), ""]
    for title, head, rows in tables(results):
        parts += [f".. list-table:: {title}", "   :header-rows: 1", "   :widths: auto", ""]
        for row in (head, *rows):
            parts += [f"   {'* -' if place == 0 else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
        parts.append("")
    measured = {series.peer for series in results.rounds}
    parts += ["What each library does:", ""]
    parts += [f"* {peer.name}: {rst_code(peer.says)}" for peer in PEERS if peer.name in measured]
    if results.problems:
        parts += ["", "Not measured:", ""]
        parts += [f"* {what}: ``{why}``" for what, why in results.problems.items()]
    return "\n".join(parts) + "\n"


def rst_code(text: str) -> str:
    """Single backticks, as we write them, are references there."""
    return text.replace("`", "``")
