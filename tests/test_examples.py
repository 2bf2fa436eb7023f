"""Every example runs to its end and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

LINES = {
    "events.py": "disconnected: good night",
    "hello.py": "from the kernel",
    "merge_streams.py": "err | warning 2\nout | file 2 is done\nthe program has ended: {'exit_code': 0}",
    "one_to_one.py": "table: here comes the coffee\ntable: that was all",
    "pipeline.py": "done: 6 given again: 1",
    "policies.py": "DropOldest(5)  [15, 16, 17, 18, 19], dropped 15",
    "pubsub_two_processes.py": "reading 4 of another process: 21.0 C",
    "reconnect.py": "received all in order: True\nthe connection had 2 transports",
    "requests.py": "server: nobody waits for that any more",
    "simulated_network.py": "  40 s  ContextDied\nall in less than two real seconds: True",
    "tls.py": "who does not trust the certificate stays outside",
    "two_brokers.py": "the reader has heard of the death: True\nall numbers have come, once and in order: True",
}


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(name: str) -> None:
    if name == "tls.py":
        pytest.importorskip("trustme")
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    assert f"\n{LINES[name]}\n" in f"\n{result.stdout}"


def test_examples_are_short() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= 80} == {}
