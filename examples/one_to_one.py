"""A one-to-one channel whose sending end travels: the customer sends it with the order, and the kitchen serves through it."""

from typing import Any

import trio

import trioton


async def cook(kitchen: trioton.Context) -> None:
    orders = trioton.SubChannel(kitchen, "orders", trioton.OBJECT)
    order: dict[str, Any] = await orders.receive()
    print("kitchen: an order for", order["dish"])
    # The sender works here as it would have where it was made. Closing it ends the channel after the last message.
    async with order["serve"] as serve:
        for course in ("soup", order["dish"], "coffee"):
            await serve.send(course)


async def main() -> None:
    async with trioton.open_context("kitchen") as kitchen, trioton.open_context("table") as table:
        listener = await kitchen.bind("localhost:0")
        await table.connect(listener.address)
        kitchen.start_soon(cook, kitchen)

        send, receive = trioton.open_channel(table)
        orders = trioton.PubChannel(table, "orders", trioton.OBJECT)
        await orders.send({"dish": "dumplings", "serve": send})
        async for course in receive:
            print("table: here comes the", course)
        print("table: that was all")


if __name__ == "__main__":
    trio.run(main)
