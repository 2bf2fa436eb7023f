import trio
from test_words import BOOK, HOSTS, NETWORK, WORKERS
from words import Boss, work

from trioton.testing import Chaos, Cut, Host, Isolation, Kill, Network, Pause, run_simulation, sometimes


async def the_book_is_counted_at_last(net: Network) -> None:
    totals_in, totals = trio.open_memory_channel[int](1)

    async def be_the_boss(host: Host) -> None:
        await totals_in.send(await Boss(BOOK).run(host, "boss:1", WORKERS))

    net.start_soon("boss", be_the_boss)
    for name in WORKERS:
        net.start_soon(name, work, name, "boss:1")

    await trio.sleep(10)  # the faults have this time
    with net.must_progress(within=120):
        assert await totals.receive() == 160
    sometimes("the boss was killed", net.hosts["boss"].starts > 1)


def test_with_kills() -> None:
    chaos = Chaos(seconds=10, gap=2, kinds=(Kill, Pause, Isolation, Cut))
    run_simulation(the_book_is_counted_at_last, seeds=range(100), hosts=HOSTS, network=NETWORK, faults=chaos)
