"""Who is in a mesh: contexts join, leave, crash, lose each other and meet again, and everybody hears of each of that once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from tests.network.mesh_shapes import LATENCY, line, nothing_comes, open_mesh, receive
from trioton import Connected, ContextDied, ContextJoined, Disconnected, Limits, SessionLost
from trioton.network.peer import ContextInfo
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, Watch

RING = "ab bc cd da"


def joins(watch: Watch) -> str:
    """Who has joined, in order."""
    return "".join(event.name for event in watch.all(ContextJoined))


def deaths(watch: Watch) -> str:
    """Who has died, by name."""
    return "".join(sorted(event.name for event in watch.all(ContextDied)))


# ---------------------------------------------------------------- who is there


async def test_each_sees_all_and_how_far_away_they_are(autojump_clock: object) -> None:
    async with open_mesh("ab bc cd") as mesh:
        assert mesh.hops("a") == {"b": 1, "c": 2, "d": 3}
        assert mesh.hops("b") == {"a": 1, "c": 1, "d": 2}
        assert mesh.hops("c") == {"a": 2, "b": 1, "d": 1}
        assert mesh.hops("d") == {"a": 3, "b": 2, "c": 1}
        assert mesh.info("a", "d") == ContextInfo(mesh["d"].id, "d", mesh.net.host("d").pid, 3)
        assert [peer.name for peer in mesh["a"].peers] == ["b"]


async def test_wait_context_takes_the_name_or_the_identity_of_a_distant_one(autojump_clock: object) -> None:
    async with open_mesh("ab cd", joined=False) as mesh, trio.open_nursery() as nursery:
        found: list[ContextInfo] = []

        async def wait(name_or_id: str | int) -> None:
            found.append(await mesh["a"].wait_context(name_or_id))

        nursery.start_soon(wait, "d")
        nursery.start_soon(wait, int(mesh["d"].id))
        await trio.sleep(10)
        assert found == []
        await mesh.link("bc")
        await trio.sleep(1)
        assert found == [mesh.info("a", "d")] * 2
        assert found[0].hops == 3


async def test_joins_are_told_once_and_of_distant_ones_the_nearer_first(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with (
        open_mesh("bc cd de") as mesh,
        trioton.open_context("a", network=mesh.net.host("a")) as a,
    ):
        heard_by_a, heard_by_e = watch(a), watch(mesh["e"])
        await a.connect("b:1")
        await a.wait_context("e")
        await trio.sleep(100)
        # The neighbour itself counts as joined when the talk with it is settled, and that takes a moment longer.
        assert joins(heard_by_a) == "cdeb"
        assert joins(heard_by_e) == "a"


async def test_two_networks_merge_over_one_link(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh("ab bc de ef", joined=False) as mesh:
        await mesh.wait_all_see("a", "b", "c")
        await mesh.wait_all_see("d", "e", "f")
        watches = {name: watch(mesh[name]) for name in "abcdef"}
        await mesh.link("cd")
        await mesh.wait_all_see()
        await trio.sleep(100)
        for name, others in {"a": "def", "b": "def", "c": "efd", "d": "bac", "e": "cba", "f": "cba"}.items():
            assert joins(watches[name]) == others
        assert mesh.hops("a") == {"b": 1, "c": 2, "d": 3, "e": 4, "f": 5}


async def test_who_is_known_already_and_becomes_a_neighbour_does_not_join_again(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("ab bc cd") as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        await mesh.link("da")
        await mesh.wait_hops("a", {"b": 1, "c": 2, "d": 1})
        await mesh.wait_hops("c", {"a": 2, "b": 1, "d": 1})
        await trio.sleep(100)
        assert [joins(each) + deaths(each) for each in watches.values()] == ["", "", "", ""]
        assert [len(each.all(Connected)) for each in watches.values()] == [1, 0, 0, 1]


@pytest.mark.parametrize("hops", [8, 16])
async def test_a_line_reaches_as_far_as_sixteen_hops(hops: int, autojump_clock: object) -> None:
    names = "abcdefghijklmnopq"[: hops + 1]
    async with open_mesh(line(names)) as mesh:
        last = names[-1]
        assert mesh.hops("a")[last] == mesh.hops(last)["a"] == hops
        sub, pub = mesh.sub(last), mesh.pub("a")
        back, answers = mesh.sub("a", "back"), mesh.pub(last, "back")
        with trio.fail_after(10):
            await pub.wait_subscribers()
            await answers.wait_subscribers()
        await pub.send_many(range(1000))
        await answers.send("all right")
        assert await receive(sub, 1000) == list(range(1000))
        assert await receive(back, 1) == ["all right"]


async def test_what_is_seventeen_hops_away_is_not_there(autojump_clock: object) -> None:
    names = "abcdefghijklmnopqr"
    async with open_mesh(line(names), joined=False) as mesh:
        await mesh.wait_all_see(*names[:-1])
        await mesh.wait_all_see(*names[1:])
        await trio.sleep(100)
        assert "r" not in mesh.hops("a")
        assert "a" not in mesh.hops("r")
        sub = mesh.sub("r")
        others = mesh.sub("q")
        pub = mesh.pub("a")
        await pub.wait_subscribers()
        await trio.sleep(10)
        assert pub.statistics().subscribers == 1
        await pub.send("hello")
        assert await receive(others, 1) == ["hello"]
        assert await nothing_comes(sub)


# ---------------------------------------------------------------- leaving and dying


async def test_a_goodbye_in_the_middle_takes_those_behind_with_it(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh("ab bc cd de") as mesh:
        watches = {name: watch(mesh[name]) for name in "abde"}
        await mesh["c"].aclose()
        await trio.sleep(100)
        for name in "ab":
            assert deaths(watches[name]) == "cde"
        for name in "de":
            assert deaths(watches[name]) == "abc"
        assert mesh.hops("a") == {"b": 1}
        assert mesh.hops("e") == {"d": 1}
        assert all(joins(each) == "" for each in watches.values())


async def test_a_goodbye_is_heard_everywhere_in_a_moment(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh("ab bc cd de") as mesh:
        heard = watch(mesh["a"])
        start = trio.current_time()
        await mesh["e"].aclose()
        death = await heard.wait_for(ContextDied)
        assert (death.name, death.reason) == ("e", "no way leads there any more")
        assert trio.current_time() - start < 10 * LATENCY
        assert mesh.hops("a") == {"b": 1, "c": 2, "d": 3}


async def test_who_leaves_in_good_order_is_no_news_in_the_log(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither for those further away, nor for itself, who loses all behind its neighbours at once."""
    caplog.set_level(logging.INFO, logger="trioton")
    async with open_mesh("ab bc cd") as mesh:
        caplog.clear()
        await mesh["d"].aclose()
        await trio.sleep(1)
        assert sorted(record.args[0].name for record in caplog.records) == ["c", "d"]  # type: ignore[index, union-attr]
        assert all("context was closed" in record.getMessage() for record in caplog.records)


async def test_a_crash_in_the_middle_is_told_when_the_resume_window_is_over(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("ab bc cd de", limits=Limits(resume_window=20)) as mesh:
        watches = {name: watch(mesh[name]) for name in "abde"}
        mesh.net.kill("c")
        await trio.sleep(19)
        assert all(deaths(each) == "" for each in watches.values())
        await trio.sleep(100)
        for name in "ab":
            assert deaths(watches[name]) == "cde"
        for name in "de":
            assert deaths(watches[name]) == "abc"


async def test_a_context_that_starts_again_is_another_one(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh("ab bc cd") as mesh:
        heard = watch(mesh["a"])
        old = mesh["d"].id
        mesh.net.kill("d")
        mesh.net.restart("d")
        async with trioton.open_context("d", network=mesh.net.host("d")) as again:
            await again.bind("d:1")
            await mesh["a"].wait_context(int(again.id))
            await trio.sleep(100)
            assert [event.id for event in heard.all(ContextDied)] == [old]
            assert [event.id for event in heard.all(ContextJoined)] == [again.id]
            assert [info.id for info in mesh["a"].contexts] == [mesh["b"].id, mesh["c"].id, again.id]


# ---------------------------------------------------------------- links that end where others lead there, too


async def test_a_link_that_is_closed_where_another_way_leads_kills_nobody(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(RING) as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        assert mesh.hops("a") == {"b": 1, "c": 2, "d": 1}
        await mesh.dialled["ab"].aclose("we take the other way")
        await mesh.wait_hops("a", {"b": 3, "c": 2, "d": 1})
        await mesh.wait_hops("b", {"a": 3, "c": 1, "d": 2})
        await trio.sleep(100)
        assert all(joins(each) + deaths(each) == "" for each in watches.values())
        assert [len(each.all(Disconnected)) for each in watches.values()] == [1, 1, 0, 0]


async def test_a_link_that_was_closed_can_be_made_again(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(RING) as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        sub, pub = mesh.sub("b"), mesh.pub("a")
        await pub.wait_subscribers()
        for number in range(0, 30, 3):
            await pub.send(number)
            await mesh.dialled["ab"].aclose()
            await pub.send(number + 1)
            await mesh.wait_hops("a", {"b": 3, "c": 2, "d": 1})
            await mesh.link("ba" if number % 2 else "ab")
            mesh.dialled["ab"] = mesh["a"].connection("b")
            await pub.send(number + 2)
        assert await receive(sub, 30) == list(range(30))
        assert await nothing_comes(sub)
        assert all(joins(each) + deaths(each) == "" for each in watches.values())


# ---------------------------------------------------------------- partitions


async def test_after_a_partition_each_hears_once_of_all_beyond_and_all_meet_again(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("ab bc cd", limits=Limits(resume_window=20)) as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        sub, pub = mesh.sub("d"), mesh.pub("a")
        await pub.wait_subscribers()
        mesh.net.partition(["a", "b"], ["c", "d"])
        await trio.sleep(60)
        assert [deaths(watches[name]) for name in "abcd"] == ["cd", "cd", "ab", "ab"]
        assert pub.statistics().subscribers == 0
        mesh.net.heal()
        await mesh.wait_all_see()
        await pub.wait_subscribers()
        await trio.sleep(100)
        assert [deaths(watches[name]) for name in "abcd"] == ["cd", "cd", "ab", "ab"]
        assert ["".join(sorted(joins(watches[name]))) for name in "abcd"] == ["cd", "cd", "ab", "ab"]
        await pub.send("we meet again")
        assert await receive(sub, 1) == ["we meet again"]


@pytest.mark.parametrize("outage", [35, 90, 120])
@pytest.mark.parametrize("latency", [0.001, (0.001, 0.05)], ids=repr)
@pytest.mark.parametrize("links", ["ab bc cd", "ab bc cd de ef"])
async def test_when_both_sides_have_noticed_it_is_one_parting_and_not_two(
    links: str, latency: float | tuple[float, float], outage: float, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(links, net=Network(seed=2, latency=latency), limits=Limits(resume_window=20)) as mesh:
        names = "".join(mesh.contexts)
        left, right = names[: len(names) // 2], names[len(names) // 2 :]
        watches = {name: watch(mesh[name]) for name in names}
        mesh.net.partition(list(left), list(right))
        await trio.sleep(outage)
        mesh.net.heal()
        await trio.sleep(100)
        for name, watched in watches.items():
            others = right if name in left else left
            assert deaths(watched) == others
            assert "".join(sorted(joins(watched))) == others


async def test_both_begin_anew_if_the_outage_was_too_long_for_one_of_them(
    autojump_clock: object, watch: MakeWatch
) -> None:
    # b gives c up after 3 seconds of silence and 5 more, and c would have waited longer than the outage.
    short, long = Limits(resume_window=5), Limits(resume_window=60)
    options = {"a": {"limits": short}, "b": {"limits": short}, "c": {"limits": long}, "d": {"limits": long}}
    async with open_mesh("ab bc cd", options=options) as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        there, back = mesh.pub("a", "there"), mesh.pub("d", "back")
        hears_there, hears_back = mesh.sub("d", "there"), mesh.sub("a", "back")
        await there.wait_subscribers()
        await back.wait_subscribers()
        for number in range(10):
            await there.send(number)
            await back.send(number)
        assert await receive(hears_there, 10) == await receive(hears_back, 10) == list(range(10))
        mesh.net.partition(["a", "b"], ["c", "d"])
        await trio.sleep(30)
        assert [deaths(watches[name]) for name in "ab"] == ["cd", "cd"]
        mesh.net.heal()
        await mesh.wait_all_see()
        await trio.sleep(100)
        assert [deaths(watches[name]) for name in "abcd"] == ["cd", "cd", "ab", "ab"]
        assert ["".join(sorted(joins(watches[name]))) for name in "abcd"] == ["cd", "cd", "ab", "ab"]
        for number in range(10, 20):
            await there.send(number)
            await back.send(number)
        assert await receive(hears_there, 10) == await receive(hears_back, 10) == list(range(10, 20))


@pytest.mark.parametrize("dials", ["ab", "ba"])
@pytest.mark.parametrize("latency", [LATENCY, (0.001, 0.05)], ids=repr)
async def test_both_begin_anew_if_one_has_given_up_and_they_meet_over_a_link_of_their_own(
    latency: float | tuple[float, float], dials: str, autojump_clock: object, watch: MakeWatch
) -> None:
    # Neither p nor q can reach b for longer than their windows, and so a gives it up; b would wait for them much longer.
    short, long = {"limits": Limits(resume_window=5)}, {"limits": Limits(resume_window=600)}
    options = {"a": short, "p": short, "q": short, "b": long}
    async with open_mesh("ap aq bp bq", net=Network(seed=4, latency=latency), options=options) as mesh:
        heard_by_a, heard_by_b = watch(mesh["a"]), watch(mesh["b"])
        there, back = mesh.pub("a", "there"), mesh.pub("b", "back")
        hears_there, hears_back = mesh.sub("b", "there"), mesh.sub("a", "back")
        await there.wait_subscribers()
        await back.wait_subscribers()
        for number in range(10):
            await there.send(number)
            await back.send(number)
        assert await receive(hears_there, 10) == await receive(hears_back, 10) == list(range(10))
        mesh.net.partition(["p", "q"], ["b"])
        await trio.sleep(30)
        assert deaths(heard_by_a) == "b"
        assert deaths(heard_by_b) == ""
        assert there.statistics().subscribers == 0
        await there.send("nobody hears this")
        await back.send("nor this")
        await mesh.link(dials)
        await trio.sleep(100)
        assert (deaths(heard_by_a), joins(heard_by_a)) == ("b", "b")
        assert deaths(heard_by_b) == "apq"  # the others are found anew behind a
        assert "".join(sorted(joins(heard_by_b))) == "apq"
        about_a = [event for event in heard_by_b.events if getattr(event, "name", "") == "a"]
        assert [type(event) for event in about_a] == [ContextDied, ContextJoined]
        assert mesh.hops("b")["a"] == mesh.hops("a")["b"] == 1
        for number in range(10, 20):
            await there.send(number)
            await back.send(number)
        assert await receive(hears_there, 10) == await receive(hears_back, 10) == list(range(10, 20))
        # That was one parting, whatever they hear of it later.
        mesh.net.heal()
        await mesh.wait_hops("b", {"a": 1, "p": 1, "q": 1})
        await mesh.dialled[dials].aclose()
        await mesh.wait_hops("a", {"p": 1, "q": 1, "b": 2})
        await trio.sleep(100)
        assert (deaths(heard_by_a), joins(heard_by_a)) == ("b", "b")
        assert deaths(heard_by_b).count("a") == joins(heard_by_b).count("a") == 1
        await there.send(20)
        assert await receive(hears_there, 1) == [20]
        assert await nothing_comes(hears_back)


async def test_a_short_partition_is_no_death_and_loses_nothing(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh("ab bc cd") as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        sub, pub = mesh.sub("d", policy=trioton.Block(10)), mesh.pub("a")
        await pub.wait_subscribers()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(200):
                    await pub.send(number)
                    await trio.sleep(0.1)

            nursery.start_soon(send)
            await trio.sleep(5)
            mesh.net.partition(["a", "b"], ["c", "d"])
            await trio.sleep(15)
            mesh.net.heal()
            assert await receive(sub, 200) == list(range(200))
        assert all(joins(each) + deaths(each) == "" for each in watches.values())
        assert all(each.all(SessionLost) == [] for each in watches.values())


async def test_one_that_was_cut_off_from_a_ring_comes_back(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(RING, net=Network(seed=3, latency=(0.001, 0.05))) as mesh:
        watches = {name: watch(mesh[name]) for name in "abcd"}
        for _ in range(3):
            mesh.net.isolate("c")
            await trio.sleep(150)
            assert mesh.hops("c") == {}
            assert mesh.hops("a") == {"b": 1, "d": 1}
            mesh.net.heal()
            await mesh.wait_all_see()
        await trio.sleep(100)
        assert [deaths(watches[name]) for name in "abcd"] == ["ccc", "ccc", "aaabbbddd", "ccc"]
        assert [joins(watches[name]) for name in "abd"] == ["ccc"] * 3
