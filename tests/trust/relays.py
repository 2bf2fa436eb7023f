"""One who sits between two hosts of a simulated network: he hears all, and may change what he passes on."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from trioton.testing import Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport


@attrs.define
class Relay:
    """Listens at ``relay:1`` and passes all on to another place.

    Attributes:
        net: The network.
        target: Where to pass it on to.
        change: What becomes of bytes from the client: gets how many came before them, and them.
        heard: For each connection what the client has sent, and what the server has.
    """

    net: Network
    target: str
    change: Callable[[int, bytes], bytes] = lambda _position, data: data
    heard: list[tuple[bytearray, bytearray]] = attrs.Factory(list)
    ends: list[Transport] = attrs.Factory(list)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        host = self.net.host("relay", uid=666)
        async with await host.listen(parse_address("relay:1")) as listener, trio.open_nursery() as nursery:
            task_status.started()
            while True:
                accepted = await listener.accept()
                dialled = await host.dial(parse_address(self.target))
                self.ends += [accepted, dialled]
                record = (bytearray(), bytearray())
                self.heard.append(record)
                nursery.start_soon(self._pass_on, accepted, dialled, record[0], self.change)
                nursery.start_soon(self._pass_on, dialled, accepted, record[1], lambda _position, data: data)

    async def _pass_on(
        self, source: Transport, sink: Transport, record: bytearray, change: Callable[[int, bytes], bytes]
    ) -> None:
        try:
            while data := bytes(await source.receive_some()):
                position = len(record)
                record += data
                await sink.send_all(change(position, data))
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            sink.close()

    def cut(self) -> None:
        """Break all connections."""
        for end in self.ends:
            end.close()
        self.ends.clear()
