"""A clock that any number of programs can watch."""

import datetime
import sys

import trio

import trioton


async def serve(address: str, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    async with trioton.open_context("clock") as context:
        listener = await context.bind(address)
        task_status.started(listener.address)
        ticks = trioton.PubChannel(context, "ticks", backlog=0)
        while True:
            await ticks.send(f"{datetime.datetime.now():%H:%M:%S.%f}")
            await trio.sleep(0.1)


async def watch(address: str, count: int) -> None:
    async with trioton.open_context("watcher") as context:
        context.start_soon(follow, context, address)
        ticks = trioton.SubChannel(context, "ticks", policy=trioton.Latest())
        for _ in range(count):
            print(await ticks.receive())


async def follow(context: trioton.Context, address: str) -> None:
    """Stay connected to whoever serves there, however often it is started again."""
    while True:
        try:
            connection = await context.connect(address, wait=True)
        except trioton.AuthError as error:  # it may be mended there: no waiting inside `connect` would tell
            print(error)
            await trio.sleep(10)
            continue
        print("connected")
        await connection.wait_closed()
        print("the connection has ended:", connection.close_reason)


async def main() -> None:
    match sys.argv[1:]:
        case ["serve", address]:
            await serve(address)
        case ["watch", address]:
            await watch(address, 50)
        case _:
            async with trio.open_nursery() as nursery:
                address = await nursery.start(serve, "localhost:0")
                await watch(address, 3)
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
