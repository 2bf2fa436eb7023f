"""What the guides show of files, small tools and guests must run as it is printed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from trioton.clientserver import serve_requests
from trioton.transports.address import parse_address
from trioton.transports.system import SystemNetwork

DOCS = Path(__file__).parent
SNIPPETS = DOCS / "snippets"


def run(name: str) -> list[str]:
    """Run a program in a process of its own, and give the lines that it prints."""
    command = [sys.executable, "-W", "error", str(SNIPPETS / f"{name}.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.net
@pytest.mark.slow
def test_prints_go_over_a_channel() -> None:
    assert run("printing") == ["What is your name? Hello, Ann"]


@pytest.mark.net
@pytest.mark.slow
def test_a_second_instance_tells_the_first() -> None:
    assert run("single_instance") == [
        "first instance: one.py",
        "two.py is open in the window that you have",
        "it cannot: ValueError: two.jpg is no Python file",
    ]


@pytest.mark.slow
def test_it_is_saved_when_nothing_has_changed_for_a_while() -> None:
    assert run("signals") == ["the first change: ('one ',)", "saved: one two ", "saved: one two three"]


async def test_what_travels_is_what_the_guide_shows() -> None:
    page = (DOCS / "guide" / "small_tools.rst").read_text(encoding="utf-8")
    shown = page.partition(".. code-block:: text\n\n")[2].partition("\n\n")[0]
    asked_head, asked, answered_head, answered = (line.strip() for line in shown.splitlines())
    async with trio.open_nursery() as nursery:
        network = SystemNetwork()
        address = await nursery.start(partial(serve_requests, network=network), "mem://tool", str.upper)
        async with await network.dial(parse_address(address)) as transport:
            await transport.send_all(f"{asked_head}\n{asked}".encode())
            received = b""
            while data := await transport.receive_some():
                received += data
        nursery.cancel_scope.cancel()
    assert received.decode() == f"{answered_head}\n{answered}"
