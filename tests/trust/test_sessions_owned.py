"""A session, and an identity while it lives, belong to who has begun with them: nobody else may go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import trioton
from trioton.network.resuming import ANSWER_DEADLINE
from trioton.network.trust import Kind, Standing, is_same_owner
from trioton.protocol import control
from trioton.protocol.frames import FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.limits import Limits
from trioton.protocol.session import Refused, Role, Session
from trioton.testing import Network
from trioton.transports.address import Address, parse_address
from trioton.transports.base import Credentials, Security, Transport


class Passports(Security):
    """Each host proves its own name, as if it had a certificate."""

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """All is well here."""

    async def greet(self, transport: Transport, address: Address) -> Transport:
        return await self.meet(transport)

    async def meet(self, transport: Transport) -> Transport:
        await trio.lowlevel.checkpoint()
        host = parse_address(transport.remote_address).host
        transport.credentials = Credentials(host, may_route=host == "a")
        return transport


@attrs.frozen
class World:
    """The context a, and b that has dialled it; b's own connection is to be lost and not come back for long."""

    net: Network
    a: trioton.Context
    b: trioton.Context
    to_a: trioton.Connection

    @property
    def to_b(self) -> trioton.Connection:
        return self.a.connection("b")

    async def lose(self) -> None:
        """Cut the link, and wait until a has noticed."""
        events = self.a.events()
        self.net.cut("a", "b")
        async for event in events:
            if isinstance(event, trioton.Suspended):
                return

    def hello(self, **changes: object) -> Hello:
        """What b says, or somebody who claims to be b."""
        return attrs.evolve(self.b._hello(), **changes)  # type: ignore[arg-type]

    async def claim(self, host: str, hello: Hello) -> object:
        """What a answers to a hello from another host."""
        async with await self.net.host(host, uid=9).dial(parse_address("a:1")) as transport:
            await transport.send_all(hello.to_frame(FrameKind.HELLO))
            session = Session(Role.CLIENT, Limits())
            while True:
                answer = session.receive_data(await transport.receive_some())
                if answer:
                    return answer[0]


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    net = Network(seed=5, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a", uid=1), security=Passports()) as a,
        trioton.open_context("b", network=net.host("b", uid=2), security=Passports()) as b,
    ):
        await a.bind("a:1")
        to_a = await b.connect("a:1", reconnect=trioton.Reconnect(first=1.0, maximum=1.0))
        await a.wait_context("b")
        yield World(net, a, b, to_a)


async def test_t14_a_stolen_token_is_worth_nothing_to_another(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        publisher, subscriber = trioton.PubChannel(world.a, "news"), trioton.SubChannel(world.b, "news")
        await publisher.wait_subscribers(1)
        for is_lost in (False, True):
            if is_lost:
                await world.lose()
                await publisher.send("for b alone")
            answer = await world.claim("evil", world.hello(resume=world.to_a.life.tokens[-1]))
            assert isinstance(answer, Refused)
            assert "is in use by another" in answer.reason
        assert await subscriber.receive() == "for b alone"
        assert world.to_a.statistics().transports == 2
        assert world.to_b.peer.identity == "b"


async def test_t14_a_token_can_be_used_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        tokens = [world.to_a.life.tokens[-1]]
        for number in range(3):
            await world.lose()
            await world.to_a.flush()
            assert world.to_a.life.tokens == world.to_b.life.tokens
            tokens += world.to_a.life.tokens
            assert len(set(tokens)) == number + 2
        # Also the owner of the session cannot use an old one.
        for token in tokens[:-1]:
            host = world.net.host("b")
            async with await host.dial(parse_address("a:1")) as transport:
                await transport.send_all(world.hello(resume=token).to_frame(FrameKind.HELLO))
                (answer,) = Session(Role.CLIENT, Limits()).receive_data(await transport.receive_some())
                assert isinstance(answer, Refused)
                assert "is connected already" in answer.reason
        assert world.to_a.is_connected


@pytest.mark.parametrize("is_lost", [False, True])
async def test_r51_a_live_identity_cannot_be_claimed_by_another(
    autojump_clock: trio.testing.MockClock, is_lost: bool
) -> None:
    """T15: not even by one that says it is the same process, which may begin anew when its own session waits for it."""
    async with open_world() as world:
        if is_lost:
            await world.lose()
        since = trio.current_time()
        answer = await world.claim("evil", world.hello())
        assert trio.current_time() - since < ANSWER_DEADLINE
        assert isinstance(answer, Refused)
        assert answer.reason.endswith("is in use by another")
        await world.to_a.flush()
        assert world.to_b.peer.identity == "b"


async def test_the_same_one_may_begin_anew(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.lose()
        host = world.net.host("b")
        async with await host.dial(parse_address("a:1")) as transport:
            await transport.send_all(world.hello().to_frame(FrameKind.HELLO))
            (answer,) = Session(Role.CLIENT, Limits()).receive_data(await transport.receive_some())
            assert isinstance(answer, Hello)


async def test_t14_who_proves_nothing_gets_nothing_that_was_proved(autojump_clock: trio.testing.MockClock) -> None:
    """Without any secret: two contexts of one user, and somebody else who has got hold of their token."""
    net = Network(seed=5, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        to_a = await b.connect("a:1")
        world = World(net, a, b, to_a)
        for resume in (to_a.life.tokens[-1], None):
            answer = await world.claim("evil", world.hello(resume=resume))
            assert isinstance(answer, Refused)
            assert "is in use by another" in answer.reason
        assert a.connection("b").kind == "trusted"


@pytest.mark.net
async def test_t14_a_session_that_has_moved_does_not_come_back_to_where_nothing_is_proved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Over the loopback one may be about to move, as the first time; who does not is sent away."""
    async with trioton.open_context("a") as a, trioton.open_context("b") as b:
        listener = await a.bind("localhost:0")
        to_a = await b.connect(listener.address)
        await a.wait_context("b")
        assert to_a.transport == "unix"
        hello = attrs.evolve(b._hello(), resume=to_a.life.tokens[-1])
        stream = await trio.open_tcp_stream("127.0.0.1", listener.port or 0)
        async with stream:
            await stream.send_all(hello.to_frame(FrameKind.HELLO))
            (answer,) = Session(Role.CLIENT, Limits()).receive_data(await stream.receive_some())
            assert isinstance(answer, Hello)
            assert answer.resumed
            with caplog.at_level("WARNING"):
                await stream.send_all(control.encode_control(control.Sync()))
                assert await stream.receive_some() == b""
        assert "proves less than 'b'" in caplog.text
        assert to_a.statistics().transports == 1
        assert a.connection("b").kind == "trusted"


@pytest.mark.parametrize(
    ("first", "then", "same"),
    [
        ((Kind.TRUSTED, "secret"), (Kind.TRUSTED, None), True),
        ((Kind.TRUSTED, None), (Kind.TRUSTED, "secret"), True),
        ((Kind.TRUSTED, None), (Kind.UNAUTHENTICATED, None), True),
        ((Kind.PEER, "b"), (Kind.PEER, "b"), True),
        ((Kind.PEER, "b"), (Kind.PEER, "c"), False),
        ((Kind.TRUSTED, "b"), (Kind.UNAUTHENTICATED, None), False),
        ((Kind.UNAUTHENTICATED, None), (Kind.PEER, "b"), False),
    ],
)
def test_who_counts_as_the_same(first: tuple[Kind, str | None], then: tuple[Kind, str | None], same: bool) -> None:
    assert is_same_owner(Standing(*first), Standing(*then)) is same
