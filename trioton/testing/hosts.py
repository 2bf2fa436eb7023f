"""The hosts of a simulated network: what a context takes for the world, and what listens there."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import BindError, ConnectError
from ..transports.address import MAX_PORT, Address, is_loopback_host
from ..transports.base import Network, Transport, TransportListener
from .streams import SimulatedTransport

if TYPE_CHECKING:
    import ssl

    from .ways import Ways

BACKLOG: Final = 1024
"""How many connections wait at a listener for being accepted; further dials hang until there is room."""

FIRST_FREE_PORT: Final = 32768
"""Where the ports begin that a bind to port 0 gets: below those that the names of ports stand for."""

FIRST_CLIENT_PORT: Final = 42000
"""Where the ports begin that the dialling ends of connections show. They are for the eye only and may come again."""

CLIENT_PORTS: Final = 7000
"""After how many connections the ports of the dialling ends come again."""

UID: Final = 1000
"""The user who runs everything on a host of a simulated network, unless that was made with another."""

ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 # nothing is bound but a key in a dict
"""The hosts which stand for all addresses of a host, to listen at."""

_NO_TLS: Final = "there is no TLS in a simulation, for it draws from the system's chance"


@attrs.frozen
class Place:
    """Where one listens within a host: a port, or the path or name of something local."""

    scheme: str
    where: int | str

    def __str__(self) -> str:
        """The port, or the path or name with its scheme."""
        return str(self.where) if self.scheme == "tcp" else f"{self.scheme}://{self.where}"


class SimulatedListener(TransportListener):
    """Accepts the connections that are dialled to one place on a host; made by `Host.listen`.

    Attributes:
        host: The host that it is on.
        place: Where on that host.
        is_local: Whether only the host itself can reach it.
    """

    def __init__(self, host: Host, place: Place, address: str, *, is_local: bool) -> None:
        self.host = host
        self.place = place
        self.address = address
        self.port = place.where if isinstance(place.where, int) else None
        self.is_local = is_local
        self._is_closed = False
        self._offered, self._accepted = trio.open_memory_channel[SimulatedTransport](BACKLOG)

    def __repr__(self) -> str:
        return f"<SimulatedListener {self.address}, {'closed' if self._is_closed else 'open'}>"

    async def accept(self) -> SimulatedTransport:
        """Wait for the next connection; a checkpoint. Cancelled, it has accepted none.

        Raises:
            trio.ClosedResourceError: The listener was closed, before or meanwhile.
        """
        return await self._accepted.receive()

    async def offer(self, end: SimulatedTransport) -> None:
        """Put a connection's server end where `accept` finds it; waits while the backlog is full.

        Raises:
            trio.BrokenResourceError: The listener was closed meanwhile.
        """
        await self._offered.send(end)

    def close(self) -> None:
        """Stop listening at once; connections that were not accepted are reset. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self.host.forget_listener(self)
        while self._accepted.statistics().current_buffer_used:
            self._accepted.receive_nowait().connection.reset("the listener was closed before it accepted this")
        self._accepted.close()

    async def aclose(self) -> None:
        """Stop listening, like `close`, and yield."""
        self.close()
        await trio.lowlevel.checkpoint()


class Host(Network):
    """One host of a simulated network, with one process: what `trioton.open_context` takes as its ``network``.

    Its own name, ``localhost``, ``127.0.0.1``, ``[::1]`` and ``publichost`` mean itself; other hosts have the names
    that they got in the same `trioton.testing.Network`. What listens on the loopback, at a ``mem://`` or a ``unix://``
    address can be reached from this host only. No files are made. There is no TLS, whose keys and sizes no seed decides.

    Attributes:
        name: Its name, as it was given.
        key: Its name in lower case, which is how addresses have it.
        network: The network that it belongs to.
        is_alive: Whether it runs; not between `trioton.testing.Network.kill` and ``restart``.
        is_paused: Whether it is stopped by `trioton.testing.Network.pause`.
        starts: How often it was started.
    """

    is_simulated = True

    def __init__(self, network: Ways, name: str, *, uid: int = UID) -> None:
        self.name = name
        self.key = name.lower()
        digest = hashlib.sha256(f"host {self.key}".encode()).digest()
        self.network = network
        self.host_id = digest[:16]
        self.pid = 1000 + int.from_bytes(digest[16:20], "big") % 30_000
        self.uid: int | None = uid
        self.random = random.Random(f"{network.chance}/{self.key}")
        self.is_alive = True
        self.is_paused = False
        self.starts = 1
        self._listeners: dict[Place, SimulatedListener] = {}
        self._client_ports = itertools.count()
        self._private_places = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Host {self.name!r} of {self.network!r}>"

    @property
    def listeners(self) -> tuple[SimulatedListener, ...]:
        """What listens here, in the order in which it began."""
        return tuple(self._listeners.values())

    async def listen(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> SimulatedListener:
        """Listen at `address`; a checkpoint. Port 0 gets the next free port from 32768 on.

        Raises:
            ValueError: There is no `ssl_context` for ``tls://``, or one for another kind of address.
            BindError: The address is in use, or is not this host's, or it is ``tls://``.
        """
        await trio.lowlevel.checkpoint()
        self._check_alive(f"cannot listen on {address}", BindError)
        if (ssl_context is None) == (address.scheme == "tls"):
            raise ValueError(
                f"ssl_context must be given for tls:// and nothing else, not {ssl_context!r} for {address}"
            )
        if address.scheme == "tls":
            raise BindError(f"cannot listen on {address}: {_NO_TLS}")
        return self._listen(address)

    async def open_private_listener(self) -> SimulatedListener:
        """Listen at a new ``unix://`` address of this host; a checkpoint."""
        await trio.lowlevel.checkpoint()
        self._check_alive("cannot listen", BindError)
        return self._listen(Address("unix", path=f"/run/trioton/{self.pid}-{next(self._private_places)}.sock"))

    def _listen(self, address: Address) -> SimulatedListener:
        if address.port is None:
            place = Place(address.scheme, address.path)
        elif self.is_here(address):
            place = Place("tcp", address.port or self._free_port(address))
        else:
            raise BindError(f"cannot listen on {address}: it is not an address of the host {self.name!r}")
        if place in self._listeners:
            raise BindError(f"cannot listen on {address}: it is in use on the host {self.name!r}")
        if isinstance(place.where, int):
            shown = Address("tcp", address.host if address.is_loopback else self.key, place.where)
        else:
            shown = address
        listener = SimulatedListener(self, place, str(shown), is_local=address.is_loopback)
        self._listeners[place] = listener
        return listener

    def _free_port(self, address: Address) -> int:
        for port in range(FIRST_FREE_PORT, MAX_PORT + 1):
            if Place("tcp", port) not in self._listeners:
                return port
        raise BindError(f"cannot listen on {address}: every port of the host {self.name!r} is in use")

    def is_here(self, address: Address) -> bool:
        """Whether a ``tcp`` address is one of this host's own."""
        host = address.host
        return host == self.key or is_loopback_host(host) or host in ANY_ADDRESS or address.public_index == 0

    async def dial(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> Transport:
        """Connect to `address` once, which takes one round trip; a checkpoint. Cancelled, it leaves nothing behind.

        While the way to the other host is cut, in either direction, it waits.

        Raises:
            ValueError: There is an `ssl_context` for an address that is not ``tls://``.
            ConnectError: Nobody listens there, or there is no such host, or the address is ``tls://``.
        """
        await trio.lowlevel.checkpoint()
        self._check_alive(f"cannot connect to {address}", ConnectError)
        if address.scheme == "tls":
            raise ConnectError(f"cannot connect to {address}: {_NO_TLS}")
        if ssl_context is not None:
            raise ValueError(f"ssl_context must be given for tls:// only, not for {address}")
        target = self if address.port is None or self.is_here(address) else self.network.hosts.get(address.host)
        if target is None:
            known = ", ".join(sorted(self.network.hosts))
            raise ConnectError(f"cannot connect to {address} from {self.name!r}: there is no such host, only {known}")
        place = Place(address.scheme, address.path if address.port is None else address.port)
        return await self.network.dial(self, target, place, address)

    def find_listener(self, place: Place, client: Host) -> SimulatedListener | None:
        """Who listens at `place` for connections from `client`, if anybody."""
        listener = self._listeners.get(place)
        return None if listener is None or (listener.is_local and client is not self) else listener

    def forget_listener(self, listener: SimulatedListener) -> None:
        """The listener was closed: its place is free."""
        self._listeners.pop(listener.place, None)

    def next_client_address(self, place: Place) -> str:
        """What the dialling end of a new connection to `place` shows as its address."""
        if place.scheme != "tcp":
            return str(place)
        return str(Address("tcp", self.key, FIRST_CLIENT_PORT + next(self._client_ports) % CLIENT_PORTS))

    def process_is_alive(self, pid: int) -> bool:
        """Whether `pid` is this host's one process."""
        return self.is_alive and pid == self.pid

    def _check_alive(self, what: str, error: type[BindError | ConnectError]) -> None:
        if not self.is_alive:
            raise error(f"{what}: the host {self.name!r} was killed")

    def die(self) -> None:
        """The process is gone, and with it all that listens here."""
        self.is_alive = self.is_paused = False
        for listener in self.listeners:
            listener.close()

    def start_again(self) -> None:
        """The host runs again, in another process."""
        self.starts += 1
        self.pid += 1
        self.random = random.Random(f"{self.network.chance}/{self.key}/{self.starts}")
        self.is_alive = True
