"""``trioton broker``: a context with nothing but links, as a service."""

from __future__ import annotations

import logging
import random
import signal
from typing import Final

import trio

import trioton

from .broker_settings import Settings
from .service import logging_to_stderr, notify, write_ready

logger = logging.getLogger("trioton.broker")

HINT_AFTER: Final = 1.0
"""Seconds of dialling after which we say that nobody answers."""

STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))
"""Those that ask a broker to end; Windows does not have all of them."""


async def serve(settings: Settings, ready_fd: int | None, debug: bool) -> int:
    """Be a broker until a signal comes; gives the exit code.

    Args:
        settings: Where to listen and connect, and how.
        ready_fd: A file descriptor that gets the addresses, a line each, and is then closed; or None.
        debug: Whether to log single steps.

    Raises:
        trioton.BindError: One cannot listen at an address.
        OSError: The addresses could not be written to stdout.
    """
    with logging_to_stderr(debug=debug):
        return await Broker(settings, ready_fd).run()


class Broker:
    """The service: one context, the addresses at which it listens, and those of other brokers.

    Args:
        settings: Where to listen and connect, and how.
        ready_fd: A file descriptor to be told the addresses, or None.
    """

    def __init__(self, settings: Settings, ready_fd: int | None = None) -> None:
        self._settings = settings
        self._ready_fd = ready_fd
        self._working = trio.CancelScope()
        self._exit_code = 0

    async def run(self) -> int:
        """Serve until a signal comes; gives the exit code.

        Raises:
            trioton.BindError: One cannot listen at an address.
            OSError: The addresses could not be written to stdout.
        """
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen_to_signals, nursery.cancel_scope)
            try:
                await self._serve()
            except (trioton.TriotonError, OSError, ValueError) as error:
                failure = error  # It leaves as itself, not in the nursery's group.
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return self._exit_code

    def stop(self) -> None:
        """End in good order, as the first signal does."""
        self._working.cancel()

    async def _serve(self) -> None:
        settings = self._settings
        async with trioton.open_context(
            settings.name,
            security=settings.security,
            limits=settings.limits,
            heartbeat=settings.heartbeat,
            grace=settings.grace,
        ) as context:
            with self._working:
                self._tell_ready(await self._listen(context))
                await notify("READY=1")
                for address in settings.connect:
                    context.start_soon(Tie(context, str(address), settings).keep)
                await trio.sleep_forever()
            await notify("STOPPING=1")

    async def _listen(self, context: trioton.Context) -> list[str]:
        """Listen everywhere; gives the addresses, with the real ports."""
        listening = []
        for address in self._settings.listen:
            listener = await context.bind(
                str(address),
                ssl_context=self._settings.server_tls if address.scheme == "tls" else None,
                insecure=self._settings.insecure,
            )
            listening.append(listener.address)
        return listening

    def _tell_ready(self, addresses: list[str]) -> None:
        for address in addresses:
            print(f"listening at {address}", flush=True)
        if self._ready_fd is not None:
            # An empty line says it, too, if there are no addresses.
            write_ready(self._ready_fd, "\n".join(addresses) + "\n")

    async def _listen_to_signals(
        self, everything: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The first signal ends the broker in good order, the second one at once."""
        # What whoever has started us wants us to ignore, as `nohup` does, is none of our business.
        wanted = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        with trio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if self._working.cancel_called:
                    logger.warning("%s again: ending at once", name)
                    self._exit_code = 128 + number
                    everything.cancel()
                    return
                logger.info("%s: ending", name)
                self._exit_code = 128 + number if number == signal.SIGINT else 0
                self.stop()


class Tie:
    """The connection to another broker, which is made again whatever ends it.

    Args:
        context: The broker's context.
        address: Where the other one is.
        settings: How to connect.
    """

    def __init__(self, context: trioton.Context, address: str, settings: Settings) -> None:
        self._context = context
        self._address = address
        self._insecure = settings.insecure
        self._ssl_context = settings.client_tls if address.startswith("tls://") else None
        self._complaint = ""

    async def keep(self) -> None:
        """Connect, and connect again after a goodbye. To be run in a task."""
        reconnect = trioton.Reconnect()
        delays = reconnect.delays(random.random)
        while True:
            since = trio.current_time()
            connection: trioton.Connection | None = None
            async with self._context.events() as events:
                try:
                    connection = await self._connect()
                except trioton.AuthError as error:
                    self._complain(logging.WARNING, str(error))
                except trioton.ConnectError as error:
                    # It is this broker itself, or one that is connected already, such as by its own wish: there is nothing to be
                    # done until one of those connections ends.
                    self._complain(logging.INFO, str(error))
                    await _wait_end_of_one(events)
            if connection is not None:
                self._complaint = ""
                await connection.wait_closed()
            if trio.current_time() - since >= reconnect.stable:
                delays = reconnect.delays(random.random)
            await trio.sleep(next(delays))

    async def _connect(self) -> trioton.Connection:
        with trio.move_on_after(HINT_AFTER):
            return await self._dial()
        self._complain(logging.INFO, f"nobody answers at {self._address} yet; still dialling")
        return await self._dial()

    async def _dial(self) -> trioton.Connection:
        return await self._context.connect(
            self._address, wait=True, ssl_context=self._ssl_context, insecure=self._insecure
        )

    def _complain(self, level: int, words: str) -> None:
        """Log it, unless it was the last thing that was logged about this address."""
        if words != self._complaint:
            logger.log(level, "%s: %s", self._context, words)
            self._complaint = words


async def _wait_end_of_one(events: trioton.EventStream) -> None:
    """Wait until any connection has ended."""
    async for event in events:
        if isinstance(event, trioton.Disconnected | trioton.SessionLost):
            return
