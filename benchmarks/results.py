"""The figures of a run, and what is computed from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import attrs

from .cases import CASES, GROUPS, Group


class Series(NamedTuple):
    """One case of one library on one transport."""

    peer: str
    transport: str
    case: str


@attrs.define
class Results:
    """All values of a run.

    Attributes:
        rounds: For each series and each round that it took part in, its values by name.
        problems: For each series that failed, and for each library that is missing, one line that says why.
        about: What the figures were measured on.
    """

    rounds: dict[Series, dict[int, dict[str, float]]] = attrs.field(factory=dict)
    problems: dict[str, str] = attrs.field(factory=dict)
    about: dict[str, Any] = attrs.field(factory=dict)

    def add(self, series: Series, number: int, values: dict[str, float]) -> None:
        """Keep what one round gave."""
        self.rounds.setdefault(series, {})[number] = values

    def value(self, peer: str, transport: str, case: str, name: str | None = None) -> float | None:
        """The median over the rounds of one value (the one that its group shows), or None if there is none."""
        name = name or group_of(case).value
        taken = [
            values[name] for values in self.rounds.get(Series(peer, transport, case), {}).values() if name in values
        ]
        return statistics.median(taken) if taken else None

    def ratio(self, one: Series, other: Series) -> float | None:
        """How `one` stands to `other`: the median of the ratios within each round that has both."""
        top, bottom = self.rounds.get(one, {}), self.rounds.get(other, {})
        name, below = group_of(one.case).value, group_of(other.case).value
        both = [top[n][name] / bottom[n][below] for n in top if name in top[n] and below in bottom.get(n, {})]
        return statistics.median(both) if both else None

    def against_reference(self, series: Series) -> float | None:
        """The ratio to the reference of the group, on the same transport if the reference was measured there."""
        group = group_of(series.case)
        if group.reference is None:
            return None
        case = group.key
        transports = (series.transport, *(t for p, t, c in self.rounds if (p, c) == (group.reference, case)))
        ratios = (self.ratio(series, Series(group.reference, t, case)) for t in transports)
        return next((ratio for ratio in ratios if ratio is not None), None)

    def shown(self, group: Group) -> Iterator[tuple[Series, float]]:
        """The series of a group that have its value, the best first."""
        found = ((series, self.value(*series)) for series in self.rounds if group_of(series.case) is group)
        rows = [(series, value) for series, value in found if value is not None]
        yield from sorted(rows, key=lambda row: row[1], reverse=group.higher)

    def best(self, candidates: Iterable[Series]) -> Series | None:
        """The one of several series of one group that does best, or None if none of them was measured."""
        wanted = list(candidates)
        rows = self.shown(group_of(wanted[0].case)) if wanted else iter(())
        return next((series for series, _ in rows if series in wanted), None)

    def as_json(self) -> dict[str, Any]:
        """Everything, in what JSON has."""
        return {
            "about": self.about,
            "series": [
                {
                    **series._asdict(),
                    "group": group_of(series.case).key,
                    "unit": group_of(series.case).unit,
                    "median": self.value(*series),
                    "against_reference": self.against_reference(series),
                    "rounds": rounds,
                }
                for series, rounds in self.rounds.items()
            ],
            "problems": self.problems,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Results:
        """What `as_json` gave."""
        results = cls(about=data["about"], problems=data["problems"])
        for entry in data["series"]:
            series = Series(entry["peer"], entry["transport"], entry["case"])
            results.rounds[series] = {int(number): values for number, values in entry["rounds"].items()}
        return results


def group_of(case: str) -> Group:
    """The group that a case is shown in."""
    return GROUPS[CASES[case].group if case in CASES else case]


def label(series: Series) -> str:
    """The library as a table names it."""
    extra = CASES[series.case].label if series.case in CASES else ""
    return f"{series.peer}, {extra}" if extra else series.peer
