"""Work is shared among repliers by their room, and room among requesters in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import DeadError, ReqChannel
from trioton.testing import Network


@attrs.frozen
class Star:
    """Contexts that all know each other through one."""

    net: Network
    contexts: list[trioton.Context]


@asynccontextmanager
async def open_star(count: int, seed: int = 1) -> AsyncIterator[Star]:
    net = Network(seed=seed, latency=(0.001, 0.01))
    async with AsyncExitStack() as stack:
        contexts = [
            await stack.enter_async_context(trioton.open_context(f"c{number}", network=net.host(f"c{number}")))
            for number in range(count)
        ]
        await contexts[0].bind("c0:1")
        for context in contexts[1:]:
            await context.connect("c0:1")
        with trio.fail_after(1000):
            yield Star(net, contexts)


async def test_of_two_repliers_the_faster_one_does_more(autojump_clock: trio.testing.MockClock) -> None:
    async with open_star(3) as star:
        quick, slow = [Handlers(context, "math", max_running=2) for context in star.contexts[1:]]
        work = slow.work

        async def work_slowly(number: object, seconds: float = 0.0) -> object:
            return await work(number, seconds * 10)

        slow.work = work_slowly  # type: ignore[method-assign]
        req = ReqChannel(star.contexts[0], "math")
        await req.wait_repliers(2)
        for future in [req.work(number, 0.1) for number in range(110)]:
            await future
        assert 5 * slow.statistics().succeeded < quick.statistics().succeeded
        assert slow.statistics().succeeded > 5
        assert quick.most == slow.most == 2


@pytest.mark.parametrize("seed", range(5))
async def test_many_requesters_never_overload_a_replier_and_all_get_their_turn(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_star(7, seed) as star:
        reps = [Handlers(star.contexts[0], "math", max_running=2), Handlers(star.contexts[1], "math", max_running=3)]
        reqs = [ReqChannel(context, "math") for context in star.contexts[2:]]
        done: Counter[int] = Counter()
        share: Counter[int] = Counter()

        async def ask(number: int, req: ReqChannel) -> None:
            await req.wait_repliers(2)
            futures = [req.work((number, each), 0.05) for each in range(40)]
            for future in futures:
                await future
                done[number] += 1
                if done.total() == 100:
                    share.update(done)

        async with trio.open_nursery() as nursery:
            for number, req in enumerate(reqs):
                nursery.start_soon(ask, number, req)
        assert [rep.most for rep in reps] == [2, 3]
        assert sum(rep.begun.total() for rep in reps) == 200
        assert len(set(reps[0].begun) | set(reps[1].begun)) == 200
        assert min(share[number] for number in range(5)) >= 8, "nobody starves"
        await trio.sleep(1)
        check_rest(*reqs, *reps)


async def test_one_of_five_requesters_that_asks_for_little_does_not_wait_for_the_greedy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_star(6) as star:
        rep = Handlers(star.contexts[0], "math", max_running=1)
        reqs = [ReqChannel(context, "math") for context in star.contexts[1:]]
        for req in reqs:
            await req.wait_repliers(1)
        greedy = [req.work(number, 0.1) for number in range(50) for req in reqs[:4]]
        await trio.sleep(1)
        start = trio.current_time()
        await reqs[4].work("modest", 0.1)
        assert trio.current_time() - start < 2
        for future in greedy:
            future.cancel()
        await trio.sleep(3)
        check_rest(*reqs, rep)


async def test_requests_to_a_single_replier_run_in_the_order_in_which_they_were_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_star(4) as star:
        rep = Handlers(star.contexts[0], "math", max_running=1)
        reqs = [ReqChannel(context, "math") for context in star.contexts[1:]]
        for req in reqs:
            await req.wait_repliers(1)
        futures = [req.work((name, number), 0.01) for number in range(30) for name, req in enumerate(reqs)]
        for future in futures:
            await future
        assert rep.most == 1
        for name in range(3):
            numbers = [each[1] for each in rep.order if each[0] == name]  # type: ignore[index]
            assert numbers == list(range(30))


async def test_a_request_that_a_full_replier_turns_away_goes_to_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_star(4) as star:
        full = Handlers(star.contexts[0], "math", max_running=1)
        first, second = [ReqChannel(context, "math") for context in star.contexts[1:3]]
        await first.wait_repliers(1)
        await second.wait_repliers(1)
        long = first.work("long", 100)
        await trio.sleep(0.5)
        waiting = second.work("waiting", 0.1)
        await trio.sleep(0.5)
        assert not waiting.done()
        other = Handlers(star.contexts[3], "math", max_running=1)
        assert await waiting == "waiting"
        assert waiting.replier == star.contexts[3].id
        assert full.begun == {"long": 1}
        assert other.begun == {"waiting": 1}
        long.cancel()
        await trio.sleep(1)
        check_rest(first, second, full, other)


async def test_a_replier_that_joins_later_takes_requests_that_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with open_star(4) as star:
        req = ReqChannel(star.contexts[1], "math")
        futures = [req.work(number, 1) for number in range(40)]
        await trio.sleep(1)
        first = Handlers(star.contexts[2], "math", max_running=4)
        await trio.sleep(3)
        second = Handlers(star.contexts[3], "math", max_running=4)
        start = trio.current_time()
        for future in futures:
            await future
        assert trio.current_time() - start < 6
        assert min(first.begun.total(), second.begun.total()) > 10
        check_rest(req, first, second)


@pytest.mark.parametrize("politely", [False, True])
async def test_repliers_that_come_and_go_run_each_request_at_most_once(
    politely: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_star(4) as star:
        req = ReqChannel(star.contexts[1], "math")
        futures = {number: req.work(number, 0.05) for number in range(300)}
        begun: Counter[object] = Counter()
        for turn in range(30):
            rep = Handlers(star.contexts[2 + turn % 2], "math", max_running=6)
            await trio.sleep(0.07 + turn / 1000)
            if politely:
                await rep.aclose()
            else:
                rep.close()
            begun.update(rep.begun)
        last = Handlers(star.contexts[2], "math")
        for number, future in futures.items():
            error = await future.exception()
            if error is not None:
                assert not politely
                assert isinstance(error, DeadError)
                assert error.started is True
                assert begun[number] <= 1
        begun.update(last.begun)
        assert set(begun.values()) == {1}
        await trio.sleep(1)
        check_rest(req, last)


async def test_far_more_requests_than_the_window_are_on_their_way_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_star(2) as star:
        rep = Handlers(star.contexts[0], "math", max_running=10_000)
        req = ReqChannel(star.contexts[1], "math")
        await req.wait_repliers(1)
        futures = [req.work(number, 100) for number in range(5_000)]
        await trio.sleep(50)
        assert rep.running() == 5_000, "none waits for the answer to another"
        for number, future in enumerate(futures):
            assert await future == number
        check_rest(req, rep)


async def test_large_requests_do_not_wait_for_answers_either(autojump_clock: trio.testing.MockClock) -> None:
    async with open_star(2) as star:
        rep = Handlers(star.contexts[0], "math", max_running=100)
        req = ReqChannel(star.contexts[1], "math")
        await req.wait_repliers(1)
        large = "x" * 1_000_000
        futures = [req.work((number, large), 100) for number in range(30)]
        await trio.sleep(50)
        assert rep.running() == 30
        for future in futures:
            future.cancel()
        await trio.sleep(5)
        check_rest(req, rep)


async def test_many_that_wait_are_cancelled_without_much_ado(autojump_clock: trio.testing.MockClock) -> None:
    async with open_star(2) as star:
        req = ReqChannel(star.contexts[1], "math")
        futures = [req.work(number) for number in range(10_000)]
        for future in reversed(futures):
            assert future.cancel()
        assert all(future.cancelled() for future in futures)
        check_rest(req)


@pytest.mark.parametrize("size", [0, 1_000, 1_000_000])
async def test_a_context_that_asks_itself_may_ask_for_much(size: int, autojump_clock: trio.testing.MockClock) -> None:
    async with trioton.open_context("alone", network=Network(seed=1).host("alone")) as alone:
        rep = Handlers(alone, "math", max_running=5_000)
        req = ReqChannel(alone, "math", local=True)
        await req.wait_repliers(1)
        value = "x" * size
        with trio.fail_after(10):
            futures = [req.give((number, value)) for number in range(3_000 if size < 10_000 else 10)]
            for number, future in enumerate(futures):
                assert await future == (number, value)
            later = [req.work((number, value), 1) for number in range(10)]
            for number, future in enumerate(later):
                assert await future == (number, value)
        check_rest(req, rep)


async def test_handlers_may_ask_on(autojump_clock: trio.testing.MockClock) -> None:
    """A request goes around in a ring of contexts, and is cancelled all around."""
    async with open_star(3) as star:
        reqs = [ReqChannel(context, f"s{number}", local=True) for number, context in enumerate(star.contexts)]
        ended: list[int] = []

        class Next:
            def __init__(self, number: int) -> None:
                self.number = number

            async def go(self, steps: int) -> int:
                try:
                    if steps == 0:
                        await trio.sleep(1)
                        return self.number
                    return int(await reqs[self.number].go(steps - 1))
                finally:
                    ended.append(steps)

        for number, context in enumerate(star.contexts):
            trioton.RepChannel(context, f"s{(number - 1) % 3}", target=Next(number), methods=["go"])
        assert await reqs[0].go(7) == 2
        ended.clear()
        with trio.move_on_after(0.9):
            await reqs[0].go(7)
        assert ended == list(range(8)), "the innermost first"
