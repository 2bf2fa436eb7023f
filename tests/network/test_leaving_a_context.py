"""Leaving the block of a context: exceptions leave as themselves, tasks are cancelled first, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import DropOldest, PubChannel, SubChannel
from trioton.testing import Network, leak_check

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair


# ---------------- exceptions


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of the block"),
        KeyboardInterrupt(),
        ExceptionGroup("of the block", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_of_the_block_leaves_as_itself(autojump_clock: object, error: BaseException) -> None:
    """Also a group, that of a nursery, say. Nothing is wrapped around it or stands behind it, so a traceback shows it once."""
    net = Network(seed=3)
    with pytest.raises(type(error)) as caught:
        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
        ):
            await a.bind("a:1")
            a.start_soon(trio.sleep_forever)
            b.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error
    assert error.__context__ is error.__cause__ is None


async def test_a_failing_nursery_in_the_block(autojump_clock: object, open_pair: OpenPair) -> None:
    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.raises(ExceptionGroup) as caught:
        async with open_pair(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()
    [inner] = caught.value.exceptions
    assert isinstance(inner, KeyError)


async def test_the_error_of_a_task_is_in_one_group(autojump_clock: object) -> None:
    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.raises(ExceptionGroup) as caught:
        async with trioton.open_context("a", network=Network(seed=3).host("a")) as a:
            a.start_soon(fail)
            await trio.sleep_forever()
    [error] = caught.value.exceptions
    assert type(error) is KeyError


async def test_block_and_task_fail_both(autojump_clock: object) -> None:
    net = Network(seed=3)

    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        async with trioton.open_context("a", network=net.host("a")) as a:
            a.start_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("of the block")


# ---------------- tasks


async def test_tasks_of_the_context_are_cancelled_first(autojump_clock: object, open_pair: OpenPair) -> None:
    seen = []

    async def work(context: trioton.Context) -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append(context.name)

    async with open_pair() as pair:
        pair.a.start_soon(work, pair.a)
        pair.b.start_soon(work, pair.b)
        await trio.testing.wait_all_tasks_blocked()
        await pair.a.aclose()
        assert seen == ["a"]
    assert seen == ["a", "b"]


async def test_a_task_of_the_context_may_close_it(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        pair.b.start_soon(pair.b.aclose)
        with trio.fail_after(1):
            await pair.to_a.wait_closed()
        await trio.sleep(1)


async def test_leaving_leaves_no_task(autojump_clock: object, open_pair: OpenPair) -> None:
    async with leak_check(), open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=DropOldest(3))
        await pub.wait_subscribers()
        await pub.send("x")
        assert await sub.receive() == "x"
        pair.a.start_soon(trio.sleep_forever)
        pair.net.cut("a", "b")


@pytest.mark.parametrize("state", ["suspended", "connecting", "dialling", "silent"])
async def test_leaving_leaves_no_task_in_any_state(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch, state: str
) -> None:
    async with leak_check(), open_pair() as pair:
        events = watch(pair.b)
        if state == "dialling":
            pair.b.start_soon(lambda: pair.b.connect("a:99", wait=True))
        elif state == "connecting":
            pair.net.partition("a", "b")
            pair.b.start_soon(lambda: pair.b.connect("a:1"))
        else:
            pair.net.partition("a", "b")
            if state == "suspended":
                pair.net.cut("a", "b")
                await events.wait_for(trioton.Suspended)
            else:
                await events.wait_for(trioton.TimedOut)
        await trio.sleep(0.1)


# ---------------- tasks that wait


WAITS: dict[str, Callable[[trioton.Context, PubChannel[object], SubChannel[object]], Awaitable[object]]] = {
    "send": lambda a, pub, sub: pub.send_many(range(100)),
    "wait_subscribers": lambda a, pub, sub: pub.wait_subscribers(5),
    "receive": lambda a, pub, sub: sub.receive(),
    "wait_context": lambda a, pub, sub: a.wait_context("nobody"),
    "connect": lambda a, pub, sub: a.connect("nobody:1", wait=True),
    "flush": lambda a, pub, sub: a.flush(),
}  # fmt: skip


@pytest.mark.parametrize("closes", [False, True], ids=["left", "closed"])
@pytest.mark.parametrize("wait", WAITS)
async def test_a_task_of_the_context_that_waits_is_cancelled_and_one_of_another_is_told(
    autojump_clock: object, wait: str, closes: bool
) -> None:
    """Whoever started it with the context need not catch anything; others hear that it was closed under them."""
    net, ended = Network(seed=3, latency=0.01), dict[str, str]()

    async def run(name: str, a: trioton.Context, pub: PubChannel[object], sub: SubChannel[object]) -> None:
        ended[name] = "not at all"
        try:
            await WAITS[wait](a, pub, sub)
        except trio.Cancelled:
            ended[name] = "Cancelled"
            raise
        except (trio.ClosedResourceError, trio.EndOfChannel) as error:
            ended[name] = type(error).__name__

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, trioton.open_context("b", network=net.host("b")) as b:
            await b.bind("b:1")
            SubChannel(b, "full", trioton.OBJECT, policy=trioton.Block(1))
            async with trioton.open_context("a", network=net.host("a"), grace=1) as a:
                await a.connect("b:1")
                pub, sub = PubChannel[object](a, "full", trioton.OBJECT), SubChannel[object](a, "empty", trioton.OBJECT)
                await pub.wait_subscribers()
                await pub.send("takes all the room")
                a.start_soon(run, "own", a, pub, sub)
                nursery.start_soon(run, "other", a, pub, sub)
                await trio.sleep(3)
                assert ended == {"own": "not at all", "other": "not at all"}
                if closes:
                    await a.aclose()
    assert ended == {"own": "Cancelled", "other": "EndOfChannel" if wait == "receive" else "ClosedResourceError"}
