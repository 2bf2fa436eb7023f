"""Ctrl-C comes wherever the program happens to be; inside the library it waits until nothing is half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import trio

import trioton
from trioton import PubChannel, SubChannel
from trioton.network.receiving.reception import Reception
from trioton.protocol.flow import SendFlow
from trioton.protocol.frames import FrameReader
from trioton.protocol.inbox import Inbox
from trioton.protocol.outbox import Outbox
from trioton.transports.polled import PolledTransport


def interrupt_before(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, armed: list[bool]) -> None:
    """Make the first call of a method, once `armed` is not empty, be hit by Ctrl-C."""
    method: Any = getattr(kind, name)

    def hit(*args: Any, **options: Any) -> Any:
        if armed:
            armed.clear()
            signal.raise_signal(signal.SIGINT)
        return method(*args, **options)

    monkeypatch.setattr(kind, name, hit)


@pytest.fixture(autouse=True)
def heed_interrupts() -> Iterator[None]:
    """A shell that runs the tests in the background lets them ignore Ctrl-C."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (PolledTransport, "try_send"),
        (PolledTransport, "_try_receive"),
        (FrameReader, "lone_package"),
        (Reception, "package"),
        (SendFlow, "cut_lone"),
        (SendFlow, "update_room"),
        (Outbox, "next_buffers"),
        (Inbox, "add"),
        (Inbox, "taken_position"),
        (Inbox, "next_run"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_was_begun_is_finished_first(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    armed: list[bool] = []
    interrupt_before(monkeypatch, kind, name, armed)
    received: list[str] = []

    async def receive(sub: SubChannel[str]) -> None:
        async for message in sub:
            received.append(message)  # noqa: PERF401  # what came before the end counts

    async def main() -> None:
        async with trioton.open_context("a") as a, trioton.open_context("b") as b, trio.open_nursery() as nursery:
            listener = await a.bind("localhost:0")
            await b.connect(listener.address)
            pub, sub = PubChannel(b, "n"), SubChannel(a, "n", policy=trioton.Block(4))
            await pub.wait_subscribers()
            nursery.start_soon(receive, sub)
            await trio.testing.wait_all_tasks_blocked(0.01)
            armed.append(True)
            sent = 0
            with pytest.raises(KeyboardInterrupt):
                while True:
                    await pub.send(str(sent))
                    sent += 1
                    await trio.lowlevel.checkpoint()
            assert not armed
            # All goes on as if nothing had been: the interrupted call has either sent its message or not.
            sent = pub.statistics().sent
            await pub.send_many([str(number) for number in range(sent, sent + 20)])
            while len(received) < sent + 20:
                await trio.lowlevel.checkpoint()
            assert received == [str(number) for number in range(sent + 20)]
            nursery.cancel_scope.cancel()

    async def limited() -> None:
        with trio.fail_after(20):
            await main()

    trio.run(limited)
