"""Runs targets: ``python -m fuzz`` searches in all of them, ``python -m fuzz TARGET FILE`` runs one on a file that was found.

Crashes and inputs that reach something new are written into the folder ``.fuzz``.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import corpus, guided, keeping
from .seeds import seeds
from .targets import TARGETS

FOLDER: Final = Path(".fuzz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit status: 1 if something was broken."""
    options = _parser().parse_args(arguments)
    names = [name for name in options.names if name in TARGETS]
    files = [Path(name) for name in options.names if name not in TARGETS]
    if options.list:
        for name, target in TARGETS.items():
            print(f"{name:10} {target.about}")
        return 0
    if options.make_seeds:
        for name, inputs in seeds().items():
            for data in inputs:
                corpus.keep(name, data)
        print(f"the corpus has {corpus.size()} bytes")
        return 0
    if options.keep:
        for name in names or list(TARGETS):
            found = [path.read_bytes() for path in (FOLDER / name).glob("*")]
            chosen = keeping.choose(TARGETS[name].run, corpus.inputs(name), found)
            for data in chosen:
                corpus.keep(name, data)
            print(f"{name:10} {len(chosen)} of {len(found)} inputs are kept")
        print(f"the corpus has {corpus.size()} bytes")
        return 0
    if files:
        if len(names) != 1 or not all(file.is_file() for file in files):
            print(f"give one of {', '.join(TARGETS)}, and files; not {' '.join(options.names)}", file=sys.stderr)
            return 2
        return _run_files(names[0], files)
    return _search(names or list(TARGETS), options.seconds, options.engine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="targets (all if none), or one target and files to run it on"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to search in all (600)")
    parser.add_argument(
        "--engine",
        choices=("auto", "atheris", "hypothesis"),
        default="auto",
        help="what searches (atheris, if it is there)",
    )
    parser.add_argument("--list", action="store_true", help="say which targets there are")
    parser.add_argument("--make-seeds", action="store_true", help="put the inputs to start from into the corpus")
    parser.add_argument(
        "--keep", action="store_true", help="put those inputs that were found into the corpus which reach something new"
    )
    return parser


def _run_files(name: str, files: Sequence[Path]) -> int:
    status = 0
    for file in files:
        data = file.read_bytes()
        started = time.perf_counter()
        try:
            TARGETS[name].run(data)
        except Exception:  # noqa: BLE001  # that is what it is to show
            traceback.print_exc()
            status = 1
        else:
            print(f"{file}: {len(data)} bytes are taken as they should be, in {time.perf_counter() - started:.4f} s")
    return status


def _search(names: Sequence[str], seconds: float, engine: str) -> int:
    objection = guided.objection() if engine != "hypothesis" else None
    if objection is not None:
        if engine == "atheris":
            print(objection, file=sys.stderr)
            return 2
        print(f"{objection}: hypothesis searches in its place", flush=True)
    is_guided = engine != "hypothesis" and objection is None
    whole = sum(TARGETS[name].share for name in names)
    broken = []
    for name in names:
        its_seconds = seconds * TARGETS[name].share / whole
        if not (_search_guided if is_guided else _search_by_chance)(name, its_seconds):
            broken.append(name)
    print(f"broken: {', '.join(broken)}" if broken else "nothing is broken")
    return int(bool(broken))


def _search_guided(name: str, seconds: float) -> bool:
    target = TARGETS[name]
    status, output = guided.search(name, corpus.FOLDER / name, FOLDER / name, seconds, target.largest)
    found = dict(re.findall(r"stat::(\w+): +(\d+)", output))
    covered = re.findall(r" cov: (\d+)", output) or ["?"]
    count, rate = found.get("number_of_executed_units", "?"), found.get("average_exec_per_sec", "?")
    print(f"{name:10} {count} inputs, {rate} a second, {covered[-1]} places reached", flush=True)
    if status:
        print(output[output.find(" === Uncaught") :] if " === Uncaught" in output else output[-4000:])
        print(f"{name}: status {status}; the input is in {FOLDER / 'crashes'}: python -m fuzz {name} FILE")
    return not status


def _search_by_chance(name: str, seconds: float) -> bool:
    from . import by_chance

    target = TARGETS[name]
    started = time.monotonic()
    try:
        count = by_chance.search(target.run, corpus.inputs(name), target.largest, seconds)
    except Exception:  # noqa: BLE001  # that is what it is to show
        traceback.print_exc()
        print(f"{name}: broken")
        return False
    print(f"{name:10} {count} inputs, {count / (time.monotonic() - started):.0f} a second", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
