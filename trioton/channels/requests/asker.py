"""How much of a context one requester may keep busy, over all slots on which it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ...protocol import requests
from ...protocol.rates import TokenBucket

if TYPE_CHECKING:
    from ...network.context import Context
    from .service import Client, Service


class Asker:
    """A context that asks, and what runs here for it.

    A request takes a place until nothing of it runs any more. One that was cancelled, or had no time left, gives it back only as often as `Limits.cancels`
    allows: whoever starts and cancels all the time would keep this context busy with few requests at once. Whoever has no place left is
    told that there is no room, as if all places of the channel were taken.

    Attributes:
        running: Places that are taken.
        clients: On how many slots it asks.
    """

    @classmethod
    def of(cls, context: Context, source: bytes) -> Asker:
        """The one of a context and a requester."""
        askers: dict[bytes, Asker] = context._shared.setdefault("askers", {})
        asker = askers.get(source)
        if asker is None:
            asker = askers[source] = cls(context, source, askers)
        return asker

    def __init__(self, context: Context, source: bytes, askers: dict[bytes, Asker]) -> None:
        self.running = 0
        self.clients = 0
        self._context = context
        self._source = source
        self._askers = askers
        self._most = context._limits.running_handlers
        self._cancels: TokenBucket | None = None
        self._waiting: dict[tuple[Service, Client], None] = {}

    def may_enter(self, service: Service, client: Client, capacity: int) -> bool:
        """Whether there is a place for one request more; if not, its client is told when there is one.

        A slot whose channels run more than `Limits.running_handlers` says, as its program wants it, has so many places for each.
        """
        if self.running < max(self._most, capacity) or self._source == self._context._wire_id:
            return True
        self._waiting[service, client] = None
        return False

    def left(self, *, was_stopped: bool) -> None:
        """Nothing of a request runs any more."""
        seconds = self._pause() if was_stopped and not self._context._closed else 0.0
        if seconds:
            self._context._start_soon(self._free_later, seconds)
        else:
            self._free()

    def _pause(self) -> float:
        """Seconds until the place of a request that was cancelled is free."""
        now, rate = trio.current_time(), self._context._limits.cancels
        if self._cancels is None:
            self._cancels = TokenBucket(rate, rate, now)
        return self._cancels.overdraw(now)

    async def _free_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._free()

    def _free(self) -> None:
        self.running -= 1
        while self._waiting:
            service, client = next(iter(self._waiting))
            del self._waiting[service, client]
            if not client.is_gone:
                service.answer(client, requests.ROOM)
                break
        self.forget_if_idle()

    def forget_if_idle(self) -> None:
        """If it asks no more, and nothing of it runs, there is nothing to remember."""
        if not self.clients and not self.running and self._askers.get(self._source) is self:
            del self._askers[self._source]
