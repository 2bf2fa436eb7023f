"""No async anywhere: a thread publishes what it measures, and the main thread prints it."""

import threading

from trioton import OBJECT, blocking


def measure(address: str) -> None:
    """Publishes a few readings; what was sent is delivered before the context closes."""
    with blocking.open_context("thermometer") as ctx:
        ctx.connect(address)
        readings = blocking.PubChannel(ctx, "readings", OBJECT)
        readings.wait_subscribers(timeout=10)
        for number in range(5):
            readings.send({"number": number, "celsius": 20 + number / 4})
        readings.send(None)


def main() -> None:
    with blocking.open_context("display") as ctx:
        listener = ctx.bind("localhost:0")
        readings = blocking.SubChannel(ctx, "readings", OBJECT)
        try:
            readings.receive(timeout=0.1)
        except TimeoutError:
            print("nothing yet")

        thread = threading.Thread(target=measure, args=[listener.address])
        thread.start()
        for reading in readings:
            if reading is None:
                break
            print(f"reading {reading['number']}: {reading['celsius']} C")
        thread.join()


if __name__ == "__main__":
    main()
