"""What a context tells about its network: who comes, who goes, and what was lost."""

import trio

import trioton


async def watch(context: trioton.Context, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with context.events() as events:
        task_status.started()
        async for event in events:
            match event:
                case trioton.ContextJoined(name=name):
                    print(f"{name} is here")
                case trioton.Gap(slot=slot, count=count):
                    print(f"{count} messages on {slot} were dropped")
                case trioton.Disconnected(reason=reason):
                    print(f"disconnected: {reason}")
                case trioton.ContextDied(name=name):
                    print(f"{name} is gone")
                    return
                case _:
                    print(type(event).__name__)


async def main() -> None:
    async with trioton.open_context("home") as home, trio.open_nursery() as nursery:
        await nursery.start(watch, home)
        listener = await home.bind("localhost:0")
        sub = trioton.SubChannel(home, "chatter", policy=trioton.DropNewest(10))

        async with trioton.open_context("guest") as guest:
            connection = await guest.connect(listener.address)
            chatter = trioton.PubChannel(guest, "chatter")
            await chatter.wait_subscribers(1)
            for number in range(15):
                await chatter.send(f"word {number}")
            await connection.flush()
            print("kept:", len(sub.receive_all_nowait()), "messages")
            await connection.aclose("good night")


if __name__ == "__main__":
    trio.run(main)
