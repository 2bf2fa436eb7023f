from words import Boss, work

from trioton.testing import Chaos, History, Network, run_simulation, sometimes

BOOK = [length * "word " for length in (10, 20, 15, 12, 17, 9, 11, 21, 8, 13, 14, 10)]
WORKERS = ["ann", "ben"]
HOSTS = ["boss", *WORKERS]
NETWORK = {"latency": (0.01, 0.1)}


async def the_book_is_counted(net: Network) -> None:
    history = History()
    for number in range(len(BOOK)):
        history.sent("book", number)
    boss = Boss(BOOK, report=lambda number, words: history.received("report", number, sender="book"))
    for name in WORKERS:
        net.start_soon(name, work, name, "boss:1")
    total = await boss.run(net.host("boss"), "boss:1", WORKERS)

    sometimes("a chapter was handed out again", boss.handed_out > len(BOOK))
    history.check(in_order=False)
    assert total == 160


def test_with_chaos() -> None:
    run_simulation(the_book_is_counted, seeds=range(100), hosts=HOSTS, network=NETWORK, faults=Chaos())
