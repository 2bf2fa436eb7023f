"""What the tests of several folders do again and again, and what needs no fixture."""

from __future__ import annotations

import logging

import pytest
import trio

from trioton import PubChannel, Reconnect

FAST = Reconnect(first=0.01, maximum=0.1)


async def send_numbers(pub: PubChannel[object], count: int, pause: float = 0.0) -> None:
    """Send 0, 1, 2 ... one by one."""
    for number in range(count):
        await pub.send(number)
        if pause:
            await trio.sleep(pause)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged so far and asks for attention."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
