"""Small networks in which not all trust each other: what the tests of leaves begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.common import Card
from tests.network.mesh_shapes import LATENCY, Mesh, open_mesh
from trioton.testing import Network

SETTLED = 3.0
"""Seconds after which all have heard what there is to hear."""


def network_of_users(**users: str) -> Network:
    """A network whose hosts have these users: ``network_of_users(ann="abc", ben="xy")``."""
    net = Network(seed=7, latency=LATENCY)
    for number, names in enumerate(users.values()):
        for name in names:
            net.host(name, uid=2000 + number)
    return net


@asynccontextmanager
async def open_users(links: str, **users: str) -> AsyncIterator[Mesh]:
    """Open contexts of several users and link them, as `open_mesh` does: only those of one user trust each other."""
    async with open_mesh(links, net=network_of_users(**users), joined=False) as mesh:
        await trio.sleep(SETTLED)
        yield mesh


@asynccontextmanager
async def open_leaves(links: str, leaves: str, **for_all: Any) -> AsyncIterator[Mesh]:
    """Open contexts that show cards and link them: all have proved who they are, and all but the leaves may route."""
    names = dict.fromkeys(links.replace(" ", ""))
    net = network_of_users(**{name: name for name in names})
    options = {name: {"security": Card(name, may_route=name not in leaves)} for name in names}
    async with open_mesh(links, net=net, joined=False, options=options, **for_all) as mesh:
        await trio.sleep(SETTLED)
        yield mesh


def sees(mesh: Mesh, name: str) -> str:
    """The names of all that a context can reach."""
    return "".join(sorted(mesh.hops(name)))
