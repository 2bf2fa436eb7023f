"""One publisher, five subscribers who think differently about what happens when messages come too fast."""

import trio

import trioton

POLICIES: dict[str, trioton.Policy] = {
    "Block(100)": trioton.Block(100),
    "DropOldest(5)": trioton.DropOldest(5),
    "DropNewest(5)": trioton.DropNewest(5),
    "Latest()": trioton.Latest(),
    "Disconnect(5)": trioton.Disconnect(5),
}


async def main() -> None:
    async with trioton.open_context("source") as source, trioton.open_context("sink") as sink:
        listener = await source.bind("localhost:0")
        await sink.connect(listener.address)

        numbers = trioton.PubChannel(source, "numbers", trioton.OBJECT)
        subs = {
            name: trioton.SubChannel(sink, "numbers", trioton.OBJECT, policy=policy)
            for name, policy in POLICIES.items()
        }
        await numbers.wait_subscribers(len(subs))

        # Nobody receives while these are sent. There is room for them in Block(100), or `send` would wait.
        for number in range(20):
            await numbers.send(number)
        await source.connection("sink").flush()

        for name, sub in subs.items():
            print(f"{name:14} {sub.receive_all_nowait()}, dropped {sub.statistics().dropped}")
        try:
            await subs["Disconnect(5)"].receive()
        except trio.BrokenResourceError as error:
            print(f"{'':14} and then: {error}")


if __name__ == "__main__":
    trio.run(main)
