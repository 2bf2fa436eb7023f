"""The network of the system that we run on: real sockets, real chance, real processes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import random
import ssl
import sys
from typing import Final

import trio

from .address import Address
from .base import Network, Transport, TransportListener
from .memory import MemoryNames
from .processes import process_is_alive, wait_process_ended
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

_HOST_ID_SIZE: Final = 16


class SystemNetwork(Network):
    """Dials and listens with the system's sockets; names behind ``mem://`` are those of this object."""

    def __init__(self) -> None:
        self.host_id = _host_id()
        self.pid = os.getpid()
        if sys.platform == "win32":
            self.uid = None
        else:
            self.uid = os.geteuid()
        self.memory = _machine_memory()
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

    def is_own_process(self) -> bool:
        """Whether this is the process in which the network was made, and not one that was forked from it."""
        return os.getpid() == self.pid

    def process_is_alive(self, pid: int) -> bool:
        """Whether a process of this host still runs; one that has ended and was not waited for does not, on Linux."""
        return process_is_alive(pid)

    async def wait_process_ended(self, pid: int) -> None:
        """Wait until a process of this host has ended; a checkpoint. See `Network.wait_process_ended`.

        Linux tells at once. Elsewhere, and for want of a descriptor, it looks every half second.
        """
        await wait_process_ended(pid)

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
    if _default is None or not _default.is_own_process():
        _default = SystemNetwork()
    return _default


def _refuse_ssl_context(address: Address, ssl_context: ssl.SSLContext | None) -> None:
    if ssl_context is not None:
        raise ValueError(f"ssl_context is for tls:// addresses, not for {address}")


def _unknown_scheme(address: Address) -> ValueError:
    return ValueError(f"address must be one of tcp, tls, unix or mem, not {address}")


@functools.cache
def _machine_memory() -> int:
    """Bytes of memory that the machine has; as many as one could wish where the system does not tell."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return SystemNetwork.memory


def _host_id() -> bytes:
    """16 bytes which the processes have in common that run under the same kernel and see each other's process ids."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            boot = file.read().strip()
        parts = [boot, str(os.stat("/proc/self/ns/pid").st_ino).encode()]
    except OSError:
        # No Linux, or no /proc. Without a hardware address getnode is random: then each process is a host of its own,
        # which costs the way over the private listener and nothing else.
        import uuid  # only for this, and slow to import

        parts = [str(uuid.getnode()).encode(), platform.node().encode(), sys.platform.encode()]
    return hashlib.sha256(b"trioton host\0" + b"\0".join(parts)).digest()[:_HOST_ID_SIZE]
