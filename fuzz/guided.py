"""Runs one target under atheris, which looks at what each input reaches and goes on from those that reach something new.

libFuzzer, which is behind it, ends the process it runs in. So this is a program of its own: ``python -m fuzz.guided TARGET FOLDER [OPTION ...]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PATIENCE: Final = 60
"""Seconds after which libFuzzer takes an input for one that never ends."""

_MOST_MEMORY: Final = 2048
"""MiB that the process may take."""


def objection() -> str | None:
    """Why atheris cannot be used here, or None."""
    if find_spec("atheris") is None:
        return "atheris is not installed (the extra 'fuzz' has it, where there is a wheel)"
    done = subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"atheris cannot be imported: {done.stderr.strip().rpartition(chr(10))[2]}"
    return None


def search(target: str, seeds: Path, found: Path, seconds: float, largest: int) -> tuple[int, str]:
    """Search for so many seconds in a process of its own; gives its exit status and what it has written.

    Args:
        target: The name of the target.
        seeds: Inputs to start from; nothing is written there.
        found: A folder for inputs that reach something new.
        seconds: How long.
        largest: Bytes that an input has at most.
    """
    found.mkdir(parents=True, exist_ok=True)
    crashes = found.parent / "crashes"
    crashes.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "fuzz.guided", target, str(found)]
    command += [str(seeds)] if seeds.is_dir() else []
    command += [f"-max_total_time={max(1, round(seconds))}", f"-max_len={largest}", f"-timeout={_PATIENCE}"]
    command += [
        f"-rss_limit_mb={_MOST_MEMORY}",
        f"-artifact_prefix={crashes / target}-",
        "-print_final_stats=1",
        "-len_control=0",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=environment)
    return done.returncode, done.stdout.decode(errors="replace")


def main() -> None:
    """What the process of `search` runs."""
    import atheris

    with atheris.instrument_imports(include=["trioton"], enable_loader_override=False):
        from fuzz.targets import TARGETS
    run = TARGETS[sys.argv[1]].run
    atheris.Setup([sys.argv[0], *sys.argv[2:]], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
