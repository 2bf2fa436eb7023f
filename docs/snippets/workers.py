"""One who asks and many who answer: each worker says hello with a way to reach it, and each question carries the way to answer."""

import trio

import trioton


async def work(address: str, name: str) -> None:
    async with trioton.open_context(name) as ctx:
        await ctx.connect(address)
        questions_in, questions = trioton.open_channel(ctx)
        await trioton.PubChannel(ctx, "hello", trioton.OBJECT).send([name, questions_in])
        async for number, answer in questions:
            async with answer:
                try:
                    await answer.send(f"{name}: {number} squared is {number**2}")
                except trio.BrokenResourceError:
                    pass  # nobody waits for this answer any more


async def ask(boss: trioton.Context, worker: trioton.Sender[object], number: int) -> object:
    """Give the answer; None if the worker is gone, before it heard the question or before it answered."""
    answer_in, answers = trioton.open_channel(boss)
    async with answer_in, answers:
        try:
            await worker.send([number, answer_in])
            with trio.fail_after(10):
                return await answers.receive()
        except trio.BrokenResourceError:
            return None


async def main() -> None:
    async with trioton.open_context("boss") as boss, trio.open_nursery() as nursery:
        listener = await boss.bind("localhost:0")
        hellos = trioton.SubChannel(boss, "hello", trioton.OBJECT)
        for name in ("ann", "bob", "eve"):
            nursery.start_soon(work, listener.address, name)
        workers = dict([await hellos.receive() for _ in range(3)])
        for number, name in enumerate(sorted(workers)):
            print(await ask(boss, workers[name], number))
        for worker in workers.values():
            await worker.aclose()  # ends its loop over questions


if __name__ == "__main__":
    trio.run(main)
