"""Links that do nothing cost little, however many there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

LINKS = int(os.environ.get("TRIOTON_IDLE_LINKS", "300"))
"""How many there are; 10 000 in the long runs."""


@pytest.mark.net
@pytest.mark.long
def test_r33_idle_links_in_two_processes() -> None:
    """10 000 of them take less than 250 MB at the end that has all of them; a few hundred are measured less exactly."""
    command = (sys.executable, "-m", "benchmarks.idle", "--links", str(LINKS), "--stubs")
    seconds = ("--seconds", "30" if LINKS >= 10_000 else "0.5")
    report = subprocess.run(command + seconds, check=True, capture_output=True, text=True, timeout=900).stdout
    found = re.search(r"(\d+) MB in all, ([\d.]+) KiB a link", report)
    assert found is not None, report
    assert int(found[1]) < 250
    assert float(found[2]) < 24
    assert "all gone" in report
