"""Small networks with stubs at their edge: what the tests of stubs begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

import trioton
from tests.network.mesh_shapes import LATENCY, Mesh, open_mesh
from trioton.testing import Network


@asynccontextmanager
async def open_stubs(links: str, stubs: str, *, net: Network | None = None, **for_all: Any) -> AsyncIterator[Mesh]:
    """Open contexts and link them: of ``"sa ta us"`` as stubs, s and t are stubs of a, and u is one of s.

    Args:
        links: The links of contexts that know each other, as for `open_mesh`.
        stubs: The links of stubs: the first dials the second.
        net: The network, if it shall be a special one.
        for_all: Arguments for `open_context` of all.
    """
    net = net or Network(seed=7, latency=LATENCY)
    async with open_mesh(links, net=net, **for_all) as mesh, AsyncExitStack() as stack:
        for ends in stubs.split():
            await add_stub(mesh, stack, ends, **for_all)
        yield mesh


async def add_stub(mesh: Mesh, stack: AsyncExitStack, ends: str, **options: Any) -> trioton.Context:
    """Open a context, bind it, and make it a stub of another."""
    name = ends[0]
    if name not in mesh.contexts:
        opened = trioton.open_context(name, network=mesh.net.host(name), **options)
        mesh.contexts[name] = await stack.enter_async_context(opened)
        await mesh[name].bind(f"{name}:1")
    if len(ends) > 1:
        await mesh.link(ends, stub=True)
    return mesh[name]


async def wait_known(mesh: Mesh, name: str, *others: str) -> None:
    """Wait until a context sees just these others."""
    with trio.fail_after(100):
        while mesh.hops(name).keys() != set(others):  # noqa: ASYNC110  # no event tells of all
            await trio.sleep(LATENCY / 2)
