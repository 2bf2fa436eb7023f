"""The programs of the tutorial print what its pages say, and the pages are where readers look for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parent
CHAPTERS = ["requests", "state", "pipelines", "files", "blocking"]


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_programs_print_what_the_page_says(chapter: str) -> None:
    text = page(f"tutorial/{chapter}.rst")
    [program] = re.findall(r"^\.\. literalinclude:: \.\./(snippets/\w+\.py)$", text, re.MULTILINE)
    [output] = re.findall(r"^It prints:\n\n\.\. code-block:: text\n\n((?:   .*\n)+)", text, re.MULTILINE)
    command = [sys.executable, "-W", "error", str(DOCS / program)]
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == textwrap.dedent(output)


def test_each_chapter_is_in_the_table_of_contents_and_leads_to_its_guide() -> None:
    listed = re.findall(r"^   (\w+)$", page("tutorial/index.rst"), re.MULTILINE)
    files = {path.stem for path in (DOCS / "tutorial").glob("*.rst")} - {"index"}
    assert set(listed) == files
    assert listed[:3] == ["hello", "programs", "pace"]
    for chapter in CHAPTERS:
        assert f":doc:`/guide/{chapter}`" in page(f"tutorial/{chapter}.rst")


def test_each_pattern_has_a_guide() -> None:
    """And each guide is in the index, once."""
    listed = re.findall(r"^   guide/(\w+|command-line)$", page("index.rst"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.stem for path in (DOCS / "guide").glob("*.rst")}
    patterns = ["contexts", "channels", "requests", "state", "pipelines", "files", "blocking"]
    assert listed[: len(patterns)] == patterns
    assert {"small_tools", "guest_mode"} <= set(listed)
