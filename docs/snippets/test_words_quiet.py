from words import Boss, work

from trioton.testing import Network, run_simulation

BOOK = ["It was night.", "Rain fell on the roof.", "The end."]


async def the_book_is_counted(net: Network) -> None:
    for name in ("ann", "ben"):
        net.start_soon(name, work, name, "boss:1")
    assert await Boss(BOOK).run(net.host("boss"), "boss:1", ["ann", "ben"]) == 10


def test_without_faults() -> None:
    run_simulation(the_book_is_counted, seeds=range(20), hosts=["boss", "ann", "ben"], network={"latency": (0.01, 0.1)})
