"""What the tests of several folders do again and again, and what needs no fixture."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio

from trioton import PubChannel, Reconnect
from trioton.transports.address import Address
from trioton.transports.base import Credentials, Security, Transport

FAST = Reconnect(first=0.01, maximum=0.1)


async def send_numbers(pub: PubChannel[object], count: int, pause: float = 0.0) -> None:
    """Send 0, 1, 2 ... one by one."""
    for number in range(count):
        await pub.send(number)
        if pause:
            await trio.sleep(pause)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged so far and asks for attention."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


CARD_BYTES = 32


@attrs.frozen
class Card(Security):
    """What a context shows its neighbours, who believe it: this proves nothing, and is for tests only."""

    name: str = "test"
    """Who it is."""

    may_route: bool = True
    """Whether it may speak for others."""

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """Every address is good enough."""

    async def greet(self, transport: Transport, address: Address) -> Transport:
        """Show the card over a transport that was dialled, and look at that of the other end."""
        return await self._exchange(transport)

    async def meet(self, transport: Transport) -> Transport:
        """The same for a transport that was accepted."""
        return await self._exchange(transport)

    async def _exchange(self, transport: Transport) -> Transport:
        if transport.kind == "unix":
            return transport  # the system says who is there
        await transport.send_all(f"{self.may_route:d}{self.name}".encode().ljust(CARD_BYTES))
        shown = b""
        while len(shown) < CARD_BYTES:
            data = await transport.receive_some(CARD_BYTES - len(shown))
            if not data:
                raise trio.BrokenResourceError("the other end has left without a card")
            shown += data
        transport.credentials = Credentials(shown[1:].decode().rstrip(), may_route=shown[:1] == b"1")
        return transport
