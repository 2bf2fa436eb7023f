"""`trioton top`: what its tables say of reports, as text and in a terminal, and the command in real processes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from rich.console import Console

import trioton
from trioton.cli import commands
from trioton.cli.top import headline, live_picture, plain_text, sections
from trioton.cli.view import (
    PATIENCE,
    STALE_AFTER,
    View,
    Viewer,
    bytes_words,
    check_heard,
    count_words,
    rate_words,
    seconds_words,
    shown,
)
from trioton.network.inspector import Inspector
from trioton.testing import Network

from .made_reports import asking, evil_view, link, receiving, report, sending, state, view_of
from .seen_mesh import check_golden, see_ring_with_tail, see_star
from .terminal import Terminal

assert sys.platform != "win32"

if TYPE_CHECKING:
    from trioton.network.association import Association

    from .conftest import CommandLine, Listening


def table(view: View, title: str, now: float = 1.0) -> list[dict[str, str]]:
    """One of the tables, with a dict for each row."""
    (section,) = [each for each in sections(view, now) if each.title == title]
    heads = [column.title for column in section.columns]
    return [dict(zip(heads, row, strict=True)) for row in section.rows]


# ---------------------------------------------------------------- a simulated mesh


def test_a_star_seen_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    view, _, now = see_star(monkeypatch, "hub")
    check_golden("star_from_hub.txt", plain_text(view, now))


def test_a_star_seen_from_several_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    view, _, now = see_star(monkeypatch, "hub", "camera", "disk")
    check_golden("star.txt", plain_text(view, now))
    document = view.to_json()
    for each in (told for context in document["contexts"] for told in context["links"]):
        # What the network says of itself at the beginning is no matter of this test.
        assert min(each["bytes_sent"], each["bytes_received"]) > 100
        each["bytes_sent"] = each["bytes_received"] = 1000
    check_golden("star.json", json.dumps(document, indent=1) + "\n")


def test_a_ring_with_a_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    view, _, now = see_ring_with_tail(monkeypatch)
    check_golden("ring.txt", plain_text(view, now))
    hops = {row["context"]: row["hops"] for row in table(view, "Contexts")}
    assert hops == {"north": "1", "east": "2", "west": "2", "south": "3", "tail": "4"}
    assert len(view.edges) == 5
    assert all(len(edge.ends) == 2 for edge in view.edges)


async def test_waits_for_two_reports_of_each(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with trioton.open_context("a", network=net.host("a")) as a:
        await a.bind("a:1")
        async with trioton.open_context("viewer", network=net.host("viewer")) as context:
            viewer = Viewer(context)
            connection = await context.connect("a:1")
            context.start_soon(viewer.run)
            begun = trio.current_time()
            view = await viewer.wait_complete(connection)
            assert trio.current_time() - begun == pytest.approx(1, abs=0.1)
            assert [known.report.name for known in view.contexts] == ["a"]
            assert view.silent == {}
            assert view.edges == []


async def test_waits_for_those_behind_others_too(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
        trioton.open_context("trioton top", network=net.host("other")) as other,
        trioton.open_context("trioton top", network=net.host("viewer")) as context,
    ):
        await a.bind("a:1")
        await b.bind("b:1")
        await b.connect("a:1")
        await c.connect("b:1")
        await other.connect("a:1")
        Viewer(other)
        viewer = Viewer(context)
        connection = await context.connect("a:1")
        context.start_soon(viewer.run)
        view = await viewer.wait_complete(connection)
        rows = table(view, "Contexts", now=trio.current_time())
        assert [(row["context"], row["hops"]) for row in rows] == [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("trioton top", "2"),
        ]
        assert [known.report.id for known in view.contexts][3] == f"{other.id:032x}", "another viewer, not this one"
        assert all(row["sent/s"] == "0.0" for row in rows), "there are two reports of each"
        assert headline(view) == "4 contexts, 3 links"


async def test_who_has_sent_no_report_is_named(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def may_inspect(inspector: Inspector, association: Association) -> bool:
        return inspector._context.name != "quiet"

    monkeypatch.setattr(Inspector, "may_inspect", may_inspect)
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("quiet", network=net.host("quiet")) as quiet,
        trioton.open_context("viewer", network=net.host("viewer")) as context,
    ):
        await a.bind("a:1")
        await quiet.connect("a:1")
        viewer = Viewer(context)
        connection = await context.connect("a:1")
        context.start_soon(viewer.run)
        begun = trio.current_time()
        view = await viewer.wait_complete(connection)
        assert trio.current_time() - begun == pytest.approx(PATIENCE)
    check_heard(view)
    assert capsys.readouterr().err == "trioton: no report has come from quiet\n"
    row = table(view, "Contexts")[1]
    assert (row["context"], row[""], row["hops"], row["pid"]) == ("quiet", "no report", "2", "-")
    assert headline(view) == "1 context, 1 link, 1 without a report"
    assert view.to_json()["silent"] == [{"id": f"{quiet.id:032x}", "name": "quiet", "hops": 2}]


async def test_one_without_reports_is_not_waited_for_long(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioton.network.inspector.Inspector.may_inspect", lambda inspector, connection: False)
    net = Network(seed=1)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("viewer", network=net.host("viewer")) as context,
    ):
        await a.bind("a:1")
        viewer = Viewer(context)
        connection = await context.connect("a:1")
        context.start_soon(viewer.run)
        begun = trio.current_time()
        view = await viewer.wait_complete(connection)
        assert trio.current_time() - begun == pytest.approx(3.5)
        assert list(view.silent.values()) == ["a"]
        with pytest.raises(trioton.TriotonError, match="no report has come from any of 1 contexts"):
            check_heard(view)


async def test_an_end_before_the_first_report(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioton.network.inspector.Inspector.may_inspect", lambda inspector, connection: False)
    net = Network(seed=1)
    async with trioton.open_context("viewer", network=net.host("viewer")) as context:
        viewer = Viewer(context)
        async with trioton.open_context("a", network=net.host("a")) as a:
            await a.bind("a:1")
            connection = await context.connect("a:1")
        with pytest.raises(trioton.ConnectError, match="the connection has ended: the context was closed"):
            await viewer.wait_complete(connection)


# ---------------------------------------------------------------- what is made of reports


def test_rates_are_differences() -> None:
    first = report(links=[link(2, messages_sent=10, bytes_received=100)], sending=[sending(sent=5)])
    second = report(
        uptime=3.0,
        links=[link(2, messages_sent=30, bytes_received=4196)],
        sending=[sending(sent=6)],
        receiving=[receiving(received=3)],
    )
    view = view_of(first)
    assert table(view, "Links")[0]["out/s"] == "-"
    assert table(view, "Contexts")[0]["sent/s"] == "-"
    view = view_of(first, second)
    row = table(view, "Links")[0]
    assert (row["out/s"], row["in/s"], row["bytes out/s"], row["bytes in/s"]) == ("10.0", "0.0", "0 B", "2.0 KiB")
    assert [row["per s"] for row in table(view, "Slots")] == ["0.5", "-"], "a new slot has no rate yet"
    row = table(view, "Contexts")[0]
    assert (row["sent/s"], row["received/s"]) == ("0.5", "0.0")


@pytest.mark.parametrize("changes", [{"sent": 3}, {"sent": 300, "stream": 2}])
def test_what_began_anew_has_no_rate(changes: dict[str, int]) -> None:
    view = view_of(report(sending=[sending(sent=200)]), report(uptime=2.0, sending=[sending(**changes)]))
    assert table(view, "Slots")[0]["per s"] == "-"


def test_an_older_report_changes_nothing() -> None:
    view = view_of(report(uptime=5.0, name="new"), report(uptime=4.0, name="old"), report(uptime=5.0, name="same"))
    (known,) = view.contexts
    assert (known.report.name, known.earlier) == ("new", None)


def test_the_viewer_itself_is_left_out() -> None:
    view = view_of(report(links=[link(99, name="viewer"), link(2)]))
    assert list(view.silent.values()) == ["context 2"]
    assert [row["neighbour"] for row in table(view, "Links")] == ["context 2"]
    assert [each["peer"] for each in view.to_json()["contexts"][0]["links"]] == [f"{2:032x}"]


def test_both_ends_of_a_link_tell_of_one_link() -> None:
    view = view_of(report(1, links=[link(2)]), report(2, links=[link(1)]))
    assert [(row["context"], row["neighbour"]) for row in table(view, "Links")] == [("context 1", "context 2")]
    assert headline(view) == "2 contexts, 1 link"


def test_what_both_ends_tell_of_a_link() -> None:
    here = link(2, queued=3, dropped=1, lost=1, rtt=None)
    there = link(1, queued=4, dropped=2, lost=2, rtt=0.5, state="suspended", transport=None)
    view = view_of(report(1, links=[here]), report(2, links=[there]))
    row = table(view, "Links")[0]
    assert (row["state"], row["over"], row["rtt"]) == ("connected/suspended", "tcp", "500 ms")
    assert (row["queued"], row["dropped"], row["lost links"]) == ("7", "3", "2")
    assert not view.edges[0].is_up


def test_rates_of_a_link_are_those_of_the_end_that_can_tell() -> None:
    older, newer = (link(1, bytes_received=each, messages_sent=each // 2) for each in (20, 40))
    view = view_of(report(1, links=[link(2)]), report(2, links=[older]), report(2, uptime=2.0, links=[newer]))
    row = table(view, "Links")[0]
    assert row["context"] == "context 1"
    assert (row["out/s"], row["in/s"], row["bytes out/s"], row["bytes in/s"]) == ("0.0", "10.0", "20 B", "0 B")


def test_who_is_not_reachable_is_not_waited_for() -> None:
    view = view_of(report(1), report(1, uptime=2.0), report(2))
    view.can_reach([trioton.ContextInfo(trioton.ContextId(1), "context 1", 1, 3)], 2)
    assert view.is_complete
    assert [row["hops"] for row in table(view, "Contexts")] == ["3", "-"]


def test_only_so_many_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    check_heard(view_of(report(1, links=[link(each) for each in range(20, 33)])))
    assert capsys.readouterr().err.endswith("context 28, context 29 and 3 more\n")


def test_names_that_are_none() -> None:
    view = view_of(report(1, name="x"), report(2 << 32, name="x"), report(3 << 32, name=""))
    view.learn(report(4, name="y"), 0)
    labels = view.labels()
    assert len(set(labels.values())) == 4
    assert labels[f"{1:032x}"].startswith("x 1@")
    assert labels[f"{2 << 32:032x}"].startswith("x 0@")
    assert labels[f"{3 << 32:032x}"].startswith("0@")
    assert labels[f"{4:032x}"] == "y"


def test_who_is_gone_is_forgotten() -> None:
    view = view_of(report(1), report(2))
    infos = [trioton.ContextInfo(trioton.ContextId(1), "context 1", 1, 1)]
    view.can_reach(infos, 1 + STALE_AFTER)
    assert [known.report.pid for known in view.contexts] == [1, 2]
    view.can_reach(infos, 1.1 + STALE_AFTER)
    assert [known.report.pid for known in view.contexts] == [1]
    assert table(view, "Contexts", now=9.0)[0][""] == "quiet for 9 s"


def test_nonsense_is_counted() -> None:
    view = view_of(None, None, report(version=2), *[report(pid=-each) for each in range(1, 30)], report())
    text = plain_text(view, 0)
    assert "2 messages made no sense: a report must be a dict, not None\n" in text
    assert "1 message made no sense: a report must have version 1, not 2\n" in text
    assert len(view.complaints) == 10
    assert len(view.contexts) == 1


def test_what_was_left_out_is_told() -> None:
    assert headline(view_of(report(omitted=1))) == "1 context, 0 links, 1 more entry left out of reports"
    assert headline(view_of(report(omitted=2))) == "1 context, 0 links, 2 more entries left out of reports"


def test_a_state_is_told_of_once() -> None:
    """The newest value counts: that with the larger counter, or the larger writer where two wrote at the same time."""
    view = view_of(
        report(1, states=[state(1, counter=4, channels=1), state(slot="other.txt.state")]),
        report(2, states=[state(2, counter=4, channels=2, size=7)]),
        report(3, states=[state(2, counter=4, size=7)]),
        report(4, states=[state(5, counter=3)]),
    )
    other, mine = view.states
    assert (other.newest.slot, other.has_newest, other.is_behind, other.channels) == ("other.txt.state", 1, 0, 0)
    assert (mine.newest.writer[-1], mine.newest.size, mine.has_newest, mine.is_behind, mine.channels) == (
        "2",
        7,
        2,
        2,
        3,
    )
    assert "x.txt.state      context 2      7         3         2       2\n" in plain_text(view, 0)


def test_rates_of_requests() -> None:
    view = view_of(
        report(uptime=1.0, asking=[asking(made=3)], answering=[]),
        report(uptime=3.0, asking=[asking(made=9, pending=2)]),
    )
    assert "x.obj.req-rep  context 1  asks         9    3.0        2        0         0       -\n" in plain_text(
        view, 0
    )
    assert view.to_json()["contexts"][0]["asking"][0]["made_rate"] == 3.0


def test_a_branch_of_the_context_itself() -> None:
    branch = {"peer": f"{1:032x}", "name": "x", "mode": "block", "subscriptions": 0, "ready": False, "taken": None}
    view = view_of(report(sending=[sending(branches=[{**branch, "limit": None, "queued": 3}])]))
    (row,) = table(view, "Who gets it")
    assert (row["to"], row["mode"], row["subs"], row["queued"]) == ("(itself)", "block, not ready", "-", "3")


# ---------------------------------------------------------------- texts of others


def controls_in(text: str) -> list[str]:
    """The characters of a text that a terminal would not just show."""
    return [each for each in text if not each.isprintable() and each != "\n"]


def test_nothing_in_a_text_moves_the_cursor() -> None:
    text = plain_text(evil_view(), 0)
    assert "\\x1b[2J" in text
    assert controls_in(text) == []
    assert controls_in(json.dumps(evil_view().to_json())) == []
    assert controls_in("".join(evil_view().labels().values())) == []


def test_nothing_in_a_text_is_markup() -> None:
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(live_picture(evil_view(), 0, 400, "a remark"))
    seen = capture.get()
    assert "[red]x[/red]" in seen
    assert "\x1b[2J" not in seen
    assert "\x1b]0;" not in seen
    assert "\u202e" not in seen
    assert "a remark" in seen


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_narrow_terminal_shows_all_numbers(width: int) -> None:
    counts = dict.fromkeys(("bytes_sent", "messages_sent", "queued", "dropped"), 123_456)
    view = view_of(
        report(name="x" * 50, links=[link(2, name="y" * 50, **counts)], sending=[sending(slot="z" * 50, sent=1234567)])
    )
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(live_picture(view, 0, width))
    seen = capture.get()
    assert "1,234,567" in seen
    assert seen.count("123,456") == 3
    assert max(map(len, seen.splitlines())) <= width
    assert ("bytes out/s" in seen) == (width >= 100)
    assert ("…" in seen) == (width < 200)


def test_long_texts_are_cut() -> None:
    assert shown("x" * 61) == "x" * 59 + "…"
    assert shown("x" * 60) == "x" * 60
    assert shown(" a \t b\n", 10) == "a b"


def test_wide_characters_keep_columns_straight() -> None:
    lines = plain_text(view_of(report(1, name="漢字"), report(2, name="abc")), 0).splitlines()
    assert [line.partition("@")[0] for line in lines[4:6]] == ["abc      2", "漢字     1"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (rate_words(None), "-"),
        (rate_words(0.04), "0.0"),
        (rate_words(99.94), "99.9"),
        (rate_words(12345.6), "12,346"),
        (bytes_words(None), "-"),
        (bytes_words(999), "999 B"),
        (bytes_words(1000), "1.0 KiB"),
        (bytes_words(150 * 1024), "150 KiB"),
        (bytes_words(3 << 40), "3.0 TiB"),
        (bytes_words(3 << 60), "3145728 TiB"),
        (seconds_words(None), "-"),
        (seconds_words(0.00005), "50 µs"),
        (seconds_words(0.0123), "12.3 ms"),
        (seconds_words(59.7), "60 s"),
        (seconds_words(3725), "1:02:05"),
        (seconds_words(200_000), "2 d 7:33:20"),
        (count_words(None), "-"),
        (count_words(1234567), "1,234,567"),
    ],
)
def test_numbers_in_words(words: str, found: str) -> None:
    assert words == found


# ---------------------------------------------------------------- the command


@pytest.mark.net
@pytest.mark.slow
def test_once_as_text_and_as_json(command_line: CommandLine, listening: Listening) -> None:
    code, out, err = command_line.run("top", listening.address, "--once")
    assert (code, err) == (0, "")
    assert out.startswith("1 context, 0 links\n")
    assert f"{listening.process.pid}" in out
    assert "\nchat.txt.pub-sub  sub      receives, block:1024         0    0.0 " in out
    command_line.environment["TRIOTON_ADDRESS"] = listening.address
    code, out, err = command_line.run("top", "--json")
    assert (code, err) == (0, "")
    (context,) = json.loads(out)["contexts"]
    assert (context["version"], context["name"], context["pid"]) == (1, "sub", listening.process.pid)
    assert context["hops"] == 1
    assert context["receiving"][0]["received_rate"] == 0
    listening.process.send_signal(signal.SIGINT)


@pytest.mark.net
@pytest.mark.slow
def test_a_pipe_that_closes(command_line: CommandLine, listening: Listening) -> None:
    top = command_line.start("top", listening.address)
    assert top.stdout is not None
    assert top.stderr is not None
    assert top.stdout.readline() == "1 context, 0 links\n"
    top.stdout.close()
    assert top.wait(20) == 141
    assert top.stderr.read() == ""
    listening.process.send_signal(signal.SIGINT)


@pytest.mark.net
@pytest.mark.slow
def test_the_other_side_ends(command_line: CommandLine, listening: Listening) -> None:
    top = command_line.start("top", listening.address)
    assert top.stdout is not None
    assert top.stdout.readline() == "1 context, 0 links\n"
    listening.process.send_signal(signal.SIGINT)
    _, err = top.communicate(timeout=20)
    assert (top.returncode, err) == (0, "trioton: the connection has ended: the context was closed\n")


@pytest.mark.net
@pytest.mark.slow
def test_interrupt_in_a_terminal(command_line: CommandLine, listening: Listening) -> None:
    terminal = Terminal(command_line, "top", listening.address)
    terminal.wait_for("chat.txt")
    assert "\x1b[?1049h" in terminal.seen
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert terminal.seen.rindex("\x1b[?1049l") > terminal.seen.rindex("\x1b[?1049h"), "the old screen is back"
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l"), "the cursor is back"
    listening.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("command", ["top", "graph"])
def test_wrong_use(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.delenv("TRIOTON_ADDRESS", raising=False)
    assert commands.run([command]) == 2
    assert "Missing argument 'ADDRESS'" in capsys.readouterr().err
    assert commands.run([command, "no scheme://x"]) == 2
    assert commands.run([command, "tcp://192.0.2.1:9"]) == 2
    assert "takes --insecure" in capsys.readouterr().err


def test_once_does_not_go_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["top", "localhost:1", "--once", "--json"]) == 2
    assert "--once is for plain text; it does not go with --json" in capsys.readouterr().err


@pytest.mark.net
@pytest.mark.parametrize("command", ["top", "graph"])
def test_nobody_there(capsys: pytest.CaptureFixture[str], command: str, command_line: CommandLine) -> None:
    assert commands.run([command, f"unix://{command_line.folder / 'nobody'}"]) == 1
    assert capsys.readouterr().err.startswith(f"trioton {command}: ")
