"""What the tutorial and the guides show must run as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).parent / "snippets"
ROOT = SNIPPETS.parents[1]

PRINTED_TESTS = sorted(path.name for path in SNIPPETS.glob("test_*.py"))


@pytest.mark.slow
def test_printed_tests_run_in_an_empty_folder(tmp_path: Path) -> None:
    for name in ("pytest.ini", *PRINTED_TESTS):
        (tmp_path / name).write_bytes((SNIPPETS / name).read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV"))}
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f" {len(PRINTED_TESTS)} passed" in f" {result.stdout.splitlines()[-1].strip('= ')}"


def test_every_snippet_is_printed() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in SNIPPETS.parent.glob("*/*.rst"))
    assert [path.name for path in SNIPPETS.glob("*.*") if f"snippets/{path.name}\n" not in pages] == []
