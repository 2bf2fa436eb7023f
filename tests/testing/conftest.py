"""What the tests of the simulated network have in common: a network of three hosts, and how two of them are joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from trioton.testing import Network, SimulatedTransport
from trioton.transports.address import parse_address

Join = Callable[[Network, str, str, int], Awaitable[tuple[SimulatedTransport, SimulatedTransport]]]


@pytest.fixture
def net() -> Network:
    net = Network(seed=7)
    for name in "abc":
        net.host(name)
    return net


@pytest.fixture
def join() -> Join:
    """Connects two hosts over a port, and gives both ends: the dialling one and the accepted one."""

    async def join(net: Network, client: str, server: str, port: int) -> tuple[SimulatedTransport, SimulatedTransport]:
        address = parse_address(f"{server}:{port}")
        listener = await net.host(server).listen(address)
        here = await net.host(client).dial(address)
        there = await listener.accept()
        await listener.aclose()
        assert isinstance(here, SimulatedTransport)
        return here, there

    return join
