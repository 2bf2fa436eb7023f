"""A context with a guest: one that it trusts, knows, or knows nothing of; and another context that it trusts behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

import trioton
from trioton import OBJECT, Permissions
from trioton.testing import Network
from trioton.transports.address import Address, parse_address
from trioton.transports.base import Credentials, Security, Transport

GUEST_UID: Final = 2000
"""Another user than the one who runs all else."""

NOTHING: Final = Permissions(publish=(), subscribe=(), call=(), block=False)
"""Permissions that permit nothing."""

SHORT: Final = 0.3
"""Seconds in which all that is said has come."""


class Badges(Security):
    """Takes each host for whom its name says, as if that were proved.

    Args:
        routers: Those that may speak for others.
    """

    def __init__(self, *routers: str) -> None:
        self._routers = routers

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """Whatever the address, something is proved."""

    async def greet(self, transport: Transport, address: Address) -> Transport:
        return await self.meet(await super().greet(transport, address))

    async def meet(self, transport: Transport) -> Transport:
        host = parse_address(transport.remote_address).host
        transport.credentials = Credentials(host, may_route=host in self._routers)
        return await super().meet(transport)


class Adder(trioton.RepChannel):
    """What contexts may be asked for here."""

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number


@attrs.frozen
class House:
    """A host, its guest, and one who is linked to the host only.

    Attributes:
        net: The network; the hosts are named like the contexts.
        host: The context with the permissions; listens at ``host:1``.
        guest: The context that has dialled it.
        far: A context that the host trusts, and that trusts the host.
        to_guest: The link between the first two, as the host sees it.
    """

    net: Network
    host: trioton.Context
    guest: trioton.Context
    far: trioton.Context

    @property
    def to_guest(self) -> trioton.Connection:
        return self.host.connection("guest")


@asynccontextmanager
async def open_house(
    kind: str = "peer",
    permissions: Permissions | Callable[[trioton.Peer], Permissions] = NOTHING,
    *,
    stub: bool = False,
    **guest_options: Any,
) -> AsyncIterator[House]:
    """Open the contexts and link them.

    Args:
        kind: What the guest is to the host: "trusted", "peer" or "unauthenticated".
        permissions: Those of the host.
        stub: Whether the guest is a stub of the host.
        guest_options: Further arguments for the guest's `open_context`.
    """
    net = Network(seed=7, latency=0.01)
    uid = 1000 if kind == "trusted" else GUEST_UID
    security = Badges("host", "far") if kind == "peer" else None
    async with (
        trioton.open_context("host", network=net.host("host"), security=security, permissions=permissions) as host,
        trioton.open_context("far", network=net.host("far"), security=security) as far,
        trioton.open_context("guest", network=net.host("guest", uid=uid), security=security, **guest_options) as guest,
    ):
        await host.bind("host:1")
        await far.connect("host:1")
        await guest.connect("host:1", stub=stub)
        await host.wait_context("guest")
        if kind != "unauthenticated":  # who proves nothing is told of nobody else, nor others of it
            await far.wait_context("guest")
            await guest.wait_context("far")
        house = House(net, host, guest, far)
        assert house.to_guest.kind == kind
        yield house


def subscribe(context: trioton.Context, slot: str, size: int = 1000) -> trioton.SubChannel[object]:
    return trioton.SubChannel(context, slot, OBJECT, policy=trioton.Block(size))


def publish(context: trioton.Context, slot: str) -> trioton.PubChannel[object]:
    return trioton.PubChannel(context, slot, OBJECT)
