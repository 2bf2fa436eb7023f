"""`check_transport` accepts our simulated transport, and finds what is wrong with transports that were broken on purpose.

The others of ours are checked in ``tests/transports/test_contract.py``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock

from trioton.testing import check_transport
from trioton.testing.contracts import transports
from trioton.testing.quality import Chunk, Latency
from trioton.transports.base import Buffer
from trioton.transports.memory import MemoryTransport, _Pipe

from .simulated_ends import make_makers


@pytest.mark.parametrize(
    ("latency", "chunk", "buffer_size"),
    [
        (0.0, None, 256 * 1024),
        (0.05, None, 1000),
        (0.0, (300, 1500), 256 * 1024),
        ((0.001, 0.2), (700, 700), 1000),
    ],
)
async def test_simulated_transports_keep_the_contract(
    autojump_clock: MockClock, latency: Latency, chunk: Chunk | None, buffer_size: int
) -> None:
    make, make_clogged = make_makers(latency, chunk, buffer_size)
    await check_transport(make, make_clogged, patience=100_000)


# ---------------------------------------------------------------- broken ones

Make = Callable[[], Awaitable[tuple[MemoryTransport, MemoryTransport]]]


def makers_of(kind: type[MemoryTransport], capacity: int = 64 * 1024) -> tuple[Make, Make]:
    async def make() -> tuple[MemoryTransport, MemoryTransport]:
        await trio.lowlevel.checkpoint()
        there, back = _Pipe(capacity), _Pipe(capacity)
        left = kind(there, back, local_address="mem://left", remote_address="mem://right")
        return left, kind(back, there, local_address="mem://right", remote_address="mem://left")

    async def make_clogged() -> tuple[MemoryTransport, MemoryTransport]:
        pair = await make()
        for end in pair:
            end._outgoing.put(memoryview(bytes(capacity)))
        return pair

    return make, make_clogged


class Sound(MemoryTransport):
    """What the others are made of has no fault of its own."""


class Nameless(MemoryTransport):
    kind = ""


class NoAddress(MemoryTransport):
    def __init__(self, outgoing: _Pipe, incoming: _Pipe, *, local_address: str, remote_address: str) -> None:
        super().__init__(outgoing, incoming, local_address=local_address, remote_address=remote_address)
        del self.remote_address


class WrongUser(MemoryTransport):
    def __init__(self, outgoing: _Pipe, incoming: _Pipe, *, local_address: str, remote_address: str) -> None:
        super().__init__(outgoing, incoming, local_address=local_address, remote_address=remote_address)
        self.peer_uid = "root"  # type: ignore[assignment]


class NoCheckpoint(MemoryTransport):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._incoming.data and not self._closed and not self._receiving and max_bytes == 1:
            return self._incoming.take(1)
        return await super().receive_some(max_bytes)


class FillsWrongly(MemoryTransport):
    """Writes to the end of the buffer instead of its beginning."""

    async def receive_into(self, buffer: memoryview) -> int:
        size = await super().receive_into(buffer)
        buffer[:] = bytes(len(buffer) - size) + buffer[:size].tobytes()
        return size


class TellsTooMuch(MemoryTransport):
    async def receive_into(self, buffer: memoryview) -> int:
        return await super().receive_into(buffer) and len(buffer)


class EmptyBufferMeansEnd(MemoryTransport):
    async def receive_into(self, buffer: memoryview) -> int:
        if not buffer:
            await trio.lowlevel.checkpoint()
            return 0
        return await super().receive_into(buffer)


class TwoMayReceive(MemoryTransport):
    async def receive_into(self, buffer: memoryview) -> int:
        if self._receiving:
            await trio.sleep_forever()
        return await super().receive_into(buffer)


class TakesAlongWhenCancelled(MemoryTransport):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        return data

    async def _wait_for_data(self) -> None:
        with trio.CancelScope(shield=bool(self._incoming.data)):
            await super()._wait_for_data()


class CloseWakesNoReader(MemoryTransport):
    """One who receives goes on waiting; Trio's own checks call `aclose`, and that is right here."""

    def close(self) -> None:
        self._closed = True
        self._outgoing.end()
        self._incoming.dropped = True
        self._incoming.writable.unpark_all()

    async def aclose(self) -> None:
        super().close()
        await trio.lowlevel.checkpoint()


class CloseWakesNoSender(MemoryTransport):
    def close(self) -> None:
        self._closed = self._outgoing.ended = True
        self._outgoing.readable.unpark_all()
        self._incoming.drop()

    async def aclose(self) -> None:
        super().close()
        await trio.lowlevel.checkpoint()


class CloseIsAsync(MemoryTransport):
    async def close(self) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().close()

    async def aclose(self) -> None:
        super().close()
        await trio.lowlevel.checkpoint()


class CloseOnlyOnce(MemoryTransport):
    def close(self) -> None:
        if self._closed:
            raise RuntimeError("closed twice")
        super().close()

    async def aclose(self) -> None:
        super().close()
        await trio.lowlevel.checkpoint()


class CloseSaysNothing(MemoryTransport):
    """The other end hears nothing of it."""

    def close(self) -> None:
        self._closed = True
        self._incoming.readable.unpark_all()
        self._outgoing.writable.unpark_all()

    async def aclose(self) -> None:
        super().close()
        await trio.lowlevel.checkpoint()


class NoEndOfOneDirection(MemoryTransport):
    """Ends both directions."""

    async def send_eof(self) -> None:
        await super().send_eof()
        self._incoming.end()


class Reorders(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return super().try_send(buffers[::-1])


class LosesTheRest(MemoryTransport):
    """Says that it has taken all of what it could take only a part of."""

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return super().try_send(buffers) and sum(len(buffer) for buffer in buffers)


class SendsTwice(MemoryTransport):
    """Counts one byte too few where it has sent a part."""

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        sent = super().try_send(buffers)
        return sent - 1 if 0 < sent < sum(len(buffer) for buffer in buffers) else sent


class GoesOnBehindAGap(MemoryTransport):
    """Writes each buffer as far as there is room, also behind one that had no room."""

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        if self._in_send_all:
            raise self._busy("sending")
        self._check_can_send()
        total = 0
        for buffer in buffers:
            with memoryview(buffer) as view:
                total += self._outgoing.put(view[: max(1, len(view) - 1)])
        return total


class TakesAllOrNothing(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        if sum(len(buffer) for buffer in buffers) > self._outgoing.capacity - len(self._outgoing.data):
            return super().try_send([])
        return super().try_send(buffers)


class TakesEverything(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        self._outgoing.capacity = 1 << 60
        return super().try_send(buffers)


class TakesFewBuffers(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return super().try_send(buffers[:16])


class TrySendIsAsync(MemoryTransport):
    async def try_send(self, buffers: Sequence[Buffer]) -> int:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        return super().try_send(buffers)


class TrySendWhileOneSends(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        self._check_can_send()
        return sum(self._outgoing.put(memoryview(buffer)) for buffer in buffers)


class TrySendRefusedWhileOneWaits(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        if self._sending:
            raise self._busy("sending")
        return super().try_send(buffers)


class TrySendIgnoresClose(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return 0 if self._closed else super().try_send(buffers)


class TrySendIgnoresTheEnd(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return 0 if self._outgoing.ended and not self._closed else super().try_send(buffers)


class TrySendToNobody(MemoryTransport):
    def try_send(self, buffers: Sequence[Buffer]) -> int:
        return 1 if self._outgoing.dropped else super().try_send(buffers)


class TakesNothingMore(MemoryTransport):
    """Takes nothing any more once there was no room, though there is room again."""

    was_full = False

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        sent = super().try_send([] if self.was_full else buffers)
        self.was_full |= any(buffers) and not sent
        return sent


class CannotTrySend(MemoryTransport):
    """Says that it cannot, and can."""

    can_try_send = False


class CanTrySend(MemoryTransport):
    """Says that it can, and cannot."""

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        raise NotImplementedError("no")


BROKEN: dict[type[MemoryTransport], str] = {
    Nameless: "a transport tells what it is: kind must be a text, not ''",
    NoAddress: "a transport tells what it is: remote_address must be a text, not None",
    WrongUser: "a transport tells what it is: peer_uid must be the number of a user, or None, not 'root'",
    NoCheckpoint: "Trio's own checks of streams: ",
    FillsWrongly: r"receive_into() gives the bytes that receive_some() would give: there is b'\x00\x00\x00hello' in the",
    TellsTooMuch: "would give: there is b'hello...' in the buffer after 8 bytes",
    EmptyBufferMeansEnd: "would give: receive_into() with an empty buffer raised nothing, not ValueError",
    TwoMayReceive: "two tasks cannot receive at once: it waits instead of being refused",
    TakesAlongWhenCancelled: "a receive that is cancelled takes no bytes along: ",
    CloseWakesNoReader: "close() wakes a task that receives: something still waits after 5 seconds",
    CloseWakesNoSender: "close() wakes a task that sends: something still waits after 5 seconds",
    CloseIsAsync: "close() must not be async",
    CloseOnlyOnce: "RuntimeError: closed twice",
    CloseSaysNothing: "close() closes at once, never waits, and may be called twice: something still waits",
    NoEndOfOneDirection: "Trio's own checks of streams: ClosedResourceError: the end of the stream was already sent",
    Reorders: "try_send() writes all buffers in their order: other bytes arrived than were sent: b'gefcdab' instead of",
    LosesTheRest: "under back-pressure, and loses nothing: 1000000 bytes were sent, and 65536 arrived",
    SendsTwice: "loses nothing: other bytes arrived than were sent",
    GoesOnBehindAGap: "try_send() writes all buffers in their order: it did not take 7 bytes at once",
    TakesAllOrNothing: "loses nothing: it took all that it was offered, and then suddenly nothing",
    TakesEverything: "there is no back-pressure: it took 25100000 bytes that nobody has received",
    TakesFewBuffers: "of 2000 buffers of 1 byte it has taken 16, not 512 or more",
    TrySendIsAsync: "try_send() must not be async",
    TrySendWhileOneSends: "try_send() while a task is inside send_all() raised nothing, not BusyResourceError",
    TrySendRefusedWhileOneWaits: "not while one waits for room: BusyResourceError: another task is sending",
    TrySendIgnoresClose: "try_send() after close() raised nothing, not ClosedResourceError",
    TrySendIgnoresTheEnd: "try_send() after send_eof() raised nothing, not ClosedResourceError",
    TrySendToNobody: "try_send() tells that the other end is gone: something still waits",
    TakesNothingMore: "has returned 10000 times, and it still takes nothing",
    CannotTrySend: "try_send() is not implemented where can_try_send is False: try_send() raised nothing",
    CanTrySend: "try_send() writes all buffers in their order: NotImplementedError: no",
}


async def test_the_base_of_the_broken_ones_is_sound(autojump_clock: MockClock) -> None:
    make, make_clogged = makers_of(Sound)
    await check_transport(make, make_clogged, patience=5)
    await check_transport(make, patience=5)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_what_is_broken_is_named(autojump_clock: MockClock, kind: type[MemoryTransport]) -> None:
    make, make_clogged = makers_of(kind)
    with pytest.raises(AssertionError, match=re.escape(BROKEN[kind])):
        await check_transport(make, make_clogged, patience=5)


async def test_what_stops_the_thread_is_found(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()

    class Waits(MemoryTransport):
        def try_send(self, buffers: Sequence[Buffer]) -> int:
            sent = super().try_send(buffers)
            clock.now += 5.0 if buffers and not sent else 0.0
            return sent

    class LingersWhenClosed(MemoryTransport):
        def close(self) -> None:
            clock.now += 0.0 if self._closed else 4.0
            super().close()

    monkeypatch.setattr(transports, "time", clock)
    with pytest.raises(AssertionError, match=r"try_send\(\) stopped the thread for 5\.0 seconds"):
        await check_transport(*makers_of(Waits), patience=5)
    with pytest.raises(AssertionError, match=r"close\(\) closes at once.*close\(\) stopped the thread for 4\.0 sec"):
        await check_transport(*makers_of(LingersWhenClosed), patience=5)


async def test_what_is_no_transport_is_named(autojump_clock: MockClock) -> None:
    async def make() -> tuple[MemoryTransport, MemoryTransport]:
        await trio.lowlevel.checkpoint()
        return trio.testing.memory_stream_pair()  # type: ignore[return-value]

    with pytest.raises(AssertionError, match="a transport tells what it is: "):
        await check_transport(make)


async def test_one_that_says_it_cannot_half_close_must_say_so(autojump_clock: MockClock) -> None:
    make, make_clogged = makers_of(Sound)
    with pytest.raises(AssertionError, match=r"or is not implemented: send_eof\(\) raised nothing"):
        await check_transport(make, make_clogged, half_closeable=False)


@pytest.mark.parametrize("patience", [0, -1.0, float("nan")])
async def test_patience_must_be_positive(patience: float) -> None:
    with pytest.raises(ValueError, match="patience must be a positive number of seconds, not"):
        await check_transport(makers_of(Sound)[0], patience=patience)
