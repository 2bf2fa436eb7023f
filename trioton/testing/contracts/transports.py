"""`check_transport`: whether a transport keeps the contract of `trioton.transports.base.Transport`."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
import trio.testing

from ...transports.base import Buffer, Transport
from .rules import PATIENCE, check_patience, check_rule, expect, require, show

if TYPE_CHECKING:
    from collections.abc import Iterator

_Pair: TypeAlias = tuple[Transport, Transport]
MakePair: TypeAlias = Callable[[], Awaitable[tuple[Transport, Transport]]]

AT_ONCE: Final = 3.0
"""Seconds of real time within which what never waits must be over, on a machine that is busy with other things, too."""

_LARGE: Final = 20_000_000
"""Bytes that no transport takes without somebody who receives."""

_MOST_TURNS: Final = 10_000
"""How many times a transport may say that there is room, and then take nothing."""

_FIRST_OFFER: Final = 70_000
_OFFER: Final = 1_000_000


async def check_transport(
    make_pair: MakePair,
    make_clogged: MakePair | None = None,
    *,
    half_closeable: bool = True,
    patience: float = PATIENCE,
) -> None:
    """Check a kind of transport: all that Trio asks of a stream, and all that `trioton.transports.base.Transport` adds.

    `try_send` is checked if the transports say ``can_try_send``; else it must raise `NotImplementedError`.

    Args:
        make_pair: An async function that gives two transports which are connected to each other.
        make_clogged: An async function that gives such a pair, where neither end can send anything more until the other receives. With
            None, what needs such a pair is not checked, or with less certainty.
        half_closeable: Whether `send_eof` works; if not, it must raise `NotImplementedError`.
        patience: Seconds of Trio's clock after which a rule that is still being checked is taken for broken.

    Raises:
        AssertionError: A rule is broken; the text says which.
        ValueError: `patience` is not positive.
    """
    check_patience(patience)

    async def trios_own() -> None:
        if half_closeable:
            await trio.testing.check_half_closeable_stream(make_pair, make_clogged)
        else:
            await trio.testing.check_two_way_stream(make_pair, make_clogged)

    rules = _Rules(make_pair, make_clogged, half_closeable=half_closeable)
    first, *others = rules.of_all()
    await check_rule(first[0], patience, first[1])
    await check_rule("a transport passes Trio's own checks of streams", patience, trios_own)
    for words, check in (*others, *(rules.of_try_send() if rules.can_try_send else rules.without_try_send())):
        await check_rule(words, patience, check)


_Rule: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]


class _Rules:
    """The rules, each as words and a check."""

    def __init__(self, make_pair: MakePair, make_clogged: MakePair | None, *, half_closeable: bool) -> None:
        self.can_try_send = False  # until a transport has said so
        self._make_pair = make_pair
        self._make_clogged = make_clogged
        self._half_closeable = half_closeable

    def of_all(self) -> Sequence[_Rule]:
        return (
            ("a transport tells what it is", self.attributes),
            ("receive_into() gives the bytes that receive_some() would give", self.receive_into),
            (
                "receive_into() gives 0 at the end, and refuses a transport that was closed",
                self.receive_into_at_the_end,
            ),
            ("two tasks cannot receive at once", self.busy_receiving),
            ("a receive that is cancelled takes no bytes along", self.cancelled_receive),
            ("all that was sent arrives, both ways at once", self.large_data),
            ("close() wakes a task that receives", self.close_wakes_receiver),
            ("close() wakes a task that sends", self.close_wakes_sender),
            ("close() closes at once, never waits, and may be called twice", self.close_is_at_once),
            ("trio.aclose_forcefully() closes at once", self.aclose_forcefully),
            ("send_eof() ends one direction, or is not implemented", self.send_eof),
        )

    def without_try_send(self) -> Sequence[_Rule]:
        return (("try_send() is not implemented where can_try_send is False", self.no_try_send),)

    def of_try_send(self) -> Sequence[_Rule]:
        rules: list[_Rule] = [
            ("try_send() writes all buffers in their order", self.try_send_in_order),
            ("try_send() tells how much it has taken of many buffers", self.try_send_many_buffers),
            ("try_send() takes a part under back-pressure, and loses nothing", self.try_send_partly),
            ("try_send() refuses a transport that was closed", self.try_send_closed),
            ("try_send() tells that the other end is gone", self.try_send_to_nobody),
        ]
        if self._make_clogged is not None:
            rules += [
                ("try_send() never waits, and takes nothing where there is no room", self.try_send_never_waits),
                ("try_send() is refused while a task sends, but not while one waits for room", self.try_send_busy),
            ]
        return rules

    @asynccontextmanager
    async def _pair(self, *, clogged: bool = False) -> AsyncIterator[_Pair]:
        make = self._make_clogged if clogged and self._make_clogged is not None else self._make_pair
        left, right = await make()
        try:
            yield left, right
        finally:
            for end in (left, right):
                _close(end)

    # ---------------------------------------------------------------- what it tells

    async def attributes(self) -> None:
        async with self._pair() as pair:
            for end in pair:
                is_one = isinstance(end, Transport)
                require(is_one, f"{type(end).__name__} is no trioton.transports.base.Transport")
                for name in ("kind", "local_address", "remote_address"):
                    text = getattr(end, name, None)
                    require(isinstance(text, str) and text, f"{name} must be a text, not {show(text)}")
                for name in ("can_try_send", "is_loopback"):
                    flag = getattr(end, name, None)
                    require(isinstance(flag, bool), f"{name} must be True or False, not {show(flag)}")
                uid = getattr(end, "peer_uid", "nothing")
                is_uid = uid is None or (isinstance(uid, int) and not isinstance(uid, bool) and uid >= 0)
                require(is_uid, f"peer_uid must be the number of a user, or None, not {show(uid)}")
            left, right = pair
            require(left.kind == right.kind, f"the ends of a pair are of the kinds {left.kind!r} and {right.kind!r}")
            require(left.can_try_send is right.can_try_send, "can_try_send differs between the ends of a pair")
            self.can_try_send = left.can_try_send

    # ---------------------------------------------------------------- receiving

    async def receive_into(self) -> None:
        async with self._pair() as (left, right):
            buffer = bytearray(b".") * 8
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.send_all, b"hello")
                with trio.testing.assert_checkpoints():
                    size = await right.receive_into(memoryview(buffer))
            received = 0
            while True:
                require(type(size) is int and 0 < size <= 8 - received, f"it gave {size!r} for room of {8 - received}")
                received += size
                rest = b"hello"[:received] + b"." * (8 - received)
                require(buffer == rest, f"there is {bytes(buffer)!r} in the buffer after {received} bytes of b'hello'")
                if received == 5:
                    break
                size = await right.receive_into(memoryview(buffer)[received:])
            await left.send_all(b"0123456789")
            mixed = bytearray()
            while len(mixed) < 10:
                size = await right.receive_into(memoryview(buffer)[:3])
                require(0 < size <= 3, f"it gave {size!r} for room of 3")
                mixed += buffer[:size]
                mixed += await right.receive_some(1) if len(mixed) < 10 else b""
            require(mixed == b"0123456789", f"b'0123456789' arrived as {bytes(mixed)!r}")
            with expect(ValueError, "receive_into() with an empty buffer"):
                await right.receive_into(memoryview(b""))

    async def receive_into_at_the_end(self) -> None:
        async with self._pair() as (left, right):
            buffer = memoryview(bytearray(10))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.aclose)
                size = await right.receive_into(buffer)
            require(size == 0, f"it gave {size!r} when the other end was closed")
            await right.aclose()
            with expect(trio.ClosedResourceError, "receive_into() on a closed transport"):
                await right.receive_into(buffer)

    async def busy_receiving(self) -> None:
        async with self._pair() as (_, right), trio.open_nursery() as nursery:
            nursery.start_soon(right.receive_some, 1)
            await trio.testing.wait_all_tasks_blocked()
            with expect(trio.BusyResourceError, "receive_into() while another task receives"):
                await _soon(right.receive_into(memoryview(bytearray(1))))
            with expect(trio.BusyResourceError, "receive_some() while another task receives"):
                await _soon(right.receive_some())
            nursery.cancel_scope.cancel()

    async def cancelled_receive(self) -> None:
        async with self._pair() as (left, right):
            for piece in (b"abc", b"defg"):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(right.receive_into, memoryview(bytearray(4)))
                        await trio.testing.wait_all_tasks_blocked()
                        scope.cancel()
                await left.send_all(piece)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await right.receive_some()
                require(scope.cancelled_caught, "receive_some() goes on in a scope that was cancelled")
                await _receive_exactly(right, piece)

    async def large_data(self) -> None:
        data = bytes(range(256)) * 8192

        async def send(transport: Transport) -> None:
            await transport.send_all(data)
            await transport.send_all(memoryview(data).cast("H"))  # items of two bytes are sent as bytes

        async with self._pair() as pair, trio.open_nursery() as nursery:
            for transport in pair:
                nursery.start_soon(send, transport)
                nursery.start_soon(_receive_exactly, transport, data * 2)

    # ---------------------------------------------------------------- closing

    async def close_wakes_receiver(self) -> None:
        async def receive(transport: Transport) -> None:
            with expect(trio.ClosedResourceError, "receive_into() of a transport that is closed meanwhile"):
                while await transport.receive_into(memoryview(bytearray(1_000_000))):
                    pass

        async with self._pair() as (left, _), trio.open_nursery() as nursery:
            nursery.start_soon(receive, left)
            await trio.testing.wait_all_tasks_blocked()
            left.close()

    async def close_wakes_sender(self) -> None:
        async def send(transport: Transport) -> None:
            with expect(trio.ClosedResourceError, "send_all() of a transport that is closed meanwhile"):
                await transport.send_all(bytes(_LARGE))

        async def receive(transport: Transport) -> None:
            with expect(trio.ClosedResourceError, "receive_into() of a transport that is closed meanwhile"):
                while await transport.receive_into(memoryview(bytearray(1_000_000))):
                    pass

        async with self._pair(clogged=self._half_closeable) as (left, _), trio.open_nursery() as nursery:
            nursery.start_soon(send, left)
            nursery.start_soon(receive, left)
            await trio.testing.wait_all_tasks_blocked()
            left.close()

    async def close_is_at_once(self) -> None:
        async with self._pair() as (left, right):
            for _ in range(2):
                with _at_once("close()"):
                    _close(left)
            with expect(trio.ClosedResourceError, "send_all() after close()"):
                await left.send_all(b"x")
            with expect(trio.ClosedResourceError, "receive_some() after close()"):
                await left.receive_some()
            await _receive_end(right)
            await left.aclose()

    async def aclose_forcefully(self) -> None:
        async with self._pair(clogged=True) as (left, right):
            with trio.CancelScope() as scope:
                await trio.aclose_forcefully(left)
            require(not scope.cancelled_caught, "it let a cancellation out that nobody asked for")
            with expect(trio.ClosedResourceError, "send_all() after trio.aclose_forcefully()"):
                await left.send_all(b"x")
            await _receive_end(right)

    async def send_eof(self) -> None:
        async with self._pair() as (left, right):
            if not self._half_closeable:
                with expect(NotImplementedError, "send_eof()"):
                    await left.send_eof()
                return
            await left.send_eof()
            with expect(trio.ClosedResourceError, "wait_send_all_might_not_block() after send_eof()"):
                await left.wait_send_all_might_not_block()
            data = await right.receive_some()
            require(data == b"", f"{bytes(data)!r} came after send_eof()")
            await right.send_all(b"still open")
            await _receive_exactly(left, b"still open")
            left.close()
            with expect(trio.ClosedResourceError, "send_eof() on a closed transport"):
                await left.send_eof()

    # ---------------------------------------------------------------- try_send

    async def no_try_send(self) -> None:
        async with self._pair() as (left, _):
            with expect(NotImplementedError, "try_send()"):
                left.try_send([b"x"])

    async def try_send_in_order(self) -> None:
        async with self._pair() as (left, right):
            buffers: list[Buffer] = [b"ab", bytearray(b"cd"), memoryview(b"ef"), b"", b"g"]
            require(_try_send(left, buffers) == 7, "it did not take 7 bytes at once that it had room for")
            await _receive_exactly(right, b"abcdefg")
            require(_try_send(left, []) == 0, "it took something where there were no buffers")
            require(_try_send(left, [b""]) == 0, "it took something of an empty buffer")
            await left.send_all(b"then")
            await _receive_exactly(right, b"then")

    async def try_send_many_buffers(self) -> None:
        async with self._pair() as (left, right):
            data = bytes(range(250)) * 8
            sent = _try_send(left, [bytes([each]) for each in data])
            require(512 <= sent <= len(data), f"of 2000 buffers of 1 byte it has taken {sent}, not 512 or more")
            await left.aclose()
            await _receive_exactly(right, data[:sent], to_the_end=True)

    async def try_send_partly(self) -> None:
        data = bytes(range(251)) * 100_000
        async with self._pair() as (left, right), trio.open_nursery() as nursery:
            partial = False
            rest = memoryview(data)
            while sent := _try_send(left, [rest[:_FIRST_OFFER], rest[_FIRST_OFFER:_OFFER]]):
                partial |= sent < min(len(rest), _OFFER)
                rest = rest[sent:]
            require(rest, f"there is no back-pressure: it took {len(data)} bytes that nobody has received")
            sent_already = len(data) - len(rest)
            if not partial:
                nursery.start_soon(left.aclose)
                await _receive_exactly(right, data[:sent_already], to_the_end=True)
                raise AssertionError("it took all that it was offered, and then suddenly nothing")
            rest = rest[:_OFFER]  # enough to find room, and none, many times
            nursery.start_soon(_receive_to_the_end, right, data[: sent_already + len(rest)])
            in_vain = 0
            while rest:
                sent = _try_send(left, [rest[:_FIRST_OFFER], rest[_FIRST_OFFER:_OFFER]])
                in_vain = 0 if sent else in_vain + 1
                vain = f"wait_send_all_might_not_block() has returned {in_vain} times, and it still takes nothing"
                require(in_vain < _MOST_TURNS, vain)
                if not sent:
                    await left.wait_send_all_might_not_block()
                rest = rest[sent:]
            await left.aclose()

    async def try_send_never_waits(self) -> None:
        async with self._pair(clogged=True) as (left, _):
            for _ in range(3):
                sent = _try_send(left, [b"x", bytes(_OFFER)])
                require(sent == 0, f"it took {sent} bytes where there was no room")

    async def try_send_busy(self) -> None:
        async with self._pair(clogged=True) as (left, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.send_all, b"x")
                await trio.testing.wait_all_tasks_blocked()
                with expect(trio.BusyResourceError, "try_send() while a task is inside send_all()"):
                    left.try_send([b"x"])
                nursery.cancel_scope.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.wait_send_all_might_not_block)
                await trio.testing.wait_all_tasks_blocked()
                sent = _try_send(left, [b"x"])
                require(sent == 0, f"it took {sent} bytes where there was no room")
                nursery.cancel_scope.cancel()

    async def try_send_closed(self) -> None:
        async with self._pair() as (left, right):
            if self._half_closeable:
                await left.send_eof()
                with expect(trio.ClosedResourceError, "try_send() after send_eof()"):
                    left.try_send([b"x"])
            right.close()
            with expect(trio.ClosedResourceError, "try_send() after close()"):
                right.try_send([b"x"])

    async def try_send_to_nobody(self) -> None:
        async with self._pair() as (left, right):
            left.close()
            with expect(trio.BrokenResourceError, "try_send() to an end that was closed"):
                while True:
                    await right.wait_send_all_might_not_block()
                    right.try_send([b"x"])
                    await trio.sleep(0.001)  # the news may be under way for a while


# -------------------------------------------------------------------- steps that many rules have


@contextmanager
def _at_once(doing: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    require(took < AT_ONCE, f"{doing} stopped the thread for {took:.1f} seconds")


def _require_plain(result: object, kind: type | None, doing: str) -> None:
    """Check that a call is over when it returns, rather than something to be awaited."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise AssertionError(f"{doing} must not be async: it gave something to be awaited")
    require(type(result) is (type(None) if kind is None else kind), f"{doing} gave {show(result)}")


def _close(transport: Transport) -> None:
    _require_plain(transport.close(), None, "close()")  # type: ignore[func-returns-value]


def _try_send(transport: Transport, buffers: Sequence[Buffer]) -> int:
    offered = sum(memoryview(buffer).nbytes for buffer in buffers)
    with _at_once("try_send()"):
        sent = transport.try_send(buffers)
    _require_plain(sent, int, "try_send()")
    require(0 <= sent <= offered, f"try_send() says that it has taken {sent} of {offered} bytes")
    return sent


async def _soon(waiting: Awaitable[object]) -> None:
    """Await what ought to fail at once; it may wait no longer than a moment."""
    with trio.move_on_after(AT_ONCE) as scope:
        await waiting
    require(not scope.cancelled_caught, "it waits instead of being refused")


async def _receive_exactly(transport: Transport, expected: bytes, *, to_the_end: bool = False) -> None:
    """Receive these bytes; with `to_the_end`, and then the end of the stream."""
    received = bytearray()
    while len(received) < len(expected) or to_the_end:
        data = await transport.receive_some()
        if not data:
            break
        received += data
    if received == expected:
        return
    if len(received) != len(expected) and (received.startswith(expected) or expected.startswith(received)):
        raise AssertionError(f"{len(expected)} bytes were sent, and {len(received)} arrived")
    same = next(place for place, (one, two) in enumerate(zip(received, expected, strict=False)) if one != two)
    here, there = bytes(received[same : same + 10]), expected[same : same + 10]
    raise AssertionError(f"other bytes arrived than were sent: {here!r} instead of {there!r}, after {same} bytes")


async def _receive_to_the_end(transport: Transport, expected: bytes) -> None:
    await _receive_exactly(transport, expected, to_the_end=True)


async def _receive_end(transport: Transport) -> None:
    """Receive until there is an end of one kind or the other."""
    try:
        while await transport.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
