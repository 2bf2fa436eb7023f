"""How requests end that nobody answers: channels close, contexts close and die, patience ends."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

import trioton
from tests.conftest import OpenPair, Pair
from tests.requests.conftest import Asking
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import DeadError, NoReplierError, RepChannel, ReqChannel, RequestCancelled
from trioton.testing import Network

# ---------------------------------------------------------------------------------------------------- the replier closes


async def test_a_replier_that_closes_stops_what_it_runs(asking: Asking) -> None:
    future = asking.req.clean_up(1, 0.5)
    await trio.sleep(0.1)
    asking.rep.close()
    asking.rep.close()
    assert asking.rep.closed
    with pytest.raises(DeadError, match="the channel that answered was closed") as caught:
        await future
    assert caught.value.started is True
    assert caught.value.context == asking.there.id
    assert asking.rep.ended[1] == 1


async def test_a_replier_that_is_closed_politely_ends_what_it_runs_first(asking: Asking) -> None:
    future = asking.req.work(1, 0.5)
    await trio.sleep(0.1)
    await asking.rep.aclose()
    assert asking.rep.statistics().running == 0
    assert await future == 1


async def test_politeness_ends_after_the_grace_of_the_context(open_pair: OpenPair) -> None:
    async with open_pair(grace=2) as pair:
        req = ReqChannel(pair.b, "math")
        async with Handlers(pair.a, "math") as rep:
            future = req.work(1, 100)
            await trio.sleep(0.1)
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(2)
        with pytest.raises(DeadError):
            await future
        assert rep.ended[1] == 1


async def test_what_was_not_started_when_a_replier_closes_goes_to_another(pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        req = ReqChannel(pair.b, "math")
        first = Handlers(pair.a, "math", max_running=50)
        await req.wait_repliers(1)
        futures = [req.work(number, 1) for number in range(100)]
        first.close()  # while fifty requests are on their way
        second = Handlers(third, "math")
        for number, future in enumerate(futures):
            assert await future == number
        assert first.begun == {}
        assert second.begun == dict.fromkeys(range(100), 1)
        check_rest(req, first, second)


async def test_a_channel_that_follows_at_once_takes_what_is_on_its_way(asking: Asking) -> None:
    futures = [asking.req.work(number) for number in range(200)]
    for _ in range(5):
        asking.rep.close()
        latest = Handlers(asking.there, "math")
        await trio.sleep(0.004)
        asking.rep.close()
    with trio.fail_after(30):
        for future in futures:
            error = await future.exception()
            assert error is None or isinstance(error, DeadError)
        assert await asking.req.work("at last") == "at last"
    latest.close()


async def test_after_a_long_time_without_channels_or_requests_nothing_is_left(asking: Asking) -> None:
    assert await asking.req.add(1, 2) == 3
    asking.rep.close()
    await trio.sleep(100)
    assert asking.there._shared["services"] == {}
    rep = Handlers(asking.there, "math")
    assert await asking.req.add(1, 2) == 3
    rep.close()
    rep = Handlers(asking.there, "math")
    assert await asking.req.add(1, 2) == 3
    await trio.sleep(100)
    assert await asking.req.add(1, 2) == 3


# -------------------------------------------------------------------------------------------------- the requester closes


async def test_a_requester_that_closes_cancels_its_requests(asking: Asking) -> None:
    running = asking.req.clean_up(1, 0)
    waiting = asking.req.to(asking.there.id).clean_up(2, 0)
    await trio.sleep(0.1)
    asking.req.close()
    asking.req.close()
    for future in (running, waiting):
        with pytest.raises(trio.ClosedResourceError, match="was closed"):
            await future
    await trio.sleep(0.1)
    assert asking.rep.ended == {1: 1, 2: 1}
    assert asking.req.closed
    for call in (lambda: asking.req.add(1, 2), lambda: asking.req.stream("count", 1)):
        with pytest.raises(trio.ClosedResourceError, match="was closed"):
            call()
    with pytest.raises(trio.ClosedResourceError):
        await asking.req.call("add", 1, 2)
    with pytest.raises(trio.ClosedResourceError):
        await asking.req.wait_repliers(0)


async def test_a_requester_that_is_closed_politely_waits_for_the_clean_up(asking: Asking) -> None:
    async with ReqChannel(asking.here, "math") as req:
        future = req.clean_up(1, 0.5)
        await trio.sleep(0.1)
    assert asking.rep.ended[1] == 1
    assert future.cancelled()


async def test_who_waits_on_a_channel_hears_that_it_is_closed(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math", max_pending=1)
    heard: list[str] = []

    async def expect_closed(name: str, wait: object) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait  # type: ignore[misc]
        heard.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, "request", req.add(1, 2).result())
        nursery.start_soon(expect_closed, "repliers", req.wait_repliers(3))
        nursery.start_soon(expect_closed, "room", req.call("add", 1, 2))
        await trio.testing.wait_all_tasks_blocked()
        req.close()
    assert sorted(heard) == ["repliers", "request", "room"]


async def test_who_waits_on_a_channel_hears_that_the_context_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    net = Network(seed=1)
    heard: list[str] = []

    async def expect_closed(name: str, wait: object) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait  # type: ignore[misc]
        heard.append(name)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with (
                trioton.open_context("a", network=net.host("a")) as a,
                trioton.open_context("b", network=net.host("b")) as b,
            ):
                await a.bind("a:1")
                await b.connect("a:1")
                req = ReqChannel(b, "math", max_pending=3)
                nursery.start_soon(expect_closed, "waiting", req.work(1).result())
                nursery.start_soon(expect_closed, "directed", req.to(a.id).work(2).result())
                await trio.testing.wait_all_tasks_blocked()
                other = ReqChannel(b, "other")
                Handlers(a, "other")
                await other.wait_repliers(1)
                nursery.start_soon(expect_closed, "running", other.work(3, 100).result())
                nursery.start_soon(expect_closed, "repliers", req.wait_repliers(3))
                third = req.add(1, 2)
                nursery.start_soon(expect_closed, "room", req.call("add", 1, 2))
                await trio.sleep(1)
                await b.aclose()
                with pytest.raises(trio.ClosedResourceError):
                    await third
                with pytest.raises(trio.ClosedResourceError):
                    req.add(1, 2)
    assert sorted(heard) == ["directed", "repliers", "room", "running", "waiting"]


async def test_an_answer_to_a_closed_channel_is_not_taken_for_that_to_the_next(pair: Pair) -> None:
    rep = Handlers(pair.a, "math")
    for delay in range(40):
        first = ReqChannel(pair.b, "math")
        old = first.work("old", 0.01)
        await trio.sleep(delay / 1000)
        first.close()
        second = ReqChannel(pair.b, "math")
        assert await second.work("new") == "new"
        second.close()
        with suppress(trio.ClosedResourceError):
            await old
    await trio.sleep(1)
    check_rest(rep)


# ------------------------------------------------------------------------------------------------------ contexts are gone


async def test_a_replier_that_dies_is_named_and_nothing_is_claimed_that_nobody_knows(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    Handlers(pair.a, "math")
    started = req.work(1, 100)
    await trio.sleep(1)
    late = req.work(2, 100)
    pair.net.kill("a")
    for future, possible in ((started, (True, None)), (late, (None,))):
        with trio.fail_after(100), pytest.raises(DeadError) as caught:
            await future
        assert caught.value.context == pair.a.id
        assert caught.value.started in possible
    await trio.sleep(1)
    check_rest(req)


async def test_handlers_of_a_requester_that_is_gone_are_cancelled(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    rep = Handlers(pair.a, "math")
    for number in range(5):
        req.clean_up(number, 0.1)
    await trio.sleep(1)
    assert rep.running() == 5
    await pair.b.aclose()
    await trio.sleep(1)
    assert rep.running() == 0
    check_rest(rep)


async def test_handlers_of_a_requester_that_has_died_are_cancelled(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    rep = Handlers(pair.a, "math", max_running=3)
    for number in range(5):
        req.clean_up(number, 0.1)
    await trio.sleep(1)
    assert rep.running() == 3
    pair.net.kill("b")
    await trio.sleep(200)
    assert rep.running() == 0
    assert set(rep.begun) == {0, 1, 2}
    check_rest(rep)


async def test_answers_that_wait_for_a_requester_that_has_died_are_given_up(pair: Pair) -> None:
    """More answers than there is room for wait for a link that does not come back."""
    req = ReqChannel(pair.b, "math")
    rep = Handlers(pair.a, "math", max_running=3000)
    for number in range(3000):
        req.work(number, 1)
    await trio.sleep(0.5)
    assert rep.running() > 2000
    pair.net.isolate("b")
    await trio.sleep(200)
    assert rep.running() == 0
    check_rest(rep)


# --------------------------------------------------------------------------------------------------------------- patience


async def test_patience_also_ends_for_a_request_that_was_turned_away(pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        rep = Handlers(pair.a, "math", max_running=1)
        busy = ReqChannel(third, "math")
        await busy.wait_repliers(1)
        long = busy.work("long", 100)
        await trio.sleep(1)
        req = ReqChannel(pair.b, "math", patience=3)
        await req.wait_repliers(1)
        start = trio.current_time()
        with trio.fail_after(50), pytest.raises(NoReplierError, match="within 3 s"):
            await req.work("never")
        assert trio.current_time() - start == pytest.approx(3)
        long.cancel()
        await trio.sleep(5)
        assert await req.work("but this") == "but this"
        assert "never" not in rep.begun
        check_rest(req, busy, rep)


async def test_patience_is_for_each_request_by_itself(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math", patience=2)
    rep = Handlers(pair.a, "math", max_running=1)
    await req.wait_repliers(1)
    running = req.work("running", 5)
    ends: dict[str, float] = {}

    async def ask(name: str) -> None:
        with pytest.raises(NoReplierError):
            await req.work(name)
        ends[name] = trio.current_time() - start

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(ask, name)
            await trio.sleep(0.5)
    assert ends == {"a": pytest.approx(2), "b": pytest.approx(2.5), "c": pytest.approx(3)}
    assert await running == "running"
    assert set(rep.begun) == {"running"}


# ------------------------------------------------------------------------------------------------------------- deadlines


async def test_a_deadline_travels_with_the_request(asking: Asking) -> None:
    """The replier stops by itself when it has passed, though it cannot be told."""
    with trio.move_on_after(1) as scope:
        future = asking.req.clean_up(1, 0)
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # the request must be awaited in another task
            nursery.start_soon(future.result)
    assert scope.cancelled_caught
    future = asking.req.clean_up(2, 0)

    async def wait() -> None:
        with trio.move_on_after(1):
            await asking.req.clean_up(3, 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.5)
        asking.net.partition("a", "b")
        await trio.sleep(0.6)
        assert asking.rep.ended[3] == 1
        assert asking.rep.ended[2] == 0
    asking.net.heal()
    await trio.sleep(20)
    future.cancel()
    await future.wait()


async def test_a_deadline_at_the_replier_is_told_to_others_who_wait(asking: Asking) -> None:
    futures: list[trioton.Future[None]] = []

    async def ask() -> None:
        with trio.move_on_after(1):
            future = asking.req.clean_up(1, 0)
            futures.append(future)
            await future

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.5)
        with pytest.raises(RequestCancelled):
            await futures[0]
    assert asking.rep.ended[1] == 1


async def test_a_request_in_a_scope_that_is_cancelled_already_is_not_made(asking: Asking) -> None:
    for deadline in (-1.0, 5.0):
        with trio.CancelScope(deadline=trio.current_time() + deadline) as scope:
            scope.cancel()
            await asking.req.work("never")
        assert scope.cancelled_caught
        await trio.sleep(1)
        with trio.CancelScope(deadline=trio.current_time() + deadline) as scope:
            scope.cancel()
            await asking.req.call("work", "never")
        await trio.sleep(1)
    assert asking.rep.begun["never"] == 0


async def test_requests_go_in_the_order_in_which_they_were_made_whatever_their_deadlines(pair: Pair) -> None:
    rep, req = Handlers(pair.a, "math", max_running=1), ReqChannel(pair.b, "math")
    await req.wait_repliers(1)
    first = req.work("first")
    with trio.move_on_after(5):
        second = req.work("second")
        third = req.work("third")
        assert await third == "third"
    assert await first == "first"
    assert await second == "second"
    assert rep.order == ["first", "second", "third"]


async def test_a_request_that_nobody_awaits_starts_in_a_scope_with_a_deadline_too(asking: Asking) -> None:
    with trio.fail_after(5):
        future = asking.req.work("alone")
        await trio.sleep(1)
        assert future.done()
        other = asking.req.work("waited for")
        await other.wait()
        assert other.done()


async def test_a_local_replier_channel_can_be_closed_by_its_own_handler(pair: Pair) -> None:
    class Once(RepChannel):
        async def once(self) -> str:
            self.close()
            return "done"

        async def slowly(self) -> str:
            self.close()
            await trio.sleep(1)
            return "done"

    req = ReqChannel(pair.b, "x")
    Once(pair.a, "x")
    assert await req.once() == "done"
    await trio.sleep(1)
    Once(pair.a, "x")
    assert await req.slowly() == "done", "its own request goes on"
    await trio.sleep(1)
    check_rest(req)


@pytest.mark.parametrize("dies", [False, True], ids=["closed", "cancelled"])
async def test_channels_may_be_closed_after_their_context(dies: bool, autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)
    ended: list[object] = []
    async with trioton.open_context("a", network=net.host("a")) as a:
        await a.bind("a:1")
        with trio.CancelScope() as scope:
            async with trioton.open_context("b", network=net.host("b")) as b:
                await b.connect("a:1")
                rep, req = Handlers(b, "here", max_running=1), ReqChannel(b, "there", patience=50)
                there, asker = Handlers(a, "there", max_running=1), ReqChannel(a, "here")
                await req.wait_repliers(1)
                await asker.wait_repliers(1)
                futures = [req.clean_up(number, 0) for number in range(3)]
                asked = [asker.clean_up(number, 0) for number in range(3)]
                for future in futures:
                    future.add_done_callback(ended.append)
                await trio.sleep(1)
                if dies:
                    scope.cancel()
        assert ended == futures
        for end in (rep, req):
            end.close()
            end.close()
            with trio.CancelScope() as late:
                await end.aclose()
            assert end.closed
            assert not late.cancel_called
        for future in futures:
            assert isinstance(await future.exception(), trio.ClosedResourceError)
            assert not future.cancel()
        with trio.fail_after(100):
            error = await asked[0].exception()
        assert isinstance(error, DeadError)
        for future in asked[1:]:
            future.cancel()
        await trio.sleep(5)
        assert there.running() == 0
        assert rep.begun == rep.ended
        check_rest(asker, there)
        for make in (lambda: ReqChannel(b, "x"), lambda: Handlers(b, "x")):
            with pytest.raises(trio.ClosedResourceError):
                make()
