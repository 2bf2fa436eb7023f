"""`check_channel` accepts our channels, and those of Trio, and finds what is wrong with some that were broken on purpose."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock

import trioton
from trioton import BINARY, OBJECT, TEXT, Block, PubChannel, SubChannel, open_channel
from trioton.testing import check_channel

if TYPE_CHECKING:
    from tests.conftest import Pair


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("message_type", "make_message"), [(TEXT, str), (BINARY, b"%d".__mod__), (OBJECT, lambda n: n)]
)
async def test_publishing_between_contexts(
    pair: Pair, size: int, message_type: Any, make_message: Callable[[int], Any]
) -> None:
    slots = (f"slot {number}" for number in range(100))

    @asynccontextmanager
    async def make_ends() -> AsyncIterator[tuple[PubChannel[Any], SubChannel[Any]]]:
        slot = next(slots)
        async with (
            PubChannel(pair.a, slot, message_type) as pub,
            SubChannel(pair.b, slot, message_type, policy=Block(size)) as sub,
        ):
            await pub.wait_subscribers()
            yield pub, sub

    await check_channel(make_ends, make_message=make_message, ends_with_sender=False)


async def test_publishing_within_a_context(pair: Pair) -> None:
    async def make_ends() -> tuple[PubChannel[str], SubChannel[str]]:
        await trio.lowlevel.checkpoint()
        return PubChannel(pair.a, "news", local=True), SubChannel(pair.a, "news", policy=Block(50))

    await check_channel(make_ends, ends_with_sender=False)


@pytest.mark.parametrize("size", [1, 256])
async def test_a_pair_at_home(pair: Pair, size: int) -> None:
    async def make_ends() -> tuple[trioton.Sender[Any], trioton.Receiver[Any]]:
        await trio.lowlevel.checkpoint()
        return open_channel(pair.a, size=size)

    await check_channel(make_ends)


@pytest.mark.parametrize("size", [3, 256])
async def test_a_sending_end_that_has_travelled(pair: Pair, size: int) -> None:
    pub, sub = PubChannel(pair.a, "travel", OBJECT), SubChannel(pair.b, "travel", OBJECT)
    await pub.wait_subscribers()

    async def make_ends() -> tuple[trioton.Sender[Any], trioton.Receiver[Any]]:
        sender, receiver = open_channel(pair.a, size=size)
        await pub.send(sender)
        arrived: trioton.Sender[Any] = await sub.receive()
        sender.close()
        await arrived.send("granted")
        assert await receiver.receive() == "granted"
        return arrived, receiver

    await check_channel(make_ends)


@pytest.mark.parametrize("size", [1, 10])
async def test_channels_of_trio(autojump_clock: MockClock, size: int) -> None:
    async def make_ends() -> tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]]:
        await trio.lowlevel.checkpoint()
        return trio.open_memory_channel(size)

    await check_channel(make_ends)


# ---------------------------------------------------------------- broken ones


class Counted(NamedTuple):
    sent: int = 0
    taken: int = 0


class Sending(trio.abc.SendChannel[str]):
    """A sending end without fault; over one of Trio, as are all that follow."""

    def __init__(self, inner: trio.MemorySendChannel[str]) -> None:
        self.inner = inner
        self.sent = 0

    @property
    def data(self) -> deque[str]:
        """What waits in the channel."""
        return self.inner._state.data

    async def send(self, value: str) -> None:
        await self.inner.send(value)
        self.sent += 1

    def send_nowait(self, value: str) -> None:
        self.inner.send_nowait(value)
        self.sent += 1

    async def aclose(self) -> None:
        await self.inner.aclose()

    def statistics(self) -> Counted:
        return Counted(sent=self.sent)


class Receiving(trio.abc.ReceiveChannel[str]):
    """A receiving end without fault."""

    def __init__(self, inner: trio.MemoryReceiveChannel[str]) -> None:
        self.inner = inner
        self.taken = 0

    async def receive(self) -> str:
        message = await self.inner.receive()
        self.taken += 1
        return message

    def receive_nowait(self) -> str:
        message = self.inner.receive_nowait()
        self.taken += 1
        return message

    async def aclose(self) -> None:
        await self.inner.aclose()

    def statistics(self) -> Counted:
        return Counted(taken=self.taken)


class Reorders(Sending):
    async def send(self, value: str) -> None:
        await super().send(value)
        if len(self.data) > 2:
            self.data.rotate()


class SendsTwice(Sending):
    async def send(self, value: str) -> None:
        await super().send(value)
        if value == "7":
            await self.inner.send(value)


class SendsSomethingElse(Sending):
    async def send(self, value: str) -> None:
        await super().send(value if value != "7" else "seven")


class DropsWhereThereIsNoRoom(Sending):
    async def send(self, value: str) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            pass


class NoBackPressure(Sending):
    def __init__(self, inner: trio.MemorySendChannel[str]) -> None:
        super().__init__(inner)
        inner._state.max_buffer_size = float("inf")


class SendNeverWaits(Sending):
    async def send(self, value: str) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.inner.send_nowait(value)
        except trio.WouldBlock:
            self.data.append(value)


class CancelledAndSent(Sending):
    async def send(self, value: str) -> None:
        await super().send(value)
        await trio.lowlevel.checkpoint()


class SendIgnoresCancellation(Sending):
    async def send(self, value: str) -> None:
        with trio.CancelScope(shield=True):
            await super().send(value)


class SendNeverYields(Sending):
    async def send(self, value: str) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            await super().send(value)


class LosesTheLastAtClose(Sending):
    async def aclose(self) -> None:
        if self.data:
            self.data.pop()
        await super().aclose()


class TellsNoEnd(Sending):
    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()


class SendsWhenClosed(Sending):
    async def send(self, value: str) -> None:
        try:
            await super().send(value)
        except trio.ClosedResourceError:
            pass


class CloseSendsWhatWaits(Sending):
    """A message whose `send` fails because the end is closed is sent all the same."""

    async def send(self, value: str) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            try:
                await super().send(value)
            except trio.ClosedResourceError:
                self.data.append(value)
                raise


class CloseOnlyOnce(Sending):
    is_closed = False

    async def aclose(self) -> None:
        if self.is_closed:
            raise RuntimeError("closed twice")
        self.is_closed = True
        await super().aclose()


class ClosesOnlyUncancelled(Sending):
    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        await super().aclose()


class CountsWhatWasRefused(Sending):
    def send_nowait(self, value: str) -> None:
        self.sent += 1
        self.inner.send_nowait(value)


class ForgetsItsCounts(Sending):
    def statistics(self) -> Counted:
        return Counted(sent=self.sent % 4)


class LosesWhenCancelled(Receiving):
    async def receive(self) -> str:
        message = await super().receive()
        await trio.lowlevel.checkpoint()
        return message


class DoublesWhenCancelled(Receiving):
    """Puts back what it has given out."""

    async def receive(self) -> str:
        message = await super().receive()
        if trio.current_effective_deadline() < 0:
            self.inner._state.data.appendleft(message)
        return message


class ReceiveIgnoresCancellation(Receiving):
    async def receive(self) -> str:
        try:
            return self.receive_nowait()
        except trio.WouldBlock:
            return await super().receive()


class ReceiveNeverYields(Receiving):
    async def receive(self) -> str:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return self.receive_nowait()
        except trio.WouldBlock:
            return await super().receive()


class GivesNoneInstead(Receiving):
    def receive_nowait(self) -> str:
        try:
            return super().receive_nowait()
        except trio.WouldBlock:
            return None  # type: ignore[return-value]


class EndsOnlyOnce(Receiving):
    has_ended = False

    async def receive(self) -> str:
        if self.has_ended:
            await trio.sleep_forever()
        try:
            return await super().receive()
        except trio.EndOfChannel:
            self.has_ended = True
            raise


class ClosedIsTheEnd(Receiving):
    async def receive(self) -> str:
        try:
            return await super().receive()
        except trio.ClosedResourceError:
            raise trio.EndOfChannel from None


class CloseWakesNobody(Receiving):
    is_closed = False

    async def receive(self) -> str:
        if self.is_closed:
            raise trio.ClosedResourceError
        return await super().receive()

    def receive_nowait(self) -> str:
        if self.is_closed:
            raise trio.ClosedResourceError
        return super().receive_nowait()

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()


async def check_ends(sending: type[Sending] = Sending, receiving: type[Receiving] = Receiving) -> None:
    async def make_ends() -> tuple[Sending, Receiving]:
        await trio.lowlevel.checkpoint()
        sender, receiver = trio.open_memory_channel[str](10)
        return sending(sender), receiving(receiver)

    await check_channel(make_ends, patience=10)


BROKEN: dict[type[Sending | Receiving], str] = {
    Reorders: "messages arrive in the order in which they were sent, each exactly once: out of order: '9' came where '0' ",
    SendsTwice: "messages arrive in the order in which they were sent, each exactly once: doubled: ['7']",
    SendsSomethingElse: "each exactly once: received without having been sent: ['seven']",
    DropsWhereThereIsNoRoom: "each exactly once: lost: ['",
    NoBackPressure: "there is no back-pressure: 200000 messages were taken that nobody receives",
    SendNeverWaits: "is slow, and goes on when it receives: send() does not wait where send_nowait() finds no room",
    CancelledAndSent: "a send() that is cancelled has sent nothing, and one that returns has sent once: received without",
    SendIgnoresCancellation: "check for cancellation always: send() goes on in a scope that was cancelled",
    LosesTheLastAtClose: "what was sent before the sending end was closed still arrives, and then comes the end: lost: ['9']",
    TellsNoEnd: "and then comes the end: receive() still waits for more",
    SendsWhenClosed: "an end that was closed refuses to be used: send() on a closed end raised nothing",
    CloseSendsWhatWaits: "for room, and does not send its message: receive() gave '10'",
    CloseOnlyOnce: "RuntimeError: closed twice",
    ClosesOnlyUncancelled: "send() after an aclose() that was cancelled raised BrokenResourceError, not Closed",
    CountsWhatWasRefused: "statistics() counts what was done, and its counts never fall: sent grew by 16 instead of 15",
    ForgetsItsCounts: "sent fell from 3 to 0",
    LosesWhenCancelled: "a receive() that is cancelled loses and doubles nothing: lost: ['",
    DoublesWhenCancelled: "a receive() that is cancelled loses and doubles nothing: doubled: ['",
    ReceiveIgnoresCancellation: "receive() goes on in a scope that was cancelled",
    GivesNoneInstead: "receive_nowait() where nothing waits raised nothing, not WouldBlock",
    EndsOnlyOnce: "and then comes the end: something still waits after 10 seconds",
    ClosedIsTheEnd: "receive() on a closed end raised EndOfChannel, not ClosedResourceError",
    CloseWakesNobody: "closing the receiving end wakes a task that receives: something still waits after 10 seconds",
}


async def test_the_base_of_the_broken_ones_is_sound(autojump_clock: MockClock) -> None:
    await check_ends()


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_what_is_broken_is_named(autojump_clock: MockClock, kind: type[Any]) -> None:
    with pytest.raises(AssertionError, match=re.escape(BROKEN[kind])):
        await (check_ends(sending=kind) if issubclass(kind, Sending) else check_ends(receiving=kind))


async def test_ends_that_never_let_others_run_are_named(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="if they never wait: no other task has run while 20000 messages"):
        await check_ends(SendNeverYields, ReceiveNeverYields)


async def test_a_wrong_word_about_the_end_is_named(autojump_clock: MockClock) -> None:
    async def make_ends() -> tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]]:
        await trio.lowlevel.checkpoint()
        return trio.open_memory_channel(5)

    with pytest.raises(
        AssertionError, match=r"receive_nowait\(\) when all was received raised EndOfChannel, not Would"
    ):
        await check_channel(make_ends, ends_with_sender=False)


async def test_patience_must_be_positive(autojump_clock: MockClock) -> None:
    async def make_ends() -> tuple[Sending, Receiving]:
        raise NotImplementedError

    with pytest.raises(ValueError, match="patience must be a positive number of seconds, not 0"):
        await check_channel(make_ends, patience=0)
