"""Single text requests, on the simulated network: answers, errors, and clients that behave badly."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from trioton.clientserver import Handler, RequestError, do_request, serve_requests
from trioton.errors import AddressError, ConnectError, ProtocolError
from trioton.protocol.text_requests import TextKind, encode_text
from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport


class World:
    """A server on host ``s`` and clients on host ``c`` of a simulated network."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.net = Network(seed=3, latency=0.01)
        self.nursery = nursery
        self.address = ""

    async def serve(self, handler: Handler, **options: Any) -> None:
        serve = partial(serve_requests, network=self.net.host("s"), **options)
        self.address = await self.nursery.start(serve, "s:0", handler)

    async def ask(self, text: str, **options: Any) -> str:
        return await do_request(self.address, text, network=self.net.host("c"), **options)

    async def dial(self) -> Transport:
        return await self.net.host("c").dial(parse_address(self.address))

    async def say(self, data: bytes) -> bytes:
        """Send bytes as they are, and give all that comes back."""
        async with await self.dial() as transport:
            await transport.send_all(data)
            return await everything(transport)


async def everything(transport: Transport) -> bytes:
    got = b""
    while data := await transport.receive_some():
        got += data
    return got


@pytest.fixture
async def world(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> World:
    return World(nursery)


async def echo(text: str) -> str:
    return f"you said {text!r}"


async def test_ten_requests_get_one_reply_each(world: World) -> None:
    """Case 37."""

    async def current_time(text: str) -> str:
        asked.append(text)
        return f"The current time is {len(asked)}"

    asked: list[str] = []
    await world.serve(current_time)
    replies = [await world.ask(f"hi{number}") for number in range(10)]
    assert asked == [f"hi{number}" for number in range(10)]
    assert replies == [f"The current time is {number}" for number in range(1, 11)]


async def test_wait_delays_one_reply_and_stop_ends_the_server(world: World) -> None:
    """Case 37: what Yoton's own server meant to do, and never did."""
    stopped = trio.Event()

    async def handler(text: str) -> str:
        match text:
            case "wait":
                await trio.sleep(1)
            case "stop":
                stopped.set()
        return "done"

    async def serve_until_stopped(*, task_status: trio.TaskStatus[str]) -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_requests, network=world.net.host("s"))
            task_status.started(await nursery.start(serve, "s:0", handler))
            await stopped.wait()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    world.address = await world.nursery.start(serve_until_stopped)
    start = trio.current_time()
    assert await world.ask("wait") == "done"
    assert 1 <= trio.current_time() - start < 1.2
    assert await world.ask("stop") == "done"
    await trio.sleep(2)
    with pytest.raises(ConnectError):
        await world.ask("hi")


@pytest.mark.parametrize("text", ["", "\n", "line 1\r\nline 2\n", "\0", "žluťoučký 🐎", "x" * 1_000_000])
async def test_any_text_arrives_and_comes_back(world: World, text: str) -> None:
    """D20: Yoton's requests came with a line end that nobody had sent, and replies were cut at their first line."""

    async def same(got: str) -> str:
        return got

    await world.serve(same)
    assert await world.ask(text) == text


async def test_many_at_once(world: World) -> None:
    async def slow(text: str) -> str:
        await trio.sleep(1)
        return text

    await world.serve(slow)
    start = trio.current_time()

    async def ask(number: int) -> None:
        assert await world.ask(str(number)) == str(number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert trio.current_time() - start < 1.2


class Upper:
    async def __call__(self, text: str) -> str:
        return text.upper()


def returns_awaitable(text: str) -> Awaitable[str]:
    return Upper()(text)


async def with_option(text: str, *, end: str) -> str:
    return text.upper() + end


@pytest.mark.parametrize(
    "handler",
    [str.upper, Upper(), returns_awaitable, partial(with_option, end="")],
    ids=["plain", "object", "other", "partial"],
)
async def test_handlers_of_all_kinds(world: World, handler: Handler) -> None:
    await world.serve(handler)
    assert await world.ask("a") == "A"


async def test_error_of_the_handler_reaches_the_client(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(text: str) -> str:
        if text == "good":
            return "fine"
        raise KeyError(text)

    await world.serve(handler)
    with pytest.raises(RequestError, match=r"^KeyError: 'bad'$") as caught:
        await world.ask("bad")
    assert not caught.value.was_refused
    assert isinstance(caught.value, trioton.TriotonError)
    assert await world.ask("good") == "fine"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info


async def test_error_without_a_text(world: World) -> None:
    async def handler(text: str) -> str:
        raise ValueError

    await world.serve(handler)
    with pytest.raises(RequestError, match=r"^ValueError$"):
        await world.ask("")


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"bytes", "TypeError: the handler of requests must return a str, not b'bytes'"),
        (None, "must return a str, not None"),
        ("x" * 101, "ValueError: the reply takes 101 bytes; at most 100 are sent"),
        ("\ud800", "UnicodeEncodeError"),
    ],
)
async def test_replies_that_cannot_be_sent(world: World, reply: Any, complaint: str) -> None:
    async def handler(text: str) -> str:
        return reply  # type: ignore[no-any-return]

    await world.serve(handler, max_size=100)
    with pytest.raises(RequestError, match=complaint):
        await world.ask("")


async def test_long_error_is_cut(world: World) -> None:
    async def handler(text: str) -> str:
        raise ValueError("é" * 1000)

    await world.serve(handler, max_size=100)
    with pytest.raises(RequestError) as caught:
        await world.ask("")
    assert str(caught.value) == "ValueError: " + "é" * 44


async def test_too_large_a_request_is_refused_before_it_is_sent_whole(world: World) -> None:
    await world.serve(echo, max_size=100)
    with pytest.raises(RequestError, match="the request has 10000000 bytes; at most 100 are taken") as caught:
        await world.ask("x" * 10_000_000)
    assert caught.value.was_refused
    assert await world.ask("x") == "you said 'x'"


async def test_too_large_a_reply_is_not_taken(world: World) -> None:
    await world.serve(echo)
    with pytest.raises(ProtocolError, match=r"^s:\d+|at most 5 are taken"):
        await world.ask("hello", max_size=5)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"trioton-text/1 reply 0\n", b"trioton-text/1 request 1\nab"],
)
async def test_strangers_get_a_readable_line(world: World, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await world.serve(echo)
    answer = (await world.say(data)).decode()
    assert answer.startswith("trioton-text/1 refused ")
    assert warnings_of(caplog)
    assert await world.ask("x") == "you said 'x'"


async def test_a_client_of_trioton_is_told_that_no_context_is_here(world: World) -> None:
    await world.serve(echo)
    async with trioton.open_context(network=world.net.host("c")) as ctx:
        with pytest.raises(ConnectError):
            await ctx.connect(world.address)


async def test_a_context_is_no_server_of_requests(world: World) -> None:
    async with trioton.open_context(network=world.net.host("s")) as ctx:
        listener = await ctx.bind("s:0")
        world.address = listener.address
        with pytest.raises(ProtocolError, match="no text request or reply of Trioton: b'"):
            await world.ask("hello")


async def test_slow_client_is_sent_away_and_disturbs_nobody(world: World) -> None:
    await world.serve(echo, client_deadline=2.0)
    async with await world.dial() as slow:
        start = trio.current_time()
        await slow.send_all(b"trioton-text/1 request 5\nhe")
        assert await world.ask("x") == "you said 'x'"
        assert (await everything(slow)).endswith(b"the request was not whole within 2 s")
        assert 2 <= trio.current_time() - start < 3


async def test_client_that_leaves_in_its_request(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.serve(echo)
    async with await world.dial() as transport:
        await transport.send_all(b"trioton-text/1 request 5\nhe")
    await trio.sleep(1)
    assert warnings_of(caplog) == []
    assert await world.ask("x") == "you said 'x'"


async def test_slow_clients_give_way_to_others(world: World) -> None:
    await world.serve(echo, max_connections=3)
    crowd = [await world.dial() for _ in range(3)]
    for transport in crowd:
        await transport.send_all(b"trioton")
        await trio.sleep(0.1)
    assert await world.ask("x") == "you said 'x'"
    assert b"others came" in await everything(crowd[0])
    await crowd[1].send_all(b"-text/1 request 1\ny")
    assert (await everything(crowd[1])).endswith(b"you said 'y'")
    for transport in crowd:
        await transport.aclose()


async def test_too_many_at_work_refuse_others(world: World) -> None:
    release = trio.Event()

    async def handler(text: str) -> str:
        await release.wait()
        return "at last"

    await world.serve(handler, max_connections=2)
    replies: list[str] = []

    async def ask() -> None:
        replies.append(await world.ask("x"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.sleep(1)
        with pytest.raises(RequestError, match="the server is busy") as caught:
            await world.ask("y")
        assert caught.value.was_refused
        release.set()
    assert replies == ["at last"] * 2


async def test_cancelling_the_request_cancels_the_handler(world: World) -> None:
    events: list[str] = []

    async def handler(text: str) -> str:
        events.append("began")
        try:
            await trio.sleep_forever()
        finally:
            events.append("ended")
        raise AssertionError

    await world.serve(handler)
    with trio.move_on_after(1) as scope:
        await world.ask("x")
    assert scope.cancelled_caught
    await trio.sleep(1)
    assert events == ["began", "ended"]


async def test_cancelling_the_server_ends_all(autojump_clock: trio.testing.MockClock) -> None:
    failures: list[str] = []

    async def handler(text: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as nursery:
            world = World(nursery)
            await world.serve(handler)

            async def ask() -> None:
                try:
                    await world.ask("x")
                except trio.BrokenResourceError as error:
                    failures.append(str(error))

            clients.start_soon(ask)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert failures == [f"{world.address}: the connection ended before the reply; the request may have been handled"]
    with pytest.raises(ConnectError):
        await world.ask("x")


async def test_nobody_listens(world: World) -> None:
    world.address = "s:1"
    with pytest.raises(ConnectError):
        await world.ask("x")


async def test_reply_that_is_not_taken(world: World) -> None:
    async def long(text: str) -> str:
        return "x" * 1_000_000

    world.net.host("c")
    await world.serve(long, client_deadline=2.0, max_connections=1)
    world.net.link("s", "c", bandwidth=1000)
    async with await world.dial() as transport:
        await transport.send_all(encode_text(TextKind.REQUEST, ""))
        await trio.sleep(10)
        got = await everything(transport)
    assert len(got) < 1_000_000


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        ({"address": "nowhere"}, AddressError, "nowhere"),
        ({"address": "10.0.0.1:9"}, ValueError, "to listen at tcp://10.0.0.1:9 without TLS"),
        ({"handler": "text"}, TypeError, "handler must be a function from text to text, not 'text'"),
        ({"network": 3}, TypeError, "network must be"),
        ({"insecure": 1}, TypeError, "insecure must be True or False, not 1"),
        ({"max_tries": 0}, ValueError, "max_tries must be at least 1, not 0"),
        ({"max_size": "x"}, TypeError, "max_size must be an int, not 'x'"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1, not 0"),
        ({"client_deadline": None}, TypeError, "client_deadline must be a number of seconds, not None"),
        ({"client_deadline": 0}, ValueError, "client_deadline must be finite and more than 0, not 0"),
    ],
)
async def test_wrong_arguments_of_the_server(arguments: dict[str, Any], kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        await serve_requests(**{"address": "localhost:0", "handler": echo, **arguments})


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        ({"address": "localhost"}, AddressError, "there is no port"),
        ({"address": "10.0.0.1:9"}, ValueError, "to ask at tcp://10.0.0.1:9 without TLS"),
        ({"text": b"x"}, TypeError, "text must be a str, not b'x'"),
        ({"text": "\ud800"}, ValueError, "text must not have lone surrogates"),
        ({"max_size": 0}, ValueError, "max_size must be at least 1, not 0"),
        ({"network": "net"}, TypeError, "network must be"),
        ({"insecure": None}, TypeError, "insecure must be"),
    ],
)
async def test_wrong_arguments_of_the_client(arguments: dict[str, Any], kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        await do_request(**{"address": "localhost:9", "text": "x", **arguments})
