"""The picture: horizontal bars, one panel a group, readable on a light and on a dark page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

from .cases import GROUPS, Group
from .report import TRANSPORTS, number
from .results import Results, Series, label

TEXT: Final = "#808893"
"""A grey that stands out from white and from black alike."""
OURS: Final = "#2a9d8f"
FLOOR: Final = "#b9a06a"
OTHERS: Final = "#8a9bb5"
ROW_HEIGHT: Final = 0.24
"""Inches."""


def draw(results: Results, path: Path) -> None:
    """Write the picture as SVG, without a background."""
    panels = [(group, list(results.shown(group))) for group in GROUPS.values() if group.plotted]
    panels = [(group, rows) for group, rows in panels if rows]
    if not panels:
        return
    heights = [len(rows) * ROW_HEIGHT for _, rows in panels]
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",
        "font.size": 9,
        "font.family": "sans-serif",
    }
    with mpl.rc_context({**style, **{f"{what}.color": TEXT for what in ("text", "xtick", "ytick")}}):
        layout = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.0)
        figure = Figure(figsize=(8, sum(heights) + 0.85 * len(panels)), layout=layout)
        for axes, (group, rows) in zip(
            figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels, strict=True
        ):
            draw_panel(axes, group, rows)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def draw_panel(axes: Axes, group: Group, rows: list[tuple[Series, float]]) -> None:
    """The bars of one group, the best on top, each with its figure."""
    names = [" · ".join(filter(None, (label(series), TRANSPORTS[series.transport]))) for series, _ in rows]
    values = [value for _, value in rows]
    bars = axes.barh(range(len(rows)), values, height=0.7, color=[colour(series, group) for series, _ in rows])
    axes.bar_label(bars, [number(value) for value in values], padding=4, color=TEXT, fontsize=8)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    notes = [group.unit, f"{'more' if group.higher else 'less'} is better", *["logarithmic"] * group.log]
    axes.set_title(f"{group.title} ({', '.join(notes)})", loc="left", fontsize=10)
    if group.log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 2)
        axes.xaxis.set_major_formatter(LogFormatterSciNotation())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(values) * 1.12)
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def colour(series: Series, group: Group) -> str:
    """Ours, the reference, or another."""
    if series.peer.startswith("trioton"):
        return OURS
    return FLOOR if series.peer == group.reference else OTHERS
