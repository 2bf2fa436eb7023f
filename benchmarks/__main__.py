"""``python -m benchmarks``: measure, print, write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from functools import partial
from importlib import metadata
from pathlib import Path

import trio

from .cases import CASES, GROUPS, PEERS, Peer
from .report import print_report, rst_report
from .results import Results
from .runner import Runner

DISTRIBUTIONS = ("trioton", "trio", "attrs", "cbor2", "pyzmq", "eclipse-zenoh", "pynng", "execnet")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Trioton beside its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that all works, not more")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds (default 5)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="for one case of one library in a round (default 0.3)"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a library or a case, or the start of its name; may be given several times",
    )
    parser.add_argument("--links", type=int, metavar="N", help="of the idle network (default 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the tables for the documentation")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture (needs matplotlib)")
    parser.add_argument("--load", type=Path, metavar="FILE", help="measure nothing: take the figures of a --json file")
    chosen = parser.parse_args()
    names = [*(peer.name for peer in PEERS), *CASES, *GROUPS]
    for name in chosen.only:
        if not any(known.startswith(name) for known in names):
            parser.error(f"--only {name}: no such library or case; there are {', '.join(names)}")
    return chosen


def wanted_cases(peer: Peer, only: list[str]) -> list[str]:
    """Which cases of a library were asked for."""
    if not only or any(peer.name.startswith(name) for name in only):
        return list(peer.cases)
    return [c for c in peer.cases if any(c.startswith(n) or CASES[c].group.startswith(n) for n in only)]


def about(rounds: int, seconds: float, links: int) -> dict[str, object]:
    """What the figures were measured on."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
        "rounds": rounds,
        "seconds": seconds,
        "links": links,
    }


def show(line: str) -> None:
    """What happens now, on one line of the terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def show_at(place: str, line: str) -> None:
    """The same with the round."""
    show(place + line)


async def until_told_to_stop(chosen: argparse.Namespace) -> Results | None:
    """As `measure`, but a SIGTERM ends it like Ctrl-C does: in order, with all that it started."""
    results: Results | None = None
    async with trio.open_nursery() as nursery:

        async def watch(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                task_status.started()
                async for _ in signals:
                    nursery.cancel_scope.cancel()

        await nursery.start(watch)
        results = await measure(chosen)
        nursery.cancel_scope.cancel()
    return results


async def measure(chosen: argparse.Namespace) -> Results:
    """All rounds."""
    rounds = chosen.repeat or (1 if chosen.quick else 5)
    seconds = chosen.seconds or (0.15 if chosen.quick else 0.3)
    links = chosen.links or (200 if chosen.quick else 1000)
    results = Results(about=about(rounds, seconds, links))
    runner = Runner(seconds, results, show, {"idle_links": links, "idle": 5 if chosen.quick else 10})
    started = time.monotonic()
    for peer in PEERS:
        if peer.missing:
            results.problems[peer.name] = f"skipped: {peer.package} is not installed"
    for number in range(rounds):
        place = f"round {number + 1} of {rounds}: "
        runner.report = partial(show_at, place)
        for peer in PEERS:
            cases = wanted_cases(peer, chosen.only)
            if cases and not peer.missing and number < peer.rounds:
                for transport in peer.transports:
                    await runner.measure(peer, transport, cases, number)
        if not chosen.only or any("imports".startswith(name) for name in chosen.only):
            await runner.measure_imports(number)
    results.about["took"] = round(time.monotonic() - started)
    return results


def main() -> None:
    """Measure or load, print, write."""
    chosen = arguments()
    if chosen.load:
        results = Results.from_json(json.loads(chosen.load.read_text()))
    else:
        found = trio.run(until_told_to_stop, chosen)
        show("")
        if found is None:
            raise SystemExit("stopped")
        results = found
    print_report(results)
    for path, text in (
        (chosen.json, json.dumps(results.as_json(), indent=1) + "\n"),
        (chosen.rst, rst_report(results)),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if chosen.svg:
        try:
            from .plot import draw
        except ImportError as error:
            print(f"no picture: {error}", file=sys.stderr)
        else:
            chosen.svg.parent.mkdir(parents=True, exist_ok=True)
            draw(results, chosen.svg)


if __name__ == "__main__":
    main()
