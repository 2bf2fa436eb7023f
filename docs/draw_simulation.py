"""Writes what the guide shows of tests that fail, into docs/_static/ and docs/snippets/: ``python docs/draw_simulation.py``."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from trioton.testing import Chaos, SimulationFailed, run_simulation, write_diagram

HERE = Path(__file__).parent
SNIPPETS = HERE / "snippets"


def run_words() -> SimulationFailed:
    """The failure of the program with the mistake."""
    sys.path.insert(0, str(SNIPPETS))
    from test_words import HOSTS, NETWORK, the_book_is_counted

    logging.disable()
    try:
        run_simulation(the_book_is_counted, seeds=range(100), hosts=HOSTS, network=NETWORK, faults=Chaos())
    except SimulationFailed as failure:
        return failure
    raise AssertionError("the program with the mistake must fail")


def report_of_pytest() -> str:
    """The section that pytest shows for a failing test with the fixture."""
    code = (SNIPPETS / "test_outage.py").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pytest.ini").write_bytes((SNIPPETS / "pytest.ini").read_bytes())
        (Path(folder) / "test_outage.py").write_text(code.replace("pending == 0", "pending == 1"), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "--trioton-seed=7"]
        unwanted = ("PYTEST_", "COV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip("-") == " trioton ")
    end = next(number for number, line in enumerate(lines) if line.startswith("===") and number > begin)
    return "\n".join(lines[begin + 1 : end])


def main(pictures: str | Path = HERE / "_static", texts: str | Path = SNIPPETS) -> None:
    failure = run_words()
    (Path(texts) / "words_report.txt").write_text(f"{failure}\n", encoding="utf-8")
    (Path(texts) / "failure_report.txt").write_text(f"{report_of_pytest()}\n", encoding="utf-8")
    title = f"Chapters, with seed {failure.seed}"
    hosts = ["boss", "ann", "ben"]
    picture = Path(pictures) / "simulation.svg"
    write_diagram(picture, failure.events, hosts=hosts, kinds=["PACKAGE", "fault"], title=title)


if __name__ == "__main__":
    main(*sys.argv[1:])
