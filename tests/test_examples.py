"""Every example runs to its end and says what it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

LINES = {
    "blocking.py": "nothing yet\nreading 0: 20.0 C\nreading 1: 20.25 C",
    "events.py": "disconnected: good night",
    "guest_asyncio.py": "asyncio got 22 C\nthe network is closed\nthe guest was cancelled",
    "guest_qt.py": "the friend got: hello from the window\nthe window shows: hello from the friend\nthe contexts are closed",
    "hello.py": "from the kernel",
    "merge_streams.py": "err | warning 2\nout | file 2 is done\nthe program has ended: {'exit_code': 0}",
    "one_to_one.py": "table: here comes the coffee\ntable: that was all",
    "pipeline.py": "done: 6 given again: 1",
    "policies.py": "DropOldest(5)  [15, 16, 17, 18, 19], dropped 15",
    "pubsub_two_processes.py": "reading 4 of another process: 21.0 C",
    "reconnect.py": "received all in order: True\nthe connection had 2 transports",
    "requests.py": "server: nobody waits for that any more",
    "simulated_network.py": "  40 s  ContextDied\nall in less than two real seconds: True",
    "state.py": "at first: trioton.UNSET\nwho comes late: ready\na change: busy\nby another: kernel is gone / kernel is gone",
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
    if result.stdout.startswith("not run: "):
        pytest.skip(f"{name} was {result.stdout.strip()}")
    assert f"\n{LINES[name]}\n" in f"\n{result.stdout}"


def test_examples_are_short() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= 80} == {}


# Tells when a context of an example is open and when it is closed; nobody ever listens in that.
TELLING = """
import runpy, sys, trio, trioton

class Told:
    def __init__(self, block):
        self.block = block

    async def __aenter__(self):
        ctx = await self.block.__aenter__()
        ctx.start_soon(self.tell)
        return ctx

    async def tell(self):
        print("ready", flush=True)

    async def __aexit__(self, *exc):
        try:
            return await self.block.__aexit__(*exc)
        finally:
            print("closed", flush=True)

open_context = trioton.open_context
trioton.open_context = lambda *args: Told(open_context(*args))
trioton.PubChannel.wait_subscribers = lambda self, count=1: trio.sleep_forever()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
@pytest.mark.parametrize("arguments", [("guest_asyncio.py",), ("guest_qt.py", "bind", "localhost:0")])
def test_ctrl_c_ends_a_guest_in_good_order(arguments: tuple[str, ...]) -> None:
    """The signal comes to the host, and Trio's part closes its contexts."""
    name, *rest = arguments
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    with subprocess.Popen(
        [sys.executable, "-c", TELLING, str(EXAMPLES / name), *rest],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if first.startswith("not run: "):
            pytest.skip(f"{name} was {first.strip()}")
        assert first == "ready\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert "closed" in out
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
