"""States in a network: who comes later, who was parted, who dies, and what a change costs. Cases with a number are those of Yoton."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, warnings_of
from tests.network.mesh_shapes import Mesh, line, open_mesh
from trioton import BINARY, OBJECT, UNSET, Limits, StateChannel
from trioton.network.mesh.retaining import Retaining
from trioton.protocol.retained import Value, parse_rows
from trioton.testing import Network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioton.protocol.session import RetainedReceived


def states(mesh: Mesh, names: Iterable[str] = (), **options: Any) -> dict[str, StateChannel[Any]]:
    """A channel on the same slot in each of these contexts, by default in all."""
    return {name: StateChannel(mesh[name], "spam", options.get("type", OBJECT)) for name in names or mesh.contexts}


async def all_have(channels: dict[str, StateChannel[Any]], value: object) -> None:
    with trio.fail_after(60):
        for channel in channels.values():
            assert await channel.wait_value(value) == value


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Over which links values come, by the names of both ends, one for each."""
    links: list[str] = []
    came = Retaining.came

    def note(self: Retaining, connection: trioton.Connection, event: RetainedReceived) -> None:
        values = sum(isinstance(row, Value) for row in parse_rows(event.body))
        links.extend([f"{connection.peer.name}{self._context.name}"] * values)
        came(self, connection, event)

    monkeypatch.setattr(Retaining, "came", note)
    return links


# ------------------------------------------------------------------------------------------------------ cases of Yoton


async def test_case_9_a_value_from_before_all_connections_comes_to_the_end_of_the_line(autojump_clock: object) -> None:
    net = Network(seed=7, latency=0.01)
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(trioton.open_context(n, network=net.host(n))) for n in "abc"]
        a, b, c = (StateChannel(context, "spam") for context in opened)
        await a.send("status1")
        await opened[0].bind("a:1")
        await opened[2].bind("c:1")
        await opened[1].connect("a:1")
        assert b.value == "status1"
        await opened[1].connect("c:1")
        for channel in (b, c, b, c):
            assert channel.value == "status1", "reading it takes nothing away"


async def test_case_10_a_change_comes_to_all(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        channels = states(mesh)
        await channels["a"].send("status1")
        await channels["a"].send("status2")
        for _ in range(2):
            await all_have(channels, "status2")


async def test_case_19_a_value_goes_through_contexts_without_a_channel(autojump_clock: object) -> None:
    async with open_mesh(line("abcde")) as mesh:
        channels = states(mesh, "ae")
        await channels["a"].send("Hello you two!")
        await all_have(channels, "Hello you two!")
        assert mesh["c"].statistics().states == 1


async def test_cases_25_and_26_several_write_in_turn_and_one_joins_later(autojump_clock: object) -> None:
    async with open_mesh("ab bc", joined=False) as mesh:
        channels = states(mesh)
        await channels["a"].send("READY")
        await all_have(channels, "READY")
        await channels["b"].send("READY2")
        await all_have(channels, "READY2")
        await channels["a"].send("READY")
        await all_have(channels, "READY")
        async with trioton.open_context("d", network=mesh.net.host("d")) as late:
            state = StateChannel(late, "spam", OBJECT)
            await late.connect("b:1")
            assert state.value == "READY"
            assert state.value == "READY"


async def test_d8_a_state_of_the_one_who_dials_comes_to_the_other_side(autojump_clock: object) -> None:
    """Yoton forgot it: what the dialling side knew did not go over a link that joined two networks."""
    async with open_mesh("ab cd", joined=False) as mesh:
        channels = states(mesh)
        await channels["a"].send("old")
        await all_have(states(mesh, "ab"), "old")
        await mesh.link("ac")
        assert channels["c"].value == "old"
        await all_have(channels, "old")


async def test_d8_who_comes_back_with_an_old_value_does_not_bring_it(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        channels = states(mesh)
        await channels["a"].send("old")
        await all_have(channels, "old")
        mesh.net.partition({"c"}, {"a", "b"})
        await channels["a"].send("new")
        await trio.sleep(100)
        assert channels["c"].value == "old"
        mesh.net.heal()
        await all_have(channels, "new")
        await trio.sleep(10)
        assert {channel.value for channel in channels.values()} == {"new"}


# ------------------------------------------------------------------------------------------------------------ who wins


async def test_two_who_write_at_the_same_time_agree(autojump_clock: object) -> None:
    async with open_mesh(line("abcd")) as mesh:
        channels = states(mesh)
        await channels["a"].send("from a")
        await channels["d"].send("from d")
        winner = max("ad", key=lambda name: mesh[name].id.to_wire())
        await all_have(channels, f"from {winner}")
        assert {channel.writer for channel in channels.values()} == {mesh[winner].id}


@pytest.mark.parametrize("parted", [2, 100])
async def test_parts_that_both_wrote_agree_when_they_are_joined(autojump_clock: object, parted: float) -> None:
    async with open_mesh(line("abcd")) as mesh:
        channels = states(mesh)
        mesh.net.partition({"a", "b"}, {"c", "d"})
        for number in range(3):
            await channels["a"].send(f"a{number}")
            await channels["b"].wait_value(f"a{number}")
        await channels["d"].send("d")
        await channels["c"].wait_value("d")
        await trio.sleep(parted)
        mesh.net.heal()
        await all_have(channels, "a2")


async def test_a_value_outlives_its_writer_and_all_who_had_it_first(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        await StateChannel(mesh["a"], "spam", OBJECT).send("legacy")
        late = StateChannel(mesh["c"], "spam", OBJECT)
        await late.wait_value("legacy")
        writer = mesh["a"].id
        await mesh["a"].aclose()
        await mesh["b"].aclose()
        assert mesh["c"].contexts == []
        assert late.value == "legacy"
        assert late.writer == writer
        async with trioton.open_context("d", network=mesh.net.host("d")) as d:
            await d.connect("c:1")
            assert StateChannel(d, "spam", OBJECT).value == "legacy"


async def test_when_the_only_holder_starts_again_it_is_unset_there(autojump_clock: object) -> None:
    net = Network(seed=7)
    for value in ("first", "second"):
        async with trioton.open_context("a", network=net.host("a")) as a:
            state = StateChannel(a, "spam")
            assert state.value is UNSET
            await state.send(value)


async def test_when_one_of_two_starts_again_it_gets_the_value_back(autojump_clock: object) -> None:
    net = Network(seed=7)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        for number in range(3):
            async with trioton.open_context("a", network=net.host("a")) as a:
                await a.connect("b:1")
                state = StateChannel(a, "count", OBJECT)
                assert state.value == (number - 1 if number else UNSET)
                await state.send(number)


# ------------------------------------------------------------------------------------------------------- who comes late


async def test_who_connects_has_the_values_of_all_slots(autojump_clock: object) -> None:
    async with open_mesh(line("abcd")) as mesh:
        expected = {f"slot {number}": number for number in range(300)}
        for slot, value in expected.items():
            await StateChannel(mesh["a"], slot, OBJECT).send(value)
        await StateChannel(mesh["a"], "slot 299", OBJECT).wait_synced()
        async with trioton.open_context("e", network=mesh.net.host("e")) as late:
            await late.connect("d:1")
            assert {slot: StateChannel(late, slot, OBJECT).value for slot in expected} == expected


@pytest.mark.parametrize("size", [100, 70_000, 1_100_000, 5_000_000])
async def test_large_values_come_to_who_is_there_and_to_who_comes_late(autojump_clock: object, size: int) -> None:
    async with open_mesh(line("abc")) as mesh:
        channels = states(mesh, type=BINARY)
        value = bytes(range(256)) * (size // 256)
        await channels["a"].send(value)
        await all_have(channels, value)
        async with trioton.open_context("d", network=mesh.net.host("d")) as late:
            await late.connect("c:1")
            assert StateChannel(late, "spam", BINARY).value == value


async def test_a_large_value_does_not_hold_up_what_is_sent_besides(autojump_clock: object) -> None:
    net = Network(seed=7, latency=0.01)
    net.host("a"), net.host("b")
    net.link("a", "b", bandwidth=1_000_000)
    async with open_mesh("ab", net=net) as mesh:
        sub = mesh.sub("b")
        pub = mesh.pub("a")
        await pub.wait_subscribers()
        here, there = StateChannel(mesh["a"], "spam", BINARY), StateChannel(mesh["b"], "spam", BINARY)
        begin = trio.current_time()
        await here.send(bytes(5_000_000))
        await trio.sleep(0.1)
        await pub.send("quick")
        assert await sub.receive() == "quick"
        assert trio.current_time() - begin < 2
        assert there.value is UNSET
        await there.wait_value(bytes(5_000_000))
        assert trio.current_time() - begin > 5
        assert mesh.dialled["ab"].is_connected


async def test_a_slow_link_gets_the_newest_and_keeps_no_others(autojump_clock: object) -> None:
    net = Network(seed=7, latency=0.01)
    net.host("a"), net.host("b")
    net.link("a", "b", bandwidth=100_000)
    async with open_mesh("ab", net=net) as mesh:
        here, there = StateChannel(mesh["a"], "spam", BINARY), StateChannel(mesh["b"], "spam", BINARY)
        for number in range(100):
            await here.send(bytes([number]) * 60_000)
            await trio.sleep(0.05)
        assert mesh.dialled["ab"].statistics().packages_queued < 5
        await there.wait_value(bytes([99]) * 60_000)
        assert there.statistics().changes < 30


# ---------------------------------------------------------------------------------------------------------- what it costs


async def test_in_a_star_a_change_costs_one_record_for_each_link(autojump_clock: object, told: list[str]) -> None:
    async with open_mesh("bh ch dh eh fh") as mesh:
        channels = states(mesh)
        await channels["b"].send(1)
        await all_have(channels, 1)
        await trio.sleep(1)
        assert sorted(told) == ["bh", "hc", "hd", "he", "hf"]


async def test_in_a_ring_it_stops_where_it_is_known(autojump_clock: object, told: list[str]) -> None:
    async with open_mesh("ab bc cd da") as mesh:
        channels = states(mesh)
        await channels["a"].send(1)
        await all_have(channels, 1)
        await trio.sleep(1)
        assert 4 <= len(told) <= 5


async def test_a_link_that_comes_back_tells_only_what_is_new(autojump_clock: object, told: list[str]) -> None:
    async with open_mesh("ab") as mesh:
        channels = states(mesh)
        others = [StateChannel(mesh["a"], f"other {number}") for number in range(10)]
        for other in others:
            await other.send("x")
        await channels["a"].send(1)
        await all_have(channels, 1)
        mesh.net.cut("a", "b")
        await trio.sleep(10)
        assert mesh.dialled["ab"].is_connected
        told.clear()
        mesh.net.cut("a", "b")
        await channels["b"].send(2)
        await all_have(channels, 2)
        assert told == ["ba"]


async def test_nothing_is_told_where_there_are_no_states(autojump_clock: object) -> None:
    async with open_mesh("ab") as mesh:
        await trio.sleep(5)
        frames = [event for event in mesh.net.trace if event.what == "RETAINED"]
        assert len(frames) == 2


# -------------------------------------------------------------------------------------------------------------- limits


async def test_what_is_used_stays_and_the_oldest_of_the_rest_gives_way(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_mesh("ab bc", options={"b": {"limits": Limits(retained=100_000)}}) as mesh:
        used = StateChannel(mesh["b"], "used", BINARY)
        await used.send(bytes(20_000))
        senders = [StateChannel(mesh["a"], f"slot {number}", BINARY) for number in range(10)]
        for sender in senders:
            await sender.send(bytes(20_000))
            await sender.wait_synced()
        statistics = mesh["b"].statistics()
        assert statistics.state_bytes <= 100_000
        assert statistics.states == 4
        assert statistics.states_given_way == 7
        assert used.value == bytes(20_000)
        assert mesh["c"].statistics().states == 11, "what has given way was passed on before"
        assert sum("gives way" in warning for warning in warnings_of(caplog)) == 1
        late = StateChannel(mesh["b"], "slot 0", BINARY)
        assert late.value is UNSET
        with trio.fail_after(1):
            assert await late.receive() == bytes(20_000), "who needs it gets it from a neighbour that has it"


async def test_a_neighbour_that_takes_less_goes_without(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    small = Limits(max_package=100_000)
    async with open_mesh("ab", joined=False) as mesh:
        await StateChannel(mesh["a"], "large", BINARY).send(bytes(200_000))
        await StateChannel(mesh["a"], "small", BINARY).send(bytes(50_000))
        async with trioton.open_context("c", network=mesh.net.host("c"), limits=small) as c:
            await c.connect("a:1", reconnect=FAST)
            assert StateChannel(c, "large", BINARY).value is UNSET
            assert StateChannel(c, "small", BINARY).value == bytes(50_000)
            assert sum("too large" in warning for warning in warnings_of(caplog)) == 1


async def test_synced_reaches_beyond_neighbours(autojump_clock: object) -> None:
    async with open_mesh(line("abcde")) as mesh:
        channels = states(mesh, "ae")
        for number in range(3):
            await channels["a"].send(number)
            await channels["a"].wait_synced()
            assert channels["e"].value == number


async def test_synced_over_links_that_break(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        channels = states(mesh)
        for number in range(5):
            await channels["a"].send(number)
            mesh.net.cut("bc"[number % 2], "ab"[number % 2])
            with trio.fail_after(30):
                await channels["a"].wait_synced()
            assert channels["c"].value == number
