"""What the tests on real sockets have in common: a server with an innocent client, and an authority for TLS."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
import trustme

import trioton
from trioton import Block, Limits, PubChannel, SubChannel
from trioton.testing import leak_check

PATIENCE = 20.0
"""Seconds of real time after which a test has failed."""


@attrs.frozen
class Stage:
    """A context that listens, an innocent one whose messages reach it, and the log."""

    server: trioton.Context
    listener: trioton.Listener
    connection: trioton.Connection
    pub: PubChannel[object]
    sub: SubChannel[object]
    caplog: pytest.LogCaptureFixture

    @property
    def port(self) -> int:
        assert self.listener.port is not None
        return self.listener.port

    async def check_innocent(self) -> None:
        """The innocent flow goes on, over the same transport."""
        for number in range(300):
            await self.pub.send(number)
            assert await self.sub.receive() == number
        assert self.connection.is_connected
        assert self.connection.statistics().transports == 1
        assert [peer.name for peer in self.server.peers] == ["innocent"]

    def warnings(self) -> list[str]:
        """What the log has of links, as a reader who wants to know of trouble sees it."""
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name.startswith("trioton") and record.levelno >= logging.WARNING
        ]


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def stage(limits: Limits, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    caplog.set_level(logging.DEBUG, logger="trioton")
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with (
                trioton.open_context("server", limits=limits) as server,
                trioton.open_context("innocent") as innocent,
            ):
                listener = await server.bind("127.0.0.1:0")
                connection = await innocent.connect(f"127.0.0.1:{listener.port}", local_shortcut=False)
                pub = PubChannel(innocent, "flow", trioton.OBJECT)
                sub = SubChannel(server, "flow", trioton.OBJECT, policy=Block(8))
                await pub.wait_subscribers()
                yield Stage(server, listener, connection, pub, sub, caplog)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority that has made a key before: what that opens once for the process is no leak of a test."""
    authority = trustme.CA()
    authority.issue_cert("warm-up")
    return authority
