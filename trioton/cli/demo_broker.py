"""The broker of ``trioton demo``: ``python -m trioton.cli.demo_broker DIRECTORY TOKEN``.

It is the one of ``trioton broker``, and ends as that does, and also when the terminal is gone.
"""

from __future__ import annotations

import sys

import trio

import trioton

from ..transports.address import parse_address
from .broker import Broker
from .broker_settings import DEFAULT_GRACE, Settings
from .ways import HEARTBEAT, Place, wait_terminal_gone

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"


async def serve(place: Place) -> int | str:
    """Be the broker until the terminal is gone or a signal comes; gives the exit code, or what went wrong."""
    broker = Broker(
        Settings(
            name=place.name_of("broker"),
            listen=(parse_address(place.broker_address),),
            connect=(),
            insecure=False,
            grace=DEFAULT_GRACE,
            limits=trioton.Limits(),
            heartbeat=HEARTBEAT,
        )
    )
    result: int | str = 0
    async with trio.open_nursery() as nursery:

        async def stop_with_terminal() -> None:
            await wait_terminal_gone()
            broker.stop()
            place.remove()

        nursery.start_soon(stop_with_terminal)
        try:
            result = await broker.run()
        except (trioton.TriotonError, OSError) as error:
            result = str(error)
        nursery.cancel_scope.cancel()
    return result


if __name__ == "__main__":
    sys.exit(trio.run(serve, Place(*sys.argv[1:])))
