"""Addresses: the text that `bind` and `connect` take, and what it means."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from ..errors import AddressError

MAX_PORT: Final = 65535
"""The highest port there is."""

MAX_UNIX_PATH: Final = 103 if sys.platform == "darwin" else 107
"""How many bytes the path of a Unix socket may have: the kernel's field for it, less the closing NUL."""

_HASH_FACTOR: Final = 0xD2D84A61
_FIRST_HASHED_PORT: Final = 49152
_HASHED_PORTS: Final = 16384
_RESERVED_SLOTS: Final = 8

_PORT_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_PORT_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_NOT_IN_HOSTS: Final = re.compile(r"[\s\x00-\x20\x7f/?#@%\[\]\\:]")
_PUBLIC_HOST: Final = re.compile(r"publichost([0-9]{0,4})")
_SHOWN: Final = 200


@attrs.frozen
class Address:
    """Where one can listen or connect; made by `parse_address`, and ``str(address)`` is text that it understands.

    Attributes:
        scheme: ``"tcp"``, ``"tls"``, ``"unix"`` or ``"mem"``.
        host: A name in lower case or a numeric address (IPv6 without its brackets); empty for ``unix`` and ``mem``.
            ``localhost`` is written ``127.0.0.1``, except for ``tls``, where the name is what the certificate must say.
        port: 0 to 65535, or None for ``unix`` and ``mem``. 0 lets the system choose when listening.
        path: The path of a Unix socket, or the name behind ``mem://``; empty for ``tcp`` and ``tls``.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""

    def __str__(self) -> str:
        """The address as text, always with its scheme."""
        if self.port is None:
            return f"{self.scheme}://{self.path}"
        return f"{self.scheme}://{format_host_port(self.host, self.port)}"

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent to this address certainly stays on this machine."""
        return self.scheme in ("unix", "mem") or is_loopback_host(self.host)

    @property
    def public_index(self) -> int | None:
        """The N of the host ``publichostN`` (0 for ``publichost``), or None if the host is another."""
        match = _PUBLIC_HOST.fullmatch(self.host)
        return int(match[1] or 0) if match else None

    def with_port(self, port: int) -> Address:
        """The same address with another port."""
        return attrs.evolve(self, port=port)


def format_host_port(host: str, port: int) -> str:
    """A host and port as text, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback_host(host: str) -> bool:
    """Whether a name or numeric address is this machine's loopback; False for any name but ``localhost``."""
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback


def yoton_hash(name: str) -> int:
    """The number that Yoton gives to a slot of this name.

    Different names can have the same number (``sensor19`` and ``sensor90`` do), so Trioton never uses it in place of a
    slot's name; it is here to tell which name a number in Yoton's traffic means.
    """
    return _RESERVED_SLOTS + _raw_hash(name) % (2**64 - _RESERVED_SLOTS)


def yoton_port(name: str) -> int:
    """The port, 49152 to 65535, that Yoton gives to this name: ``test`` is 56337."""
    return _FIRST_HASHED_PORT + _raw_hash(name) % _HASHED_PORTS


def _raw_hash(name: str) -> int:
    value = 0
    for character in name:
        value += (value >> 3) + ord(character) * _HASH_FACTOR
    return value + (value >> 3) + len(name) * _HASH_FACTOR


def ports_to_try(port: int, max_tries: int) -> Iterator[int]:
    """The ports that Yoton tries when `port` is taken: 0, 1, 2, 3, 5, 7, 9, 11, 13, 16, 19 … above it.

    The steps grow because ports in use (or reserved by the system) lie together. It ends after `max_tries` ports, or
    with the last port below 65536; port 0, where the system chooses, is yielded once.

    Raises:
        ValueError: `port` is not from 0 to 65535, or `max_tries` is below 1.
    """
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"port must be from 0 to {MAX_PORT}, not {port}")
    if max_tries < 1:
        raise ValueError(f"max_tries must be 1 or more, not {max_tries}")
    return _growing_steps(port, 1 if port == 0 else max_tries)


def _growing_steps(port: int, max_tries: int) -> Iterator[int]:
    for attempt in range(1, max_tries + 1):
        if port > MAX_PORT:
            return
        yield port
        port += math.isqrt(attempt)


def parse_address(text: str, *, port_hash: Callable[[str], int] = yoton_port) -> Address:
    """Understand an address.

    These are addresses::

        localhost:9000      127.0.0.1:9000      [::1]:9000      host.example:9000      tcp://host:9000
        localhost:0         a port that the system chooses (to listen)
        localhost:test      a port by name, as Yoton has it; localhost:test+3 is three above
        publichost:9000     this machine as others see it; publichost1 is its second address
        tls://host:9000     TLS over TCP
        unix:///run/x.sock  a Unix socket
        mem://name          inside this process

    Args:
        text: The address.
        port_hash: Gives the port for the name of a port.

    Raises:
        AddressError: `text` is none of these; the message names it and says what is wrong.
    """
    if not isinstance(text, str):
        raise AddressError(f"an address is a str, not {type(text).__name__}: {_shown(text)}")
    try:
        return _parse(text, port_hash)
    except ValueError as problem:
        reason = str(problem)
        shown = reason if len(reason) <= 2 * _SHOWN else f"{reason[:_SHOWN]}…"  # it names a part of the text, too
        raise AddressError(f"{_shown(text)} is not an address: {shown}") from None


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _parse(text: str, port_hash: Callable[[str], int]) -> Address:
    if "\0" in text:
        raise ValueError("it has a NUL character")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "tcp", text
    scheme = scheme.lower()
    if scheme == "unix":
        return Address("unix", path=_unix_path(rest))
    if scheme == "mem":
        if not rest:
            raise ValueError("there is no name behind mem://")
        return Address("mem", path=rest)
    if scheme in ("tcp", "tls"):
        host, port = _split_host_port(rest)
        number = _port(port, port_hash)
        return Address(scheme, _host(host, keep_localhost=scheme == "tls"), number)
    raise ValueError(f"{scheme!r} is not a scheme (there are tcp, tls, unix and mem)")


def _unix_path(path: str) -> str:
    if not path:
        raise ValueError("there is no path behind unix://")
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} does not begin with a slash, as in unix:///run/x.sock")
    size = len(os.fsencode(path))
    if size > MAX_UNIX_PATH:
        raise ValueError(f"the path has {size} bytes, and a Unix socket's may have {MAX_UNIX_PATH}")
    return path


def _split_host_port(rest: str) -> tuple[str, str]:
    if rest.startswith("["):
        host, bracket, port = rest.partition("]")
        if not bracket:
            raise ValueError("the bracket is never closed")
        if not port.startswith(":"):
            raise ValueError("there is no port")
        return host + bracket, port[1:]
    if rest.count(":") > 1:
        raise ValueError("it has more than one colon; an IPv6 address stands in brackets, as in [::1]:9000")
    host, colon, port = rest.partition(":")
    if not colon:
        raise ValueError("there is no port")
    return host, port


def _host(host: str, *, keep_localhost: bool) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{host} is not an IPv6 address") from None
    if not host:
        raise ValueError("there is no host")
    host = host.lower()
    if host == "localhost":
        return host if keep_localhost else "127.0.0.1"
    labels = host.removesuffix(".").split(".")
    if _NOT_IN_HOSTS.search(host) or len(host) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError(f"{host!r} is not the name of a host")
    if labels[-1].isdecimal():
        # The resolver would take 127.1 or 256.1.1.1 for something; nobody means what it takes them for.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv4 address") from None
    return host


def _port(text: str, port_hash: Callable[[str], int]) -> int:
    if not text:
        raise ValueError("there is no port")
    base, plus, offset = text.partition("+")
    if _PORT_NUMBER.fullmatch(base):
        port = int(base)
    elif _PORT_NAME.fullmatch(base):
        port = port_hash(base)
    elif base.startswith("-") and _PORT_NUMBER.fullmatch(base[1:]):
        raise ValueError(f"the port {base} is negative")
    elif base.isdecimal() and base.isascii():
        raise ValueError(f"the port {base[:_SHOWN]} is over {MAX_PORT}")
    else:
        raise ValueError(f"the port {text!r} is neither a number nor a name")
    if plus:
        if not _PORT_NUMBER.fullmatch(offset):
            raise ValueError(f"{offset!r} is not a number to be added to a port")
        port += int(offset)
    if port > MAX_PORT:
        raise ValueError(f"the port {port} is over {MAX_PORT}")
    return port
