"""The network of the system that we run on: real sockets, real chance, real processes."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import ssl
import sys
import uuid
from typing import Final

import trio

from .address import Address
from .base import Network, Transport, TransportListener
from .memory import MemoryNames
from .sockets import bind_error, connect_error
from .tcp import dial_tcp, listen_tcp
from .tls import dial_tls, listen_tls

if sys.platform == "win32":

    async def dial_unix(address: Address) -> Transport:
        """There are none."""
        await trio.lowlevel.checkpoint()
        raise connect_error(address, "Python has no Unix sockets on Windows")

    async def listen_unix(address: Address) -> TransportListener:
        """There are none."""
        await trio.lowlevel.checkpoint()
        raise bind_error(address, "Python has no Unix sockets on Windows")

    async def listen_privately() -> TransportListener | None:
        """There are none."""
        await trio.lowlevel.checkpoint()
        return None

else:
    from .unix import dial_unix, listen_privately, listen_unix

LOOK_PAUSE: Final = 0.5
"""Seconds between two looks at whether a process lives, where the system does not tell."""

_HOST_ID_SIZE: Final = 16
_DEAD_STATES: Final = frozenset("ZX")
"""What Linux calls processes that have ended: zombies, which nobody has waited for yet, and those about to vanish."""


class SystemNetwork(Network):
    """Dials and listens with the system's sockets; names behind ``mem://`` are those of this object."""

    def __init__(self) -> None:
        self.host_id = _host_id()
        self.pid = os.getpid()
        if sys.platform == "win32":
            self.uid = None
        else:
            self.uid = os.geteuid()
        self.random = random.SystemRandom()
        self._names = MemoryNames()
        self._client_context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<SystemNetwork of process {self.pid}>"

    async def listen(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> TransportListener:
        """Listen at `address`; a checkpoint. See `Network.listen`."""
        if address.scheme == "tls":
            if ssl_context is None:
                raise ValueError(f"ssl_context must be given, with a certificate, to listen on {address}")
            return await listen_tls(address, ssl_context)
        _refuse_ssl_context(address, ssl_context)
        match address.scheme:
            case "tcp":
                return await listen_tcp(address)
            case "unix":
                return await listen_unix(address)
            case "mem":
                return await self._names.listen(address)
        raise _unknown_scheme(address)

    async def dial(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> Transport:
        """Connect to `address`; a checkpoint, and all is undone if it is cancelled. See `Network.dial`."""
        if address.scheme == "tls":
            return await dial_tls(address, ssl_context or self._default_client_context())
        _refuse_ssl_context(address, ssl_context)
        match address.scheme:
            case "tcp":
                return await dial_tcp(address)
            case "unix":
                return await dial_unix(address)
            case "mem":
                return await self._names.dial(address)
        raise _unknown_scheme(address)

    async def open_private_listener(self) -> TransportListener | None:
        """Listen at a Unix socket in a directory of its own; a checkpoint. None where there are none, as on Windows."""
        return await listen_privately()

    def process_is_alive(self, pid: int) -> bool:
        """Whether a process of this host still runs; one that has ended and was not waited for does not, on Linux."""
        return process_is_alive(pid)

    async def wait_process_ended(self, pid: int) -> None:
        """Wait until a process of this host has ended; a checkpoint. See `Network.wait_process_ended`.

        Linux tells at once. Elsewhere, and for want of a descriptor, it looks every half second.
        """
        await trio.lowlevel.checkpoint()
        if pid > 0 and sys.platform == "linux":
            try:
                fd = os.pidfd_open(pid)
            except (ProcessLookupError, OverflowError):
                return
            except OSError:
                pass
            else:
                try:
                    await trio.lowlevel.wait_readable(fd)
                finally:
                    os.close(fd)
                return
        while process_is_alive(pid):  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(LOOK_PAUSE)

    def _default_client_context(self) -> ssl.SSLContext:
        """What trusts the system's authorities; made once, as reading them takes some 20 ms."""
        if self._client_context is None:
            self._client_context = ssl.create_default_context()
            self._client_context.minimum_version = ssl.TLSVersion.TLSv1_3
        return self._client_context


_default: SystemNetwork | None = None


def system_network() -> SystemNetwork:
    """The network of this process: always the same object, but another one in a process that was forked."""
    global _default
    if _default is None or _default.pid != os.getpid():
        _default = SystemNetwork()
    return _default


def _refuse_ssl_context(address: Address, ssl_context: ssl.SSLContext | None) -> None:
    if ssl_context is not None:
        raise ValueError(f"ssl_context is for tls:// addresses, not for {address}")


def _unknown_scheme(address: Address) -> ValueError:
    return ValueError(f"address must be one of tcp, tls, unix or mem, not {address}")


def _host_id() -> bytes:
    """16 bytes which the processes have in common that run under the same kernel and see each other's process ids."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read().strip()
        parts = [boot, str(os.stat("/proc/self/ns/pid").st_ino).encode()]
    except OSError:
        # No Linux, or no /proc. Without a hardware address getnode is random: then each process is a host of its own,
        # which costs the way over the private listener and nothing else.
        parts = [str(uuid.getnode()).encode(), platform.node().encode(), sys.platform.encode()]
    return hashlib.sha256(b"trioton host\0" + b"\0".join(parts)).digest()[:_HOST_ID_SIZE]


def process_is_alive(pid: int) -> bool:
    """Whether the process with this id still runs. True if it cannot be told."""
    if pid <= 0:
        return False
    return _is_alive(pid)


if sys.platform == "win32":

    def _is_alive(pid: int) -> bool:
        """Ask without os.kill, which on Windows would do what it says."""
        import ctypes

        query_limited_information, access_denied, still_active = 0x1000, 5, 259
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = kernel32.OpenProcess(query_limited_information, False, ctypes.c_ulong(pid & 0xFFFFFFFF))
        if not handle:
            return ctypes.get_last_error() == access_denied
        try:
            code = ctypes.c_ulong()
            known = kernel32.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
            return not known or code.value == still_active
        finally:
            kernel32.CloseHandle(ctypes.c_void_p(handle))

else:

    def _is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True  # it is there, and somebody else's
        return _state_on_linux(pid) not in _DEAD_STATES

    def _state_on_linux(pid: int) -> str:
        """The letter for what a process is doing, or "?" if it cannot be read."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name of the program stands in brackets before the state, and may have brackets of its own.
                return chr(file.read().rpartition(b")")[2].split()[0][0])
        except (OSError, IndexError):
            return "?"
