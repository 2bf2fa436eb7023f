"""A publisher that stops when its last subscriber has gone, and goes on when somebody listens again."""

from itertools import count

import trio

import trioton


async def publish(context: trioton.Context) -> None:
    jobs = trioton.PubChannel(context, "jobs")
    for number in count():
        if not jobs.subscribers:
            await jobs.wait_subscribers()
        await jobs.send(f"job {number}")


async def report(context: trioton.Context, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with context.events() as events:
        task_status.started()
        async for event in events:
            match event:
                case trioton.Suspended(connection):
                    print(f"{connection.peer.name} is out of reach; it may come back")
                case trioton.Resumed(connection):
                    print(f"{connection.peer.name} is back, and nothing was lost")
                case trioton.SessionLost(connection):
                    print(f"{connection.peer.name} is lost, and perhaps some messages that it had not taken")
                case trioton.Disconnected(connection):
                    print(f"the connection to {connection.peer.name} has ended")
                case _:
                    pass


async def main() -> None:
    async with trioton.open_context("boss") as boss:
        await boss.start(report, boss)
        boss.start_soon(publish, boss)
        listener = await boss.bind("localhost:0")
        for name in ("Ann", "Ben"):
            async with trioton.open_context(name) as worker:
                await worker.connect(listener.address)
                print(name, "got", await trioton.SubChannel(worker, "jobs").receive())


if __name__ == "__main__":
    trio.run(main)
