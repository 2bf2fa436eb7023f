"""`trioton graph`: how contexts are laid out and drawn, and the command in a real process."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from trioton.cli import commands
from trioton.cli.graph import BOX_HEIGHT, BOX_WIDTH, draw, layers_of, places_of
from trioton.cli.view import View

from .made_reports import evil_view, link, receiving, report, sending, view_of
from .seen_mesh import check_golden, see_ring_with_tail, see_star

if TYPE_CHECKING:
    from .conftest import CommandLine, Listening

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(picture: str, name: str = "text") -> list[str]:
    """The texts of a picture, or its tooltips."""
    return [each.text or "" for each in ElementTree.fromstring(picture).iter(SVG + name)]


def strokes(picture: str) -> list[dict[str, str]]:
    """The attributes of the lines of links."""
    return [dict(each.attrib) for each in ElementTree.fromstring(picture).iter(SVG + "path")]


def test_a_star(monkeypatch: pytest.MonkeyPatch) -> None:
    view, hub, _ = see_star(monkeypatch, "hub", "camera", "disk")
    picture = draw(view, [hub])
    check_golden("star.svg", picture)
    assert draw(view, [hub]) == picture


def test_a_ring_with_a_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    view, north, _ = see_ring_with_tail(monkeypatch)
    picture = draw(view, [north])
    check_golden("ring.svg", picture)
    assert len(strokes(picture)) == 5


# ---------------------------------------------------------------- the layout


def test_layers_go_by_the_distance_from_the_top() -> None:
    links = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("d", "e")]
    assert layers_of("abcde", links, ["a"]) == [["a"], ["b", "d"], ["c", "e"]]


def test_without_a_top_the_one_with_most_links_is_it() -> None:
    assert layers_of("abcd", [("c", "a"), ("c", "b"), ("c", "d")], []) == [["c"], ["a", "b", "d"]]


def test_parts_without_a_way_between_them_follow_below() -> None:
    assert layers_of("abcd", [("a", "b"), ("c", "d")], ["b"]) == [["b"], ["a"], ["c"], ["d"]]
    assert layers_of("", [], []) == []


def test_those_below_stand_near_those_they_are_linked_to() -> None:
    links = [("r", "a"), ("r", "b"), ("r", "c"), ("a", "z"), ("c", "x"), ("b", "y")]
    assert layers_of("abcrxyz", links, ["r"])[2] == ["z", "y", "x"]


def test_no_box_covers_another() -> None:
    places = list(places_of([["a"], list("bcdefghijklmnop"), ["q", "r"]]).values())
    for index, one in enumerate(places):
        for other in places[:index]:
            assert abs(one.x - other.x) > BOX_WIDTH or abs(one.y - other.y) > BOX_HEIGHT
    assert max(place.column for place in places) == 5, "a long layer is broken"


def test_everything_lies_in_the_picture() -> None:
    messages = [report(each, links=[link(other) for other in range(1, 9) if other != each]) for each in range(1, 9)]
    root = ElementTree.fromstring(draw(view_of(*messages), [f"{1:032x}"]))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(SVG + "rect"):
        left, top = float(rect.attrib["x"]), float(rect.attrib["y"])
        assert 0 <= left <= left + float(rect.attrib["width"]) <= width
        assert 0 <= top <= top + float(rect.attrib["height"]) <= height


# ---------------------------------------------------------------- the picture


def test_a_link_that_is_down_shows() -> None:
    view = view_of(report(links=[link(2, state="suspended", transport=None), link(3)]))
    down, up = sorted(strokes(draw(view)), key=lambda each: "stroke-dasharray" not in each)
    assert down["stroke"] != up["stroke"]
    assert "stroke-dasharray" not in up
    assert "suspended" in texts_of(draw(view))


def test_a_tooltip_has_what_both_ends_say() -> None:
    view = view_of(report(1, links=[link(2, dropped=5)]), report(2, links=[link(1, dropped=6)]))
    (tip,) = [each.splitlines() for each in texts_of(draw(view), "title") if " - " in each]
    assert tip[0] == "context 1 - context 2"
    assert [line.partition(":")[0] for line in tip[1:]] == ["context 1", "context 2"]
    assert "5 dropped" in tip[1]
    assert "6 dropped" in tip[2]


def test_who_has_not_reported_is_grey() -> None:
    picture = ElementTree.fromstring(draw(view_of(report(links=[link(2)]))))
    fills = {each.text: each.attrib["fill"] for each in picture.iter(SVG + "text")}
    assert fills["context 2"] != fills["context 1"]
    assert fills["context 2"] == fills["no report"]


def test_more_traffic_is_a_thicker_line() -> None:
    quiet, busy = link(2, messages_sent=1), link(3, messages_sent=1)
    later = [link(2, messages_sent=2), link(3, messages_sent=100_001)]
    picture = draw(view_of(report(links=[quiet, busy]), report(uptime=2.0, links=later)))
    thin, thick = sorted(float(each["stroke-width"]) for each in strokes(picture))
    assert (thin, thick) == (1.8, 5.5)
    assert {"1.0 messages/s", "100,000 messages/s"} <= set(texts_of(picture))


def test_a_line_past_others_bows() -> None:
    messages = [report(1, links=[link(each) for each in (2, 3, 4)]), report(2, links=[link(4), link(3)])]
    ways = [each["d"] for each in strokes(draw(view_of(*messages), [f"{1:032x}"]))]
    assert sum("Q" in way for way in ways) == 1, "only from 2 to 4, past 3"


def test_tooltips_name_slots() -> None:
    view = view_of(report(sending=[sending(slot=f"slot {each}") for each in range(25)], receiving=[receiving()]))
    tip = texts_of(draw(view), "title")[1].splitlines()
    assert (len(tip), tip[0], tip[-1]) == (21, "sends slot 0: -/s", "and 6 more")


def test_nothing_in_a_text_is_svg() -> None:
    picture = draw(evil_view())
    assert all(each.isprintable() or each == "\n" for each in picture)
    assert any("[red]x[/red]" in each for each in texts_of(picture, "title"))
    assert not list(ElementTree.fromstring(picture).iter(SVG + "b"))


def test_an_empty_network() -> None:
    assert texts_of(draw(View())) == ["A network of 0 contexts, 0 links"]


# ---------------------------------------------------------------- the command


@pytest.mark.net
@pytest.mark.slow
def test_to_stdout_and_to_a_file(command_line: CommandLine, listening: Listening) -> None:
    code, out, err = command_line.run("graph", listening.address)
    assert (code, err) == (0, "")
    assert "sub" in texts_of(out)
    code, out, err = command_line.run("graph", listening.address, "-o", "net.svg")
    assert (code, out, err) == (0, "", "")
    assert "sub" in texts_of((command_line.folder / "net.svg").read_text(encoding="utf-8"))
    listening.process.terminate()


def test_a_file_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def run_graph(*args: object, **options: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("trioton.cli.graph.run_graph", run_graph)
    assert commands.run(["graph", "localhost:1", "-o", "nowhere/net.svg"]) == 1
    assert capsys.readouterr().err == "trioton graph: nowhere/net.svg cannot be written: No such file or directory\n"
    with pytest.raises(FileNotFoundError):
        commands.run(["graph", "localhost:1"])


@pytest.mark.net
@pytest.mark.slow
def test_a_pipe_that_nobody_reads(command_line: CommandLine, listening: Listening) -> None:
    graph = command_line.start("graph", listening.address)
    assert graph.stdout is not None
    assert graph.stderr is not None
    graph.stdout.close()
    assert graph.wait(20) == 141
    assert graph.stderr.read() == ""
    listening.process.terminate()
