import threading

from trioton import blocking


class Kernel(blocking.RepChannel):
    """Runs what it is asked for in the main thread, and nowhere else."""

    def where(self) -> str:
        return threading.current_thread().name

    def add(self, a: int, b: int) -> int:
        return a + b


def script(address: str) -> None:
    """Another program, or here another thread."""
    with blocking.open_context("script") as ctx:
        ctx.connect(address)
        req = blocking.ReqChannel(ctx, "kernel")
        print("3 + 4 =", req.call("add", 3, 4))
        print("it runs in", req.where().result(timeout=10))
        status = blocking.PubChannel(ctx, "status")
        status.wait_subscribers(timeout=10)
        status.send("that was all")


def main() -> None:
    with blocking.open_context("kernel") as ctx:
        kernel = Kernel(ctx, "kernel")
        status = blocking.SubChannel(ctx, "status")
        listener = ctx.bind("localhost:0")
        threading.Thread(target=script, args=[listener.address]).start()
        while not status.pending:
            kernel.serve_pending(block=0.1)
        print(status.receive())


if __name__ == "__main__":
    main()
