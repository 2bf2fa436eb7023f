"""Items of a remote generator: as they come, with back-pressure, and cleaned up before the block is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import trioton
from tests.conftest import OpenPair, Pair
from tests.requests.conftest import Asking
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import DeadError, RepChannel, ReqChannel, RequestCancelled
from trioton.channels.requests.stream import ITEMS


@pytest.mark.parametrize("method", ["count", "count_plainly"])
@pytest.mark.parametrize("number", [0, 1, 10, 1000])
async def test_items_come_in_order_and_end(asking: Asking, method: str, number: int) -> None:
    async with asking.req.stream(method, number) as items:
        assert [item async for item in items] == list(range(number))
        assert [item async for item in items] == []
    assert asking.rep.statistics().succeeded == 1


async def test_an_error_comes_after_the_last_item(asking: Asking) -> None:
    got = []
    with pytest.raises(ValueError, match="that was all"):
        async with asking.req.stream("count_and_fail", 100) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401  # what came before the error counts
    assert got == list(range(100))


async def test_an_error_is_raised_again_to_who_asks_again(asking: Asking) -> None:
    async with asking.req.stream("count_and_fail", 1) as items:
        assert await anext(items) == 0
        for _ in range(2):
            with pytest.raises(ValueError, match="that was all"):
                await anext(items)


@pytest.mark.parametrize("taken", [0, 1, 30])
@pytest.mark.parametrize("pause", [0.0, 0.1])
async def test_who_leaves_early_finds_the_generator_cleaned_up(asking: Asking, taken: int, pause: float) -> None:
    async with asking.req.stream("count", 10_000, pause) as items:
        for expected in range(taken):
            assert await anext(items) == expected
        await trio.sleep(1)
        assert asking.rep.begun["count"] == 1
        assert asking.rep.ended["count"] == 0
    assert asking.rep.ended["count"] == 1


async def test_a_plain_generator_is_closed_too(asking: Asking) -> None:
    async with asking.req.stream("count_plainly", 10_000) as items:
        assert await anext(items) == 0
    assert asking.rep.ended["plain"] == 1


async def test_an_exception_in_the_block_leaves_as_itself_after_the_clean_up(asking: Asking) -> None:
    with pytest.raises(KeyError, match="of the block"):
        async with asking.req.stream("count", 10_000) as items:
            await anext(items)
            raise KeyError("of the block")
    assert asking.rep.ended["count"] == 1


async def test_a_cancelled_block_is_left_after_the_clean_up(asking: Asking) -> None:
    with trio.move_on_after(1) as scope:
        async with asking.req.stream("count", 10_000, 0.3) as items:
            async for _ in items:
                pass
    assert scope.cancelled_caught
    assert asking.rep.ended["count"] == 1
    assert trio.current_time() >= scope.deadline


async def test_a_generator_waits_while_nobody_takes(asking: Asking) -> None:
    async with asking.req.stream("count", 10_000) as items:
        await trio.sleep(10)
        ahead = len(asking.rep.order)
        assert ITEMS <= ahead <= 3 * ITEMS
        for expected in range(1000):
            assert await anext(items) == expected
        await trio.sleep(10)
        assert len(asking.rep.order) <= 1000 + ahead


async def test_one_stream_that_is_not_read_holds_up_no_other(asking: Asking) -> None:
    async with asking.req.stream("count", 10_000) as slow, asking.req.stream("count", 500) as quick:
        await anext(slow)
        with trio.fail_after(30):
            assert [item async for item in quick] == list(range(500))
            assert await asking.req.add(1, 2) == 3
        assert await anext(slow) == 1


@pytest.mark.parametrize("method", ["add", "who", "plain"])
async def test_what_is_no_generator_gives_no_items(asking: Asking, method: str) -> None:
    arguments = {"add": (1, 2), "who": (), "plain": (1,)}[method]
    with pytest.raises(TypeError, match="it gives one value and no items"):
        async with asking.req.stream(method, *arguments) as items:
            await anext(items)


@pytest.mark.parametrize("method", ["count", "count_plainly"])
async def test_a_generator_must_be_asked_for_items(asking: Asking, method: str) -> None:
    with pytest.raises(TypeError, match=r"ask for them with stream\(\)"):
        await getattr(asking.req, method)(3)
    await trio.sleep(1)
    assert asking.rep.begun == asking.rep.ended


async def test_an_unknown_method_gives_no_items(asking: Asking) -> None:
    with pytest.raises(AttributeError, match="has no method 'nothing'"):
        async with asking.req.stream("nothing") as items:
            await anext(items)


async def test_an_iterator_of_any_kind_that_is_returned_is_streamed(pair: Pair) -> None:
    class Numbers:
        def __init__(self, number: int) -> None:
            self.number = number

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            self.number -= 1
            if self.number < 0:
                raise StopAsyncIteration
            return self.number

    class Several:
        def __aiter__(self) -> Numbers:
            return Numbers(2)

    class Target:
        async def iterator(self) -> Numbers:
            return Numbers(3)

        def iterable(self) -> Several:
            return Several()

    RepChannel(pair.a, "x", target=Target(), methods=["iterator", "iterable"])
    req = ReqChannel(pair.b, "x")
    async with req.stream("iterator") as items:
        assert [item async for item in items] == [2, 1, 0]
    async with req.stream("iterable") as items:
        assert [item async for item in items] == [1, 0]


async def test_an_item_that_cannot_be_sent_ends_the_stream_with_an_error(pair: Pair) -> None:
    class Target:
        async def strange(self) -> AsyncIterator[Any]:
            yield 1
            yield object()

    RepChannel(pair.a, "x", target=Target(), methods=["strange"])
    got = []
    with pytest.raises(Exception, match="object"):
        async with ReqChannel(pair.b, "x").stream("strange") as items:
            async for item in items:
                got.append(item)  # noqa: PERF401  # what came before the error counts
    assert got == [1]


async def test_a_stream_is_used_as_a_block_and_once(asking: Asking) -> None:
    items = asking.req.stream("count", 3)
    with pytest.raises(RuntimeError, match="is to be used as: async with"):
        await anext(items)
    async with items:
        with pytest.raises(RuntimeError, match="can be entered only once"):
            await items.__aenter__()
    assert repr(items) == "<ResultStream of 'count' on 'math.obj.req-rep'>"


async def test_the_death_of_a_replier_ends_its_stream_after_what_had_come(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    Handlers(pair.a, "math")
    got = []
    with trio.fail_after(500), pytest.raises(DeadError) as caught:
        async with req.stream("count", 10_000, 0.1) as items:
            async for item in items:
                got.append(item)
                if item == 20:
                    pair.net.kill("a")
    assert got[:21] == list(range(21))
    assert got == list(range(len(got)))
    assert caught.value.context == pair.a.id
    await trio.sleep(1)
    check_rest(req)


async def test_items_that_are_lost_behind_the_reply_are_never_taken_for_the_end(pair: Pair) -> None:
    """The generator has come to its end, and its reply has come; but some items still wait for room there when it dies."""
    for number in range(ITEMS, 5 * ITEMS, 8):
        async with trioton.open_context("c", network=pair.net.host("c")) as third:
            await third.connect("a:1")
            req = ReqChannel(pair.b, "math")
            Handlers(third, "math")
            await req.wait_repliers(1)
            got = []
            try:
                with trio.fail_after(1000):
                    async with req.stream("count", number) as items:
                        got.append(await anext(items))
                        await trio.sleep(5)
                        with trio.CancelScope() as scope:
                            scope.cancel()
                            await third.aclose()
                        pair.net.cut("c", "a")
                        async for item in items:
                            got.append(item)  # noqa: PERF401  # what came before the error counts
            except DeadError:
                assert len(got) < number
            else:
                assert got == list(range(number))
            req.close()


async def test_items_that_are_lost_on_their_way_after_the_reply_has_come_are_missed(asking: Asking) -> None:
    async with asking.req.stream("count", 10) as items:
        assert await anext(items) == 0
        await trio.sleep(1)
        assert items._future is not None
        assert items._future.done()
        items._receiver._subscription.error = DeadError("lost")  # as if its end had never come
        got = []
        with pytest.raises(DeadError, match="lost"):
            async for item in items:
                got.append(item)  # noqa: PERF401  # what came before the error counts


async def test_a_replier_that_closes_ends_its_streams(asking: Asking) -> None:
    with pytest.raises(DeadError, match="the channel that answered was closed"):
        async with asking.req.stream("count", 10_000, 0.1) as items:
            async for item in items:
                if item == 5:
                    asking.rep.close()
    assert asking.rep.ended["count"] == 1


async def test_a_requester_that_closes_ends_its_streams(asking: Asking) -> None:
    with pytest.raises(trio.ClosedResourceError):
        async with asking.req.stream("count", 10_000, 0.1) as items:
            async for item in items:
                if item == 5:
                    asking.req.close()
    await trio.sleep(1)
    assert asking.rep.ended["count"] == 1


async def test_a_stream_waits_for_a_replier_and_may_give_up(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    with trio.move_on_after(5) as scope:
        async with req.stream("count", 3) as items:
            await anext(items)
    assert scope.cancelled_caught
    with trio.move_on_after(20):
        async with req.stream("count", 3) as items:
            await trio.sleep(1)
            Handlers(pair.a, "math")
            assert [item async for item in items] == [0, 1, 2]
    check_rest(req)


async def test_a_deadline_that_passes_at_the_generator_is_told(asking: Asking) -> None:
    async def read() -> None:
        with trio.move_on_after(1):
            async with asking.req.stream("count", 10_000, 0.1) as items:
                with trio.CancelScope(shield=True):
                    async for _ in items:
                        pass

    with pytest.raises(RequestCancelled):
        await read()
    assert asking.rep.ended["count"] == 1


async def test_a_stream_survives_links_that_are_cut(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        req = ReqChannel(pair.b, "math")
        rep = Handlers(pair.a, "math")
        async with req.stream("count", 300, 0.01) as items:
            for expected in range(300):
                assert await anext(items) == expected
                if expected % 50 == 25:
                    pair.net.cut("a", "b")
        await trio.sleep(5)
        check_rest(req, rep)


async def test_a_replier_that_dies_before_the_request_is_sent_hurts_no_stream(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    first = Handlers(pair.a, "math")
    await req.wait_repliers(1)
    first.close()
    async with req.stream("count", 3) as items:
        await trio.sleep(1)
        Handlers(pair.a, "math")
        assert [item async for item in items] == [0, 1, 2]
