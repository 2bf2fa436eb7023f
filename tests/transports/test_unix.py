"""Unix sockets: files, permissions, stale files, credentials, and the private listener."""

# ruff: noqa: ASYNC240 - a look at a temporary directory takes no time

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from trioton.errors import BindError, ConnectError
from trioton.transports import unix
from trioton.transports.address import MAX_UNIX_PATH, Address, parse_address
from trioton.transports.system import SystemNetwork
from trioton.transports.unix import UnixTransport

if TYPE_CHECKING:
    from .conftest import Dial

pytestmark = pytest.mark.net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def address(path: Path) -> Address:
    return parse_address(f"unix://{path}")


def leave_stale_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


async def test_a_socket_file_for_this_user_alone(network: SystemNetwork, path: Path, address: Address) -> None:
    before = os.umask(0)
    try:
        async with await network.listen(address) as listener:
            assert listener.address == str(address)
            assert listener.port is None
            status = path.stat()
            assert stat.S_ISSOCK(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o600
    finally:
        os.umask(before)
    assert not path.exists()
    listener.close()


async def test_both_ends_know_who_the_other_is(network: SystemNetwork, address: Address, dial: Dial) -> None:
    async with await network.listen(address) as listener:
        left, right = await dial(listener)
        async with left, right:
            assert left.peer_uid == right.peer_uid == network.uid == os.geteuid()
            assert left.remote_address == right.local_address == str(address)
            assert f"process {os.getpid()}" in right.remote_address
            assert left.local_address == right.remote_address
            for transport in (left, right):
                assert isinstance(transport, UnixTransport)
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    with socket.socket(socket.AF_UNIX) as usual:
                        default = usual.getsockopt(socket.SOL_SOCKET, option)
                    assert transport._socket.getsockopt(socket.SOL_SOCKET, option) > default


async def test_a_stale_file_is_replaced(network: SystemNetwork, path: Path, address: Address, dial: Dial) -> None:
    leave_stale_file(path)
    with pytest.raises(ConnectError, match="Connection refused"):
        await network.dial(address)
    async with await network.listen(address) as listener:
        for transport in await dial(listener):
            transport.close()
    assert not path.exists()


async def test_a_live_one_is_not(network: SystemNetwork, path: Path, address: Address, dial: Dial) -> None:
    async with await network.listen(address) as listener:
        with pytest.raises(BindError, match=f"{path}: Address already in use") as caught:
            await network.listen(address)
        assert caught.value.errno == errno.EADDRINUSE
        probe = await listener.accept()  # the other looked whether anybody is there
        assert await probe.receive_some() == b""
        probe.close()
        for transport in await dial(listener):
            transport.close()


async def test_a_live_one_with_a_full_backlog_is_not(network: SystemNetwork, path: Path, address: Address) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        clients = []
        with pytest.raises(BlockingIOError):
            while True:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                clients[-1].connect(str(path))
        with pytest.raises(BindError, match="Address already in use"):
            await network.listen(address)
        for client in clients:
            client.close()
    assert path.exists()


async def test_a_file_that_was_in_the_way_and_is_gone(
    network: SystemNetwork, path: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = unix._bind
    failures = 1

    def fail_once(path: str) -> socket.socket:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return bind(path)

    monkeypatch.setattr(unix, "_bind", fail_once)
    async with await network.listen(address):
        assert path.exists()


async def test_buffers_that_cannot_be_had(
    network: SystemNetwork, address: Address, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    async with await network.listen(address) as listener:
        monkeypatch.setattr(socket.socket, "setsockopt", refuse)
        for transport in await dial(listener):
            transport.close()


async def test_another_file_is_not(network: SystemNetwork, path: Path, address: Address) -> None:
    path.write_text("precious")
    with pytest.raises(BindError, match="not a socket"):
        await network.listen(address)
    assert path.read_text() == "precious"


async def test_a_stale_file_that_was_replaced_meanwhile_is_not(
    network: SystemNetwork, path: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_stale_file(path)
    monkeypatch.setattr(unix, "_file_identity", lambda path: (0, 0))
    with pytest.raises(BindError, match="Address already in use"):
        await network.listen(address)
    assert path.exists()


async def test_a_file_that_is_another_ones_by_now_is_left_alone(
    network: SystemNetwork, path: Path, address: Address
) -> None:
    async with await network.listen(address):
        path.unlink()
        path.write_text("somebody else's")
    assert path.exists()
    path.unlink()
    async with await network.listen(address):
        path.unlink()


async def test_a_file_that_cannot_be_removed(
    network: SystemNetwork, path: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    async with await network.listen(address):
        monkeypatch.setattr(os, "unlink", refuse)


async def test_places_where_there_can_be_none(network: SystemNetwork, tmp_path: Path) -> None:
    address = parse_address(f"unix://{tmp_path}/nowhere/s")
    with pytest.raises(BindError, match="No such file or directory") as bind_error:
        await network.listen(address)
    assert bind_error.value.errno == errno.ENOENT
    with pytest.raises(ConnectError, match="No such file or directory") as connect_error:
        await network.dial(address)
    assert connect_error.value.errno == errno.ENOENT


async def test_a_bind_that_fails_halfway_leaves_no_file(
    network: SystemNetwork, path: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(BindError, match="Operation not permitted"):
        await network.listen(address)
    assert not path.exists()


async def test_a_cancelled_dial(network: SystemNetwork, address: Address) -> None:
    async with await network.listen(address):
        with trio.CancelScope() as scope:
            scope.cancel()
            await network.dial(address)
        assert scope.cancelled_caught


def test_systems_that_do_not_vouch(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    with left, right:
        monkeypatch.setattr(sys, "platform", "freebsd14")
        transport = UnixTransport(left, "/s", accepted=True)
        assert transport.peer_uid is None
        assert transport.remote_address == "a process at unix:///s"
        transport.close()


# The private listener


async def test_the_private_listener(
    network: SystemNetwork, short_path: Path, monkeypatch: pytest.MonkeyPatch, dial: Dial
) -> None:
    short_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    listener = await network.open_private_listener()
    assert listener is not None
    file = Path(parse_address(listener.address).path)
    directory = file.parent
    assert directory.parent == short_path
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = await network.open_private_listener()
    assert other is not None
    assert other.address != listener.address
    for transport in await dial(listener):
        assert transport.peer_uid == os.geteuid()
        transport.close()
    await listener.aclose()
    assert not directory.exists()
    other.close()
    assert not list(short_path.iterdir())


@pytest.mark.parametrize("case", ["open to others", "missing", "relative", "somebody else's", "unset"])
async def test_a_runtime_directory_that_cannot_be_trusted(
    network: SystemNetwork, short_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    runtime, temporary = short_path / "r", short_path / "t"
    runtime.mkdir(mode=0o755 if case == "open to others" else 0o700)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    value = {"missing": f"{runtime}/x", "relative": "r", "unset": ""}.get(case, str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    monkeypatch.chdir(short_path)
    if case == "somebody else's":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    listener = await network.open_private_listener()
    assert listener is not None
    assert listener.address.startswith(f"unix://{temporary}/trioton-")
    listener.close()
    assert not list(temporary.iterdir())


async def test_a_temporary_directory_with_a_long_name(
    network: SystemNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * MAX_UNIX_PATH)
    long.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    listener = await network.open_private_listener()
    assert listener is not None
    assert listener.address.startswith("unix:///tmp/trioton-")
    listener.close()
    assert not list(long.iterdir())


DEAD = 2**31 - 1  # more than any process's id


def leave_private_directory(base: Path, *, pid: int = DEAD, age: float = 3600.0) -> Path:
    """What a process leaves behind when it is killed."""
    directory = base / f"trioton-{pid}-abc_123{len(list(base.iterdir()))}"
    directory.mkdir(mode=0o700)
    leave_stale_file(directory / "0123456789abcdef")
    then = time.time() - age
    os.utime(directory, (then, then))
    return directory


@pytest.fixture
def base(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for private directories that was not yet swept."""
    monkeypatch.setattr(unix, "_swept", set())
    monkeypatch.setattr(unix, "_private_bases", lambda: iter([str(short_path)]))
    return short_path


async def open_and_close_private_listener(network: SystemNetwork) -> None:
    listener = await network.open_private_listener()
    assert listener is not None
    await listener.aclose()


async def test_what_killed_processes_left_behind_is_swept_once(network: SystemNetwork, base: Path) -> None:
    leave_private_directory(base)
    leave_private_directory(base)
    empty = leave_private_directory(base)  # killed before it listened, or while it closed
    (empty / "0123456789abcdef").unlink()
    os.utime(empty, (0, 0))
    young = leave_private_directory(base)
    os.utime(young)
    (base / "trioton-elsewhere").mkdir()
    await open_and_close_private_listener(network)
    left = sorted(directory.name for directory in base.iterdir())
    assert left[1:] == ["trioton-elsewhere"]
    assert left[0].startswith("trioton-2147483647")
    leave_private_directory(base)
    await open_and_close_private_listener(network)
    assert len(list(base.iterdir())) == 3


async def test_what_is_in_use_or_not_ours_is_not_swept(
    network: SystemNetwork, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = leave_private_directory(base, pid=os.getpid())
    with_a_file = leave_private_directory(base)
    (with_a_file / "file").write_text("precious")
    listening = leave_private_directory(base)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(listening / "live"))
        sock.listen()
        for directory in (with_a_file, listening):
            os.utime(directory, (0, 0))
        await open_and_close_private_listener(network)
        assert living.exists()
        assert (with_a_file / "file").exists()
        assert (listening / "live").exists()

    others = leave_private_directory(base)
    monkeypatch.setattr(unix, "_swept", set())
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        await open_and_close_private_listener(network)
    assert others.exists()


async def test_a_place_that_cannot_be_read(
    network: SystemNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "_swept", set())
    monkeypatch.setattr(unix, "_private_bases", lambda: iter([f"{tmp_path}/missing"]))
    assert await network.open_private_listener() is None


async def test_no_place_at_all(network: SystemNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_directory(**kwargs: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", no_directory)
        assert await network.open_private_listener() is None

    def no_socket(path: str) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(unix, "_private_bases", lambda: iter([str(tmp_path)]))
    monkeypatch.setattr(unix, "_bind", no_socket)
    assert await network.open_private_listener() is None
    assert not list(tmp_path.iterdir())


async def test_where_no_file_can_be_written(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds no directory for temporary files then, as in a container whose file system is read-only."""

    def no_directory() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", no_directory)
    assert list(unix._private_bases()) == ["/tmp"]
    await open_and_close_private_listener(network)


async def test_something_was_put_into_the_private_directory(network: SystemNetwork) -> None:
    listener = await network.open_private_listener()
    assert listener is not None
    directory = Path(parse_address(listener.address).path).parent
    (directory / "guest").touch()
    listener.close()
    assert [file.name for file in directory.iterdir()] == ["guest"]
    (directory / "guest").unlink()
    directory.rmdir()
