"""The parts of sockets.py that no other test reaches: sending without sendmsg, and full backlogs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from trioton.transports.base import Buffer
from trioton.transports.sockets import connect_socket, send_in_turn
from trioton.transports.unix import UnixTransport

pytestmark = pytest.mark.net


class Sink:
    """Takes `room` bytes, then refuses with `error`."""

    def __init__(self, room: int, error: OSError) -> None:
        self.room = room
        self.error = error
        self.taken = bytearray()

    def send(self, buffer: Buffer) -> int:
        if not self.room:
            raise self.error
        part = bytes(buffer)[: self.room]
        self.room -= len(part)
        self.taken += part
        return len(part)


@pytest.mark.parametrize("room", range(1, 9))
def test_send_in_turn_takes_what_there_is_room_for(room: int) -> None:
    sink = Sink(room, BlockingIOError())
    buffers: list[Buffer] = [b"", b"abc", bytearray(b"de"), b"", memoryview(b"fghi").cast("H")]
    assert send_in_turn(sink.send, buffers) == room
    assert sink.taken == b"abcdefghi"[:room]


@pytest.mark.parametrize("error", [BlockingIOError(), BrokenPipeError()])
def test_send_in_turn_raises_only_if_nothing_was_taken(error: OSError) -> None:
    assert send_in_turn(Sink(2, error).send, [b"ab", b"c"]) == 2
    with pytest.raises(type(error)):
        send_in_turn(Sink(0, error).send, [b"", b"ab", b"c"])
    assert send_in_turn(Sink(0, error).send, [b"", b""]) == 0


async def test_a_full_backlog_of_a_unix_socket_is_waited_for(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        listener.setblocking(False)
        waiting: list[socket.socket] = []
        last = socket.socket(socket.AF_UNIX)
        try:
            with pytest.raises(BlockingIOError):
                while True:
                    waiting.append(socket.socket(socket.AF_UNIX))
                    waiting[-1].setblocking(False)
                    waiting[-1].connect(path)
            last.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect_socket, last, path)
                for _ in range(3):
                    await trio.testing.wait_all_tasks_blocked()
                    mock_clock.jump(0.01)
                waiting.append(listener.accept()[0])
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(0.01)
            assert last.getpeername() == path
            transport = UnixTransport(last, path, accepted=False)
            await transport.aclose()
        finally:
            last.close()
            for sock in waiting:
                sock.close()
