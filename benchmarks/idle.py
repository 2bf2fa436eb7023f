"""What idle links cost: the memory and the processor's time of a context with ten thousand of them, in a process of its own.

    python -m benchmarks.idle --links 10000 --seconds 20

The other process plays the clients: it shakes hands and answers pings, and does nothing else. ``ulimit -n`` must allow as many files.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import trio

import trioton
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.session import Role, Session

AT_ONCE = 200
"""Clients that connect at once."""


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def allow_files(count: int) -> None:
    """Let the process open so many files.

    Raises:
        ValueError: The system does not.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, most), most))


class Client:
    """One idle client.

    Args:
        number: Which one.
        is_stub: Whether it is a stub of the server.
    """

    def __init__(self, number: int, *, is_stub: bool) -> None:
        rng = random.Random(number)
        self._hello = Hello(
            id=ContextId.from_parts(rng.getrandbits(96), 0),
            name=f"c{number}",
            pid=1,
            host=bytes(16),
            max_package=1 << 24,
            window_bytes=1 << 23,
            reassembly_bytes=1 << 25,
            lease=10.0,
            returns=False,
            stub=is_stub,
        )
        self._session = Session(Role.CLIENT, trioton.Limits())

    async def connect(self, port: int) -> trio.SocketStream:
        """Shake hands."""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(self._hello.to_frame(FrameKind.HELLO))
        while not self._session.receive_data(await stream.receive_some(4096)):
            pass
        events = self._session.accept_peer()
        await stream.send_all(encode_control(control.Sync()) + encode_control(control.Synced()))
        await self._answer(stream, events)
        return stream

    async def run(self, stream: trio.SocketStream) -> None:
        """Answer pings until the server is gone."""
        try:
            while data := await stream.receive_some(4096):
                await self._answer(stream, self._session.receive_data(data))
        except trio.BrokenResourceError:
            pass

    @staticmethod
    async def _answer(stream: trio.SocketStream, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, control.Ping):
                await stream.send_all(encode_control(control.Pong(event.nonce)))


async def play_clients(port: int, links: int, *, is_stub: bool) -> None:
    """Connect all clients, say so, and go on until the server is gone."""
    limiter = trio.CapacityLimiter(AT_ONCE)
    done = 0

    async def live(number: int) -> None:
        nonlocal done
        client = Client(number, is_stub=is_stub)
        async with limiter:
            stream = await client.connect(port)
        done += 1
        if done == links:
            print("all connected", flush=True)
        await client.run(stream)

    async with trio.open_nursery() as nursery:
        for number in range(links):
            nursery.start_soon(live, number)


async def serve(links: int, seconds: float, *, is_stub: bool) -> None:
    """Be the server, and report."""
    limits = trioton.Limits(connections=2 * links, pending_handshakes=2 * links)
    async with trioton.open_context("server", limits=limits) as server:
        listener = await server.bind("127.0.0.1:0")
        empty = resident()
        command = [sys.executable, "-m", "benchmarks.idle", "--links", str(links), "--port", str(listener.port)]
        clients = subprocess.Popen(  # noqa: ASYNC220  # it is waited for by its links
            command + ["--stubs"] * is_stub
        )
        try:
            begin = time.perf_counter()
            while len(server.connections) < links:  # noqa: ASYNC110  # so that nothing is measured but the links
                await trio.sleep(0.1)
            print(f"{links} links after {time.perf_counter() - begin:.1f} s")
            await trio.sleep(min(5.0, seconds))
            begin, busy = time.perf_counter(), time.process_time()
            await trio.sleep(seconds)
            share = (time.process_time() - busy) / (time.perf_counter() - begin)
            full = resident()
            print(f"{full / 1e6:.0f} MB in all, {(full - empty) / links / 1024:.1f} KiB a link, {share:.0%} of a core")
            begin = time.perf_counter()
            clients.kill()
            while server.connections:  # noqa: ASYNC110
                await trio.sleep(0.05)
            print(f"all gone {time.perf_counter() - begin:.1f} s after the end of the clients")
        finally:
            clients.kill()
            clients.wait()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--stubs", action="store_true", help="let the clients be stubs of the server")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    allow_files(arguments.links)
    if arguments.port is None:
        trio.run(lambda: serve(arguments.links, arguments.seconds, is_stub=arguments.stubs))
    else:
        trio.run(lambda: play_clients(arguments.port, arguments.links, is_stub=arguments.stubs))


if __name__ == "__main__":
    main()
