"""Strangers who take their time, or come in crowds, keep nobody else out (T5)."""

from __future__ import annotations

import os
import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing

import trioton
from tests.common import warnings_of
from tests.raw_peer import make_hello
from tests.trust.hostile import open_scene, open_stage
from trioton import ConnectError, Limits, Reconnect
from trioton.network.pending import host_of
from trioton.protocol.frames import PREFACE, FrameKind
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Security, Transport

if TYPE_CHECKING:
    from trioton.transports.address import Address

SLOW = int(os.environ.get("TRIOTON_SLOW_HANDSHAKES", "150"))
"""How many slow handshakes there are at once; 500 in the long runs, and then with the default deadlines."""

CROWD = int(os.environ.get("TRIOTON_CROWD", "300"))
"""How many connections are opened and closed at once; 10 000 in the long runs."""


async def crawl(net: Network, host: str, over: list[float]) -> None:
    """Say one byte a second, and note when the other end has closed."""
    transport = await net.host(host).dial(parse_address("a:1"))
    try:
        for byte in PREFACE + bytes(100):
            await transport.send_all(bytes([byte]))
            with trio.move_on_after(1):
                assert not await transport.receive_some()
                break
    except trio.BrokenResourceError:
        pass
    over.append(trio.current_time())
    transport.close()


@pytest.mark.parametrize("hosts", [1, 6, 500])
async def test_t05_slow_handshakes_are_all_closed_and_delay_nobody(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, hosts: int
) -> None:
    over: list[float] = []
    async with open_scene() as scene, trio.open_nursery() as nursery:
        begin = trio.current_time()
        for number in range(500):
            nursery.start_soon(crawl, scene.net, f"h{number % hosts}", over)
        async with trioton.open_context("good", network=scene.net.host("good")) as good:
            await trio.sleep(0.6)
            before = trio.current_time()
            assert (await good.connect("a:1")).is_connected
            assert trio.current_time() - before < 1
            assert len(scene.server._doorman._pending) <= Limits().pending_handshakes
        await trio.sleep(11)
        assert len(over) == 500
        assert max(over) - begin <= 10
        assert len(scene.server._doorman._pending) == 0
    assert len(warnings_of(caplog)) <= 101 * 2  # of each address once, and then how many more


async def test_t05_who_comes_while_all_places_are_young_is_let_in_a_moment_later(autojump_clock: object) -> None:
    """The worst there is: as many addresses as places, all of them new. Who dials on gets in as soon as half a second is over."""
    over: list[float] = []
    async with open_scene() as scene, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(crawl, scene.net, f"h{number}", over)
        await trio.sleep(0.05)
        async with trioton.open_context("good", network=scene.net.host("good")) as good:
            with pytest.raises(ConnectError):
                await good.connect("a:1")
            before = trio.current_time()
            await good.connect("a:1", wait=True, reconnect=Reconnect(first=0.05, maximum=0.1))
            assert trio.current_time() - before < 1
        nursery.cancel_scope.cancel()


class Stubborn(Security):
    """Proves nothing, for ever."""

    def __init__(self) -> None:
        self.meeting = 0

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        pass

    async def meet(self, transport: Transport) -> Transport:
        self.meeting += 1
        await trio.sleep_forever()
        raise AssertionError


async def test_t05_a_place_is_taken_before_anything_is_proved(autojump_clock: object) -> None:
    net = Network(seed=1)
    security, over = Stubborn(), list[float]()
    async with (
        trioton.open_context(
            "a", network=net.host("a", uid=7), limits=Limits(pending_handshakes=5), security=security
        ) as a,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")
        for number in range(20):
            nursery.start_soon(crawl, net, f"h{number}", over)
        await trio.sleep(0.1)
        assert security.meeting == len(a._doorman._pending) == 5
        await trio.sleep(5)
        assert len(over) == 20
        assert len(a._doorman._pending) == 0


async def test_t05_the_greeting_has_a_deadline_of_its_own(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    over: list[float] = []
    async with open_scene(Limits(hello_deadline=3)) as scene:
        begin = trio.current_time()
        await crawl(scene.net, "slow", over)
        assert over[0] - begin == pytest.approx(3, abs=0.1)
    [line] = warnings_of(caplog)
    assert line.endswith("no greeting within 3 s; closed")


@pytest.mark.parametrize(
    ("kind", "address", "host"),
    [
        ("tcp", "tcp://127.0.0.1:5", ""),
        ("tls", "tls://[::1]:5", ""),
        ("tcp", "tcp://[::ffff:127.0.0.1]:5", ""),
        ("unix", "unix:///run/x", ""),
        ("tcp", "tcp://127.0.0.2:5", "tcp://127.0.0.2"),
        ("tcp", "tcp://[2001:db8::1]:5", "tcp://[2001:db8::1]"),
    ],
)
def test_whose_places_are_counted(kind: str, address: str, host: str) -> None:
    transport: Any = SimpleNamespace(kind=kind, remote_address=address)
    assert host_of(transport) == host


# ---------------------------------------------------------------- on real sockets


def slow_socket(port: int, number: int) -> socket.socket:
    """A connection from one of many loopback addresses."""
    sock = socket.socket()
    sock.bind((f"127.0.{number // 250}.{2 + number % 250}", 0))
    sock.setblocking(False)
    try:
        sock.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    return sock


def is_open(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.net
@pytest.mark.long
async def test_r44_slow_handshakes_from_many_loopback_addresses(caplog: pytest.LogCaptureFixture) -> None:
    """The legitimate client connects within a second meanwhile, and all of them are closed in time."""
    is_soak, greeting = SLOW >= 500, make_hello().to_frame(FrameKind.HELLO)
    limits = Limits() if is_soak else Limits(hello_deadline=1, handshake_deadline=2, pending_handshakes=40)
    async with open_stage(caplog, limits, patience=60) as stage:
        begin = trio.current_time()
        sockets = [slow_socket(stage.port, number) for number in range(SLOW)]
        try:
            await trio.sleep(0.6)
            async with trioton.open_context("good") as good:
                before = trio.current_time()
                await good.connect(f"127.0.0.1:{stage.port}", local_shortcut=False)
                assert trio.current_time() - before < 1
            said = 0
            while sockets:
                for sock in [sock for sock in sockets if not is_open(sock)]:
                    sock.close()
                    sockets.remove(sock)
                for sock in sockets:
                    try:
                        sock.send(greeting[said : said + is_soak])
                    except OSError:
                        pass
                said += is_soak
                assert trio.current_time() - begin < limits.handshake_deadline + 1
                await trio.sleep(1 if is_soak else 0.05)
        finally:
            for sock in sockets:
                sock.close()
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.server._doorman._pending) == 0
        await stage.check_innocent()


@pytest.mark.net
@pytest.mark.long
async def test_r34_a_crowd_that_comes_and_goes_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Opened and reset at once: the listener lives on. That descriptors run out is shown in tests/transports/test_tcp_listening.py."""
    async with open_stage(caplog, patience=120) as stage:
        for start in range(0, CROWD, 100):
            sockets = [slow_socket(stage.port, number) for number in range(start, min(start + 100, CROWD))]
            await trio.lowlevel.checkpoint()
            for sock in sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        async with trioton.open_context("good") as good:
            await good.connect(f"127.0.0.1:{stage.port}", local_shortcut=False)
        await trio.testing.wait_all_tasks_blocked()
        await stage.check_innocent()
