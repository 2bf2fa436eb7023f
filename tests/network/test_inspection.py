"""What contexts tell about themselves, to whom, and what that costs those who are not asked: nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import trioton
from tests.common import warnings_of
from trioton import OBJECT, Block, DropOldest, Latest, Policy, PubChannel, ReqChannel, StateChannel, SubChannel
from trioton.network import inspection
from trioton.network.connection import Connection
from trioton.network.inspection import ContextReport, ReportError
from trioton.network.inspector import INTERVAL, REPORTS, Inspector
from trioton.testing import Network


def watch(context: trioton.Context, policy: Policy = DropOldest(10)) -> SubChannel[Any]:  # noqa: B008  # frozen
    return SubChannel(context, REPORTS, OBJECT, policy=policy)


def count_from(reports: SubChannel[Any], seen: trioton.Context) -> int:
    """How many of the reports that wait are of this context; there are those of other viewers, too. None waits any more then."""
    return sum(message["id"] == f"{seen.id:032x}" for message in reports.receive_all_nowait())


async def next_report(sub: SubChannel[Any]) -> ContextReport:
    return ContextReport.from_message(await sub.receive())


@asynccontextmanager
async def opened(net: Network, name: str, **options: Any) -> AsyncIterator[trioton.Context]:
    async with trioton.open_context(name, network=net.host(name), **options) as context:
        yield context


@asynccontextmanager
async def pair(net: Network) -> AsyncIterator[tuple[trioton.Context, trioton.Context, trioton.Connection]]:
    """A context that is looked at, one that looks, and its connection."""
    async with opened(net, "seen") as seen, opened(net, "viewer") as viewer:
        await seen.bind("seen:1")
        yield seen, viewer, await viewer.connect("seen:1")


# ---------------------------------------------------------------- what is told


async def test_what_a_report_tells(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with pair(net) as (seen, viewer, _), opened(net, "leaf") as leaf:
        await leaf.connect("seen:1")
        numbers = PubChannel(seen, "numbers", OBJECT)
        watched = SubChannel(leaf, "numbers", OBJECT, policy=Block(8))
        SubChannel(viewer, "numbers", OBJECT, policy=Latest())
        PubChannel(seen, "unheard").send_nowait("waits")
        texts = SubChannel(seen, "texts", policy=Block(5))
        SubChannel(seen, "texts", policy=DropOldest(2))
        pub = PubChannel(leaf, "texts")
        await numbers.wait_subscribers(2)
        await pub.wait_subscribers(2)
        await numbers.send_many(range(6))
        await pub.send_many("abc")
        assert await watched.receive() == 0
        await trio.sleep(1)
        started = trio.current_time()
        report = await next_report(watch(viewer))

    assert (report.id, report.name, report.pid) == (f"{seen.id:032x}", "seen", net.host("seen").pid)
    assert report.library == trioton.__version__
    assert 0 < report.uptime <= started + 0.02
    assert report.omitted == 0

    links = {link.name: link for link in report.links}
    assert set(links) == {"leaf", "viewer"}
    link = links["leaf"]
    assert link.peer == f"{leaf.id:032x}"
    assert (link.transport, link.state, link.lost, link.dropped, link.queued) == ("simulated", "connected", 0, 0, 0)
    assert (link.messages_sent, link.messages_received) == (6, 3)
    assert link.bytes_sent > 20
    assert link.bytes_received > 20
    assert link.rtt == pytest.approx(0.02)

    sending = {each.slot: each for each in report.sending}
    assert set(sending) == {"numbers.obj.pub-sub", "unheard.txt.pub-sub"}
    sent = sending["numbers.obj.pub-sub"]
    assert (sent.sent, sent.subscribers, sent.backlog, sent.waiting, sent.unheard) == (6, 2, 0, 0, 0)
    branches = {branch.name: branch for branch in sent.branches}
    assert (branches["leaf"].mode, branches["leaf"].ready) == ("block", True)
    assert (branches["leaf"].limit, sent.room) == (8 + (branches["leaf"].taken or 0), 2 + (branches["leaf"].taken or 0))
    assert sent.unconfirmed == 6 - (branches["leaf"].taken or 0)
    assert (branches["viewer"].mode, branches["viewer"].taken, branches["viewer"].limit) == ("drop-oldest", None, None)
    assert (sending["unheard.txt.pub-sub"].backlog, sending["unheard.txt.pub-sub"].sent) == (1, 0)

    (received,) = report.receiving
    assert (received.slot, received.subscriptions) == ("texts.txt.pub-sub", 2)
    assert received.policies == ("block:5", "drop-oldest:2")
    assert (received.received, received.pending, received.dropped, received.room) == (6, 5, 1, 2)
    assert texts.pending == 3


class Slow(trioton.RepChannel):
    async def work(self) -> None:
        await trio.sleep_forever()

    async def fail(self) -> None:
        raise ValueError("no")


async def test_requests_and_states_are_told(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (seen, viewer, _):
        StateChannel(seen, "mode").send_nowait("idle")
        StateChannel(viewer, "speed", OBJECT).send_nowait(5)
        Slow(seen, "work", max_running=2)
        req, asked = ReqChannel(viewer, "work"), ReqChannel(seen, "work", local=True)
        with pytest.raises(ValueError, match="no"):
            await req.fail()
        futures = [req.work(), req.work()]
        await trio.sleep(1)
        futures.append(asked.work())  # there is no room for it any more
        await trio.sleep(1)
        reports: dict[str, ContextReport] = {}
        sub = watch(viewer), watch(seen)
        for each in sub:
            report = await next_report(each)
            reports[report.name] = report
        for future in futures:
            future.cancel()
    report = reports["seen"]
    [answering] = report.answering
    assert (answering.slot, answering.channels, answering.taken, answering.running, answering.failed) == (
        ("work.obj.req-rep", 1, 3, 2, 1)
    )
    [asking] = report.asking
    assert (asking.made, asking.pending, asking.running, asking.repliers) == (1, 1, 0, 1)
    [asking] = reports["viewer"].asking
    assert (asking.made, asking.pending, asking.running, asking.repliers) == (3, 2, 2, 1)
    assert reports["viewer"].answering == ()
    states = {state.slot: state for state in report.states}
    assert set(states) == {"mode.txt.state", "speed.obj.state"}
    mode, speed = states["mode.txt.state"], states["speed.obj.state"]
    assert (mode.channels, mode.writer, mode.size) == (1, f"{seen.id:032x}", 5)
    assert (speed.channels, speed.writer, speed.size, speed.counter) == (0, f"{viewer.id:032x}", 1, 1)


async def test_an_earlier_version_tells_of_no_requests(message: dict[str, Any], autojump_clock: object) -> None:
    for name in ("asking", "answering", "states"):
        del message[name]
    report = ContextReport.from_message(message)
    assert (report.asking, report.answering, report.states) == ((), (), ())


async def test_own_subscriptions_are_a_branch_too(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (seen, viewer, _):
        pub = PubChannel(seen, "here", local=True)
        SubChannel(seen, "here")
        await pub.send("x")
        report = await next_report(watch(viewer))
    (branch,) = report.sending[0].branches
    assert (branch.peer, branch.mode) == (report.id, "block")


async def test_a_lost_link_is_counted(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with pair(net) as (_, viewer, connection):
        reports = watch(viewer)
        assert (await next_report(reports)).links[0].lost == 0
        net.cut("seen", "viewer")
        await trio.sleep(5)
        assert connection.is_connected
        for _ in range(reports.pending):
            report = await next_report(reports)
        assert report.links[0].lost == 1
        assert report.links[0].state == "connected"


async def test_a_link_without_a_transport_is_told_of(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with pair(net) as (_, viewer, _), opened(net, "leaf") as leaf:
        await leaf.connect("seen:1")
        reports = watch(viewer)
        net.partition({"leaf"}, {"seen", "viewer"})
        await trio.sleep(15)
        for _ in range(reports.pending):
            report = await next_report(reports)
        (link,) = [link for link in report.links if link.name == "leaf"]
        assert (link.state, link.transport, link.lost) == ("suspended", None, 1)
        assert {link.name: link.state for link in report.links}["viewer"] == "connected"
        net.heal()


# ---------------------------------------------------------------- when


async def test_at_once_and_then_each_second(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (_, viewer, _):
        reports, begun, times = watch(viewer), trio.current_time(), []
        for _ in range(4):
            await reports.receive()
            times.append(trio.current_time() - begun)
        assert times == pytest.approx([0, INTERVAL, 2 * INTERVAL, 3 * INTERVAL], abs=1e-6)


async def test_nothing_is_left_when_nobody_listens_any_more(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (seen, viewer, _):
        await trio.testing.wait_all_tasks_blocked()
        tasks = len(seen._nursery.child_tasks)
        for _ in range(3):
            reports = watch(viewer)
            await reports.receive()
            await trio.sleep(0.3)
            assert len(seen._nursery.child_tasks) == tasks + 1
            reports.close()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(seen._nursery.child_tasks) == tasks
            assert seen._traffic.outlets.all() == []


async def test_a_viewer_that_leaves_without_a_word(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    net = Network(seed=1)
    async with opened(net, "seen") as seen:
        await seen.bind("seen:1")
        async with trio.open_nursery() as nursery:

            async def view() -> None:
                async with opened(net, "viewer") as viewer:
                    await viewer.connect("seen:1", reconnect=None)
                    reports = watch(viewer, Block())
                    async for _ in reports:
                        pass

            nursery.start_soon(view)
            await trio.sleep(2.5)
            caplog.clear()
            net.isolate("viewer")
            nursery.cancel_scope.cancel()
        await trio.sleep(200)
        assert seen.connections == []
        assert seen._traffic.outlets.all() == []
        assert warnings_of(caplog) == []


async def test_who_comes_back_at_once_is_heard(autojump_clock: object) -> None:
    async with pair(Network(seed=1, latency=0.01)) as (_, viewer, _):
        for _ in range(5):
            await trio.sleep(0.3)
            first = watch(viewer)
            await first.receive()
            first.close()
            second = watch(viewer)  # both changes are heard in one pass of the scheduler
            with trio.fail_after(0.15):
                await second.receive()
            with trio.fail_after(INTERVAL + 0.01):
                await second.receive()
            second.close()


async def test_who_comes_and_goes_all_the_time_gets_no_more(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (_, viewer, connection):
        before = connection.statistics().messages_received
        for _ in range(200):
            reports = watch(viewer)
            await trio.sleep(0.005)
            reports.close()
            await trio.sleep(0.005)
        assert 15 <= connection.statistics().messages_received - before <= 21


async def test_several_viewers_share_the_reports(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with pair(net) as (seen, viewer, _), opened(net, "other") as other:
        await other.connect("seen:1")
        here, there = watch(viewer), watch(other)
        await trio.sleep(0.2)
        here.receive_all_nowait()
        there.receive_all_nowait()
        await trio.sleep(3.5)
        counts = count_from(here, seen), count_from(there, seen)
        assert counts in {(3, 3), (4, 4)}
        late = watch(other)
        await trio.sleep(0.1)
        newest = count_from(here, seen), count_from(there, seen), count_from(late, seen)
        assert newest == (1, 1, 1), "one for the newcomer, at once"
        here.close()
        await trio.sleep(3.05)
        assert count_from(there, seen) == 3
        assert len(seen._traffic.outlets.all()) == 1


async def test_the_context_closes_while_it_reports(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with opened(net, "viewer") as viewer:
        reports = watch(viewer)
        async with opened(net, "seen") as seen:
            await seen.bind("seen:1")
            connection = await viewer.connect("seen:1")
            await reports.receive()
            await trio.sleep(0.5)
            begun = trio.current_time()
        assert trio.current_time() - begun < 0.1
        await connection.wait_closed()
        assert connection.close_reason == "the context was closed"


# ---------------------------------------------------------------- what programs see of it


async def test_programs_do_not_see_the_reports(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (seen, viewer, _):
        news = PubChannel(seen, "news")
        before = seen.statistics()
        reports = watch(viewer)
        await trio.sleep(3.5)
        during = seen.statistics()
        reports.close()
        await trio.sleep(3.5)
        after = seen.statistics()
        for each in (during, after):
            assert (each.slots_sent, each.slots_received) == (before.slots_sent, before.slots_received) == (1, 0)
            assert (each.messages_unheard, each.messages_dropped) == (0, 0)
        assert news.subscribers == 0


async def test_reports_do_not_tell_of_themselves(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (_, viewer, _):
        reports = watch(viewer)
        for _ in range(2):
            assert (await next_report(reports)).sending == ()


async def test_flush_does_not_wait_for_a_viewer_that_blocks(autojump_clock: object) -> None:
    async with pair(Network(seed=1, latency=0.01)) as (seen, viewer, _):
        reports = watch(viewer, Block(2))
        await trio.sleep(10.5)
        assert reports.pending == 2, "for more there is no room, and nobody waits for it"
        with trio.fail_after(1):
            await seen.flush()
        first = await next_report(reports)
        await reports.receive()
        await trio.sleep(2)
        assert (await next_report(reports)).uptime > first.uptime + 9
        reports.close()
        await trio.sleep(1)
        assert seen.statistics().messages_unheard == 0


@pytest.mark.parametrize("slot", ["trioton.reports", " Trioton.X ", "trioton.a.b"])
async def test_programs_do_not_publish_there(autojump_clock: object, slot: str) -> None:
    async with opened(Network(seed=1), "a") as context:
        with pytest.raises(ValueError, match=r"slot must not begin with 'trioton\.'"):
            PubChannel(context, slot, OBJECT)
        assert context.statistics().slots_sent == 0


@pytest.mark.parametrize("slot", ["trioton", "triotonics", "my.trioton.x"])
async def test_other_names_are_free(autojump_clock: object, slot: str) -> None:
    async with opened(Network(seed=1), "a") as context:
        PubChannel(context, slot)


# ---------------------------------------------------------------- who may look, and what goes wrong


async def test_who_may_not_look_gets_nothing(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def may_inspect(inspector: Inspector, connection: Connection) -> bool:
        return connection.peer.name != "viewer"

    monkeypatch.setattr(Inspector, "may_inspect", may_inspect)
    net = Network(seed=1)
    async with pair(net) as (seen, viewer, connection), opened(net, "other") as other:
        await other.connect("seen:1")
        refused, allowed = watch(viewer), watch(other)
        await trio.sleep(2.5)
        assert (count_from(refused, seen), count_from(allowed, seen)) == (0, 3)
        refused.close()
        await trio.sleep(1)
        assert connection.is_connected
        assert len(seen._traffic.outlets.all()) == 1


async def test_a_report_that_cannot_be_made_ends_nothing(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def inspect(context: trioton.Context, most: int) -> ContextReport:
        raise RuntimeError("planted")

    async with pair(Network(seed=1)) as (seen, viewer, connection):
        with monkeypatch.context() as patch:
            patch.setattr(inspection, "inspect", inspect)
            reports = watch(viewer)
            await trio.sleep(3)
        assert (reports.pending, connection.is_connected) == (0, True)
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "no report could be made" in record.getMessage()
        reports.close()
        await trio.sleep(0.1)
        assert seen._traffic.outlets.all() == []
        assert (await next_report(watch(viewer))).name == "seen"


async def test_a_long_report_tells_what_it_leaves_out(autojump_clock: object) -> None:
    async with pair(Network(seed=1)) as (seen, viewer, _):
        for number in range(250):
            PubChannel(seen, f"slot {number}")
        report = await next_report(watch(viewer))
        assert (len(report.sending), report.omitted) == (200, 50)
        assert len(report.links) == 1


async def test_a_viewer_that_takes_no_large_messages(autojump_clock: object) -> None:
    net = Network(seed=1)
    limits = trioton.Limits(max_package=65536)
    async with opened(net, "seen") as seen, opened(net, "viewer", limits=limits) as viewer:
        await seen.bind("seen:1")
        connection = await viewer.connect("seen:1")
        for number in range(200):
            PubChannel(seen, f"{number} " + "x" * 380)
        report = await next_report(watch(viewer))
        assert (len(report.sending), report.omitted) == (40, 160)
        assert connection.statistics().transports == 1


# ---------------------------------------------------------------- reading what others say


@pytest.fixture
async def message(autojump_clock: object) -> dict[str, Any]:
    """A report as it comes, with a link, slots of both kinds and a branch."""
    async with pair(Network(seed=1)) as (seen, viewer, _):
        pub = PubChannel(seen, "slot")
        SubChannel(viewer, "slot")
        SubChannel(seen, "other")
        await pub.wait_subscribers()
        found = await watch(viewer).receive()
        assert isinstance(found, dict)
        return found


async def test_a_report_is_read_as_it_was_written(message: dict[str, Any], autojump_clock: object) -> None:
    report = ContextReport.from_message(message)
    assert report.to_message() == message
    assert ContextReport.from_message(report.to_message()) == report


async def test_what_a_later_version_adds_is_left_out(message: dict[str, Any], autojump_clock: object) -> None:
    report = ContextReport.from_message(message)
    message["weather"] = message["links"][0]["colour"] = "grey"
    assert ContextReport.from_message(message) == report


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((), None, "a report must be a dict, not None"),
        (("version",), 2, "a report must have version 1, not 2"),
        (("version",), True, "a report must have version 1, not True"),
        (("id",), "12", "context: id of a report must be 32 hexadecimal digits, not '12'"),
        (("id",), 12, "context: id of a report must be 32 hexadecimal digits, not 12"),
        (("name",), b"x", "context: name of a report must be a text, not b'x'"),
        (("pid",), -1, "context: pid of a report must be a count, not -1"),
        (("pid",), 1 << 63, "context: pid of a report must be a count, not 9223372036854775808"),
        (("pid",), True, "context: pid of a report must be a count, not True"),
        (("uptime",), float("nan"), "context: uptime of a report must be a number of seconds, not nan"),
        (("uptime",), float("inf"), "context: uptime of a report must be a number of seconds, not inf"),
        (("uptime",), "long", "context: uptime of a report must be a number of seconds, not 'long'"),
        (("links",), {}, "context: links of a report must be a list of at most 1000, not {}"),
        (("links",), [None] * 1001, "context: links of a report must be a list of at most 1000, not"),
        (("links", 0), [], "context: links of a report must be a dict, not []"),
        (("links", 0, "transport"), 1, "context: links: transport of a report must be a text, not 1"),
        (("links", 0, "rtt"), -0.5, "context: links: rtt of a report must be a number of seconds, not -0.5"),
        (("sending", 0, "branches", 0, "ready"), 1, "branches: ready of a report must be true or false, not 1"),
        (("sending", 0, "branches", 0, "limit"), 1.5, "branches: limit of a report must be a count, not 1.5"),
        (("states",), 5, "context: states of a report must be a list of at most 1000, not 5"),
        (("asking",), [5], "context: asking of a report must be a dict, not 5"),
        (("receiving", 0, "policies"), "all", "policies of a report must be a list of at most 1000, not 'all'"),
    ],
)
async def test_nonsense_is_refused(
    message: Any, autojump_clock: object, place: tuple[Any, ...], value: object, words: str
) -> None:
    if place:
        inner = message
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
    else:
        message = value
    with pytest.raises(ReportError) as caught:
        ContextReport.from_message(message)
    assert words in str(caught.value)


@pytest.mark.parametrize("place", ["version", "id", "pid", "uptime", "links"])
async def test_a_number_that_python_does_not_write(message: dict[str, Any], autojump_clock: object, place: str) -> None:
    message[place] = [10**5000] if place == "version" else 10**5000
    with pytest.raises(ReportError, match=r"not .*<an int of"):
        ContextReport.from_message(message)


async def test_what_is_missing_is_named(message: dict[str, Any], autojump_clock: object) -> None:
    del message["sending"][0]["room"]
    with pytest.raises(ReportError, match="context: sending of a report lacks 'room'"):
        ContextReport.from_message(message)


async def test_a_long_text_is_cut(message: dict[str, Any], autojump_clock: object) -> None:
    message["name"] = "x" * 100_000
    assert len(ContextReport.from_message(message).name) == 600


# ---------------------------------------------------------------- what it costs


async def test_a_context_that_nobody_looks_at(autojump_clock: object) -> None:
    async with opened(Network(seed=1), "a") as context:
        assert sys.getsizeof(context._inspector) < 100
        assert not hasattr(context._inspector, "__dict__")
        assert context._traffic.outlets.all() == []


@pytest.mark.slow
def test_what_reports_are_made_of_is_imported_late() -> None:
    source = "import sys, trioton; print('trioton.network.inspector' in sys.modules, 'trioton.network.inspection' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert found.stdout == "True False\n"
