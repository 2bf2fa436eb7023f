"""Writes out all that three hosts receive in a network with the seed in the first argument; run by test_faults.py."""

from __future__ import annotations

import json
import sys

import trio
import trio.testing

from trioton.testing import Host, Network
from trioton.transports.address import parse_address

HOSTS = ("a", "b", "c")
Record = list[tuple[float, str, str]]


async def receive(host: Host, record: Record, nursery: trio.Nursery) -> None:
    listener = await host.listen(parse_address(f"{host.name}:1"))

    async def read_all() -> None:
        stream = await listener.accept()
        # Without its port: which of two tasks that dial at one moment gets the lower one is up to the scheduler.
        peer = stream.remote_address.rpartition(":")[0]
        while data := await stream.receive_some():
            record.append((trio.current_time(), f"{peer} to {host.name}", data.hex()))

    for _ in range(len(HOSTS) - 1):
        nursery.start_soon(read_all)


async def send(host: Host, target: str) -> None:
    stream = await host.dial(parse_address(f"{target}:1"))
    for i in range(20):
        await stream.send_all(f"{host.name}{target}{i} ".encode() * 20)
        await trio.sleep(0.01 + 0.001 * i)
    await stream.aclose()


async def main(seed: str) -> Record:
    record: Record = []
    net = Network(seed=seed, latency=(0.01, 0.2), chunk=(1, 100))
    hosts = [net.host(name) for name in HOSTS]
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await receive(host, record, nursery)
        for host in hosts:
            for target in HOSTS:
                if target != host.name:
                    nursery.start_soon(send, host, target)
        await trio.sleep(0.3)
        net.partition({"a"}, {"b", "c"}, oneway=True)
        await trio.sleep(1)
        net.heal()
    return sorted(record)


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    json.dump(trio.run(main, sys.argv[1], clock=clock), sys.stdout)
