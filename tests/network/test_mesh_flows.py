"""Flows to subscribers several links away: order, large messages, room, policies, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

import trioton
from tests.network.mesh_shapes import Mesh, Policy, line, nothing_comes, open_mesh, receive
from trioton import BINARY, OBJECT, TEXT, Block, Congested, Disconnect, DropNewest, DropOldest, Gap, Latest, Limits
from trioton.testing import Chaos, Cut, Network, check_at_rest, run_simulation

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

LINE = "ab bc cd"


# ---------------------------------------------------------------- messages


async def test_wait_subscribers_counts_distant_ones(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        pub = mesh.pub("a")
        subs = [mesh.sub(name) for name in "bcdd"]
        with trio.fail_after(10):
            await pub.wait_subscribers(4)
        assert pub.statistics().subscribers == 4
        for left, sub in zip((3, 2, 1, 0), subs, strict=True):
            await sub.aclose()
            await trio.sleep(1)
            assert pub.statistics().subscribers == left


async def test_the_backlog_waits_for_a_distant_subscriber(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        pub = mesh.pub("a", backlog=100)
        for number in range(50):
            await pub.send(number)
        await trio.sleep(10)
        assert pub.statistics().backlog == 50
        sub = mesh.sub("d")
        assert await receive(sub, 50) == list(range(50))
        assert pub.statistics().backlog == 0


@pytest.mark.parametrize("policy", [Block(10), Block(2000), DropOldest(2000), Disconnect(2000)], ids=repr)
async def test_order_over_three_links(policy: Policy, autojump_clock: object) -> None:
    async with open_mesh(LINE, net=Network(seed=3, latency=(0.001, 0.05))) as mesh, trio.open_nursery() as nursery:
        sub, pub = mesh.sub("d", "text", TEXT, policy=policy), mesh.pub("a", "text", TEXT)
        await pub.wait_subscribers()
        texts = [f"text {number}" for number in range(1000)]
        nursery.start_soon(pub.send_many, texts)
        assert await receive(sub, 1000) == texts


@attrs.frozen
class Point:
    x: int
    y: float


async def test_all_kinds_of_messages(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sent: dict[Any, list[Any]] = {
            TEXT: ["", "short", "ä ö ü", "long " * 50_000],
            BINARY: [b"", bytes(range(256)), bytes(300_000)],
            OBJECT: [None, [1, 2.5, "three"], {"a": [b"bytes", True]}, list(range(50_000))],
        }
        for message_type, messages in sent.items():
            sub, pub = mesh.sub("d", "kinds", message_type), mesh.pub("a", "kinds", message_type)
            await pub.wait_subscribers()
            for message in messages:
                await pub.send(message)
            assert await receive(sub, len(messages)) == messages


async def test_typed_messages(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sub = mesh.sub("d", "points", trioton.typed(Point))
        pub = mesh.pub("a", "points", trioton.typed(Point))
        await pub.wait_subscribers()
        points = [Point(number, number / 2) for number in range(100)]
        await pub.send_many(points)
        assert await receive(sub, 100) == points


async def test_a_mebibyte_through_two_slow_routers(autojump_clock: object) -> None:
    net = Network(seed=5, latency=0.01, chunk=(5000, 60_000), bandwidth=1e6)
    async with open_mesh(LINE, net=net) as mesh:
        large, small = mesh.sub("d", "large", BINARY), mesh.sub("d", "small")
        send_large, send_small = mesh.pub("a", "large", BINARY), mesh.pub("a", "small")
        await send_large.wait_subscribers()
        await send_small.wait_subscribers()
        body = bytes(range(256)) * 4096
        start = trio.current_time()
        await send_large.send(body)
        await send_large.send(body[::-1])
        await send_small.send("what is small goes past it")
        assert await receive(small, 1) == ["what is small goes past it"]
        assert large.statistics().received < 2
        assert await receive(large, 2) == [body, body[::-1]]
        assert 2 * len(body) / 1e6 < trio.current_time() - start < 3 * 2 * len(body) / 1e6


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize("slow", ["ab", "bc", "cd"])
@pytest.mark.parametrize("policy", [DropOldest(20), DropNewest(20), Latest()], ids=repr)
async def test_what_is_dropped_before_a_slow_link_is_counted(
    policy: Policy, slow: str, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(LINE) as mesh:
        mesh.net.link(*slow, bandwidth=20_000, buffer_size=2000)
        sub, pub = mesh.sub("d", policy=policy), mesh.pub("a")
        heard = watch(mesh["d"])
        await pub.wait_subscribers()
        await trio.sleep(1)
        got: list[int] = []

        async def listen() -> None:
            async for message in sub:
                got.append(message[0])  # noqa: PERF401  # it is cancelled

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for number in range(400):
                await pub.send([number, bytes(100)])
                await trio.sleep(0.002)
            await trio.sleep(20)
            nursery.cancel_scope.cancel()
        assert got == sorted(set(got))
        lost = sum(gap.count for gap in heard.all(Gap))
        assert 0 < lost == sub.statistics().dropped
        assert len(got) + lost == 400
        if not isinstance(policy, DropNewest):
            assert got[-1] == 399
        before = mesh[slow[0]].connection(slow[1])
        assert before.statistics().messages_dropped > 0


async def test_disconnect_behind_a_slow_link_ends_that_subscription_alone(autojump_clock: object) -> None:
    async with open_mesh("ab bc cd be") as mesh:
        mesh.net.link("c", "d", bandwidth=20_000, buffer_size=2000)
        strict, patient = mesh.sub("d", policy=Disconnect(20)), mesh.sub("e", policy=Block(1000))
        pub = mesh.pub("a")
        await pub.wait_subscribers(2)
        await pub.send_many([number, bytes(100)] for number in range(1000))
        assert len(await receive(patient, 1000)) == 1000
        with pytest.raises(trio.BrokenResourceError, match="Disconnect"), trio.fail_after(100):
            async for _ in strict:
                pass
        await trio.sleep(1)
        assert pub.statistics().subscribers == 1


# ---------------------------------------------------------------- room


async def send_forever(mesh: Mesh, name: str, slot: str, sent: list[int]) -> None:
    pub = mesh.pub(name, slot)
    await pub.wait_subscribers()
    while True:
        await pub.send([len(sent), bytes(1000)])
        sent.append(len(sent))


async def test_a_stopped_subscriber_three_links_away_holds_up_its_publisher_and_nothing_else(
    autojump_clock: object,
) -> None:
    async with open_mesh("ab bc cd be") as mesh, trio.open_nursery() as nursery:
        stopped = mesh.sub("d", "stopped", policy=Block(100))
        beside = mesh.sub("d", "beside", policy=Block(100))
        elsewhere = mesh.sub("e", "elsewhere", policy=Block(100))
        sent: dict[str, list[int]] = {"stopped": [], "beside": [], "elsewhere": []}
        for slot, numbers in sent.items():
            nursery.start_soon(send_forever, mesh, "a", slot, numbers)
        for sub in (beside, elsewhere):
            assert [message[0] for message in await receive(sub, 1000)] == list(range(1000))
        assert len(sent["stopped"]) == 100
        assert stopped.statistics().pending == 100
        for name in "abc":
            for connection in mesh[name].connections:
                assert connection.statistics().packages_queued <= 200
        assert [message[0] for message in await receive(stopped, 500)] == list(range(500))
        nursery.cancel_scope.cancel()


async def test_routers_hold_no_more_than_a_window(autojump_clock: object) -> None:
    limits = Limits(window_bytes=200_000)
    async with open_mesh(LINE, limits=limits) as mesh, trio.open_nursery() as nursery:
        mesh.net.link("c", "d", bandwidth=50_000, buffer_size=5000)
        sub = mesh.sub("d", "slow", policy=Block(100_000))
        sent: list[int] = []
        nursery.start_soon(send_forever, mesh, "a", "slow", sent)
        for _ in range(100):
            await trio.sleep(0.1)
            assert (len(sent) - sub.statistics().received) * 1000 <= 250_000  # the window, and one package
            while sub.statistics().pending:
                sub.receive_nowait()
        assert sub.statistics().received > 300
        nursery.cancel_scope.cancel()


async def test_congested_names_the_distant_subscriber(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(LINE) as mesh, trio.open_nursery() as nursery:
        heard = watch(mesh["a"])
        _, quick = mesh.sub("d", policy=Block(10)), mesh.sub("c", policy=Block(10))
        pub = mesh.pub("a")
        await pub.wait_subscribers(2)
        nursery.start_soon(pub.send_many, range(20))
        assert await receive(quick, 10) == list(range(10))
        event = await heard.wait_for(Congested)
        assert event.subscriber == mesh["d"].id
        assert event.slot == pub.slot
        nursery.cancel_scope.cancel()


async def ring(net: Network) -> None:
    """Each of four publishes to the three others, with room for one message."""
    count, names = 8, "abcd"
    async with open_mesh("ab bc cd da", net=net) as mesh:

        async def send(pub: trio.abc.SendChannel[tuple[str, int]], name: str) -> None:
            for number in range(count):
                await pub.send((name, number))

        async def listen(sub: trio.abc.ReceiveChannel[tuple[str, int]], name: str) -> None:
            others = names.replace(name, "")
            got = [await sub.receive() for _ in range(count * len(others))]
            for other in others:
                assert [number for source, number in got if source == other] == list(range(count))

        subs = {name: mesh.sub(name, policy=Block(1)) for name in names}
        pubs = {name: mesh.pub(name) for name in names}
        for pub in pubs.values():
            await pub.wait_subscribers(3)
        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(listen, subs[name], name)
                    nursery.start_soon(send, pubs[name], name)


def test_a_ring_in_which_all_publish_and_have_room_for_one_gets_on() -> None:
    run_simulation(ring, seeds=range(3), hosts=list("abcd"), network={"latency": (0.001, 0.05)})


def test_such_a_ring_gets_on_also_while_links_are_cut() -> None:
    faults = Chaos(seconds=6, gap=0.5, longest=2, kinds=(Cut,))
    run_simulation(ring, seeds=range(3), hosts=list("abcd"), faults=faults, network={"latency": (0.001, 0.05)})


# ---------------------------------------------------------------- flushing and leaving


async def test_flush_waits_until_a_distant_subscriber_has_taken_all(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh, trio.open_nursery() as nursery:
        sub, pub = mesh.sub("d"), mesh.pub("a")
        await pub.wait_subscribers()
        await pub.send_many(range(10))
        with trio.move_on_after(10) as scope:
            await mesh["a"].flush()
        assert scope.cancelled_caught
        nursery.start_soon(receive, sub, 10)
        with trio.fail_after(1):
            await mesh["a"].flush()
        assert pub.statistics().unconfirmed == 0
        await check_at_rest(*mesh.contexts.values())


@pytest.mark.parametrize("policy", [Block(1000), DropOldest(1000)], ids=repr)
async def test_leaving_a_context_brings_all_to_distant_subscribers_first(
    policy: Policy, autojump_clock: object
) -> None:
    async with open_mesh(LINE) as mesh:
        mesh.net.link("c", "d", bandwidth=50_000)
        sub, pub = mesh.sub("d", policy=policy), mesh.pub("a")
        await pub.wait_subscribers()
        await pub.send_many([number, bytes(1000)] for number in range(100))
        start = trio.current_time()
        await mesh["a"].aclose()
        assert 2 < trio.current_time() - start < 4
        assert [message[0] for message in await receive(sub, 100)] == list(range(100))


async def test_a_context_that_leaves_waits_for_nobody_who_only_has_not_read_yet(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        sub, pub = mesh.sub("d"), mesh.pub("a")
        await pub.wait_subscribers()
        await pub.send_many(range(100))
        start = trio.current_time()
        await mesh["a"].aclose()
        assert trio.current_time() - start < 1
        assert await receive(sub, 100) == list(range(100))


async def test_a_context_that_leaves_waits_for_a_stopped_host_no_longer_than_its_grace(autojump_clock: object) -> None:
    async with open_mesh(LINE, options={"a": {"grace": 3}}) as mesh:
        mesh.sub("d")
        pub = mesh.pub("a")
        await pub.wait_subscribers()
        mesh.net.pause("d")
        await pub.send_many(range(100))
        start = trio.current_time()
        await mesh["a"].aclose()
        assert trio.current_time() - start == pytest.approx(3, abs=0.7)
        mesh.net.resume("d")


async def test_a_context_whose_scope_is_cancelled_waits_for_nothing(autojump_clock: object) -> None:
    async with open_mesh("bc cd") as mesh:
        mesh.sub("d")
        start = 0.0
        with trio.CancelScope() as scope:
            async with trioton.open_context("a", network=mesh.net.host("a")) as a:
                await a.connect("b:1")
                pub = trioton.PubChannel(a, "flow", OBJECT)
                await pub.wait_subscribers()
                mesh.net.pause("d")
                await pub.send_many(range(100))
                start = trio.current_time()
                scope.cancel()
                await trio.sleep_forever()
        assert trio.current_time() - start < 0.1
        mesh.net.resume("d")


# ---------------------------------------------------------------- subscriptions that change


async def test_a_distant_subscription_may_close_and_open_again(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        pub = mesh.pub("a")
        for number in range(5):
            async with mesh.sub("c", policy=Block(10)) as sub:
                with trio.fail_after(10):
                    await pub.wait_subscribers()
                await pub.send(number)
                assert await receive(sub, 1) == [number]
            await trio.sleep(1)
            assert pub.statistics().subscribers == 0


async def test_a_distant_subscriber_may_change_its_policy(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(line("abc")) as mesh:
        heard = watch(mesh["c"])
        pub = mesh.pub("a")
        number = 0
        for policy in (Block(5), DropOldest(5), Block(5), Latest(), Block(5), DropNewest(5), Block(5)):
            async with mesh.sub("c", policy=policy) as sub:
                await pub.wait_subscribers()
                await trio.sleep(1)
                if isinstance(policy, Block):
                    with trio.move_on_after(5):
                        for each in range(number, number + 100):
                            await pub.send(each)
                    assert sub.statistics().pending == 5
                    assert await receive(sub, 5) == list(range(number, number + 5))
                    number += 100
                else:
                    with trio.fail_after(5):
                        for _ in range(100):
                            await pub.send(number)
                            number += 1
                    await trio.sleep(1)
                    assert sub.statistics().dropped == 100 - sub.statistics().pending > 0
            await trio.sleep(1)
        assert heard.all(trioton.BadMessage) == []


async def test_subscriptions_of_all_policies_in_one_distant_context(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh, trio.open_nursery() as nursery:
        blocks = [mesh.sub("d", policy=Block(10)), mesh.sub("d", policy=Block(300))]
        drops = [mesh.sub("d", policy=DropOldest(7)), mesh.sub("d", policy=Latest())]
        strict = mesh.sub("d", policy=Disconnect(20))
        pub = mesh.pub("a")
        await pub.wait_subscribers(5)
        nursery.start_soon(pub.send_many, range(200))
        for sub in blocks:
            nursery.start_soon(receive, sub, 200)
        await trio.sleep(20)
        assert [sub.statistics().taken for sub in blocks] == [200, 200]
        assert await receive(drops[0], 7) == list(range(193, 200))
        assert await receive(drops[1], 1) == [199]
        with pytest.raises(trio.BrokenResourceError):
            await receive(strict, 200)
        assert await nothing_comes(blocks[0])


@pytest.mark.parametrize("seed", range(6))
async def test_what_waits_for_subscribers_waits_for_all_that_are_known(autojump_clock: object, seed: int) -> None:
    """One that drops could have it at once, one that blocks must say first how much room it has: neither goes without the first messages."""
    net = Network(seed=seed, latency=0.01)
    async with (
        trioton.open_context("broker", network=net.host("broker")) as broker,
        trioton.open_context("recorder", network=net.host("recorder")) as recorder,
        trioton.open_context("dashboard", network=net.host("dashboard")) as dashboard,
        trioton.open_context("sensor", network=net.host("sensor")) as sensor,
    ):
        await broker.bind("broker:1")
        await recorder.connect("broker:1")
        await dashboard.connect("broker:1")
        all_of_them = trioton.SubChannel(recorder, "readings", trioton.OBJECT, policy=Block(100))
        latest = trioton.SubChannel(dashboard, "readings", trioton.OBJECT, policy=trioton.DropOldest(100))
        await trio.sleep(1)
        pub = trioton.PubChannel(sensor, "readings", trioton.OBJECT)
        await sensor.connect("broker:1")
        for number in range(5):
            await pub.send(number)
        assert [await all_of_them.receive() for _ in range(5)] == list(range(5))
        assert [await latest.receive() for _ in range(5)] == list(range(5))
