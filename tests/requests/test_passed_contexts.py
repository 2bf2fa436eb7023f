"""Contexts as arguments of requests: they are no channels, and nothing has to be let go of when the next request comes."""

from __future__ import annotations

import trio.testing

import trioton
from trioton import RepChannel, ReqChannel
from trioton.testing import Network


class Names(RepChannel):
    async def name(self, info: trioton.ContextInfo) -> str:
        return info.name


async def test_a_context_travels_as_an_argument_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        Names(a, "names")
        req = ReqChannel(b, "names")
        for _ in range(3):
            assert await req.name(b) == "b"
        assert await req.echo(1) == (1, hex(a.id))
