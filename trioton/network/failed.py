"""Those who have failed to prove who they are: who goes on trying is kept waiting, so that nothing can be found out by trying."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from ..transports.base import Transport

MOST_FAILURES: Final = 10
"""How often one may fail from one address within `PERIOD` before it is kept waiting."""

PERIOD: Final = 60.0
"""Seconds after which a failure does not count any more."""

PAUSE: Final = 1.0
"""Seconds that each further attempt from there waits before it is looked at."""

MOST_ADDRESSES: Final = 1000
"""Addresses whose failures are counted; those of the one that has been quiet for longest are forgotten first."""


class FailedProofs:
    """Counts failures by the address that they come from.

    The loopback is left out: there all users of the machine share one address, and one of them could keep the others waiting.
    """

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def add(self, transport: Transport) -> None:
        """Somebody there has not proved what it must."""
        host = _host(transport)
        if host is None:
            return
        times = self._times.pop(host, None) or deque(maxlen=MOST_FAILURES)
        if len(self._times) >= MOST_ADDRESSES:
            del self._times[next(iter(self._times))]
        times.append(trio.current_time())
        self._times[host] = times

    async def wait(self, transport: Transport) -> None:
        """Wait as long as an attempt from there must; a checkpoint."""
        times = self._times.get(_host(transport) or "")
        is_often = times is not None and len(times) == MOST_FAILURES and trio.current_time() - times[0] < PERIOD
        await trio.sleep(PAUSE if is_often else 0)


def _host(transport: Transport) -> str | None:
    """The address without its port, which is another one each time; None for the loopback."""
    return None if transport.is_loopback else transport.remote_address.rpartition(":")[0]
