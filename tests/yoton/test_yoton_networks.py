"""What Yoton's tests and examples show of networks and links, held here. `tests/test_yoton_cases.py` has all cases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.network.mesh_shapes import open_mesh
from trioton import Heartbeat, PubChannel, SubChannel
from trioton.testing import Network
from trioton.transports import tcp

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair


async def test_case_15_what_is_said_before_anybody_connects_waits(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("a", network=net.host("a")) as a:
        await a.bind("a:test")
        await PubChannel(a, "chat").send("hello world")
        await trio.sleep(60)
        async with trioton.open_context("b", network=net.host("b")) as b:
            sub = SubChannel(b, "chat")
            await b.connect("a:test")
            with trio.fail_after(1):
                assert await sub.receive() == "hello world"


@pytest.mark.net
async def test_case_16_the_same_on_an_interface_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the port becomes the same number at both ends."""
    monkeypatch.setattr(tcp, "public_host", ["127.0.0.7"].__getitem__)
    address = f"publichost:test{os.getpid()}"
    with trio.fail_after(20):
        async with trioton.open_context("a") as a, trioton.open_context("b") as b:
            listener = await a.bind(address, insecure=True)
            assert listener.address.startswith("tcp://127.0.0.7:")
            await PubChannel(a, "chat").send("hello world")
            sub = SubChannel(b, "chat")
            await b.connect(address, insecure=True)
            assert await sub.receive() == "hello world"


async def test_case_17_three_hops_over_names_and_offsets(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("c1", network=net.host("h")) as c1,
        trioton.open_context("c2", network=net.host("h")) as c2,
        trioton.open_context("c3", network=net.host("h")) as c3,
        trioton.open_context("c4", network=net.host("h")) as c4,
    ):
        ports = []
        for number, (first, second) in enumerate([(c1, c2), (c2, c3), (c3, c4)], 1):
            ports.append((await first.bind(f"h:whop+{number}")).port)
            await second.connect(f"h:whop+{number}")
        assert ports == [62579, 62580, 62581]
        pub, sub = PubChannel(c1, "hop"), SubChannel(c4, "hop")
        await pub.wait_subscribers()
        await pub.send("hophophop")
        assert await sub.receive() == "hophophop"
        await trio.sleep(10)
        assert sub.pending == 0


async def test_case_18_a_message_is_split_where_ways_part(autojump_clock: object) -> None:
    async with open_mesh("ab bc bd de") as mesh:
        pub = mesh.pub("a", "foo")
        subs = [mesh.sub(name, "foo") for name in "ce"]
        await pub.wait_subscribers(2)
        await pub.send("Hello you two!")
        assert [await sub.receive() for sub in subs] == ["Hello you two!"] * 2
        await trio.sleep(10)
        assert [sub.pending for sub in subs] == [0, 0]


@pytest.mark.slow
async def test_case_32_a_hundred_connections_one_after_the_other(autojump_clock: object) -> None:
    """Yoton's were too many for the system; each of these brings a message, and none leaves anything behind."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        pub = PubChannel(a, "n", trioton.OBJECT)
        sub = SubChannel(b, "n", trioton.OBJECT)
        for number in range(100):
            connection = await b.connect("a:1")
            await pub.wait_subscribers()
            await pub.send(number)
            assert await sub.receive() == number
            await connection.aclose()
        await trio.sleep(1)
        assert a.connections == b.connections == []
        assert net.statistics().open == 0


async def test_case_34_a_peer_that_is_stuck_for_ten_seconds_stays_connected(
    open_pair: OpenPair, watch: MakeWatch
) -> None:
    async with open_pair(heartbeat=Heartbeat(interval=0.25, timeout=0.5, lease=60)) as pair:
        events = watch(pair.a)
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        pair.net.pause("b")
        await events.wait_for(trioton.TimedOut)
        await pub.send("are you there?")
        await trio.sleep(10)
        assert pair.to_b.is_connected
        pair.net.resume("b")
        assert await sub.receive() == "are you there?"
        await events.wait_for(trioton.Recovered)
        assert events.names == ["TimedOut", "Recovered"]


async def test_case_41_a_connection_ends_with_a_reason(open_pair: OpenPair, watch: MakeWatch) -> None:
    async with open_pair(reconnect=None) as pair:
        events = watch(pair.a)
        pair.net.cut("a", "b")
        ended = await events.wait_for(trioton.Disconnected)
        assert ended.reason
        assert pair.to_b.close_reason == ended.reason
        await pair.to_a.wait_closed()
        again = await pair.b.connect("a:1")
        await events.wait_for(trioton.Connected)
        await again.aclose("good night")
        ended = await events.wait_for(trioton.Disconnected, 2)
        assert "good night" in ended.reason


@pytest.mark.parametrize("links", ["ab bc ca", "ab ac bd cd", "ab ac ad bc bd cd"], ids=["triangle", "diamond", "all"])
async def test_case_51_each_hears_all_once_in_order_and_nobody_itself(autojump_clock: object, links: str) -> None:
    """Yoton echoed 69 of 3000 messages in a triangle."""
    async with open_mesh(links) as mesh:
        names = sorted(mesh.contexts)
        subs = {name: mesh.sub(name) for name in names}
        pubs = {name: mesh.pub(name) for name in names}
        for pub in pubs.values():
            await pub.wait_subscribers(len(names) - 1)
        received: dict[str, list[tuple[str, int]]] = {name: [] for name in names}

        async def publish(name: str) -> None:
            for number in range(1000):
                await pubs[name].send((name, number))

        async def receive(name: str) -> None:
            async for message in subs[name]:
                received[name].append(message)

        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as publishing:
                for name in names:
                    nursery.start_soon(receive, name)
                    publishing.start_soon(publish, name)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        for name in names:
            for other in names:
                numbers = [number for sender, number in received[name] if sender == other]
                assert numbers == ([] if other == name else list(range(1000)))


async def test_case_51_two_contexts_have_one_link_and_hear_each_message_once(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        with pytest.raises(trioton.ConnectError, match="already"):
            await pair.b.connect("a:1")
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        await pub.send("once")
        assert await sub.receive() == "once"
        await trio.sleep(10)
        assert sub.pending == 0
