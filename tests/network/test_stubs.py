"""Stubs: contexts at the edge that learn only of those they have to do with, and else are as all others."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from tests.network.mesh_shapes import nothing_comes, receive
from tests.network.stub_shapes import add_stub, open_stubs, wait_known
from trioton import ContextDied, ContextJoined

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

EDGE = "sa tb uc"
"""One stub on each of three contexts in a line, for ``ab bc``."""


# ---------------------------------------------------------------- who knows whom


async def test_a_stub_knows_its_parent_and_all_others_know_the_stub(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        await trio.sleep(1)
        assert mesh.hops("s") == {"a": 1}
        assert mesh.hops("c") == {"b": 1, "a": 2, "u": 1, "t": 2, "s": 3}
        assert mesh.info("a", "u").name == "u"


async def test_a_stub_learns_who_listens_to_what_it_sends(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        heard = watch(mesh["s"])
        near, far, other = mesh.sub("a"), mesh.sub("u"), mesh.sub("t", "other")
        pub = mesh.pub("s")
        with trio.fail_after(10):
            await pub.wait_subscribers(2)
        assert mesh.hops("s") == {"a": 1, "u": 4}
        await pub.send_many(range(100))
        assert await receive(near, 100) == await receive(far, 100) == [*range(100)]
        assert mesh.hops("u") == {"c": 1, "s": 4}, "what comes from a context brings its route"
        late = mesh.sub("t")
        await pub.wait_subscribers(3)
        await pub.send("all")
        assert [await receive(sub, 1) for sub in (near, far, late)] == [["all"]] * 3
        await far.aclose()
        await trio.sleep(1)
        assert pub.statistics().subscribers == 2
        assert await nothing_comes(other)
        assert [each.name for each in heard.all(ContextJoined)] == ["u", "t"]
        assert heard.all(ContextDied) == []


async def test_what_a_stub_sends_at_once_waits_until_it_knows_who_listens(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        subs = [mesh.sub(name) for name in "bcu"]
        await trio.sleep(1)
        pub = mesh.pub("s")
        await pub.send("first")
        for sub in subs:
            assert await receive(sub, 1) == ["first"]


async def test_a_slot_that_is_used_again_has_those_who_listen_now(autojump_clock: object) -> None:
    async with open_stubs("ab bc", "sa ts") as mesh:
        for name in "st":
            first, second = mesh.sub("c"), mesh.sub("b")
            pub = mesh.pub(name)
            await pub.wait_subscribers(2)
            await pub.aclose()
            await trio.sleep(1)
            await first.aclose()
            await trio.sleep(1)
            pub = mesh.pub(name)
            with trio.fail_after(10):
                await pub.wait_subscribers()
                assert pub.statistics().subscribers == 1
                await pub.send(name)
            assert await receive(second, 1) == [name]
            await second.aclose()
            await pub.aclose()
            await trio.sleep(1)


async def test_sending_without_a_wait_before_it_is_known_who_listens(autojump_clock: object) -> None:
    async with open_stubs("ab bc", "sa") as mesh:
        sub = mesh.sub("c")
        await trio.sleep(1)
        pub = mesh.pub("s", backlog=1)
        pub.send_nowait(1)
        with pytest.raises(trio.WouldBlock):
            pub.send_nowait(2)
        await trio.sleep(1)
        pub.send_nowait(3)
        assert await receive(sub, 2) == [1, 3]


async def test_those_who_look_see_stubs(autojump_clock: object) -> None:
    async with open_stubs("ab bc", "sa ts") as mesh:
        reports = trioton.SubChannel(mesh["c"], "trioton.reports", trioton.OBJECT)
        await trio.sleep(3)
        names = {(await reports.receive())["name"] for _ in range(8)}
        assert names == {"a", "b", "s", "t"}


async def test_connecting_brings_those_who_listen(autojump_clock: object) -> None:
    async with open_stubs("ab bc", "sa") as mesh, AsyncExitStack() as stack:
        sub = mesh.sub("c")
        await trio.sleep(1)
        late = await add_stub(mesh, stack, "l")
        pub = mesh.pub("l")
        await late.connect("s:1", stub=True)
        assert mesh.hops("l")["c"] == 4
        await pub.send(1)
        assert await receive(sub, 1) == [1]


async def test_a_stub_listens_as_all_others(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        sub = mesh.sub("s")
        pubs = [mesh.pub(name) for name in "acut"]
        for pub in pubs:
            with trio.fail_after(10):
                await pub.wait_subscribers()
            await pub.send_many(range(50))
        assert sorted(await receive(sub, 200)) == sorted([*range(50)] * 4)


async def test_wait_context_by_name_and_identity(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh, AsyncExitStack() as stack:
        with trio.fail_after(10):
            assert (await mesh["s"].wait_context("u")).hops == 4
            assert (await mesh["s"].wait_context(int(mesh["t"].id))).name == "t"
        assert mesh.hops("s") == {"a": 1, "u": 4, "t": 3}
        found: list[trioton.ContextInfo] = []

        async def look() -> None:
            found.append(await mesh["s"].wait_context("v"))

        mesh["s"].start_soon(look)
        await trio.sleep(1)
        await add_stub(mesh, stack, "vt")
        await trio.sleep(1)
        assert [info.hops for info in found] == [4]
        with trio.move_on_after(1) as scope:
            await mesh["s"].wait_context(1)
        assert scope.cancelled_caught


async def test_one_to_one_channels_lead_from_and_to_stubs(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        for giver, taker in ("su", "us", "sc", "cs", "ta"):
            sub = mesh.sub(taker, "offers")
            pub = mesh.pub(giver, "offers")
            await pub.wait_subscribers()
            sender, receiver = trioton.open_channel(mesh[giver])
            await pub.send(sender)
            [arrived] = await receive(sub, 1)
            await arrived.send_many(range(100))
            await arrived.aclose()
            assert await receive(receiver, 100) == [*range(100)]
            with pytest.raises(trio.EndOfChannel):
                await receiver.receive()
            await sub.aclose()
            await pub.aclose()


async def test_a_reference_to_one_whom_the_stub_does_not_know(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        heard = watch(mesh["s"])
        sub, pub = mesh.sub("s", "offers"), mesh.pub("t", "offers")
        via, to_via = mesh.sub("t", "passed"), mesh.pub("u", "passed")
        await to_via.wait_subscribers()
        await pub.wait_subscribers()
        sender, receiver = trioton.open_channel(mesh["u"])
        await to_via.send(sender)
        await pub.send((await receive(via, 1))[0])
        [arrived] = await receive(sub, 1)
        arrived.send_nowait("at once")
        await arrived.send("later")
        assert await receive(receiver, 2) == ["at once", "later"]
        assert mesh.info("s", "u").name == "u"
        assert [each.name for each in heard.all(ContextJoined)] == ["t", "u"]


async def test_a_reference_to_one_who_is_gone(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa tb") as mesh, AsyncExitStack() as stack:
        heard = watch(mesh["s"])
        await add_stub(mesh, stack, "uc")
        sub, pub = mesh.sub("s", "offers"), mesh.pub("t", "offers")
        via, to_via = mesh.sub("t", "passed"), mesh.pub("u", "passed")
        await to_via.wait_subscribers()
        await pub.wait_subscribers()
        await to_via.send(trioton.open_channel(mesh["u"])[0])
        passed = (await receive(via, 1))[0]
        await pub.send(passed)
        await trio.sleep(1)
        await stack.aclose()
        await trio.sleep(1)
        [arrived] = await receive(sub, 1)
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(10):
            await arrived.send_many(range(1000))
        assert [each.name for each in heard.all(ContextJoined)] == ["t"]


class Who(trioton.RepChannel):
    """Says in which context it is."""

    def who(self) -> str:
        return self.context.name


async def test_requests_from_and_to_stubs(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        for name in "cu":
            Who(mesh[name], "who")
        reqs = {name: trioton.ReqChannel(mesh[name], "who") for name in "stba"}
        for req in reqs.values():
            with trio.fail_after(20):
                await req.wait_repliers(2)
                assert {await req.who() for _ in range(10)} <= {"c", "u"}
                for name in "cu":
                    assert await req.to(mesh[name].id).who() == name


async def test_a_request_to_a_context_of_which_the_stub_knows_nothing(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        Who(mesh["u"], "who")
        await trio.sleep(1)
        req = trioton.ReqChannel(mesh["s"], "who")
        with trio.fail_after(20):
            assert await req.to(mesh["u"].id).who() == "u"
            with pytest.raises(trioton.DeadError):
                await req.to(12345).who()


async def test_jobs_from_and_to_stubs(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        pulls = {name: trioton.PullChannel(mesh[name], "jobs", trioton.OBJECT) for name in "tc"}
        done: list[int] = []

        async def work(pull: trioton.PullChannel[int]) -> None:
            async for job in pull:
                done.append(job)  # noqa: PERF401  # others look at it meanwhile

        for name, pull in pulls.items():
            mesh[name].start_soon(work, pull)
        for turn, name in enumerate("su"):
            push = trioton.PushChannel(mesh[name], "jobs", trioton.OBJECT)
            with trio.fail_after(20):
                for number in range(100):
                    await push.send(100 * turn + number)
                await push.aclose()
        await trio.sleep(5)
        assert sorted(done) == [*range(200)]


async def test_states_reach_stubs(autojump_clock: object) -> None:
    async with open_stubs("ab bc", EDGE) as mesh:
        states = {name: trioton.StateChannel(mesh[name], "state", trioton.OBJECT) for name in "abcstu"}
        for name, state in states.items():
            with trio.fail_after(10):
                await state.send(name)
                await state.wait_synced()
            await trio.sleep(1)
            assert {each.value for each in states.values()} == {name}


# ---------------------------------------------------------------- joins and deaths


async def test_a_stub_hears_once_of_the_end_of_those_it_knows(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa tb") as mesh, AsyncExitStack() as stack:
        heard, other = watch(mesh["s"]), watch(mesh["t"])
        await add_stub(mesh, stack, "uc")
        pub = mesh.pub("u")
        sub = mesh.sub("s")
        await pub.wait_subscribers()
        await pub.send_many(range(500))
        await stack.aclose()
        assert await receive(sub, 500) == [*range(500)]
        await trio.sleep(1)
        assert [each.name for each in heard.all(ContextDied)] == ["u"]
        assert [*other.all(ContextJoined), *other.all(ContextDied)] == []


async def test_the_end_of_a_stub_is_told_to_all(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa") as mesh, AsyncExitStack() as stack:
        heard = watch(mesh["c"])
        await add_stub(mesh, stack, "ub")
        await add_stub(mesh, stack, "vu")
        await trio.sleep(1)
        assert mesh.hops("c")["v"] == 3
        mesh.net.kill("u")
        await trio.sleep(60)
        assert {each.name for each in heard.all(ContextDied)} == {"u", "v"}


async def test_without_its_parent_a_stub_is_alone_and_may_go_elsewhere(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_stubs("ab bc", "sa us") as mesh:
        heard, below = watch(mesh["s"]), watch(mesh["u"])
        for name in "su":
            await mesh[name].wait_context("c")
        await mesh.dialled["sa"].aclose()
        await wait_known(mesh, "s", "u")
        await wait_known(mesh, "u", "s")
        assert {each.name for each in heard.all(ContextDied)} == {"a", "c"}
        assert {each.name for each in below.all(ContextDied)} == {"c"}
        await mesh.link("sc", stub=True)
        sub, pub = mesh.sub("a"), mesh.pub("u")
        await pub.wait_subscribers()
        await pub.send(1)
        assert await receive(sub, 1) == [1]
        assert mesh.hops("u") == {"s": 1, "a": 4}
        await mesh.dialled["sc"].aclose()
        await mesh.link("sb")
        await mesh["u"].connections[0].aclose()
        await wait_known(mesh, "s", "a", "b", "c")


# ---------------------------------------------------------------- stubs of stubs


async def test_stubs_of_stubs(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa ts us vb wv") as mesh:
        watches = {name: watch(mesh[name]) for name in "stuvw"}
        assert mesh.hops("t") == {"s": 1}
        await trio.sleep(1)
        assert mesh.hops("s") == {"a": 1, "t": 1, "u": 1}
        assert mesh.hops("c") == {"b": 1, "a": 2, "s": 3, "t": 4, "u": 4, "v": 2, "w": 3}
        subs = {name: mesh.sub(name) for name in "atuwv"}
        pubs = {name: mesh.pub(name) for name in "tw"}
        for name, pub in pubs.items():
            with trio.fail_after(10):
                await pub.wait_subscribers(4)
            await pub.send(name)
        for name, sub in subs.items():
            expected = set(pubs) - {name}
            assert set(await receive(sub, len(expected))) == expected
        with trio.fail_after(10):
            assert (await mesh["t"].wait_context("c")).hops == 4
        assert [each.all(ContextDied) for each in watches.values()] == [[]] * 5
        assert "c" not in mesh.hops("u")


# ---------------------------------------------------------------- what a stub may not


async def test_a_stub_has_one_way_out(autojump_clock: object) -> None:
    async with open_stubs("ab", "sa") as mesh:
        for stub in (False, True):
            with pytest.raises(ValueError, match="this context is a stub of"):
                await mesh["s"].connect("b:1", stub=stub)
        with pytest.raises(ValueError, match="one way out"):
            await mesh["a"].connect("c:1", stub=True)
        with pytest.raises(trioton.ConnectError, match="is a stub itself"):
            await mesh["b"].connect("s:1")
        with pytest.raises(TypeError, match="stub"):
            await mesh["b"].connect("s:1", stub=1)  # type: ignore[arg-type]
