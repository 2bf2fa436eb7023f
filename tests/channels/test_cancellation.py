"""Cancelling `send`, `receive` and their kin at every checkpoint: nothing is half done, lost, doubled, or left asleep.

Each scenario is run again and again, and cancelled after its first, second, third, ... step, until it comes to its end uncancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, PubChannel, StateChannel, SubChannel, merge, open_channel
from trioton.network.pace import always_yield
from trioton.testing import Network

T = TypeVar("T")


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope when its task has made so many steps inside it."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.count = 0
        self.scope: trio.CancelScope | None = None
        self.task: trio.lowlevel.Task | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is not None and task is self.task:
            self.count += 1
            if self.count == self.steps:
                self.scope.cancel()

    async def run(self, fn: Callable[[], Awaitable[object]]) -> None:
        """Run something that is cancelled when the time has come."""
        with trio.CancelScope() as scope:
            self.task, self.scope = trio.lowlevel.current_task(), scope
            try:
                await fn()
            finally:
                self.scope = None


@attrs.frozen
class Both:
    a: trioton.Context
    b: trioton.Context


def sweep(scenario: Callable[[Both, CancelAfter], Awaitable[None]]) -> int:
    """Run a scenario once for each step that it can be cancelled at; gives how many there are."""
    steps = 1
    while steps < 400:
        instrument = CancelAfter(steps)

        async def main(instrument: CancelAfter = instrument) -> None:
            net = Network(seed=1, latency=0.01)
            with trio.fail_after(1000):
                async with (
                    trioton.open_context("a", network=net.host("a")) as a,
                    trioton.open_context("b", network=net.host("b")) as b,
                ):
                    await a.bind("a:1")
                    await b.connect("a:1")
                    await a.wait_context("b")
                    await scenario(Both(a, b), instrument)

        trio.run(main, instruments=[instrument], clock=trio.testing.MockClock(autojump_threshold=0))
        if instrument.count < steps:
            return steps - 1
        steps += 1
    raise AssertionError("the scenario does not end")


strictness = pytest.mark.parametrize("strict", [False, True], ids=["budget", "always yield"])


def sweep_under(scenario: Callable[[Both, CancelAfter], Awaitable[None]], *, strict: bool) -> int:
    if strict:
        with always_yield():
            return sweep(scenario)
    return sweep(scenario)


async def take_all(sub: SubChannel[T]) -> list[T]:
    """All that comes within ten seconds."""
    received = []
    with trio.move_on_after(10):
        while True:
            received.append(await sub.receive())
    return received


@strictness
@pytest.mark.parametrize("message_type", [trioton.TEXT, OBJECT], ids=["text", "object"])
@pytest.mark.parametrize("form", ["send", "send_many"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_sending(strict: bool, message_type: trioton.MessageType[str], form: str, size: int) -> None:
    """What statistics say was sent arrives, in order, and nothing else; and others may go on."""
    texts = [str(number) for number in range(20)]

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub = PubChannel(both.a, "n", message_type)
        sub = SubChannel(both.b, "n", message_type, policy=Block(size))
        await pub.wait_subscribers()
        received: list[str] = []

        async def send() -> None:
            if form == "send":
                for text in texts:
                    await pub.send(text)
            else:
                await pub.send_many(texts)

        async def receive() -> None:
            async for text in sub:
                received.append(text)
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await cancel.run(send)
            sent = pub.statistics().sent
            assert pub.statistics().waiting == 0
            with trio.fail_after(10):
                await pub.send("after")
            await trio.sleep(10)
            assert received == [*texts[:sent], "after"]
            with trio.fail_after(10):
                await both.a.flush()
            nursery.cancel_scope.cancel()

    always_finds_room = size == 100 and form == "send" and not strict
    assert sweep_under(scenario, strict=strict) >= (0 if always_finds_room else 1)


@strictness
@pytest.mark.parametrize("form", ["receive", "iterate", "receive_many", "receive_many(2)", "merge"])
def test_receiving(strict: bool, form: str) -> None:
    """What was not given out is still there, for the same task or another one."""

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub, sub = PubChannel(both.a, "n", OBJECT), SubChannel(both.b, "n", OBJECT, policy=Block(7))
        await pub.wait_subscribers()
        received: list[int] = []

        async def receive() -> None:
            if form == "merge":
                async for _, number in merge(sub):
                    received.append(number)
                    if len(received) >= 40:
                        return
            elif form == "iterate":
                async for number in sub:
                    received.append(number)
                    if len(received) >= 40:
                        return
            while len(received) < 40:
                if form == "receive":
                    received.append(await sub.receive())
                else:
                    received.extend(await sub.receive_many(None if form == "receive_many" else 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, range(40))
            await cancel.run(receive)
            assert sub.statistics().waiting == 0
            assert sub.statistics().taken == len(received)
            received += await take_all(sub)
        assert received == list(range(40))
        assert sub.statistics().dropped == 0
        with trio.fail_after(10):
            await pub.send(40)
            assert await sub.receive() == 40

    assert sweep_under(scenario, strict=strict) >= 1


@strictness
def test_one_of_several_that_receive(strict: bool) -> None:
    """A task that is woken for a message and cancelled at once must not keep the message from the others."""

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub, sub = PubChannel(both.a, "n", OBJECT), SubChannel(both.b, "n", OBJECT)
        await pub.wait_subscribers()
        received: list[int] = []

        async def receive() -> None:
            while True:
                received.append(await sub.receive())

        async def cancelled() -> None:
            for _ in range(5):
                received.append(await sub.receive())  # noqa: PERF401  # what came before it is cancelled counts

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel.run, cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(15):
                await pub.send(number)
                await trio.sleep(0.5)
            assert sorted(received) == list(range(15))
            nursery.cancel_scope.cancel()

    assert sweep_under(scenario, strict=strict) >= 2


def test_woken_and_cancelled_in_the_same_pass() -> None:
    """The first in the queue is woken by a message, and cancelled before it runs: the second must get the message."""

    async def main() -> None:
        async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
            pub, sub = PubChannel(context, "n", OBJECT, local=True), SubChannel(context, "n", OBJECT)
            received: list[int] = []
            scopes = [trio.CancelScope() for _ in range(3)]

            async def receive(scope: trio.CancelScope) -> None:
                with scope:
                    received.append(await sub.receive())

            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    for scope in scopes:
                        nursery.start_soon(receive, scope)
                        await trio.testing.wait_all_tasks_blocked()
                    pub.send_nowait(0)
                    scopes[0].cancel()
                    pub.send_nowait(1)
                    scopes[1].cancel()
                    pub.send_nowait(2)
                    await trio.testing.wait_all_tasks_blocked()
                    while sub.pending:
                        sub.receive_nowait()
                        received.append(-1)
                    nursery.cancel_scope.cancel()
            # Woken is given: those that were woken took theirs, though cancelled since; or it still waited for others.
            assert len(received) == 3

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@strictness
def test_one_of_several_that_send(strict: bool) -> None:
    """When the one that waits first is cancelled, the next one is not left asleep, and none overtakes."""

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub, sub = PubChannel(both.a, "n", OBJECT), SubChannel(both.b, "n", OBJECT, policy=Block(1))
        await pub.wait_subscribers()
        done: list[int] = []

        async def send(which: int) -> None:
            for number in range(5):
                await pub.send((which, number))
                done.append(which)

        async with trio.open_nursery() as nursery:

            async def send_cancelled() -> None:
                await send(0)

            nursery.start_soon(cancel.run, send_cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(send, 1)
            await trio.testing.wait_all_tasks_blocked()
            received = await take_all(sub)
        assert [number for which, number in received if which == 1] == list(range(5))
        assert [number for which, number in received if which == 0] == list(range(done.count(0)))

    assert sweep_under(scenario, strict=strict) >= 2


@strictness
def test_waiting_for_subscribers(strict: bool) -> None:
    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub = PubChannel(both.a, "n", OBJECT)

        async def subscribe() -> SubChannel[int]:
            await trio.sleep(0.1)
            return SubChannel(both.b, "n", OBJECT)

        async def wait() -> None:
            await pub.wait_subscribers()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscribe)
            await cancel.run(wait)
        with trio.fail_after(10):
            await pub.wait_subscribers()

    assert sweep_under(scenario, strict=strict) >= 2


@strictness
def test_closing(strict: bool) -> None:
    """Cancelled, the channel is closed all the same, and what was sent still leaves."""

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub, sub = PubChannel(both.a, "n", OBJECT), SubChannel(both.b, "n", OBJECT, policy=Block(5))
        await pub.send_many(range(30))
        other = SubChannel(both.b, "other")
        await cancel.run(pub.aclose)
        assert pub.closed
        await cancel.run(other.aclose)
        assert other.closed
        received = await take_all(sub)
        assert received in ([], list(range(30)))  # all, or none if it was closed before the subscription was known

    assert sweep_under(scenario, strict=strict) >= 1


@strictness
def test_one_to_one_channels(strict: bool) -> None:
    async def scenario(both: Both, cancel: CancelAfter) -> None:
        pub, sub = PubChannel(both.a, "carry", OBJECT), SubChannel(both.b, "carry", OBJECT)
        await pub.wait_subscribers()
        sender, receiver = open_channel(both.a, size=2)
        await pub.send(sender)
        sender.close()
        far = await sub.receive()
        await trio.sleep(1)  # until it knows how much room there is
        received: list[int] = []

        async def receive() -> None:
            received.extend([number async for number in receiver])

        async def send() -> None:
            for number in range(10):
                await far.send(number)

        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await cancel.run(send)
                sent = far.statistics().sent
                await far.aclose()
        assert received == list(range(sent))

    assert sweep_under(scenario, strict=strict) >= 2


def test_what_is_cancelled_beforehand_does_nothing() -> None:
    async def main() -> None:
        async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
            pub, sub = PubChannel(context, "n", local=True), SubChannel(context, "n")
            for _ in range(3):
                await pub.send("x")  # so that the short paths are open
            await trio.testing.wait_all_tasks_blocked()
            assert await sub.receive() == "x"

            async def iterate() -> None:
                async for _ in sub:
                    pass

            actions: list[Callable[[], Awaitable[object]]] = [
                lambda: pub.send("never"),
                lambda: pub.send_many(["never"]),
                sub.receive,
                sub.receive_many,
                iterate,
                lambda: pub.wait_subscribers(0),
                merge(sub).__anext__,
            ]
            for action in actions:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await action()
                assert scope.cancelled_caught
            assert pub.statistics().sent == 3
            assert sub.statistics().taken == 1
            assert sub.receive_all_nowait() == ["x", "x"]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@strictness
def test_all_are_checkpoints(strict: bool) -> None:
    """Each checks for cancellation at every call; and under `always_yield` each lets others run."""

    async def main() -> None:
        async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
            pub, sub = PubChannel(context, "n", local=True), SubChannel(context, "n")
            await pub.send_many(["x"] * 100)
            for _ in range(10):
                if strict:
                    with trio.testing.assert_checkpoints():
                        await pub.send("x")
                    with trio.testing.assert_checkpoints():
                        await sub.receive()
                    with trio.testing.assert_checkpoints():
                        await merge(sub).__anext__()
                with trio.testing.assert_checkpoints():
                    await sub.receive_many(1)
                with trio.testing.assert_checkpoints():
                    await pub.send_many([])
                with trio.testing.assert_checkpoints():
                    await pub.wait_subscribers(0)
            with trio.testing.assert_checkpoints():
                await pub.aclose()
            with trio.testing.assert_checkpoints():
                await sub.aclose()

    if strict:
        with always_yield():
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    else:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@strictness
def test_states(strict: bool) -> None:
    """A value that was sent is sent, what was not given out is still there, and all waits can be begun again."""

    async def scenario(both: Both, cancel: CancelAfter) -> None:
        here, there = StateChannel(both.a, "n", OBJECT), StateChannel(both.b, "n", OBJECT)
        sent = 0
        received: list[int] = []

        async def use() -> None:
            nonlocal sent
            for number in range(1, 6):
                await here.send(number)
                sent = number
                await here.wait_synced()
                await there.wait_value(number)
                received.append(await there.receive())

        await cancel.run(use)
        assert here.value in ({sent, trioton.UNSET} if not sent else {sent})
        with trio.fail_after(10):
            await here.wait_synced()
            assert there.value == here.value
            if sent > len(received):
                received.append(await there.receive())
            assert received == list(range(1, sent + 1))
            await here.send(100)
            assert await there.receive() == 100
        assert here.statistics().waiting == there.statistics().waiting == 0

    assert sweep_under(scenario, strict=strict) >= 10
