"""Links that drop: what is suspended goes on, nothing on a blocking channel is lost, doubled or out of order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Block, DropOldest, Limits, PubChannel, Reconnect, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair

FAST = Reconnect(first=0.01, maximum=0.1)


async def send_numbers(pub: PubChannel[object], count: int, pause: float = 0.0) -> None:
    for number in range(count):
        await pub.send(number)
        if pause:
            await trio.sleep(pause)


async def test_a_cut_link_is_suspended_and_resumes(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pair.net.cut("a", "b")
    suspended = await at_b.wait_for(trioton.Suspended)
    assert suspended.connection is pair.to_a
    assert "was cut" in suspended.reason
    assert not pair.to_a.is_connected
    assert not pair.to_a.is_closed
    assert pair.to_a.transport is None
    resumed = await at_b.wait_for(trioton.Resumed)
    assert resumed.connection is pair.to_a
    assert pair.to_a.is_connected
    assert (await at_a.wait_for(trioton.Resumed)).connection is pair.to_b
    assert at_a.names == at_b.names == ["Suspended", "Resumed"]
    assert pair.to_a.statistics().transports == pair.to_b.statistics().transports == 2
    assert pair.b.connections == [pair.to_a]
    assert [info.name for info in pair.b.contexts] == ["a"]


async def test_what_is_sent_while_suspended_arrives(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pub.send("before")
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    await pub.send("meanwhile")
    assert [await sub.receive() for _ in range(2)] == ["before", "meanwhile"]
    assert pair.to_a.is_connected


async def test_both_directions_go_on(autojump_clock: object, pair: Pair) -> None:
    forth, there = PubChannel(pair.a, "forth"), SubChannel(pair.b, "forth")
    back, here = PubChannel(pair.b, "back"), SubChannel(pair.a, "back")
    await forth.wait_subscribers()
    await back.wait_subscribers()
    for number in range(5):
        await forth.send(str(number))
        pair.net.cut("a", "b")
        await back.send(str(number))
        assert await there.receive() == str(number)
        assert await here.receive() == str(number)
    assert forth.statistics().subscribers == back.statistics().subscribers == 1


@pytest.mark.parametrize("seed", range(12))
async def test_random_cuts_lose_double_and_reorder_nothing(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    rng = random.Random(seed)
    latencies: list[float | tuple[float, float]] = [0.0, 0.003, (0.001, 0.02)]
    latency = rng.choice(latencies)
    chunk = rng.choice([None, (1, 40), (1, 1500)])
    net = Network(seed=seed, latency=latency, chunk=chunk)
    count = 300
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        ways = []
        for number, (sender, receiver) in enumerate([(pair.a, pair.b), (pair.b, pair.a), (pair.a, pair.b)]):
            pub = PubChannel(sender, f"way {number}", trioton.OBJECT)
            sub = SubChannel(receiver, f"way {number}", trioton.OBJECT, policy=Block(rng.choice([1, 3, 16, 1024])))
            await pub.wait_subscribers()
            ways.append((pub, sub))
            nursery.start_soon(send_numbers, pub, count, rng.choice([0.0, 0.0005]))
        received: list[list[object]] = [[] for _ in ways]

        async def receive(number: int, pause: float) -> None:
            while len(received[number]) < count:
                received[number].append(await ways[number][1].receive())
                if pause:
                    await trio.sleep(pause)

        async def cut() -> None:
            for _ in range(25):
                await trio.sleep(rng.expovariate(15))
                net.cut("a", "b")

        nursery.start_soon(cut)
        with trio.move_on_after(300):
            async with trio.open_nursery() as receivers:
                for number in range(len(ways)):
                    receivers.start_soon(receive, number, rng.choice([0.0, 0.001]))
        assert received == [list(range(count))] * len(ways)
        with trio.fail_after(60):
            await pair.a.flush()
            await pair.b.flush()
        assert [pub.statistics().unconfirmed for pub, _ in ways] == [0, 0, 0]
        assert [sub.pending for _, sub in ways] == [0, 0, 0]
        assert pair.to_a.is_connected or pair.to_a.statistics().state == "suspended"


@pytest.mark.parametrize("seed", range(5))
async def test_random_partitions_within_the_window_lose_nothing(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.05))
    async with open_pair(net) as pair, trio.open_nursery() as nursery:
        pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
        sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(50))
        await pub.wait_subscribers()
        nursery.start_soon(send_numbers, pub, 1000, 0.1)

        async def part(scope: trio.CancelScope) -> None:
            with scope:
                while True:
                    await trio.sleep(rng.uniform(0, 15))
                    net.partition("a", "b", oneway=rng.random() < 0.5)
                    await trio.sleep(rng.uniform(0, 25))
                    net.heal()

        scope = trio.CancelScope()
        nursery.start_soon(part, scope)
        with trio.fail_after(10_000):
            assert [await sub.receive() for _ in range(1000)] == list(range(1000))
        scope.cancel()


async def test_a_large_message_survives_a_cut_in_its_middle(autojump_clock: object, open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.01, buffer_size=65536)
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        pub = PubChannel(pair.a, "blob", trioton.BINARY)
        sub = SubChannel(pair.b, "blob", trioton.BINARY)
        await pub.wait_subscribers()
        blobs = [bytes([number]) * 3_000_000 for number in range(3)]
        nursery.start_soon(pub.send_many, blobs)
        for _ in range(10):
            await trio.sleep(0.1)
            net.cut("a", "b")
        with trio.fail_after(100):
            assert [await sub.receive() for _ in blobs] == blobs


async def test_silence_past_the_lease_suspends_and_a_healed_way_resumes(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    start = trio.current_time()
    pair.net.partition("a", "b")
    await pub.send("into the dark")
    suspended = await at_b.wait_for(trioton.Suspended)
    assert suspended.reason == "the peer was silent for 10 s"
    assert trio.current_time() - start == pytest.approx(10, abs=2.6)
    await at_a.wait_for(trioton.Suspended)
    await trio.sleep(10)
    pair.net.heal()
    assert await sub.receive() == "into the dark"
    await at_a.wait_for(trioton.Resumed)
    assert at_a.names == at_b.names == ["TimedOut", "Suspended", "Resumed"]


async def test_a_partition_longer_than_the_window_loses_the_session(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    pair.net.partition("a", "b")
    start = trio.current_time()
    await pub.send("lost")
    for events, peer in ((at_a, pair.b), (at_b, pair.a)):
        died = await events.wait_for(trioton.ContextDied)
        assert (died.id, died.name) == (peer.id, peer.name)
        assert 40 <= trio.current_time() - start < 45
    assert (await at_b.wait_for(trioton.SessionLost)).connection is pair.to_a
    assert pub.subscribers == 0
    assert pair.b.contexts == pair.b.peers == []
    assert not pair.to_a.is_closed  # it goes on dialling

    pair.net.heal()
    joined = await at_b.wait_for(trioton.ContextJoined)
    assert joined.id == pair.a.id
    await pub.wait_subscribers()
    await pub.send("after")
    assert await sub.receive() == "after"
    assert at_b.names == ["TimedOut", "Suspended", "SessionLost", "ContextDied", "ContextJoined", "Connected"]
    assert pair.b.connections == [pair.to_a]
    assert pair.to_a.is_connected


async def test_both_sides_hear_of_a_lost_session(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pair.net.partition("a", "b")
    assert (await at_a.wait_for(trioton.SessionLost)).connection is pair.to_b
    assert (await at_b.wait_for(trioton.SessionLost)).connection is pair.to_a


async def test_a_new_session_resumes_like_the_first(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    """The token of the session that was lost must not be the one that the next resume shows."""
    at_b = watch(pair.b)
    pair.net.partition("a", "b")
    await at_b.wait_for(trioton.SessionLost)
    pair.net.heal()
    await at_b.wait_for(trioton.Connected)
    for number in range(1, 4):
        pair.net.cut("a", "b")
        with trio.fail_after(5):
            await at_b.wait_for(trioton.Resumed, number)
    assert len(at_b.all(trioton.SessionLost)) == 1


async def test_what_is_subscribed_while_the_session_is_lost_is_known_to_the_next(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_b = watch(pair.b)
    pub = PubChannel(pair.a, "chat", backlog=0)
    pair.net.partition("a", "b")
    await at_b.wait_for(trioton.SessionLost)
    early = SubChannel(pair.b, "chat")
    pair.net.heal()
    # While the new session is being set up, nobody knows yet that the peer is there.
    late = SubChannel(pair.b, "other")
    other = PubChannel(pair.a, "other", backlog=0)
    with trio.fail_after(60):
        await pub.wait_subscribers()
        await other.wait_subscribers()
    await pub.send("early")
    await other.send("late")
    assert await early.receive() == "early"
    assert await late.receive() == "late"


@pytest.mark.parametrize("seed", range(5))
async def test_channels_opened_at_any_moment_of_a_new_session_work(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    """Also those between the loss of the session and the end of the next handshake."""
    net = Network(seed=seed, latency=0.02)
    async with open_pair(net, reconnect=FAST, limits=Limits(resume_window=1)) as pair:
        await trio.sleep(1)
        net.partition("a", "b")
        await trio.sleep(20)
        net.heal()
        pubs, subs = [], []
        for number in range(40):
            pubs.append(PubChannel(pair.a, str(number), backlog=0))
            subs.append(SubChannel(pair.b, str(number), policy=Block(2)))
            await trio.sleep(0.005)
        for pub, sub in zip(pubs, subs, strict=True):
            with trio.fail_after(30):
                await pub.wait_subscribers()
                for number in range(10):
                    await pub.send(f"{number}")
                    assert await sub.receive() == f"{number}"


async def test_without_reconnect_a_drop_is_final_on_both_sides(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    async with open_pair(reconnect=None) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        start = trio.current_time()
        pair.net.cut("a", "b")
        await pair.to_a.wait_closed()
        await pair.to_b.wait_closed()
        assert trio.current_time() - start < 1
        assert pair.to_a.close_reason is not None
        assert "was cut" in pair.to_a.close_reason
        assert at_a.names == at_b.names == ["Disconnected", "ContextDied"]
        again = await pair.b.connect("a:1", reconnect=None)
        assert again.is_connected


async def test_a_drop_without_reconnect_may_be_dialled_anew_at_once(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair(reconnect=None) as pair:
        for _ in range(3):
            pair.net.cut("a", "b")
            await trio.testing.wait_all_tasks_blocked()
            connection = await pair.b.connect("a:1", reconnect=None)
            assert connection.is_connected


async def test_a_goodbye_is_not_dialled_again(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_b = watch(pair.b)
    await pair.to_b.aclose("enough")
    await pair.to_a.wait_closed()
    assert pair.to_a.close_reason == "enough"
    await trio.sleep(100)
    assert at_b.names == ["Disconnected", "ContextDied"]
    assert pair.net.statistics().dialled == 1


async def test_a_peer_that_comes_back_as_another_joins_anew(autojump_clock: object, watch: MakeWatch) -> None:
    net = Network(seed=3, latency=0.01)
    async with trioton.open_context("b", network=net.host("b")) as b:
        events = watch(b)
        async with trioton.open_context("a", network=net.host("a")) as first:
            await first.bind("a:1")
            connection = await b.connect("a:1")
            net.partition("a", "b")  # so that no goodbye arrives
        net.cut("a", "b")
        net.heal()
        async with trioton.open_context("a", network=net.host("a")) as second:
            await second.bind("a:1")
            await events.wait_for(trioton.Connected, 2)
            assert [each.id for each in events.all(trioton.ContextDied)] == [first.id]
            assert [each.id for each in events.all(trioton.ContextJoined)] == [first.id, second.id]
            assert connection.peer.id == second.id
            assert b.connections == [connection]
            net.cut("a", "b")  # the token of the new session must be known
            with trio.fail_after(5):
                await events.wait_for(trioton.Resumed)


async def test_connect_fails_at_once_and_waits_if_told_to(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(trioton.ConnectError, match="nobody listens there") as caught:
            await b.connect("a:1")
        assert isinstance(caught.value, OSError)
        connected = trio.Event()

        async def connect() -> None:
            connection = await b.connect("a:1", wait=True)
            assert connection.is_connected
            connected.set()

        nursery.start_soon(connect)
        await trio.sleep(1000)
        assert not connected.is_set()
        await a.bind("a:1")
        with trio.fail_after(31):
            await connected.wait()


@pytest.mark.parametrize("wait", [False, True])
async def test_a_cut_at_any_moment_of_the_handshake(autojump_clock: object, wait: bool) -> None:
    for step in range(40):
        net = Network(seed=step, latency=0.01)
        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
            trio.open_nursery() as nursery,
        ):
            await a.bind("a:1")

            async def cut(after: float, net: Network) -> None:
                await trio.sleep(after)
                net.cut("a", "b")

            nursery.start_soon(cut, step * 0.003, net)
            with trio.fail_after(30):
                try:
                    await b.connect("a:1", wait=wait)
                except trioton.ConnectError:
                    assert not wait
                    await b.connect("a:1", wait=True)
                await trio.sleep(5)
            assert [connection.is_connected for connection in b.connections] == [True]
            assert [connection.is_connected for connection in a.connections] == [True]


async def test_waiting_to_connect_survives_many_cuts(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")

        async def cut() -> None:
            for _ in range(40):
                await trio.sleep(0.013)
                net.cut("a", "b")

        nursery.start_soon(cut)
        with trio.fail_after(30):
            connection = await b.connect("a:1", wait=True)
            await trio.sleep(5)
        assert connection.is_connected


async def test_what_no_waiting_would_change_is_raised_at_once(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        await pair.b.bind("b:1")
        with trio.fail_after(1):
            with pytest.raises(trioton.ConnectError, match="refused: b is connected already"):
                await pair.b.connect("a:1", wait=True)
            with pytest.raises(trioton.ConnectError, match="refused: a is connected already"):
                await pair.a.connect("b:1", wait=True)
            with pytest.raises(trioton.ConnectError, match="refused: a context cannot connect to itself"):
                await pair.b.connect("b:1", wait=True)
        assert pair.to_a.is_connected
        assert pair.to_b.is_connected


async def test_waiting_to_connect_ends_when_cancelled(autojump_clock: object) -> None:
    net = Network(seed=3)
    net.host("a")
    async with trioton.open_context("b", network=net.host("b")) as b:
        with trio.move_on_after(100) as scope:
            await b.connect("a:1", wait=True)
        assert scope.cancelled_caught
        assert b.connections == []


async def test_a_subscription_replaced_during_a_drop_starts_afresh(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """The new one has a window of its own, and does not get what was sent for the old one."""
    events = watch(pair.b)
    pub, old = PubChannel(pair.a, "chat", trioton.OBJECT), SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(4))
    await pub.wait_subscribers()
    await pub.send("old")
    assert await old.receive() == "old"
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    old.close()
    new = SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(4))
    await events.wait_for(trioton.Resumed)
    await pub.wait_subscribers()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_numbers, pub, 100)
            assert [await new.receive() for _ in range(100)] == list(range(100))


async def test_a_subscription_closed_during_a_drop_no_longer_holds_the_sender(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat", trioton.OBJECT), SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(2))
    await pub.wait_subscribers()
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    sub.close()
    with trio.fail_after(10):
        await send_numbers(pub, 100)
    assert pub.subscribers == 0


async def test_a_publisher_replaced_during_a_drop_loses_nothing(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    events = watch(pair.b)
    sub = SubChannel(pair.b, "chat", trioton.OBJECT)
    old = PubChannel(pair.a, "chat", trioton.OBJECT)
    await old.wait_subscribers()
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    await send_numbers(old, 10)
    old.close()
    new = PubChannel(pair.a, "chat", trioton.OBJECT)
    await send_numbers(new, 10)
    with trio.fail_after(10):
        assert [await sub.receive() for _ in range(20)] == [*range(10), *range(10)]
        await pair.a.flush()


async def test_drops_with_a_lost_link_are_counted(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    """A subscription that does not block misses what was on its way, and can tell how much, though nothing follows."""
    events = watch(pair.b)
    pub = PubChannel(pair.a, "chat", trioton.OBJECT)
    sub = SubChannel(pair.b, "chat", trioton.OBJECT, policy=DropOldest(1000))
    await pub.wait_subscribers()
    await pub.send(0)
    assert await sub.receive() == 0
    await send_numbers(pub, 10)
    await trio.sleep(0.005)
    pair.net.cut("a", "b")  # all of it is on its way, and nothing has arrived
    await events.wait_for(trioton.Resumed)
    await trio.sleep(1)
    assert sub.statistics().pending == 0
    assert sub.statistics().dropped == 10
    assert [(gap.source, gap.count) for gap in events.all(trioton.Gap)] == [(pair.a.id, 10)]


@pytest.mark.parametrize("seed", range(6))
async def test_no_silent_gap_over_random_cuts(
    autojump_clock: object, open_pair: OpenPair, seed: int, watch: MakeWatch
) -> None:
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.02), buffer_size=2000)
    policies: list[trioton.Policy] = [DropOldest(20), trioton.DropNewest(20), trioton.Latest()]
    policy = rng.choice(policies)
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        events = watch(pair.b)
        pub = PubChannel(pair.a, "chat", trioton.OBJECT)
        sub = SubChannel(pair.b, "chat", trioton.OBJECT, policy=policy)
        await pub.wait_subscribers()
        nursery.start_soon(send_numbers, pub, 1000, 0.001)
        received: list[int] = []

        async def receive() -> None:
            while True:
                received.append(await sub.receive())
                await trio.sleep(rng.choice([0, 0, 0, 0.02]))

        nursery.start_soon(receive)
        for _ in range(15):
            await trio.sleep(rng.expovariate(15))
            net.cut("a", "b")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert received == sorted(set(received))
    assert len(received) + sub.statistics().dropped == 1000
    assert sum(gap.count for gap in events.all(trioton.Gap)) == sub.statistics().dropped


async def test_waits_grow_until_a_link_has_held(open_pair: OpenPair, watch: MakeWatch) -> None:
    """A server that keeps dropping us is not dialled ever faster; one that has held for `stable` seconds is dialled at once."""
    reconnect = Reconnect(first=1, factor=4, maximum=16, stable=100)
    totals: dict[float, float] = {}
    for pause in (50, 200):
        async with open_pair(Network(seed=1), reconnect=reconnect, limits=Limits(resume_window=1000)) as pair:
            events = watch(pair.b)
            totals[pause] = 0.0
            for number in range(1, 11):
                await trio.sleep(pause)
                start = trio.current_time()
                pair.net.cut("a", "b")
                await events.wait_for(trioton.Resumed, number)
                totals[pause] += trio.current_time() - start
    assert totals[200] <= 10
    assert totals[50] > 30


async def test_no_wait_is_so_long_that_the_session_is_lost(open_pair: OpenPair, watch: MakeWatch) -> None:
    """After so many drops the waits would be half an hour; but who comes back within the window finds its session."""
    async with open_pair(Network(seed=1), reconnect=Reconnect(first=100, factor=100, maximum=2000)) as pair:
        events = watch(pair.b)
        for number in range(1, 11):
            pair.net.cut("a", "b")
            with trio.fail_after(4):
                await events.wait_for(trioton.Resumed, number)


@pytest.mark.parametrize("seed", range(4))
async def test_random_partitions_beyond_the_window_leave_working_sessions(open_pair: OpenPair, seed: int) -> None:
    """Sessions are lost again and again, on one side sooner than on the other; nothing comes twice, and all goes on in the end."""
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.0, 0.05))
    windows = [{"limits": Limits(resume_window=rng.choice([1, 5]))} for _ in range(2)]
    beat = trioton.Heartbeat(interval=0.5, timeout=1, lease=2)
    async with (
        open_pair(net, heartbeat=beat, a_options=windows[0], b_options=windows[1]) as pair,
        trio.open_nursery() as nursery,
    ):
        sent, received = [0] * 3, [[] for _ in range(3)]  # type: ignore[var-annotated]
        policies: list[trioton.Policy] = [Block(3), Block(100), DropOldest(10)]

        async def send(number: int, pub: PubChannel[object]) -> None:
            while True:
                await pub.send(sent[number])
                sent[number] += 1
                await trio.sleep(0.1)

        async def receive(number: int, sub: SubChannel[object]) -> None:
            async for message in sub:
                received[number].append(message)

        for number, policy in enumerate(policies):
            sender, receiver = (pair.a, pair.b) if number else (pair.b, pair.a)
            pub = PubChannel(sender, str(number), trioton.OBJECT)
            nursery.start_soon(receive, number, SubChannel(receiver, str(number), trioton.OBJECT, policy=policy))
            nursery.start_soon(send, number, pub)
        for _ in range(5):
            await trio.sleep(rng.uniform(0, 8))
            net.partition("a", "b", oneway=rng.random() < 0.3)
            await trio.sleep(rng.uniform(0, 15))
            net.heal()
            if rng.random() < 0.3:
                net.cut("a", "b")
        await trio.sleep(40)
        before = [len(messages) for messages in received]
        await trio.sleep(10)
        for number, messages in enumerate(received):
            assert messages == sorted(set(messages))
            assert len(messages) - before[number] >= 90
            assert messages[-1] >= sent[number] - 3
        assert pair.a.statistics().connections == pair.b.statistics().connections == 1
        nursery.cancel_scope.cancel()
