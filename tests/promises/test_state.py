"""What `docs/explain/promises.rst` promises about states, one short test each; the depth is in ``tests/network/test_states.py``."""

from __future__ import annotations

import trio
import trio.testing

from tests.network.mesh_shapes import line, open_mesh
from trioton import OBJECT, StateChannel, open_context


async def test_promise_12_who_connects_has_all_states(autojump_clock: object) -> None:
    async with open_mesh(line("abc")) as mesh:
        for slot in ("x", "y"):
            state = StateChannel(mesh["a"], slot)
            await state.send(f"value of {slot}")
            await state.wait_synced()
        async with open_context("d", network=mesh.net.host("d")) as late:
            await StateChannel(late, "z").send("value of z")
            await late.connect("c:1")
            assert [StateChannel(late, slot).value for slot in "xy"] == ["value of x", "value of y"]
            assert StateChannel(mesh["c"], "z").value == "value of z"


async def test_promise_12_a_value_outlives_its_sender(autojump_clock: object) -> None:
    async with open_mesh("ab") as mesh:
        state = StateChannel(mesh["a"], "x")
        await state.send("legacy")
        await state.wait_synced()
        await mesh["a"].aclose()
        assert StateChannel(mesh["b"], "x").value == "legacy"


async def test_promise_12_all_agree_after_a_partition(autojump_clock: object) -> None:
    async with open_mesh(line("abcd")) as mesh:
        channels = [StateChannel(mesh[name], "x") for name in "abcd"]
        mesh.net.partition({"a", "b"}, {"c", "d"})
        await channels[0].send("left")
        await channels[3].send("right")
        await trio.sleep(100)
        mesh.net.heal()
        await mesh.wait_all_see()
        await channels[0].wait_synced()
        values = {channel.value for channel in channels}
        assert len(values) == 1
        assert values <= {"left", "right"}


async def test_promise_12_the_last_value_is_never_lost(autojump_clock: object) -> None:
    async with open_mesh(line("abc")) as mesh:
        here, there = StateChannel(mesh["a"], "x", OBJECT), StateChannel(mesh["c"], "x", OBJECT)
        for number in range(1000):
            await here.send(number)
        with trio.fail_after(10):
            assert await there.wait_value(999) == 999
