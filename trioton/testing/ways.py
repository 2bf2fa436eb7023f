"""The hosts of a simulated network and the ways between them: who can be dialled, over which connections, and what they carry."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal

import attrs
import trio

from ..errors import AddressError, ConnectError
from ..transports.address import Address, parse_address
from .hosts import ANY_ADDRESS, UID, Host, Place
from .paths import Path
from .quality import Chunk, Latency, LinkQuality
from .streams import SimulatedConnection, SimulatedTransport, StreamState
from .trace import EventKind, Tap, Trace


class _Unchanged(Enum):
    """Stands for an argument that was not given, where None means something."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged.UNCHANGED


@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """What one connection has carried."""

    client: str
    """The name of the host that dialled."""
    server: str
    """The name of the host that was dialled."""
    client_address: str
    server_address: str
    state: StreamState
    sent: tuple[int, int]
    """Bytes that the client has written, and the server."""
    waiting: tuple[int, int]
    """How many of these are on their way or unread (or were, when the reader closed)."""
    is_silent: bool
    """Whether one of the hosts has lost its power, so that the other cannot know."""


@attrs.frozen(kw_only=True)
class NetworkStatistics:
    """Counts over the life of a network."""

    hosts: int
    listeners: int
    open: int
    """Connections that were neither reset nor closed at both ends."""
    dialled: int
    """Connections ever made."""
    refused: int
    """Dials that found nobody."""
    reset: int
    """Connections that were reset."""


@attrs.define(eq=False)
class _Entry:
    """A connection and the hosts that it joins."""

    client: Host
    server: Host
    connection: SimulatedConnection

    @property
    def ends(self) -> tuple[tuple[Host, SimulatedTransport], tuple[Host, SimulatedTransport]]:
        return (self.client, self.connection.client), (self.server, self.connection.server)


class Ways:
    """Hosts and the ways between them; `trioton.testing.Network` adds what goes wrong.

    Args:
        chance: What all chance here comes from.
        quality: What ways are like at first.
        trace: Takes note of all that happens.
    """

    def __init__(self, chance: str, quality: LinkQuality, trace: Trace) -> None:
        self.chance = chance
        self.trace = trace
        self._quality = quality
        self._local_quality = attrs.evolve(quality, latency=0.0, jitter=0.0)
        self._qualities: dict[frozenset[str], LinkQuality] = {}
        self._hosts: dict[str, Host] = {}
        self._entries: dict[int, _Entry] = {}
        self._numbers: dict[tuple[str, str, Place], int] = {}
        self._cut_ways: set[tuple[str, str]] = set()
        self._planned_cuts: dict[tuple[str, str], int] = {}
        self._dead_hosts: set[str] = set()
        self._healed = trio.Event()
        self._dialled = self._refused = self._reset = 0

    # Hosts and the ways between them

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts there are, by their names in lower case, in the order in which they were made."""
        return MappingProxyType(self._hosts)

    def host(self, name: str, *, uid: int = UID) -> Host:
        """Give the host of this name; it is made when it is first asked for.

        Args:
            name: A name as it may stand in an address; capitals make no difference.
            uid: The user who runs the host, when it is made. Contexts of one user trust each other; those of different users have
                proved nothing to each other.

        Raises:
            TypeError: `name` is not a str, or `uid` not an int.
            ValueError: `name` could not be told from something else in an address.
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {name!r}")
        if isinstance(uid, bool) or not isinstance(uid, int):
            raise TypeError(f"uid must be an int, not {uid!r}")
        key = name.lower()
        if key not in self._hosts:
            _check_name(name)
            self._hosts[key] = Host(self, name, uid=uid)
        return self._hosts[key]

    def link(
        self,
        a: str,
        b: str,
        *,
        latency: Latency | Literal[_Unchanged.UNCHANGED] = UNCHANGED,
        chunk: Chunk | Literal[_Unchanged.UNCHANGED] | None = UNCHANGED,
        buffer_size: int | Literal[_Unchanged.UNCHANGED] = UNCHANGED,
        jitter: Latency | Literal[_Unchanged.UNCHANGED] = UNCHANGED,
        bandwidth: float | Literal[_Unchanged.UNCHANGED] | None = UNCHANGED,
        resets: float | Literal[_Unchanged.UNCHANGED] = UNCHANGED,
    ) -> None:
        """Set what the way between two hosts is like, in both directions; what is not named stays as it is.

        It holds for new connections, and for what is sent from now on over those there are. `a` and `b` may be the same
        host.

        Args:
            a: The name of a host.
            b: The name of another.
            latency: As for `Network`.
            chunk: As for `Network`; None: do not cut.
            buffer_size: As for `Network`.
            jitter: As for `Network`.
            bandwidth: As for `Network`; None: no limit.
            resets: As for `Network`.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or there is no host of this name.
        """
        first, second = self._find("a", a), self._find("b", b)
        wanted = {
            "latency": latency,
            "chunk": chunk,
            "buffer_size": buffer_size,
            "jitter": jitter,
            "bandwidth": bandwidth,
            "resets": resets,
        }
        changes = {name: value for name, value in wanted.items() if value is not UNCHANGED}
        quality = attrs.evolve(self.quality(first, second), **changes)
        self._qualities[_pair(first, second)] = quality
        for entry in self._between({first.key}, {second.key}):
            entry.connection.forth.quality = entry.connection.back.quality = quality
            entry.connection.wake_all()  # a larger buffer has room now
        shown = ", ".join(f"{name}={value}" for name, value in changes.items())
        self.tell("fault", f"link {first.key} {second.key}: {shown}")

    def quality(self, a: Host, b: Host) -> LinkQuality:
        """What the way between two hosts is like now."""
        return self._qualities.get(_pair(a, b), self._local_quality if a is b else self._quality)

    # Cut ways

    def is_cut(self, source: str, target: str) -> bool:
        """Whether a partition, or the lack of power, keeps what `source` sends from `target`."""
        source, target = source.lower(), target.lower()
        way = (source, target)
        is_cut = way in self._cut_ways or self._planned_cuts.get(way, 0) > 0
        return is_cut or source in self._dead_hosts or target in self._dead_hosts

    def _all_cuts(self) -> list[tuple[str, str]]:
        """The ways that are cut, but for want of power."""
        return [*sorted(self._cut_ways), *[way for way, count in self._planned_cuts.items() if count > 0]]

    def _wake_dials(self) -> None:
        """Let dials that wait for a way look again."""
        healed, self._healed = self._healed, trio.Event()
        healed.set()

    def _ends_at(self, host: Host) -> list[tuple[_Entry, SimulatedTransport]]:
        """The ends of connections that are on a host."""
        return [(entry, end) for entry in list(self._entries.values()) for at, end in entry.ends if at is host]

    def _apply_cut_ways(self) -> None:
        for entry in self._entries.values():
            self._hold(entry)

    def _hold(self, entry: _Entry) -> None:
        client, server = entry.client.key, entry.server.key
        entry.connection.set_held(forth=self.is_cut(client, server), back=self.is_cut(server, client))

    # Dialling

    async def dial(self, client: Host, server: Host, place: Place, address: Address) -> SimulatedTransport:
        """Connect two hosts, for `Host.dial`, which see.

        Both ends exist after one round trip, when the dialling one knows that somebody listens.
        """
        forth, back = self._make_paths(client, server, place)
        self.tell("dial", str(address), client.key, server.key)
        await self._travel(forth, client, server)
        listener = server.find_listener(place, client)
        is_private = listener is None and server.find_listener(place, server) is not None
        await self._travel(back, server, client)
        if listener is None:
            raise self._refusal(client, server, address, is_private=is_private)
        addresses = (client.next_client_address(place), listener.address)
        connection = SimulatedConnection(
            forth,
            back,
            addresses=addresses,
            is_loopback=client is server,
            uids=(client.uid, server.uid),
        )
        self._remember(_Entry(client, server, connection))
        try:
            await listener.offer(connection.server)
        except trio.BrokenResourceError:
            connection.reset("the listener was closed")
            raise self._refusal(client, server, address, is_private=False) from None
        except BaseException:
            connection.reset("the dial was cancelled")
            raise
        return connection.client

    def _make_paths(self, client: Host, server: Host, place: Place) -> tuple[Path, Path]:
        # Numbers count per pair and place, so that tasks that dial different places at the same moment draw the same in
        # whatever order they run.
        key = (client.key, server.key, place)
        number = self._numbers[key] = self._numbers.get(key, 0) + 1
        quality = self.quality(client, server)
        names = f"{client.key}/{server.key}/{place}/{number}"
        forth, back = (Path(random.Random(f"{self.chance}/{names}/{way}"), quality) for way in ("forth", "back"))
        return forth, back

    async def _travel(self, path: Path, source: Host, target: Host) -> None:
        """Let one packet go from `source` to `target`; as long as the way is cut it is sent again."""
        while True:
            while self.is_cut(source.key, target.key):
                await self._healed.wait()
            await trio.sleep(path.draw_latency())
            if not self.is_cut(source.key, target.key):
                return

    def _refusal(self, client: Host, server: Host, address: Address, *, is_private: bool) -> ConnectError:
        self._refused += 1
        self.tell("refused", str(address), server.key, client.key)
        where = f"cannot connect to {address} from {client.name!r}"
        if is_private:
            return ConnectError(f"{where}: who listens there can be reached from the host itself only")
        return ConnectError(f"{where}: nobody listens there")

    def _remember(self, entry: _Entry) -> None:
        self._dialled += 1
        number = self._dialled
        self._entries[number] = entry

        def forget() -> None:
            del self._entries[number]
            self._reset += entry.connection.state == "reset"

        entry.connection.on_end = forget
        entry.connection.client.set_tap(Tap(self.trace, entry.client.key, entry.server.key, number))
        entry.connection.server.set_tap(Tap(self.trace, entry.server.key, entry.client.key, number))
        self.tell("open", str(entry.connection.server.local_address), entry.client.key, entry.server.key, number)
        quality = self.quality(entry.client, entry.server)
        entry.connection.forth.quality = entry.connection.back.quality = quality
        self._hold(entry)
        for host, end in entry.ends:
            if host.is_paused:
                end.pause()

    # What there is

    def digest(self) -> str:
        """32 hexadecimal digits that stand for all that was sent so far, by whom, to whom and when, and for all faults.

        Two runs with the same seed have the same, in any process; what is done to the network counts too.
        """
        return self.trace.digest()

    def note(self, words: object) -> None:
        """Write words of your own into the trace."""
        self.tell("note", str(words))

    def tell(self, kind: EventKind, words: str, source: str = "", target: str = "", connection: int = 0) -> None:
        """Write an event into the trace."""
        now = trio.current_time() if trio.lowlevel.in_trio_run() else 0.0
        self.trace.add(now, kind, source, target, connection=connection, content=words)

    @property
    def connections(self) -> tuple[ConnectionStatistics, ...]:
        """The connections that are open at one end at least, oldest first."""
        return tuple(_describe(entry) for entry in self._entries.values())

    def statistics(self) -> NetworkStatistics:
        """Counts over the life of this network."""
        return NetworkStatistics(
            hosts=len(self._hosts),
            listeners=sum(len(host.listeners) for host in self._hosts.values()),
            open=len(self._entries),
            dialled=self._dialled,
            refused=self._refused,
            reset=self._reset,
        )

    # Arguments

    def _find(self, argument: str, name: object) -> Host:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be the name of a host, not {name!r}")
        host = self._hosts.get(name.lower())
        if host is None:
            known = ", ".join(repr(host.name) for host in self._hosts.values()) or "none yet"
            raise ValueError(f"{argument} must be the name of a host of this network ({known}), not {name!r}")
        return host

    def _group(self, argument: str, names: str | Iterable[str]) -> set[str]:
        listed = [names] if isinstance(names, str) else list(names)
        if not listed:
            raise ValueError(f"{argument} must name at least one host, not {names!r}")
        return {self._find(argument, name).key for name in listed}

    def _between(self, first: set[str], second: set[str]) -> Iterator[_Entry]:
        """The connections between two groups of hosts; they may be reset or closed meanwhile."""
        for entry in list(self._entries.values()):
            client, server = entry.client.key, entry.server.key
            if joins(client, server, first, second) or joins(server, client, first, second):
                yield entry


def _describe(entry: _Entry) -> ConnectionStatistics:
    connection = entry.connection
    return ConnectionStatistics(
        client=entry.client.name,
        server=entry.server.name,
        client_address=connection.client.local_address,
        server_address=connection.server.local_address,
        state=connection.state,
        sent=(connection.forth.sent, connection.back.sent),
        waiting=(connection.forth.size, connection.back.size),
        is_silent=connection.is_silent,
    )


def joins(a: str, b: str, first: set[str] | None, second: set[str] | None) -> bool:
    """Whether a way from `a` to `b` goes from one group of hosts to the other; None is the group of all."""
    return (first is None or a in first) and (second is None or b in second)


def _pair(a: Host, b: Host) -> frozenset[str]:
    return frozenset((a.key, b.key))


def _check_name(name: str) -> None:
    problem = f"name must be a host name as in 'name:9000', and not the loopback's or publichost, not {name!r}"
    try:
        address = parse_address(f"{name}:1")
    except AddressError as error:
        raise ValueError(problem) from error
    is_plain = (address.scheme, address.host, address.port) == ("tcp", name.lower(), 1)
    if not is_plain or address.is_loopback or address.public_index is not None or address.host in ANY_ADDRESS:
        raise ValueError(problem)
