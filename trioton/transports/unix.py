"""Unix sockets: dialling, listening, and the private listener that is offered to processes of the same user."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import trio

from .address import MAX_UNIX_PATH, Address
from .base import Transport
from .processes import process_is_alive
from .sockets import BACKLOG, SocketListener, SocketTransport, bind_error, connect_error, connect_socket

# There is nothing here for Windows, and type checkers need not look for it there.
assert not TYPE_CHECKING or sys.platform != "win32"

BUFFER_SIZE: Final = 2 * 1024 * 1024
"""Bytes that each direction may hold in the kernel, if the system's limit allows as much; large messages need it."""

_MACOS_SOL_LOCAL: Final = 0
_MACOS_LOCAL_PEERCRED: Final = 1
_MACOS_XUCRED_SIZE: Final = 76
_RANDOM_NAME_BYTES: Final = 8

_PRIVATE_PREFIX: Final = "trioton-"
"""What the names of private directories begin with; the process's id and random characters follow."""

_PRIVATE_DIRECTORY: Final = re.compile(re.escape(_PRIVATE_PREFIX) + r"([0-9]{1,10})-\w+")

_LEFT_ALONE: Final = 60.0
"""Seconds for which a new directory is not looked at: its owner may be about to listen in it."""

_swept: Final[set[str]] = set()


class UnixTransport(SocketTransport):
    """A connection over a Unix socket; the system vouches for the user at the other end (`peer_uid`)."""

    def __init__(self, sock: socket.socket, path: str, *, accepted: bool) -> None:
        """Take over a connected socket that was reached, or accepted, at `path`."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
            except OSError:
                pass  # Linux takes as much as its limit allows; macOS refuses, and keeps what it had
        pid, uid = _credentials(sock)
        here, there = f"process {os.getpid()}", "a process" if pid is None else f"process {pid}"
        where = str(Address("unix", path=path))
        super().__init__(
            sock,
            kind="unix",
            local_address=where if accepted else f"{here} at {where}",
            remote_address=f"{there} at {where}" if accepted else where,
            is_loopback=True,
        )
        self.peer_uid = uid


def _credentials(sock: socket.socket) -> tuple[int | None, int | None]:
    """The process and user at the other end of a Unix socket, as far as the system tells."""
    pid: int | None = None
    uid: int | None = None
    if sys.platform == "linux":
        form = struct.Struct("=iII")
        pid, uid, _ = form.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    elif sys.platform == "darwin":
        data = sock.getsockopt(_MACOS_SOL_LOCAL, _MACOS_LOCAL_PEERCRED, _MACOS_XUCRED_SIZE)
        _, uid = struct.unpack_from("=II", data)
    return pid, uid


class UnixListener(SocketListener):
    """Listens at a path of the file system; closing it removes the socket file, if it is still this listener's."""

    def __init__(self, sock: socket.socket, path: str, *, directory: str | None = None) -> None:
        """Take over a listening socket that is bound to `path`; `directory` is removed with it."""
        super().__init__([sock], address=str(Address("unix", path=path)), port=None)
        self._path = path
        self._directory = directory
        self._file = _file_identity(path)

    def _wrap(self, sock: socket.socket) -> Transport:
        return UnixTransport(sock, self._path, accepted=True)

    def close(self) -> None:
        """Stop listening at once and remove the socket file. May be called twice."""
        if self._closed.is_set():
            return
        # First the file, so that nobody finds a file behind which nobody listens.
        if self._file is not None and _file_identity(self._path) == self._file:
            _remove(self._path)
        super().close()
        if self._directory is not None:
            _remove_directory(self._directory)


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone already, or the directory was taken from us


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # gone already, or somebody has put something into it


# Dialling


async def dial_unix(address: Address) -> UnixTransport:
    """Connect to the Unix socket at the path of `address`; a checkpoint.

    While the listener's backlog is full, it waits for room.

    Raises:
        ConnectError: Nobody listens there, or we may not connect.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await connect_socket(sock, address.path)
        return UnixTransport(sock, address.path, accepted=False)
    except OSError as error:
        sock.close()
        raise connect_error(address, error) from error
    except BaseException:
        sock.close()
        raise


# Listening


async def listen_unix(address: Address) -> UnixListener:
    """Listen at the path of `address`, with a socket file that only this user may use; a checkpoint.

    A socket file which nobody listens on any more (its process was killed) is replaced.

    Raises:
        BindError: Somebody listens there, there is another file, or we may not create one.
    """
    await trio.lowlevel.checkpoint()
    try:
        return _listen(address.path)
    except OSError as error:
        raise bind_error(address, error) from error


def _listen(path: str, *, directory: str | None = None) -> UnixListener:
    try:
        return UnixListener(_bind(path), path, directory=directory)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    _remove_if_stale(path)
    return UnixListener(_bind(path), path, directory=directory)


def _bind(path: str) -> socket.socket:
    """A socket that listens at `path`, whose file has the mode 0600 before anybody can connect."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        try:
            # Until the socket listens, nobody can connect whatever the mode; the process's umask is not ours to change.
            os.chmod(path, 0o600)
            sock.listen(BACKLOG)
        except BaseException:
            _remove(path)
            raise
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_if_stale(path: str) -> None:
    """Remove the socket file at `path` if nobody listens there.

    Raises:
        OSError: EADDRINUSE if somebody does, or if the file is something else than a socket.
    """
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        return  # removed since it was in our way
    if not stat.S_ISSOCK(before.st_mode):
        raise OSError(errno.EADDRINUSE, "There is a file there that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            pass
        except BlockingIOError:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None  # so busy that its backlog is full
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    # Another process may have replaced the stale file since we looked.
    if _file_identity(path) != (before.st_dev, before.st_ino):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    os.unlink(path)


# The private listener


async def listen_privately() -> UnixListener | None:
    """Listen at a random path in a fresh directory which only this user may enter; a checkpoint.

    The directory lies in XDG_RUNTIME_DIR, or else where temporary files do; closing the listener removes it. What this user's
    processes left behind there when they were killed is removed as well, once for each process.

    Returns:
        The listener, or None if there is no such place.
    """
    await trio.lowlevel.checkpoint()
    for base in _private_bases():
        if base not in _swept:
            _swept.add(base)
            _sweep(base)
        try:
            directory = tempfile.mkdtemp(prefix=f"{_PRIVATE_PREFIX}{os.getpid()}-", dir=base)
        except OSError:
            continue
        path = os.path.join(directory, os.urandom(_RANDOM_NAME_BYTES).hex())
        try:
            if len(os.fsencode(path)) <= MAX_UNIX_PATH:
                return _listen(path, directory=directory)
        except OSError:
            pass
        _remove_directory(directory)
    return None


def _private_bases() -> Iterator[str]:
    """Where a private directory may be made, best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        try:
            status = os.stat(runtime)
        except OSError:
            pass
        else:
            # The specification demands both; a directory of somebody else's can be left from `su`.
            if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700:
                yield runtime
    try:
        yield tempfile.gettempdir()
    except FileNotFoundError:
        pass  # no place takes a file: all are read-only, or this process may not write files at all
    yield "/tmp"  # noqa: S108 - mkdtemp makes the directory that counts; the names of temporary ones can be too long


def _sweep(base: str) -> None:
    """Remove the private directories in `base` whose processes were killed before they could do it."""
    try:
        names = os.listdir(base)
    except OSError:
        return
    for name in names:
        match = _PRIVATE_DIRECTORY.fullmatch(name)
        if match is None or process_is_alive(int(match[1])):
            continue
        directory = os.path.join(base, name)
        try:
            status = os.lstat(directory)
            if status.st_uid != os.geteuid() or status.st_mtime > time.time() - _LEFT_ALONE:
                continue
            # The process may live after all, where several have their ids from elsewhere and share this directory:
            # so nothing is removed that somebody listens on, or that is something else than a socket.
            for file in os.listdir(directory):
                _remove_if_stale(os.path.join(directory, file))
            os.rmdir(directory)
        except OSError:
            continue
