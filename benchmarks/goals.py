"""What Trioton is held to: each line is computed from the figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from .results import Results, Series

Measure = Callable[[Results], float | None]

BEST_OF_OTHERS: Final = tuple(
    Series(peer, transport, "large")
    for peer in ("zenoh", "pyzmq blocking", "pyzmq asyncio")
    for transport in ("tcp", "unix")
)


@attrs.frozen
class Goal:
    """One goal.

    Attributes:
        text: What is compared with what.
        bound: What the figure is held to.
        measure: Computes the figure, or None if it was not measured.
        at_least: Whether the figure shall be at least, or at most, the bound.
        unit: Of the figure.
        aim: Where we want to be, if that is further.
    """

    text: str
    bound: float
    measure: Measure
    at_least: bool = True
    unit: str = "x"
    aim: float | None = None

    def met(self, figure: float, bound: float | None = None) -> bool:
        """Whether a figure holds the bound (or the aim, if that is handed over)."""
        limit = self.bound if bound is None else bound
        return figure >= limit if self.at_least else figure <= limit


def ratio(one: Series, other: Series) -> Measure:
    """One series by another, round by round."""
    return lambda results: results.ratio(one, other)


def value(peer: str, transport: str, case: str, name: str) -> Measure:
    """One value as it is."""
    return lambda results: results.value(peer, transport, case, name)


def beside_best(one: Series, others: Iterable[Series]) -> Measure:
    """One series by the best of others."""

    def measure(results: Results) -> float | None:
        best = results.best(others)
        return results.ratio(one, best) if best else None

    return measure


def import_time(results: Results) -> float | None:
    """What the import of trioton adds to that of what it needs."""
    whole = results.value("trioton", "", "imports")
    needed = results.value("trio, attrs, cbor2", "", "imports")
    return None if whole is None or needed is None else max(whole - needed, 0.0)


def _on_each_transport() -> Iterable[Goal]:
    for on, name in (("tcp", "TCP"), ("unix", "Unix socket")):

        def own(case: str, on: str = on) -> Series:
            return Series("trioton", on, case)

        def of(peer: str, case: str, on: str = on) -> Series:
            return Series(peer, on, case)

        zmq = of("pyzmq blocking", "small")
        yield Goal(
            f"small messages, send and async for / pyzmq blocking, {name}", 0.7, ratio(own("small"), zmq), aim=1.0
        )
        yield Goal(f"small messages, send_many / pyzmq blocking, {name}", 1.5, ratio(own("small_many"), zmq), aim=4.0)
        yield Goal(
            f"OBJECT records / execnet (pipe), {name}",
            1.0,
            ratio(own("objects"), Series("execnet", "pipe", "objects")),
        )
        yield Goal(f"typed(cls) records / OBJECT records, {name}", 1 / 3, ratio(own("typed"), own("objects")))
        yield Goal(
            f"a request and its reply / raw Trio streams, {name}",
            1.6,
            ratio(own("request"), of("raw Trio streams", "round_trip")),
            at_least=False,
            aim=1.3,
        )
        yield Goal(
            f"a request and its reply / pyzmq asyncio, {name}",
            1.0,
            ratio(own("request"), of("pyzmq asyncio", "round_trip")),
            at_least=False,
        )
        yield Goal(
            f"round trip / raw Trio streams, {name}",
            1.6,
            ratio(own("round_trip"), of("raw Trio streams", "round_trip")),
            at_least=False,
            aim=1.3,
        )
        yield Goal(
            f"round trip / pyzmq asyncio, {name}",
            1.0,
            ratio(own("round_trip"), of("pyzmq asyncio", "round_trip")),
            at_least=False,
        )
        yield Goal(f"1 MiB messages / raw sockets, {name}", 0.9, ratio(own("large"), of("raw sockets", "large")))


GOALS = (
    *_on_each_transport(),
    *(
        Goal(
            f"small messages through a relay / straight, {name}",
            0.4,
            ratio(Series("trioton relayed", transport, "small"), Series("trioton", transport, "small")),
        )
        for transport, name in (("unix", "Unix socket"), ("secret", "TCP with a secret"))
    ),
    Goal(
        "round trip, Unix socket / pyzmq blocking on TCP",
        1.0,
        ratio(Series("trioton", "unix", "round_trip"), Series("pyzmq blocking", "tcp", "round_trip")),
        at_least=False,
    ),
    Goal(
        "a request and its reply, Unix socket / pyzmq blocking on TCP",
        1.0,
        ratio(Series("trioton", "unix", "request"), Series("pyzmq blocking", "tcp", "round_trip")),
        at_least=False,
    ),
    Goal(
        "memory of a request in flight, of 10 000",
        4.0,
        value("trioton", "unix", "pending", "memory"),
        at_least=False,
        unit="KiB",
    ),
    Goal(
        "1 MiB messages, Unix socket / zenoh and pyzmq at their best",
        1.0,
        beside_best(Series("trioton", "unix", "large"), BEST_OF_OTHERS),
    ),
    Goal(
        "fan-out: how often a message is encoded",
        1.0,
        value("trioton fan-out", "tcp", "encoded_once", "encodings"),
        at_least=False,
    ),
    Goal(
        "fan-out: with one receiver that never receives / without it",
        0.9,
        ratio(Series("trioton fan-out", "tcp", "fan_out_stalled"), Series("trioton fan-out", "tcp", "fan_out")),
    ),
    Goal(
        "idle network, processor time of both ends, per 1000 links",
        4.0,
        value("trioton idle", "tcp", "idle", "cpu_per_1000"),
        at_least=False,
        unit="% of a core",
    ),
    Goal(
        "memory of one end of an idle TCP link",
        15.0,
        value("trioton idle", "tcp", "memory", "memory"),
        at_least=False,
        unit="KiB",
    ),
    Goal("import beyond trio, attrs and cbor2", 30.0, import_time, at_least=False, unit="ms"),
)
