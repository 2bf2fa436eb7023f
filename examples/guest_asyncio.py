"""Trioton in a program that belongs to asyncio: Trio runs as a guest of asyncio's loop, in the same thread."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio

import trioton


async def run_guest(async_fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a Trio function inside asyncio; cancelling this, as Ctrl-C does, cancels that function and waits for its end."""
    loop = asyncio.get_running_loop()
    scope = trio.CancelScope()
    tokens: list[trio.lowlevel.TrioToken] = []
    end: asyncio.Future[outcome.Outcome[Any]] = loop.create_future()

    async def main() -> Any:
        tokens.append(trio.lowlevel.current_trio_token())
        with scope:
            return await async_fn(*args)

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=end.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    try:
        return (await asyncio.shield(end)).unwrap()
    except asyncio.CancelledError:
        # What belongs to Trio is called in a turn of Trio's.
        if tokens:
            tokens[0].run_sync_soon(scope.cancel)
        else:
            scope.cancel()
        (await end).unwrap()  # noqa: ASYNC102  # Trio's part must end first
        raise


async def network(readings: asyncio.Queue[str]) -> str:
    """The part of the program that is written for Trio."""
    async with trioton.open_context("sensor") as sensor, trioton.open_context("screen") as screen:
        listener = await sensor.bind("localhost:0")
        await screen.connect(listener.address)
        pub, sub = trioton.PubChannel(sensor, "temperature"), trioton.SubChannel(screen, "temperature")
        await pub.wait_subscribers()
        for degrees in (20, 21, 22):
            await pub.send(f"{degrees} C")
            # Both loops run in one thread, so what does not wait may be called across.
            readings.put_nowait(await sub.receive())
    return "the network is closed"


async def main() -> None:
    readings: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        guest = group.create_task(run_guest(network, readings))
        for _ in range(3):
            print("asyncio got", await readings.get())
    print(guest.result())

    # Cancelled by asyncio, Trio's part ends in good order.
    try:
        async with asyncio.timeout(0.1):
            await run_guest(trio.sleep_forever)
    except TimeoutError:
        print("the guest was cancelled")


if __name__ == "__main__":
    asyncio.run(main())
