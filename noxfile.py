"""What is run on Trioton, by name: ``nox -s tests``, ``nox -s lint typing docs examples`` …

Each session makes an environment of its own under ``.nox``. With ``--no-venv --no-install`` it uses the one that nox runs
in, which must then have the extra ``dev``: that is how ``.ci/run`` calls them.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "typing", "docs", "examples"]

FOR_ALL_PLATFORMS = ("trioton", "examples", "docs/snippets")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, or those named after ``--``."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, common mistakes, and how Trio is used."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("flake8", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check all types as Linux sees them, and those of the package and its examples as macOS and Windows do."""
    session.install("-e", ".[dev]")
    session.run("mypy", "--platform", "linux")
    for platform in ("darwin", "win32"):
        session.run("mypy", "--platform", platform, *FOR_ALL_PLATFORMS)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning or a reference to nothing is an error. Needs no network."""
    session.install("-e", ".[dev]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-E", "-b", "html", "docs", "docs/_build/html")


@nox.session
def examples(session: nox.Session) -> None:
    """Run every program of the examples and of the documentation to its end, against the installed wheel.

    Not the kernel, which waits for a user; its tests talk to it.
    """
    session.install(".[dev]")
    programs = [path for folder in ("examples", "docs/snippets") for path in sorted(Path(folder).glob("*.py"))]
    for program in programs:
        if not program.name.startswith("test_"):
            session.run("python", "-W", "error", str(program))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure Trioton beside its peers; options go after ``--``."""
    session.install("-e", ".[bench,typed]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def seeds(session: nox.Session) -> None:
    """Run all tests on the simulated network with twenty seeds, a thousand storms, and a hundred thousand histories of cut links."""
    session.install("-e", ".[dev]")
    # These take their time: nobody shall want to know where they are.
    pytest = ("python", "-m", "pytest", "-o", "faulthandler_timeout=0")
    session.run(*pytest, "--trioton-seeds=20", "tests/channels", "tests/network", "tests/promises")
    session.run(*pytest, "tests/network/test_cut_links_by_chance.py", env={"TRIOTON_HISTORIES": "100000"})
    session.run(*pytest, "tests/network/test_storms.py", env={"TRIOTON_STORMS": "1000"})


@nox.session
def soak(session: nox.Session) -> None:
    """Run large meshes: a hundred of fifty contexts in which links are cut, and a tree of a thousand; and drop a link a thousand times.

    Then let hostile peers come in their thousands, and measure ten thousand idle links: ``ulimit -n`` must allow 11 000 files.
    """
    session.install("-e", ".[dev]")
    pytest = ("python", "-m", "pytest", "-o", "faulthandler_timeout=0", "--durations=5", "-k")
    meshes = "tests/network/test_meshes_by_chance.py"
    session.run(*pytest, "not tree", meshes, env={"TRIOTON_MESHES": "1000", "TRIOTON_LARGE_MESHES": "100"})
    session.run(*pytest, "tree", meshes, env={"TRIOTON_TREE": "1000"})
    session.run(*pytest, "drops", "tests/network/test_byte_cuts.py", env={"TRIOTON_DROPS": "1000"})
    crowds = {"TRIOTON_SLOW_HANDSHAKES": "500", "TRIOTON_CROWD": "10000", "TRIOTON_CHANGES": "100000"}
    session.run(*pytest, "r34 or r44 or r52", "tests/trust", env=crowds)
    session.run(*pytest, "r33", "tests/trust", env={"TRIOTON_IDLE_LINKS": "10000"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Search for bytes that break something, ten minutes in all; ``-- --seconds 60`` for a minute, or ``-- scan frames`` for some targets.

    It is atheris that searches, where that has a wheel, and hypothesis elsewhere.
    """
    session.install("-e", ".[dev]")
    session.install("-e", ".[fuzz]", "--only-binary", "atheris", success_codes=[0, 1])
    session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def simulator(session: nox.Session) -> None:
    """Measure how much simulated network one core can do; ``-- --hours=0.1`` for a quick look."""
    session.install("-e", ".")
    session.run("python", "-m", "benchmarks.simulator", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests and see that they reach what they must: all of the protocol, and 95 % of the rest."""
    session.install("-e", ".[dev]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--include=trioton/protocol/*", "--fail-under=100")
    session.run("coverage", "report")
