"""Small networks of a given shape, such as a line or a ring, on a simulated network: what tests of the mesh begin with."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import trio

import trioton
from trioton import OBJECT, Block, PubChannel, SubChannel
from trioton.network.peer import ContextInfo
from trioton.testing import Network

LATENCY: Final = 0.01

PATIENCE: Final = 100.0
"""Seconds of simulated time after which something that should come has not."""

LONGEST: Final = 2000.0
"""Seconds of simulated time after which a test has failed."""

Policy = trioton.Block | trioton.DropOldest | trioton.DropNewest | trioton.Latest | trioton.Disconnect


@attrs.define(eq=False)
class Mesh:
    """Contexts on hosts of their names, each of which listens at port 1.

    Attributes:
        net: The network.
        contexts: All of them, by name.
        dialled: The connections that were made, by both names: the first has dialled.
    """

    net: Network
    contexts: dict[str, trioton.Context] = attrs.field(factory=dict)
    dialled: dict[str, trioton.Connection] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> trioton.Context:
        return self.contexts[name]

    def name_of(self, context_id: int) -> str:
        """The name of the context with this identity."""
        return next(name for name, context in self.contexts.items() if context.id == context_id)

    async def link(self, ends: str, **options: Any) -> trioton.Connection:
        """Let the context that is named first dial the second."""
        connection = await self[ends[0]].connect(f"{ends[1]}:1", **options)
        self.dialled[ends] = connection
        return connection

    def hops(self, name: str) -> dict[str, int]:
        """How far away all others are that a context can reach."""
        return {info.name: info.hops for info in self[name].contexts}

    async def wait_hops(self, name: str, hops: Mapping[str, int]) -> None:
        """Wait until a context sees just these others, so far away."""
        with trio.fail_after(PATIENCE):
            while self.hops(name) != hops:  # noqa: ASYNC110  # no event tells of hops
                await trio.sleep(LATENCY / 2)

    async def wait_all_see(self, *names: str) -> None:
        """Wait until each of these, by default all, can reach all the others of them."""
        wanted = set(names or self.contexts)
        with trio.fail_after(PATIENCE):
            for name in sorted(wanted):
                for other in sorted(wanted - {name}):
                    await self[name].wait_context(int(self[other].id))

    def info(self, name: str, other: str) -> ContextInfo:
        """What a context knows of another."""
        return next(info for info in self[name].contexts if info.id == self[other].id)

    def pub(self, name: str, slot: str = "flow", message_type: Any = OBJECT, **options: Any) -> PubChannel[Any]:
        """A channel of a context to publish on."""
        return PubChannel(self[name], slot, message_type, **options)

    def sub(
        self,
        name: str,
        slot: str = "flow",
        message_type: Any = OBJECT,
        *,
        policy: Policy = Block(1024),  # noqa: B008  # frozen
    ) -> SubChannel[Any]:
        """A channel of a context that listens."""
        return SubChannel(self[name], slot, message_type, policy=policy)

    def carried(self, text: str) -> Counter[str]:
        """How many packages with messages each link has carried, of flows whose slot begins with the text, by the names of both ends.

        Those that only say where a flow stands are not counted.
        """
        return Counter(
            event.source + event.target
            for event in self.net.trace
            if event.kind == "frame"
            and event.what in {"PACKAGE", "OPENING"}
            and f"{text}." in event.details
            and ": at " not in event.details
        )


@asynccontextmanager
async def open_mesh(
    links: str,
    *,
    net: Network | None = None,
    joined: bool = True,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **for_all: Any,
) -> AsyncIterator[Mesh]:
    """Open contexts and link them: ``"ab bc"`` is a line of three.

    Args:
        links: The links, with the names of both ends; the first dials.
        net: The network, if it shall be a special one.
        joined: Wait until all see all.
        options: Arguments for `open_context` of some contexts.
        for_all: Arguments for `open_context` of all.
    """
    mesh = Mesh(net or Network(seed=7, latency=LATENCY))
    names = dict.fromkeys(links.replace(" ", ""))
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(LONGEST))
        for name in names:
            special = (options or {}).get(name, {})
            opened = trioton.open_context(name, network=mesh.net.host(name), **{**for_all, **special})
            mesh.contexts[name] = await stack.enter_async_context(opened)
            await mesh[name].bind(f"{name}:1")
        for ends in links.split():
            await mesh.link(ends)
        if joined:
            await mesh.wait_all_see()
        yield mesh


def line(names: str) -> str:
    """The links of a line of contexts, for `open_mesh`."""
    return " ".join(names[number : number + 2] for number in range(len(names) - 1))


async def receive(sub: trio.abc.ReceiveChannel[Any], count: int) -> list[Any]:
    """The next so many messages."""
    with trio.fail_after(PATIENCE):
        return [await sub.receive() for _ in range(count)]


async def nothing_comes(sub: trio.abc.ReceiveChannel[Any], seconds: float = 5.0) -> bool:
    """Whether no message comes for so long."""
    with trio.move_on_after(seconds):
        await sub.receive()
        return False
    return True
