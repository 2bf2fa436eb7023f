"""A simulation does not reach the real world."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
import trio

from trioton.testing import Network, RealWorldError, SimulationFailed, run_simulation


def connect() -> None:
    with socket.socket() as real:
        real.connect(("127.0.0.1", 9))


FORBIDDEN: dict[str, Callable[[], object]] = {
    "time": lambda: time.time(),
    "monotonic": lambda: time.monotonic(),
    "perf_counter": lambda: time.perf_counter(),
    "sleep": lambda: time.sleep(0),
    "localtime": lambda: time.localtime(),
    "strftime": lambda: time.strftime("%H"),
    "clock_gettime": lambda: time.clock_gettime(0),
    "name server": lambda: socket.getaddrinfo("localhost", 1),
    "connect": lambda: connect(),
    "process": lambda: subprocess.run(["true"], check=False),
    "system": lambda: os.system("true"),  # it never gets there
    "thread": lambda: threading.Thread(target=print).start(),
}

EXPECTED = {
    "time": r"time\.time\(\) was called in a simulation, by .*test_isolation, line \d+: use trio\.current_time\(\)",
    "sleep": r"time\.sleep\(\) .* use trio\.sleep\(\)",
    "connect": "socket.connect uses a real socket",
    "process": "subprocess.Popen starts a process",
}


def run_once(main: Callable[[Network], Awaitable[object]]) -> None:
    run_simulation(main, seeds=[1])


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_real_world_raises(name: str) -> None:
    async def main(net: Network) -> None:
        FORBIDDEN[name]()

    with pytest.raises(SimulationFailed, match=EXPECTED.get(name)) as caught:
        run_once(main)
    assert isinstance(caught.value.__cause__, RealWorldError)
    assert time.time() > 0


def test_async_ways_to_the_real_world_raise_too() -> None:
    async def main(net: Network) -> None:
        with pytest.raises(RealWorldError):
            await trio.open_tcp_stream("127.0.0.1", 9)
        with pytest.raises(RealWorldError):
            await trio.run_process(["true"])

    run_once(main)


def test_chance_comes_from_the_seed() -> None:
    drawn: list[object] = []

    async def main(net: Network) -> None:
        drawn.append(
            (random.random(), uuid.uuid4(), secrets.token_hex(), os.urandom(3), random.SystemRandom().random())
        )

    state = random.getstate()
    run_simulation(main, seeds=[1, 2])
    assert drawn[0] == drawn[1], "seed 1 runs twice"
    assert drawn[2] != drawn[0]
    assert random.getstate() == state
    assert uuid.uuid4() != uuid.uuid4()


def test_log_records_have_their_times_and_others_may_be_allowed(caplog: pytest.LogCaptureFixture) -> None:
    async def main(net: Network) -> None:
        logging.getLogger("x").warning("with a real time")
        assert time.time() > 0

    run_simulation(main, seeds=[1], allow=[__name__])
    assert "with a real time" in caplog.text


def test_times_can_be_converted() -> None:
    async def main(net: Network) -> None:
        assert time.strftime("%Y", time.gmtime(trio.current_time())) == "1970"
        assert time.ctime(0).endswith("1970")

    run_once(main)


def test_plain_functions_run_at_once() -> None:
    async def main(net: Network) -> None:
        assert await trio.to_thread.run_sync(threading.get_ident) == threading.get_ident()

    run_once(main)
