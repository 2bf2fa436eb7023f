"""What the README says must be so: its program runs, its commands can be found by a script, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

FENCED_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def section(heading: str) -> str:
    """What stands between a heading of the second level and the next."""
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match is not None, f"the README has no section {heading!r}"
    return match[1]


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_command_stands_alone_in_its_section(heading: str) -> None:
    text = section(heading)
    [(language, command)] = FENCED_BLOCK.findall(text)
    assert language == "sh"
    assert command.count("\n") == 1
    assert not FENCED_BLOCK.sub("", text).strip()


def test_program_is_the_example() -> None:
    [(language, program)] = FENCED_BLOCK.findall(section("A first program"))
    assert language == "python"
    assert program == (ROOT / "examples" / "hello.py").read_text(encoding="utf-8")


@pytest.mark.net
@pytest.mark.slow
def test_program_runs() -> None:
    example = ROOT / "examples" / "hello.py"
    command = [sys.executable, "-W", "error", str(example)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "hello\nfrom the kernel\n"


def test_links_lead_to_files() -> None:
    targets = [target for target in LINK.findall(README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
