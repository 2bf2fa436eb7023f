"""A shared secret on simulated hosts of different users: who gets in, what an attacker on the way can do, and what shows."""

from __future__ import annotations

import logging
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import trioton
from trioton import Secret
from trioton.network.failed import MOST_ADDRESSES, MOST_FAILURES, PAUSE, PERIOD, FailedProofs
from trioton.protocol.frames import PREFACE, SEALED_PREFACE
from trioton.protocol.handshake import STRANGER_REPLY
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Security, Transport

from ..raw_peer import read_to_end
from .relays import Relay

VALUE = "correct horse battery staple"
OLD = "what was good enough for years"
WORDS = (VALUE, OLD)


@attrs.frozen
class World:
    net: Network
    a: trioton.Context
    b: trioton.Context


@asynccontextmanager
async def open_world(ours: Security | None, theirs: Security | None) -> AsyncIterator[World]:
    """The context a, which listens at ``a:1``, and b; they run as different users on different hosts."""
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a", uid=1), security=ours) as a,
        trioton.open_context("b", network=net.host("b", uid=2), security=theirs) as b,
    ):
        await a.bind("a:1")
        yield World(net, a, b)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def raw_connection(net: Network, name: str = "stranger", uid: int = 9) -> Transport:
    return await net.host(name, uid=uid).dial(parse_address("a:1"))


# ---------------------------------------------------------------- who gets in


async def test_t02_who_knows_the_secret_is_trusted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(Secret(VALUE), Secret(VALUE.encode())) as world:
        to_a = await world.b.connect("a:1")
        await world.a.wait_context("b")
        to_b = world.a.connection("b")
        for connection in (to_a, to_b):
            assert (connection.kind, connection.peer.identity) == ("trusted", "secret")
        publisher, subscriber = trioton.PubChannel(world.b, "news"), trioton.SubChannel(world.a, "news")
        await publisher.wait_subscribers(1)
        await publisher.send_many(["x" * size for size in (1, 100, 300_000)])
        assert [len(await subscriber.receive()) for _ in range(3)] == [1, 100, 300_000]


async def test_sessions_go_on_over_lost_links(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(Secret(VALUE), Secret(VALUE)) as world:
        to_a = await world.b.connect("a:1")
        publisher, subscriber = trioton.PubChannel(world.b, "news"), trioton.SubChannel(world.a, "news")
        await publisher.wait_subscribers(1)
        for number in range(20):
            if number % 5 == 4:
                world.net.cut("a", "b")
            await publisher.send(str(number))
            await to_a.flush()
        assert [await subscriber.receive() for _ in range(20)] == [str(number) for number in range(20)]
        assert to_a.statistics().transports > 2


@pytest.mark.parametrize(
    ("ours", "theirs", "words", "log"),
    [
        (Secret(VALUE), None, "takes in only who knows its secret", "takes in only who knows its secret; closed"),
        (None, Secret(VALUE), "knows no secret", "knows no secret, and the client wants to be shown one; closed"),
        (Secret(VALUE), Secret(OLD), "it does not know our secret", "the client does not know our secret; closed"),
    ],
    ids=["none", "only the client's", "another"],
)
async def test_r46_wrong_secrets(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    ours: Secret | None,
    theirs: Secret | None,
    words: str,
    log: str,
) -> None:
    async with open_world(ours, theirs) as world:
        publisher = trioton.PubChannel(world.b, "news")
        await publisher.send("for those who belong to us only")
        for wait in (False, True):
            with caplog.at_level(logging.WARNING), pytest.raises(trioton.AuthError, match=words):
                await world.b.connect("a:1", wait=wait)
        assert not world.a.connections
        assert world.b.statistics().messages_sent == 0
        assert len([line for line in messages(caplog) if log in line]) == 1  # the others are counted
        assert not any(word in line for line in messages(caplog) for word in WORDS)


async def test_t03_nothing_but_a_greeting_leaves_before_the_other_end_has_proved_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(None, Secret(VALUE)) as world:
        heard = bytearray()

        async def listen(task_status: trio.TaskStatus[None]) -> None:
            async with await world.net.host("evil", uid=7).listen(parse_address("evil:1")) as listener:
                task_status.started()
                async with await listener.accept() as transport:
                    while b"triseal" not in heard or len(heard) < 49:
                        heard.extend(await transport.receive_some())
                    await transport.send_all(SEALED_PREFACE + b"\0" + bytes(64))
                    heard.extend(await read_to_end(transport))

        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            await trioton.PubChannel(world.b, "news").send("for those who belong to us only")
            with pytest.raises(trioton.AuthError, match="has not proved that it knows our secret"):
                await world.b.connect("evil:1")
        assert len(heard) == 8 + 1 + 32 + 8


@pytest.mark.parametrize("new_first", [True, False])
async def test_secrets_are_changed_one_context_after_the_other(
    autojump_clock: trio.testing.MockClock, new_first: bool
) -> None:
    both, old = Secret(VALUE, accepted=[Secret(OLD)]), Secret(OLD)
    for theirs in (both, old, Secret(VALUE)):
        async with open_world(*((both, theirs) if new_first else (theirs, both))) as world:
            connection = await world.b.connect("a:1")
            assert connection.kind == "trusted"


async def test_where_the_system_vouches_nothing_is_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1)
    async with (
        trioton.open_context("a", network=net.host("a"), security=Secret(VALUE)) as a,
        trioton.open_context("b", network=net.host("a")) as b,
    ):
        await a.bind("unix:///run/a.sock")
        connection = await b.connect("unix:///run/a.sock")
        assert (connection.kind, connection.peer.identity) == ("trusted", None)


# ---------------------------------------------------------------- an attacker on the way


async def test_t01_what_is_changed_on_the_way_breaks_the_link_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each of the client's first bytes behind the handshake in turn, and some later ones; all arrives all the same."""
    async with open_world(Secret(VALUE), Secret(VALUE)) as world, trio.open_nursery() as nursery:
        positions = iter([*range(81, 120), 300, 450, 700])
        hit = next(positions)

        def change(position: int, data: bytes) -> bytes:
            nonlocal hit
            if not position <= hit < position + len(data):
                return data
            changed = bytearray(data)
            changed[hit - position] ^= 0x10
            hit = next(positions, -1)
            return bytes(changed)

        relay = Relay(world.net, "a:1", change)
        await nursery.start(relay.run)
        connection = None
        while connection is None:
            try:
                connection = await world.b.connect("relay:1", reconnect=trioton.Reconnect(first=0.01, maximum=0.02))
            except trioton.ConnectError as error:
                assert not isinstance(error, trioton.AuthError)
        publisher, subscriber = trioton.PubChannel(world.b, "news"), trioton.SubChannel(world.a, "news")
        await publisher.wait_subscribers(1)
        for number in range(200):
            await publisher.send(str(number))
        assert [await subscriber.receive() for _ in range(200)] == [str(number) for number in range(200)]
        assert hit == -1
        assert connection.statistics().transports > 1
        nursery.cancel_scope.cancel()


async def test_r47_what_was_recorded_is_worth_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """T13: played again on a new connection, and while the session that it was recorded from waits to be resumed."""
    async with open_world(Secret(VALUE), Secret(VALUE)) as world, trio.open_nursery() as nursery:
        relay = Relay(world.net, "a:1")
        await nursery.start(relay.run)
        connection = await world.b.connect("relay:1", reconnect=trioton.Reconnect(first=5.0, maximum=5.0))
        publisher, subscriber = trioton.PubChannel(world.b, "news"), trioton.SubChannel(world.a, "news")
        await publisher.wait_subscribers(1)
        for number in range(10):
            await publisher.send(str(number))
            assert await subscriber.receive() == str(number)

        async def play(data: bytes) -> None:
            transport = await raw_connection(world.net)
            async with transport:
                with trio.move_on_after(20):
                    try:
                        await transport.send_all(data)
                    except trio.BrokenResourceError:
                        pass
                    await read_to_end(transport)

        (recorded, _), *_ = relay.heard
        greeting = 8 + 1 + 32 + 8
        before = world.a.statistics().messages_received
        events = world.a.events()
        relay.cut()
        async for event in events:
            if isinstance(event, trioton.Suspended):
                break
        assert not world.a.connection("b").is_connected
        for data in (bytes(recorded), bytes(recorded[greeting:]), bytes(recorded[greeting + 32 :])):
            await play(data)
        assert world.a.statistics().messages_received == before
        assert subscriber.pending == 0
        await publisher.send("the rest")
        assert await subscriber.receive() == "the rest"
        assert connection.statistics().transports == 2
        nursery.cancel_scope.cancel()


async def test_r46_a_challenge_that_is_reflected(autojump_clock: trio.testing.MockClock) -> None:
    """Who knows no secret lets the server answer itself: he takes what he needs for one connection from another."""
    async with open_world(Secret(VALUE), None) as world, trio.open_nursery() as nursery:
        relay = Relay(world.net, "a:1")
        await nursery.start(relay.run)
        client = trioton.open_context("c", network=world.net.host("c", uid=3), security=Secret(VALUE))
        async with client as c:
            await c.connect("relay:1")
            (sent, _), *_ = relay.heard
            greeting = bytes(sent[: 8 + 1 + 32 + 8])
        answers = []
        for proof in (lambda answer: answer[-32:], lambda _: bytes(sent[49:81]), lambda _: bytes(32)):
            async with await raw_connection(world.net) as first, await raw_connection(world.net) as second:
                await first.send_all(greeting)
                answer = await first.receive_some()
                # the server's own number as ours, to have it make the proof that it wants
                await second.send_all(greeting[:9] + answer[9:41] + greeting[41:])
                again = await second.receive_some()
                await first.send_all(proof(again))
                answers.append(await read_to_end(first))
        assert answers == [SEALED_PREFACE + b"\xff"] * 3
        assert not [each for each in world.a.connections if each.peer.name != "c"]
        nursery.cancel_scope.cancel()


async def test_r43_noise_at_the_door(autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_world(Secret(VALUE), None) as world:
        for number, (noise, answer) in enumerate(
            (
                (b"GET / HTTP/1.1\r\n\r\n", STRANGER_REPLY),
                (b"SSH-2.0-OpenSSH_9.9\r\n", STRANGER_REPLY),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", STRANGER_REPLY),
                (bytes(100), STRANGER_REPLY),
                (SEALED_PREFACE + b"\xff" + bytes(100), STRANGER_REPLY),
                (PREFACE + b"\1\0\0", PREFACE),
            )
        ):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                async with await raw_connection(world.net, f"stranger{number}") as transport:
                    await transport.send_all(noise)
                    await transport.send_eof()
                    assert (await read_to_end(transport)).startswith(answer)
            assert len(messages(caplog)) == 1, messages(caplog)


async def test_r46_who_fails_often_is_kept_waiting(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(Secret(VALUE), Secret(OLD)) as world:

        async def attempt() -> float:
            since = trio.current_time()
            with pytest.raises(trioton.AuthError):
                await world.b.connect("a:1")
            return trio.current_time() - since

        quick = [await attempt() for _ in range(MOST_FAILURES)]
        assert max(quick) < 0.2
        slow = [await attempt() for _ in range(3)]
        assert min(slow) >= PAUSE
        # Others are not concerned, and a minute later neither is this one.
        async with trioton.open_context("c", network=world.net.host("c", uid=3), security=Secret(VALUE)) as c:
            since = trio.current_time()
            await c.connect("a:1")
            assert trio.current_time() - since < 0.3
        await trio.sleep(PERIOD)
        assert await attempt() < 0.2


async def test_the_loopback_is_never_kept_waiting_and_memory_is_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Ends:
        def __init__(self, address: str, *, is_loopback: bool = False) -> None:
            self.remote_address = address
            self.is_loopback = is_loopback

    failed = FailedProofs()
    local = Ends("tcp://127.0.0.1:5", is_loopback=True)
    for _ in range(20):
        failed.add(local)  # type: ignore[arg-type]
    since = trio.current_time()
    await failed.wait(local)  # type: ignore[arg-type]
    assert trio.current_time() == since
    for number in range(MOST_ADDRESSES + 10):
        failed.add(Ends(f"tcp://10.0.{number // 256}.{number % 256}:5"))  # type: ignore[arg-type]
    assert len(failed._times) == MOST_ADDRESSES


# ---------------------------------------------------------------- what shows


async def test_t20_a_secret_shows_nowhere(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    secret = Secret(VALUE, accepted=[Secret(OLD)])
    with caplog.at_level(logging.DEBUG):
        async with open_world(secret, secret) as world:
            connection = await world.b.connect("a:1")
            await trioton.PubChannel(world.b, "news").send("hello")
            world.net.cut("a", "b")
            await connection.flush()
            things = (secret, world.a, world.b, connection, connection.peer, connection.standing, world.a._doorman)
            shown = [*map(repr, things), *map(str, things), repr(connection._link and connection._link.transport)]
    for word in WORDS:
        assert not any(word in line for line in [*messages(caplog), *shown])
    with pytest.raises(TypeError, match="not to be written anywhere"):
        pickle.dumps(secret)
