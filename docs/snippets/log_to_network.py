import logging

import trioton.blocking


class NetworkHandler(logging.Handler):
    """Publishes what is logged, from whichever thread, and hardly makes it wait."""

    def __init__(self, ctx: trioton.blocking.Context) -> None:
        super().__init__()
        self._pub = trioton.blocking.PubChannel(ctx, "log", ahead=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self._pub.send(self.format(record))

    def close(self) -> None:
        self._pub.close(timeout=2)
        super().close()
