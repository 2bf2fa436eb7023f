from collections import Counter

import trio

import trioton


async def work(ctx: trioton.Context, done: list[str]) -> None:
    """Does one job after the other."""
    pull = trioton.PullChannel(ctx, "jobs")
    async for job in pull:
        if job == "chapter 3" and ctx.name == "ann" and not pull.redelivered:
            print("ann goes home in the middle of", job)
            await ctx.aclose()
            return
        await trio.sleep(0.01)
        done.append(job)


async def main() -> None:
    done: list[str] = []
    async with (
        trioton.open_context("editor") as editor,
        trioton.open_context("ann") as ann,
        trioton.open_context("bob") as bob,
        trio.open_nursery() as nursery,
    ):
        listener = await editor.bind("localhost:0")
        await ann.connect(listener.address)

        push = trioton.PushChannel(editor, "jobs")
        await push.send_many(f"chapter {number}" for number in range(10))
        nursery.start_soon(work, ann, done)
        await trio.sleep(0.1)
        await bob.connect(listener.address)
        nursery.start_soon(work, bob, done)

        await push.wait_done()
        print("done:", len(done), "of ten; twice:", [job for job, count in Counter(done).items() if count > 1])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
