"""The system's network: who and where we are, and which processes live."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from trioton.transports import processes, system
from trioton.transports.address import Address, parse_address
from trioton.transports.processes import process_is_alive
from trioton.transports.system import SystemNetwork, system_network

PRINT_HOST_ID = "from trioton.transports.system import *; print(system_network().host_id.hex())"


def test_who_and_where_we_are(network: SystemNetwork) -> None:
    assert isinstance(network.host_id, bytes)
    assert len(network.host_id) == 16
    assert network.host_id == SystemNetwork().host_id
    assert network.pid == os.getpid()
    assert network.uid == os.geteuid()
    assert isinstance(network.random, random.SystemRandom)
    assert not network.is_simulated
    assert str(os.getpid()) in repr(network)


def test_one_for_all() -> None:
    assert system_network() is system_network()


@pytest.mark.slow
def test_a_forked_process_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = system_network()
    monkeypatch.setattr(os, "getpid", lambda: ours.pid + 1)
    theirs = system_network()
    assert theirs is not ours
    assert theirs.pid == ours.pid + 1
    monkeypatch.undo()
    assert system_network().pid == ours.pid


@pytest.mark.slow
def test_other_processes_of_this_host_have_the_same_host_id(network: SystemNetwork) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(system.__file__).parents[2])}
    output = subprocess.run(
        [sys.executable, "-c", PRINT_HOST_ID], stdout=subprocess.PIPE, check=True, env=environment
    ).stdout
    assert output.decode().strip() == network.host_id.hex()


def test_the_host_id_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch, network: SystemNetwork) -> None:
    def no_file(*args: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_file)
    first, second = SystemNetwork().host_id, SystemNetwork().host_id
    assert first == second
    assert len(first) == 16
    assert first != network.host_id


# Processes


@pytest.mark.slow
def test_processes(network: SystemNetwork) -> None:
    assert network.process_is_alive(os.getpid())
    assert network.process_is_alive(1)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert network.process_is_alive(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not network.process_is_alive(child.pid)  # though nobody has waited for it yet
    child.communicate()
    assert not network.process_is_alive(child.pid)


@pytest.mark.slow
async def test_waiting_for_the_end_of_a_process(network: SystemNetwork) -> None:
    child = await trio.lowlevel.open_process(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    ended = trio.Event()

    async def wait() -> None:
        await network.wait_process_ended(child.pid)
        ended.set()

    assert child.stdin is not None
    async with child.stdin, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        child.kill()
        await ended.wait()
    await child.wait()
    await network.wait_process_ended(child.pid)
    with trio.CancelScope() as scope:
        scope.cancel()
        await network.wait_process_ended(os.getpid())
    assert scope.cancelled_caught


async def test_waiting_without_a_descriptor(
    network: SystemNetwork, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    def no_descriptor(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    looks = [True, True, False]
    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    monkeypatch.setattr(processes, "process_is_alive", lambda pid: looks.pop(0))
    mock_clock.autojump_threshold = 0
    await network.wait_process_ended(12345)
    assert trio.current_time() == 2 * processes.LOOK_PAUSE


@pytest.mark.parametrize("pid", [0, -1, 2**70])
async def test_numbers_that_are_no_process_have_ended(network: SystemNetwork, pid: int) -> None:
    with trio.testing.assert_checkpoints():
        await network.wait_process_ended(pid)


@pytest.mark.parametrize("pid", [0, -1, -(2**70), 2**40, 2**70])
def test_numbers_that_are_no_process(pid: int) -> None:
    assert not process_is_alive(pid)


def test_processes_of_others_and_systems_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        assert number == 0
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        assert process_is_alive(12345)

    def no_file(*args: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_file)
    assert process_is_alive(os.getpid())


# Addresses of all kinds


@pytest.mark.net
async def test_all_kinds_of_addresses(network: SystemNetwork, tmp_path: Path) -> None:
    for text, kind in {"localhost:0": "tcp", f"unix://{tmp_path}/s": "unix", "mem://x": "memory"}.items():
        async with await network.listen(parse_address(text)) as listener:
            async with await network.dial(parse_address(listener.address)) as transport:
                assert transport.kind == kind
                async with await listener.accept() as accepted:
                    assert accepted.kind == kind


async def test_addresses_of_no_kind(network: SystemNetwork) -> None:
    with pytest.raises(ValueError, match="address must be one of tcp, tls, unix or mem"):
        await network.listen(Address("foo", "host", 1))
    with pytest.raises(ValueError, match="address must be one of tcp, tls, unix or mem"):
        await network.dial(Address("foo", "host", 1))


@pytest.mark.net
async def test_the_loopback_needs_no_thread(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*args: object, **kwargs: object) -> object:
        await trio.lowlevel.checkpoint()
        raise AssertionError("a thread was asked")

    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    async with await network.listen(parse_address("localhost:0")) as listener:
        async with await network.dial(parse_address(listener.address)):
            (await listener.accept()).close()


@pytest.mark.parametrize(
    ("sizes", "expected"), [({"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 18}, 1 << 30), ({}, SystemNetwork.memory)]
)
def test_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], expected: int) -> None:
    def sysconf(name: str) -> int:
        if name not in sizes:
            raise ValueError("unrecognized configuration name")
        return sizes[name]

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert system._machine_memory.__wrapped__() == expected
