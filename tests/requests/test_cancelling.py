"""Cancelling a request cancels its handler, and the caller goes on when that has cleaned up."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

import trioton
from tests.conftest import Pair
from tests.requests.conftest import Asking
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import DeadError, ReqChannel, RequestCancelled
from trioton.testing import Network


async def test_the_caller_leaves_its_scope_when_the_handler_has_cleaned_up(asking: Asking) -> None:
    with trio.move_on_after(1) as scope:
        await asking.req.clean_up(1, 0.5)
    assert scope.cancelled_caught
    assert asking.rep.ended[1] == 1
    assert trio.current_time() - scope.deadline == pytest.approx(0.52, abs=0.05)


async def test_a_future_that_is_only_waited_for_goes_on(asking: Asking) -> None:
    future = asking.req.work(1, 2)
    with trio.move_on_after(1) as scope:
        await future.wait()
    assert scope.cancelled_caught
    assert future.running()
    assert not future.done()
    assert await future == 1
    with trio.CancelScope() as scope:
        scope.cancel()
        await future.wait()
    assert scope.cancelled_caught, "it is always a checkpoint"


async def test_a_future_is_cancelled_by_hand_and_says_so(asking: Asking) -> None:
    """Yoton's case 45, but that one that runs can be cancelled, too."""
    future = asking.req.clean_up(1, 0.5)
    await trio.sleep(0.1)
    assert future.running()
    assert future.cancel()
    assert future.cancel(), "twice does no harm"
    assert not future.done()
    for _ in range(2):
        with pytest.raises(RequestCancelled, match="the request was cancelled") as caught:
            await future
        assert caught.value.is_clean
    assert asking.rep.ended[1] == 1
    assert future.cancelled()
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    with pytest.raises(RequestCancelled):
        await future.exception()
    assert asking.rep.statistics().cancelled == 1


async def test_who_awaits_a_request_that_another_cancels_hears_so(asking: Asking) -> None:
    future = asking.req.clean_up(1, 0)
    heard = []

    async def wait() -> None:
        with pytest.raises(RequestCancelled):
            await future
        heard.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(0.5)
        with trio.move_on_after(0.5) as scope:
            await future
        assert scope.cancelled_caught
    assert heard == [1, 1]


async def test_two_who_are_cancelled_both_leave_when_all_is_cleaned_up(asking: Asking) -> None:
    future = asking.req.clean_up(1, 0.5)
    left = []

    async def wait(seconds: float) -> None:
        with trio.move_on_after(seconds):
            await future
        left.append((seconds, asking.rep.ended[1]))

    async with trio.open_nursery() as nursery:
        for seconds in (1.0, 1.1, 1.2):
            nursery.start_soon(wait, seconds)
    assert sorted(left) == [(1.0, 1), (1.1, 1), (1.2, 1)]


async def test_a_handler_that_cleans_up_for_too_long_is_left_to_itself(asking: Asking) -> None:
    future = asking.req.clean_up(1, 3)
    await trio.sleep(0.5)
    start = trio.current_time()
    future.cancel()
    with pytest.raises(RequestCancelled, match="the outcome is unknown") as caught:
        await future
    assert trio.current_time() - start == pytest.approx(1)
    assert not caught.value.is_clean
    assert asking.rep.ended[1] == 0
    assert await asking.req.add(1, 2) == 3


async def test_the_grace_is_that_of_the_channel(asking: Asking) -> None:
    async with ReqChannel(asking.here, "math", cancel_grace=5) as patient:
        with trio.move_on_after(1):
            await patient.clean_up(1, 3)
        assert asking.rep.ended[1] == 1
    async with ReqChannel(asking.here, "math", cancel_grace=0) as hasty:
        with trio.move_on_after(1) as scope:
            await hasty.clean_up(2, 3)
        assert trio.current_time() == pytest.approx(scope.deadline)
        assert asking.rep.ended[2] == 0


async def test_a_result_that_crosses_the_cancellation_is_dropped(asking: Asking) -> None:
    future = asking.req.work(1, 0.1)
    await trio.sleep(0.115)  # it has ended there, and the answer is on its way
    assert future.cancel()
    with pytest.raises(RequestCancelled) as caught:
        await future
    assert caught.value.is_clean


async def test_a_request_that_waits_is_cancelled_at_once(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    for future in (req.work(1), req.to(pair.a.id).work(2)):
        assert not future.running()
        assert future.cancel()
        assert future.done()
    check_rest(req)


async def test_a_request_is_cancelled_while_it_is_turned_away(pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        rep = Handlers(pair.a, "math", max_running=1)
        busy, req = ReqChannel(third, "math"), ReqChannel(pair.b, "math")
        await busy.wait_repliers(1)
        await req.wait_repliers(1)
        long = busy.work("long", 10)
        await trio.sleep(0.5)
        for milliseconds in range(40):
            future = req.work("never")
            await trio.sleep(milliseconds / 1000)
            future.cancel()
            with pytest.raises(RequestCancelled) as caught:
                await future
            assert caught.value.is_clean
        assert await long == "long"
        assert await req.work("then") == "then"
        assert set(rep.begun) == {"long", "then"}
        await trio.sleep(1)
        check_rest(req, busy, rep)


@pytest.mark.parametrize("fault", ["partition", "isolate"])
async def test_nobody_waits_for_a_replier_that_is_out_of_reach(pair: Pair, fault: str) -> None:
    rep, req = Handlers(pair.a, "math"), ReqChannel(pair.b, "math")
    future = req.clean_up(1, 0.1)
    await trio.sleep(0.5)
    if fault == "partition":
        pair.net.partition("a", "b")
    else:
        pair.net.isolate("a")
    await trio.sleep(30)
    start = trio.current_time()
    with trio.move_on_after(0) as scope:
        await future
    assert scope.cancelled_caught
    assert trio.current_time() - start < 1.1
    pair.net.heal()
    await trio.sleep(60)
    assert rep.running() == 0
    check_rest(req, rep)


# ------------------------------------------------------------------------------------------------------------- by chance


@pytest.mark.parametrize("seed", range(100))
async def test_a_request_may_be_cancelled_at_any_moment_of_its_life(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """While the link is up, no caller goes on before its handler has cleaned up, and nothing is left of anything."""
    draw = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.03))
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        await c.connect("a:1")
        reps = [
            Handlers(a, "math", max_running=draw.randint(1, 3)),
            Handlers(c, "math", max_running=draw.randint(1, 3)),
        ]
        reqs = [ReqChannel(each, "math") for each in (a, b, c)]

        def check_cleaned(name: object) -> None:
            for rep in reps:
                assert rep.begun[name] == rep.ended[name], name
            assert sum(rep.begun[name] for rep in reps) <= 1

        async def by_scope(req: ReqChannel, name: object) -> None:
            with trio.move_on_after(draw.random() * 0.3):
                await req.clean_up(name, draw.random() * 0.2)
            check_cleaned(name)

        async def by_hand(req: ReqChannel, name: object) -> None:
            future = req.clean_up(name, draw.random() * 0.2)
            await trio.sleep(draw.random() * 0.3)
            future.cancel()
            with pytest.raises(RequestCancelled) as caught:
                await future
            assert caught.value.is_clean
            check_cleaned(name)

        async def with_work(req: ReqChannel, name: object) -> None:
            with trio.move_on_after(draw.random() * 0.3) as scope:
                assert await req.work(name, draw.random() * 0.3) == name
            check_cleaned(name)
            if not scope.cancelled_caught:
                assert sum(rep.begun[name] for rep in reps) == 1

        async def by_stream(req: ReqChannel, name: object) -> None:
            with trio.move_on_after(draw.random() * 0.5):
                async with req.stream("count", draw.randint(0, 200), draw.random() * 0.01) as items:
                    expected = 0
                    async for item in items:
                        assert item == expected
                        expected += 1
                        if draw.random() < 0.05:
                            break

        async def several(req: ReqChannel, who: int) -> None:
            for number in range(5):
                await trio.sleep(draw.random() * 0.2)
                await draw.choice([by_scope, by_hand, with_work, by_stream])(req, (who, number))

        with trio.fail_after(200):
            async with trio.open_nursery() as nursery:
                for who in range(9):
                    nursery.start_soon(several, reqs[who % 3], who)
            await trio.sleep(5)
            check_rest(*reqs, *reps)
            assert all(rep.begun == rep.ended for rep in reps)
            for req in reqs:
                assert await req.add(1, 2) == 3


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_to_the_link_nothing_is_left_and_nothing_runs_twice(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    draw = random.Random(seed)
    net = Network(seed=seed, latency=(0.001, 0.03))
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        await c.connect("a:1")
        reps = [Handlers(a, "math", max_running=2), Handlers(c, "math", max_running=2)]
        reqs = [ReqChannel(each, "math") for each in (b, c)]
        outcomes: dict[object, str] = {}

        async def ask(req: ReqChannel, name: object) -> None:
            await trio.sleep(draw.random() * 30)
            try:
                with trio.move_on_after(draw.choice([0.05, 1, 10, 1000])) as scope:
                    method = draw.choice([req.work, req.clean_up])
                    await method(name, draw.random())
                outcomes[name] = "cancelled" if scope.cancelled_caught else "done"
            except (DeadError, RequestCancelled) as error:
                outcomes[name] = type(error).__name__

        async def read(req: ReqChannel) -> None:
            await trio.sleep(draw.random() * 30)
            try:
                with trio.move_on_after(draw.choice([1, 10, 1000])):
                    async with req.stream("count", 100, 0.01) as items:
                        expected = 0
                        async for item in items:
                            assert item == expected
                            expected += 1
                    assert expected == 100
            except (DeadError, RequestCancelled):
                pass

        async def disturb() -> None:
            for _ in range(8):
                await trio.sleep(draw.random() * 5)
                kind = draw.randrange(4)
                if kind < 2:
                    net.cut("a", draw.choice(["b", "c"]))
                elif kind == 2:
                    with net.cut_ways("a", "b", oneway=draw.random() < 0.3):
                        await trio.sleep(draw.random() * 10)
                else:
                    net.isolate("b")
                    await trio.sleep(draw.choice([1, 5, 70]))
                    net.heal()

        with trio.move_on_after(1500) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disturb)
                for number in range(24):
                    nursery.start_soon(ask, reqs[number % 2], number)
                for number in range(6):
                    nursery.start_soon(read, reqs[number % 2])
        assert not limit.cancelled_caught, "all requests have ended"
        net.heal()
        await trio.sleep(100)
        for rep in reps:
            assert rep.begun == rep.ended
        begun = reps[0].begun + reps[1].begun
        for name, outcome in outcomes.items():
            assert begun[name] <= 1, "nothing runs twice"
            assert outcome != "done" or begun[name] == 1
        check_rest(*reqs, *reps)
        with trio.fail_after(60):
            for req in reqs:
                await req.wait_repliers(1)
                assert await req.add(1, 2) == 3
