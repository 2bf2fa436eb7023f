"""Requests between contexts that are no neighbours: whatever cannot be asked or answered says so, and why; deaths end what is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.network.mesh_shapes import open_mesh
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import ContextDied, DeadError, Limits, NoReplierError, RepChannel, ReqChannel

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

LINE = "ab bc cd"


async def test_what_cannot_be_asked_three_links_away_says_why(autojump_clock: object) -> None:
    async with open_mesh(LINE) as mesh:
        handlers, req = Handlers(mesh["d"], "math"), ReqChannel(mesh["a"], "math", patience=5)
        assert await req.add(1, 2) == 3
        with pytest.raises(DeadError, match="cannot be reached"):  # no such context
            await req.to(12345).add(1, 2)
        with pytest.raises(AttributeError, match="has no method 'divide'"):  # no such method
            await req.divide(1, 2)
        with pytest.raises(NoReplierError, match=r"no replier took 'add' on 'history\..* within 5 s"):  # no such slot
            await ReqChannel(mesh["a"], "history", patience=5).add(1, 2)
        assert await req.add(1, 2) == 3
        check_rest(req, handlers)


class Maker:
    """Takes and makes messages of any size."""

    async def take(self, message: bytes) -> int:
        return len(message)

    async def make(self, size: int) -> bytes:
        return bytes(size)


@pytest.mark.parametrize("small", "bcd")
async def test_what_is_too_large_on_the_way_fails_where_it_is_made(small: str, autojump_clock: object) -> None:
    """The request fails at once, and a result that would be too large is told in its place."""
    async with open_mesh(LINE, options={small: {"limits": Limits(max_package=100_000)}}) as mesh:
        rep, req = (
            RepChannel(mesh["d"], "sizes", target=Maker(), methods=["take", "make"]),
            ReqChannel(mesh["a"], "sizes"),
        )
        assert await req.take(bytes(90_000)) == 90_000
        assert len(await req.make(90_000)) == 90_000
        with pytest.raises(ValueError, match=r"takes 200\d+ bytes; 'd' .* takes at most 100000"):
            await req.take(bytes(200_000))
        with pytest.raises(ValueError, match=r"takes 200\d+ bytes; .*100000"):
            await req.make(200_000)
        assert await req.take(b"goes on") == 7
        check_rest(req, rep)


@pytest.mark.parametrize("who", ["the replier", "a router"])
@pytest.mark.parametrize("crashes", [False, True], ids=["goodbye", "crash"])
async def test_a_death_ends_what_is_pending_at_both_ends(
    who: str, crashes: bool, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(LINE, limits=Limits(resume_window=5)) as mesh:
        handlers, req = Handlers(mesh["d"], "math"), ReqChannel(mesh["a"], "math")
        events = watch(mesh["a"])
        futures = [req.work(number, 1000) for number in range(5)]
        await trio.sleep(1)
        assert handlers.begun.total() == 5
        name = "d" if who == "the replier" else "b"
        if crashes:
            mesh.net.kill(name)
        else:
            await mesh[name].aclose()
        for future in futures:
            with trio.fail_after(20), pytest.raises(DeadError) as caught:
                await future
            assert caught.value.context == mesh["d"].id
        await trio.sleep(20)
        check_rest(req, *([handlers] if name == "b" else []))
        assert [event.name for event in events.all(ContextDied)].count("d") == 1
