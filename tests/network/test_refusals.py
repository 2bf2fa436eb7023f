"""What the log says of those who were turned away: of each address the first, and then how many more, so that nobody can fill it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

import trioton
from tests.raw_peer import make_hello, read_to_end
from trioton import ConnectError, Limits
from trioton.network.refusals import MOST_ADDRESSES, PERIOD
from trioton.protocol.frames import PREFACE, FrameKind
from trioton.testing import Network
from trioton.transports.address import parse_address

HTTP = b"GET / HTTP/1.1\r\n\r\n"
OTHER = PREFACE[:-1] + b"\x63"

Lines = Callable[[int], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged about peers at a level since this was last called."""
    caplog.set_level(logging.INFO, logger="trioton.link")
    seen = {logging.INFO: 0, logging.WARNING: 0}

    def new_lines(level: int = logging.WARNING) -> list[str]:
        all_lines = [
            each.getMessage() for each in caplog.records if each.name == "trioton.link" and each.levelno == level
        ]
        new = all_lines[seen[level] :]
        seen[level] = len(all_lines)
        return new

    return new_lines


@pytest.fixture
def net() -> Network:
    return Network(seed=1, latency=0.01)


@pytest.fixture
async def context(net: Network, autojump_clock: object) -> AsyncIterator[trioton.Context]:
    limits = Limits(connections=1, pending_handshakes=5000)
    async with trioton.open_context("a", network=net.host("a"), limits=limits) as context:
        await context.bind("a:1")
        yield context


async def knock(net: Network, host: str, words: bytes = HTTP) -> None:
    """Say something that is no greeting, and wait until the door is shut."""
    transport = await net.host(host).dial(parse_address("a:1"))
    await transport.send_all(words)
    await read_to_end(transport)
    transport.close()


async def test_the_first_is_told_at_once_and_then_how_many_more_each_minute(
    context: trioton.Context, net: Network, lines: Callable[[], list[str]], autojump_clock: object
) -> None:
    await knock(net, "evil")
    [line] = lines()
    assert "//evil:" in line
    assert "the peer seems to speak HTTP" in line
    start = trio.current_time()
    for _ in range(20):
        await knock(net, "evil")
    await knock(net, "evil", OTHER)
    assert lines() == []
    await trio.sleep_until(start + PERIOD - 1)
    assert lines() == []
    await trio.sleep(2)
    [line] = lines()
    assert line.endswith(
        "evil: 21 more turned away; the last one: the peer speaks version 99 of the protocol, this is version 1; closed"
    )
    assert "//evil: 21" in line
    # In the minute behind that all are counted, too.
    await knock(net, "evil")
    assert lines() == []
    await trio.sleep(PERIOD)
    [line] = lines()
    assert ": 1 more turned away; the last one: the peer seems to speak HTTP" in line
    # And who was quiet for a minute is told of anew.
    await trio.sleep(2 * PERIOD)
    assert lines() == []
    await knock(net, "evil")
    [line] = lines()
    assert "more" not in line


async def test_each_address_is_told_of_by_itself(
    context: trioton.Context, net: Network, lines: Callable[[], list[str]], autojump_clock: object
) -> None:
    for _ in range(3):
        for host in ("evil", "lost", "odd"):
            await knock(net, host)
    assert [host for line in lines() for host in ("evil", "lost", "odd") if f"//{host}:" in line] == [
        "evil",
        "lost",
        "odd",
    ]
    await trio.sleep(PERIOD)
    assert [line.partition(" more")[0].rpartition("//")[2] for line in lines()] == ["evil: 2", "lost: 2", "odd: 2"]


async def test_a_context_that_is_only_refused_hides_no_stranger(
    context: trioton.Context, net: Network, lines: Lines, autojump_clock: object
) -> None:
    async with (
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await b.connect("a:1")
        for _ in range(3):
            with pytest.raises(ConnectError, match="refused: 1 connection is open already"):
                await c.connect("a:1")
        await knock(net, "c")
        [line] = [each for each in lines(logging.INFO) if "refused" in each]
        assert "refused c: 1 connection is open already" in line
        [line] = lines(logging.WARNING)
        assert "the peer seems to speak HTTP" in line
        await trio.sleep(PERIOD)
        [line] = [each for each in lines(logging.INFO) if "turned away" in each]
        assert "//c: 2 more turned away; the last one: refused c" in line


async def test_closing_tells_of_those_that_were_counted(
    net: Network, lines: Callable[[], list[str]], autojump_clock: object
) -> None:
    async with trioton.open_context("a", network=net.host("a")) as context:
        await context.bind("a:1")
        for _ in range(4):
            await knock(net, "evil")
        assert len(lines()) == 1
    [line] = lines()
    assert "//evil: 3 more turned away" in line


async def test_half_a_greeting_and_a_damaged_one_count_together(
    net: Network, lines: Callable[[], list[str]], autojump_clock: object
) -> None:
    limits = Limits(handshake_deadline=3, pending_handshakes=1)
    async with trioton.open_context("a", network=net.host("a"), limits=limits) as context:
        await context.bind("a:1")
        hello = make_hello(1).to_frame(FrameKind.HELLO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock, net, "evil", hello[:30])
            await trio.sleep(0.3)
            await knock(net, "evil")  # one too many
        [line] = lines()
        assert line.endswith("too many handshakes at once; closed")
        await trio.sleep(PERIOD)
        [line] = lines()
        assert line.endswith("1 more turned away; the last one: no handshake within 3 s; closed")


async def test_from_however_many_addresses_they_come_the_log_has_few_lines(
    context: trioton.Context, net: Network, lines: Callable[[], list[str]], autojump_clock: object
) -> None:
    count = MOST_ADDRESSES + 50
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(knock, net, f"h{number}")
    assert len(lines()) == MOST_ADDRESSES + 1
    await trio.sleep(PERIOD)
    [line] = lines()
    assert line.startswith("other addresses: 49 more turned away")
    # All of that is forgotten in time, and there is room for new ones.
    await trio.sleep(2 * PERIOD)
    for name in ("new", "newer"):
        await knock(net, name)
    assert [": the peer seems" in line and "//new" in line for line in lines()] == [True, True]
    assert len(context._doorman.refusals._told) == 2


async def test_who_is_in_and_may_not_hides_nobody_at_the_door(
    net: Network, autojump_clock: object, lines: Lines
) -> None:
    permissions = trioton.Permissions(subscribe=("news",))
    async with (
        trioton.open_context("a", network=net.host("a"), permissions=permissions) as a,
        trioton.open_context("b", network=net.host("b", uid=7)) as b,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        async with trioton.SubChannel(b, "other"), trioton.SubChannel(b, "third"):
            await trio.sleep(1)
            first = lines(logging.WARNING)
            await knock(net, "b")
            [stranger] = lines(logging.WARNING)
            await trio.sleep(PERIOD)
            later = lines(logging.WARNING)
    assert any("which has proved nothing of itself, may not subscribe to 'other" in line for line in first)
    assert "turned away" not in stranger
    assert any("1 more not permitted; the last one: " in line for line in later)
