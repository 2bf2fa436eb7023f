"""Contexts that are not trusted take part, and nothing is passed on through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from tests.common import Card, warnings_of
from tests.network.mesh_shapes import nothing_comes, receive
from tests.trust.leaf_shapes import SETTLED, network_of_users, open_leaves, open_users, sees
from trioton import OBJECT, ContextDied, StateChannel

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

Clock = trio.testing.MockClock


# ---------------------------------------------------------------- who have proved nothing to each other


async def test_two_clients_of_a_broker_that_is_not_trusted_do_not_reach_each_other(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, watch: MakeWatch
) -> None:
    async with open_users("xb yb", broker="b", ann="x", ben="y") as mesh:
        assert {name: sees(mesh, name) for name in "bxy"} == {"b": "xy", "x": "b", "y": "b"}
        assert mesh["b"].connections[0].kind == "unauthenticated"
        subs = {name: mesh.sub(name) for name in "bxy"}
        pubs = {name: mesh.pub(name) for name in "bxy"}
        await pubs["b"].wait_subscribers(2)
        for name in "xy":
            await pubs[name].wait_subscribers(1)
        for name in "bxy":
            await pubs[name].send(name)
        assert sorted(await receive(subs["b"], 2)) == ["x", "y"]
        for name in "xy":
            assert await receive(subs[name], 1) == ["b"]
            assert await nothing_comes(subs[name])
        with trio.move_on_after(5) as scope:
            await mesh["x"].wait_context("y")
        assert scope.cancelled_caught
        for context in mesh.contexts.values():
            assert context.statistics().spoofed == 0
        assert [line for line in warnings_of(caplog) if "speaks for others" in line] == []
        y = watch(mesh["b"])
        mesh.net.kill("y")
        await y.wait_for(ContextDied)
        assert sees(mesh, "x") == "b"


async def test_what_is_not_believed_is_not_told(autojump_clock: object) -> None:
    """Who does not trust a context hears nothing of others from it, and it hears nothing of others from who does not trust it."""
    async with open_users("bc xb yb", broker="bc", ann="x", ben="y") as mesh:
        ids = {name: mesh[name].id.to_wire() for name in "bcxy"}
        for name, known in {"b": "bcxy", "c": "bc", "x": "bx", "y": "by"}.items():
            assert mesh[name]._mesh.topology.digest().known.keys() == {ids[each] for each in known}


async def test_contexts_of_two_users_form_two_networks_that_touch(autojump_clock: object) -> None:
    async with open_users("ab bc xy yz bx", ann="abc", ben="xyz") as mesh:
        assert {name: sees(mesh, name) for name in mesh.contexts} == {
            "a": "bc", "b": "acx", "c": "ab", "x": "byz", "y": "xz", "z": "xy",
        }  # fmt: skip
        await mesh.link("by")
        await trio.sleep(SETTLED)
        assert sees(mesh, "b") == "acxy"
        assert sees(mesh, "a") == "bc"


async def test_one_who_is_two_links_away_is_dead_when_its_own_link_is(autojump_clock: object, watch: MakeWatch) -> None:
    """Another way leads over a neighbour that would not be believed."""
    async with open_users("ab xa xb", ann="ab", ben="x") as mesh:
        assert {name: sees(mesh, name) for name in "abx"} == {"a": "bx", "b": "ax", "x": "ab"}
        at = watch(mesh["a"])
        mesh.net.partition("a", "x")
        assert (await at.wait_for(ContextDied)).name == "x"
        assert {name: sees(mesh, name) for name in "abx"} == {"a": "b", "b": "ax", "x": "b"}


# ---------------------------------------------------------------- who have proved who they are, and may not route


async def test_a_leaf_takes_part(autojump_clock: object) -> None:
    async with open_leaves("la ab bc mc", "lm") as mesh:
        for name in mesh.contexts:
            assert sees(mesh, name) == "".join(sorted(set(mesh.contexts) - {name}))
        assert mesh.hops("l") == {"a": 1, "b": 2, "c": 3, "m": 4}
        assert mesh.dialled["la"].kind == "trusted"
        assert mesh["a"].connections[0].kind == "peer"
        subs = {name: mesh.sub(name) for name in "lbm"}
        pubs = {name: mesh.pub(name) for name in "lm"}
        for pub in pubs.values():
            await pub.wait_subscribers(2)
        for name, pub in pubs.items():
            await pub.send_many([name] * 100)
        for name, expected in {"l": 100, "b": 200, "m": 100}.items():
            assert len(await receive(subs[name], expected)) == expected
            assert await nothing_comes(subs[name])
        states = {name: StateChannel[str](mesh[name], "status", OBJECT) for name in "lbm"}
        await states["l"].send("by l")
        await states["l"].wait_synced()
        assert {state.value for state in states.values()} == {"by l"}
        assert all(context.statistics().spoofed == 0 for context in mesh.contexts.values())


async def test_a_leaf_is_no_bridge(autojump_clock: object) -> None:
    async with open_leaves("ab la lc cd", "l") as mesh:
        assert {name: sees(mesh, name) for name in mesh.contexts} == {
            "a": "bl", "b": "al", "l": "abcd", "c": "dl", "d": "cl",
        }  # fmt: skip
        pub, sub = mesh.pub("a"), mesh.sub("d")
        mine = mesh.pub("l")
        await mine.wait_subscribers(1)
        await pub.send("from a")
        await mine.send("from l")
        assert await receive(sub, 1) == ["from l"]
        assert await nothing_comes(sub)
        await mesh.link("bc")
        await mesh.wait_all_see()
        await pub.wait_subscribers(1)
        await pub.send("over b and c")
        assert await receive(sub, 2) == ["from a", "over b and c"]
        assert mesh["l"]._mesh.relays.relayed == 0


async def test_a_leaf_with_two_links_stays_when_it_loses_one(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_leaves("ab bc la lc", "l") as mesh:
        sub, pub = mesh.sub("a"), mesh.pub("l")
        await pub.wait_subscribers(1)
        at = watch(mesh["a"])
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _send() -> None:
                for number in range(300):
                    await pub.send(number)
                    await trio.sleep(0.1)

            await trio.sleep(5)
            mesh.net.partition("a", "l")
            assert await receive(sub, 300) == [*range(300)]
            await trio.sleep(60)
            assert mesh.hops("a")["l"] == 3
            assert at.all(ContextDied) == []
            mesh.net.heal()
            mesh.net.kill("l")
            await at.wait_for(ContextDied)
            assert sees(mesh, "b") == "ac"
            nursery.cancel_scope.cancel()


async def test_what_a_leaf_proves_with_its_next_link_counts(autojump_clock: object) -> None:
    """It comes back to its session with a better card, and with a worse one: what it may do follows."""
    async with open_leaves("ab la ml", "l") as mesh:
        sub, pub = mesh.sub("b"), mesh.pub("m")
        for number, (may_route, seen) in enumerate([(False, "al"), (True, "alm"), (False, "al"), (True, "alm")]):
            object.__setattr__(mesh["l"]._security, "may_route", may_route)
            for other in "am":
                mesh.net.cut("l", other)
            await trio.sleep(SETTLED)
            assert sees(mesh, "b") == seen
            if may_route:
                await pub.wait_subscribers(1)
                await pub.send(number)
                assert await receive(sub, 1) == [number]
            assert all(context.statistics().spoofed == 0 for context in mesh.contexts.values())


async def test_who_has_proved_more_at_one_door_is_not_let_in_at_another(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """It might be another, who says that it is the one who is trusted."""
    async with open_leaves("ab bc la", "") as mesh:
        await mesh.wait_all_see()
        object.__setattr__(mesh["l"]._security, "may_route", False)
        with pytest.raises(trioton.ConnectError, match="of this identity is in the network already, by another way"):
            await mesh.link("lc")
        object.__setattr__(mesh["l"]._security, "may_route", True)
        await mesh.link("lc")


# ---------------------------------------------------------------- stubs


async def test_a_stub_does_not_believe_a_parent_that_is_not_trusted(autojump_clock: object) -> None:
    net = network_of_users(ann="a", ben="s")
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("s", network=net.host("s")) as s,
    ):
        await a.bind("a:1")
        with pytest.raises(
            trioton.ConnectError, match=r"a has not proved that it may speak for others, .* give both a trioton\.Secret"
        ):
            await s.connect("a:1", stub=True, wait=True)
        assert s.connections == []
        await s.connect("a:1")
        assert [info.name for info in s.contexts] == ["a"]


async def test_a_stub_that_is_not_trusted_speaks_for_those_below_it(autojump_clock: object) -> None:
    async with open_leaves("ab", "") as mesh:
        options = {name: {"security": Card(name, may_route=name == "s")} for name in "st"}
        net = mesh.net
        async with (
            trioton.open_context("s", network=net.host("s", uid=3001), security=Card("s", may_route=False)) as s,
            trioton.open_context("t", network=net.host("t", uid=3001), security=options["t"]["security"]) as t,
        ):
            mesh.contexts.update(s=s, t=t)
            await s.bind("s:1")
            await mesh.link("sa", stub=True)
            object.__setattr__(s._security, "may_route", True)  # to those below it it shows another card
            await mesh.link("ts", stub=True)
            await mesh.wait_all_see("a", "b")
            await trio.sleep(SETTLED)
            assert sees(mesh, "a") == "bst"
            assert sees(mesh, "b") == "ast"
            sub, back = mesh.sub("b"), mesh.sub("t", "back")
            pub, answer = mesh.pub("t"), mesh.pub("b", "back")
            await pub.wait_subscribers(1)
            await answer.wait_subscribers(1)
            await pub.send_many(range(500))
            await answer.send_many(range(500))
            assert await receive(sub, 500) == await receive(back, 500) == [*range(500)]
            assert mesh["a"].statistics().spoofed == 0


async def test_a_stub_is_not_told_of_those_whom_it_cannot_reach(autojump_clock: object) -> None:
    net = network_of_users(ann="as", ben="x")
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("s", network=net.host("s")) as s,
        trioton.open_context("x", network=net.host("x")) as x,
    ):
        await a.bind("a:1")
        await s.connect("a:1", stub=True)
        await x.connect("a:1")
        sub = trioton.SubChannel[str](x, "flow", OBJECT)
        pub = trioton.PubChannel[str](s, "flow", OBJECT)
        own = trioton.PubChannel[str](a, "flow", OBJECT)
        await own.wait_subscribers(1)
        await trio.sleep(SETTLED)
        await pub.send("nobody hears")
        await own.send("x does")
        assert await receive(sub, 1) == ["x does"]
        assert [info.name for info in s.contexts] == ["a"]
        with trio.move_on_after(5) as scope:
            await s.wait_context(int(x.id))
        assert scope.cancelled_caught


# ---------------------------------------------------------------- values of states


async def test_a_value_goes_no_further_than_its_writer_may_speak(autojump_clock: object) -> None:
    async with open_users("xb yb bc", broker="bc", ann="x", ben="y") as mesh:
        states = {name: StateChannel[str](mesh[name], "status", OBJECT) for name in "bcxy"}
        with trio.fail_after(60):
            await states["x"].send("by x")
            await states["x"].wait_synced()
            assert {name: state.value or None for name, state in states.items()} == {
                "b": "by x", "c": "by x", "x": "by x", "y": None,
            }  # fmt: skip
            await states["b"].wait_synced()
            await states["c"].wait_synced()
            await states["y"].wait_synced()
            await states["b"].send("by b")
            await states["b"].wait_synced()
        assert {state.value for state in states.values()} == {"by b"}
        assert all(context.statistics().spoofed == 0 for context in mesh.contexts.values())
        mesh.net.cut("x", "b")
        mesh.net.cut("y", "b")
        await trio.sleep(SETTLED)
        assert all(context.statistics().spoofed == 0 for context in mesh.contexts.values())
