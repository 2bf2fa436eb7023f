"""What can go wrong in a simulated network, as values: to be planned, drawn, shrunk, printed, and done again.

A plan is a list of faults, each with the time at which it begins, in seconds from `Network.play` on. Those with an end undo
themselves. Plans come from your own hand, from chance (`Chaos`), or from hypothesis (`trioton.testing.fault_plans`).
"""

from __future__ import annotations

import abc
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from .quality import check_seconds

if TYPE_CHECKING:
    from .network import Network


def _seconds(_instance: object, attribute: attrs.Attribute[float], value: object) -> None:
    check_seconds(value, attribute.name, is_finite=True)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen
class Fault(abc.ABC):
    """Something that goes wrong in a simulated network.

    Raises:
        TypeError: A time is no number.
        ValueError: A time is negative or not finite.
    """

    at: float = attrs.field(validator=_seconds)
    """When, in seconds from the beginning of the plan."""

    @property
    @abc.abstractmethod
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts that it concerns."""

    @abc.abstractmethod
    async def happen(self, network: Network) -> None:
        """Do it, and undo it when its time is over; it is undone at once if this is cancelled."""


@attrs.frozen
class Partition(Fault):
    """The ways between two groups of hosts are cut, silently."""

    first: tuple[str, ...] = attrs.field(converter=_names)
    second: tuple[str, ...] = attrs.field(converter=_names)
    seconds: float = attrs.field(validator=_seconds)
    """How long."""
    oneway: bool = False
    """Whether only what goes from `first` to `second` is lost."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts on both sides."""
        return self.first + self.second

    async def happen(self, network: Network) -> None:
        """Cut the ways for a while; other partitions that are there meanwhile stay."""
        with network.cut_ways(self.first, self.second, oneway=self.oneway):
            await trio.sleep(self.seconds)


@attrs.frozen
class HostFault(Fault):
    """Something that goes wrong with one host for a while."""

    host: str
    seconds: float = attrs.field(validator=_seconds)
    """How long; for `Kill`, after how long it starts again."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The name of the host."""
        return (self.host,)


@attrs.frozen
class Isolation(HostFault):
    """A host is cut off from all others, silently."""

    async def happen(self, network: Network) -> None:
        """Cut it off for a while."""
        others = network.others(self.host)
        if others:
            with network.cut_ways((self.host,), others, oneway=False):
                await trio.sleep(self.seconds)


@attrs.frozen
class Cut(Fault):
    """All connections between two hosts are reset."""

    a: str
    b: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of both hosts."""
        return (self.a, self.b)

    async def happen(self, network: Network) -> None:
        """Reset them."""
        network.cut(self.a, self.b)
        await trio.lowlevel.checkpoint()


@attrs.frozen
class Kill(HostFault):
    """A host's process is killed, and started again after a while."""

    silently: bool = False
    """Whether the host loses its power, so that nobody hears of it; else the system closes the connections."""

    async def happen(self, network: Network) -> None:
        """Kill it, and start it again."""
        network.kill(self.host, silently=self.silently)
        try:
            await trio.sleep(self.seconds)
        finally:
            if not network.is_left_alone(self.host):
                network.restart(self.host)


@attrs.frozen
class Pause(HostFault):
    """A host's process is stopped for a while: nothing is read or leaves it, and time goes on."""

    async def happen(self, network: Network) -> None:
        """Stop it, and let it go on."""
        network.pause(self.host)
        try:
            await trio.sleep(self.seconds)
        finally:
            if not network.is_left_alone(self.host):
                network.resume(self.host)


Kind = Callable[[random.Random, float, Sequence[str], float], Fault]

LONGEST: Final = 20.0
"""Seconds that a fault thrown by chance takes at most; about twice what a default heartbeat bears."""


def _two(source: random.Random, hosts: Sequence[str]) -> tuple[str, str]:
    first, second = source.sample(hosts, 2)
    return first, second


def _two_groups(source: random.Random, hosts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    shuffled = source.sample(hosts, len(hosts))
    border = source.randint(1, len(hosts) - 1)
    return tuple(shuffled[:border]), tuple(shuffled[border:])


_MAKERS: Final[dict[type[Fault], Kind]] = {
    Partition: lambda source, at, hosts, seconds: Partition(
        at, *_two_groups(source, hosts), seconds, oneway=source.random() < 0.3
    ),
    Isolation: lambda source, at, hosts, seconds: Isolation(at, source.choice(hosts), seconds),
    Cut: lambda source, at, hosts, _: Cut(at, *_two(source, hosts)),
    Kill: lambda source, at, hosts, seconds: Kill(at, source.choice(hosts), seconds, silently=source.random() < 0.3),
    Pause: lambda source, at, hosts, seconds: Pause(at, source.choice(hosts), seconds),
}


def check_kinds(kinds: Iterable[type[Fault]]) -> tuple[type[Fault], ...]:
    """Give kinds of faults back if each can be thrown by chance.

    Raises:
        ValueError: One is not known, or there are none.
    """
    found = tuple(kinds)
    for kind in found:
        if kind not in _MAKERS:
            known = ", ".join(known.__name__ for known in _MAKERS)
            raise ValueError(f"kinds must be among {known}, not {kind!r}")
    if not found:
        raise ValueError("kinds must name at least one kind of fault, not ()")
    return found


def mortals(hosts: Sequence[str], spared: Iterable[str]) -> list[str]:
    """The hosts that may be killed.

    Raises:
        TypeError: A name is not a str.
        ValueError: One of `spared` is no host.
    """
    known = {name.lower() for name in hosts}
    unharmed = set()
    for name in spared:
        if not isinstance(name, str):
            raise TypeError(f"spared must be names of hosts, not {name!r}")
        if name.lower() not in known:
            raise ValueError(f"spared must name hosts among {', '.join(map(repr, hosts)) or 'none'}, not {name!r}")
        unharmed.add(name.lower())
    return [name for name in hosts if name.lower() not in unharmed]


@attrs.frozen(kw_only=True)
class Chaos:
    """Faults thrown by chance: each seed gives another plan.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range, or a kind is not known.
    """

    seconds: float = attrs.field(default=60.0, validator=_seconds)
    """For how long faults begin; all are over at most `longest` later."""
    gap: float = attrs.field(default=5.0, validator=_seconds)
    """Seconds between the beginnings of two faults, on average."""
    longest: float = attrs.field(default=LONGEST, validator=_seconds)
    """Seconds that a fault takes at most."""
    kinds: tuple[type[Fault], ...] = attrs.field(default=(Partition, Isolation, Cut), converter=check_kinds)
    """What goes wrong. `Kill` needs programs that were started by the network, so that they can start again."""
    spared: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Hosts that are never killed, such as the one on which the scenario itself has something."""
    after: float = attrs.field(default=0.0, validator=_seconds)
    """Seconds before it begins, in which all can find each other."""

    def check_hosts(self, hosts: Sequence[str]) -> None:
        """Refuse hosts among which nothing could go wrong: a test that passes so would mean nothing.

        Raises:
            ValueError: There are too few hosts for each of the kinds.
        """
        least = min(1 if kind in (Kill, Pause) else 2 for kind in self.kinds)
        if len(hosts) < least:
            kinds = ", ".join(kind.__name__ for kind in self.kinds)
            raise ValueError(f"hosts must name at least {least} for a Chaos of {kinds}, not {list(hosts)!r}")

    def plan(self, source: random.Random, hosts: Sequence[str]) -> list[Fault]:
        """Draw a plan for these hosts; with fewer than two, only those kinds which need no other.

        Raises:
            TypeError: A name in `spared` is not a str.
            ValueError: `spared` names a host that is not there.
        """
        killable = mortals(hosts, self.spared)
        targets = {kind: killable if kind is Kill else hosts for kind in self.kinds}
        kinds = [kind for kind in self.kinds if len(targets[kind]) >= (1 if kind in (Kill, Pause) else 2)]
        plan: list[Fault] = []
        at = self.after + (source.expovariate(1 / self.gap) if self.gap else 0.0)
        while kinds and hosts and self.gap and at < self.after + self.seconds:
            kind = source.choice(kinds)
            seconds = round(source.uniform(0, self.longest), 3)
            plan.append(_MAKERS[kind](source, round(at, 3), targets[kind], seconds))
            at += source.expovariate(1 / self.gap)
        return plan


def check_plan(plan: Iterable[Fault], network: Network) -> list[Fault]:
    """Give the faults of a plan in the order of their times.

    Raises:
        TypeError: Something in it is no `Fault`.
        ValueError: One names a host that the network does not have.
    """
    faults = list(plan)
    for index, fault in enumerate(faults):
        if not isinstance(fault, Fault):
            raise TypeError(f"faults[{index}] must be a Fault, not {fault!r}")
        for name in fault.hosts:
            if str(name).lower() not in network.hosts:
                known = ", ".join(repr(host.name) for host in network.hosts.values()) or "none yet"
                raise ValueError(f"faults[{index}] names {name!r}, which is no host of this network ({known}): {fault}")
    return sorted(faults, key=lambda fault: fault.at)
