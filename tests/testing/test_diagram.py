from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import attrs
import pytest
import trio
from trio.testing import MockClock

import trioton
from trioton import _svg as svg
from trioton.protocol.frames import FrameKind, encode_frame
from trioton.testing import Network, sequence_diagram, write_diagram
from trioton.testing.trace import EventKind, Trace, TraceEvent

TIMES = "\N{MULTIPLICATION SIGN}"
SVG = "{http://www.w3.org/2000/svg}"
LATENCY = 0.05


class Scene:
    """A trace that is made by hand."""

    def __init__(self, kept: int = 10_000) -> None:
        self.trace = Trace(kept)
        self.now = 0.0

    def frame(self, source: str, target: str, kind: FrameKind, latency: float = LATENCY, connection: int = 1) -> None:
        self.trace.add(
            self.now,
            "frame",
            source,
            target,
            connection=connection,
            content=encode_frame(kind, b"\x80"),
            size=30,
            arrival=self.now + latency,
        )

    def word(self, kind: EventKind, source: str = "", target: str = "", words: str = "") -> None:
        self.trace.add(self.now, kind, source, target, connection=1, content=words)

    def heartbeats(self, source: str, target: str, count: int, connection: int = 1) -> None:
        for _ in range(count):
            self.frame(source, target, FrameKind.PING, connection=connection)
            self.now += LATENCY
            self.frame(target, source, FrameKind.PONG, connection=connection)
            self.now += 2.5 - LATENCY


class Arrow(NamedTuple):
    """Where the arrow of an event begins and ends."""

    x: float
    y: float
    to_x: float
    to_y: float


class Picture:
    """A diagram that was parsed."""

    def __init__(self, diagram: str) -> None:
        self.root = ElementTree.fromstring(diagram)
        self.rows = [group for group in self.root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]

    @property
    def texts(self) -> list[str]:
        return ["".join(text.itertext()) for text in self.root.iter(f"{SVG}text")]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def labels(self) -> list[str]:
        return ["".join(text.itertext()) for row in self.rows for text in row.iter(f"{SVG}text")]

    @property
    def words(self) -> list[str]:
        """Of each arrow what stands in bold."""
        return [text[0].text or "" for row in self.rows for text in row.iter(f"{SVG}text") if len(text)]

    @property
    def tooltips(self) -> list[str]:
        return [row.findtext(f"{SVG}title") or "" for row in self.rows]

    @property
    def hosts(self) -> dict[str, float]:
        """The names at the lifelines, from left to right."""
        names = (text for text in self.root.iter(f"{SVG}text") if text.get("font-size") == "14")
        return {"".join(text.itertext()): float(text.get("x", "")) for text in names}

    def arrow(self, number: int) -> Arrow:
        path = self.rows[number].find(f"{SVG}path")
        assert path is not None
        x, y, to_x, to_y = (float(word) for word in path.get("d", "").split() if word not in ("M", "L"))
        return Arrow(x, y, to_x, to_y)


def drawn(events: Trace | list[TraceEvent], **options: object) -> Picture:
    return Picture(sequence_diagram(events, **options))  # type: ignore[arg-type]


def three_hosts() -> Trace:
    """Everything that a diagram can show, with a partition between a and b, and a cut."""
    scene = Scene()
    scene.word("note", words="the way between a and b is cut for some time, and later their connection is")
    scene.word("dial", "b", "a", "a:1")
    scene.now += 0.1
    scene.word("open", "b", "a", "a:1")
    scene.frame("b", "a", FrameKind.HELLO)
    scene.frame("c", "a", FrameKind.HELLO, connection=2)
    scene.now += LATENCY
    scene.frame("a", "b", FrameKind.WELCOME)
    scene.frame("b", "a", FrameKind.SUBSCRIBE)
    scene.now += 1
    scene.heartbeats("a", "b", 120)
    for _ in range(3):
        scene.frame("a", "b", FrameKind.PACKAGE)
        scene.frame("b", "a", FrameKind.CREDIT)
        scene.now += 0.01
    scene.word("fault", "a", "b", "partition")
    for _ in range(4):
        scene.frame("a", "b", FrameKind.PING, math.inf)
        scene.now += 1
    scene.frame("a", "b", FrameKind.PACKAGE, math.inf)
    scene.word("fault", "a", "b, c", "heal")
    scene.frame("c", "b", FrameKind.PACKAGE, 0.3, connection=3)
    scene.trace.add(scene.now, "bytes", "a", "a", connection=4, content=b"", size=4321, arrival=scene.now)
    scene.word("fault", "a", "b", "cut")
    scene.word("reset", "a", "b", "the connection between 'a' and 'b' was cut")
    scene.word("note", "b", words="b dials again")
    scene.word("dial", "b", "a", "a:1")
    scene.now += 0.1
    scene.word("refused", "b", "a", "nobody listens there")
    scene.word("end", "c", "a")
    scene.word("close", "a", "c")
    scene.word("close", "c")
    return scene.trace


def test_header_says_what_it_is_of() -> None:
    trace = three_hosts()
    picture = drawn(trace, title="A partition & a <cut>")
    assert picture.root.tag == f"{SVG}svg"
    assert picture.texts[0] == "A partition & a <cut>"
    assert picture.texts[1] == f"{trace.total} events · 0.000 s to 305.480 s · digest {trace.digest()}"
    for words in (
        "heartbeats",
        "packages",
        "control lane",
        "stopped: the way is cut",
        "fault",
        "fault mended",
        "refused",
    ):
        assert words in picture.texts
    assert "packages" not in drawn([event for event in trace if event.what != "PACKAGE"]).texts
    assert "digest" not in drawn(list(trace)).text


def test_hosts_stand_in_the_order_in_which_they_appear_or_as_given() -> None:
    trace = three_hosts()
    assert list(drawn(trace).hosts) == ["b", "a", "c"]
    assert sorted(places := list(drawn(trace).hosts.values())) == places
    picture = drawn(trace, hosts=["A", "b"])
    assert list(picture.hosts) == ["A", "b"]
    # What c alone has to do with is left out, but not what was done to c and to others.
    assert "c → " not in "\n".join(picture.tooltips)
    assert "heal" in picture.labels
    assert drawn(trace, hosts=["nobody"]).labels == [
        "the way between a and b is cut for some time, and later their connection is"
    ]


def test_arrows_go_from_the_sender_down_to_where_they_arrive() -> None:
    scene = Scene()
    scene.frame("a", "b", FrameKind.PACKAGE, 0.3)
    scene.now = 0.1
    scene.frame("b", "a", FrameKind.PACKAGE, 0.1)
    scene.now = 0.4
    scene.frame("a", "b", FrameKind.PACKAGE, 0)
    picture = drawn(scene.trace)
    slow, fast, instant = (picture.arrow(i) for i in range(3))
    a, b = picture.hosts.values()
    assert (slow.x, slow.to_x, fast.x, fast.to_x) == (a, b, b, a)
    # The one that was sent later has overtaken the other, on its way back: they cross.
    assert slow.y < fast.y < fast.to_y < slow.to_y < instant.y
    assert instant.y == instant.to_y


def test_what_arrives_does_so_before_what_it_causes() -> None:
    scene = Scene()
    scene.frame("a", "b", FrameKind.HELLO)
    scene.now += LATENCY
    scene.frame("b", "a", FrameKind.WELCOME)
    picture = drawn(scene.trace)
    assert picture.arrow(0).to_y < picture.arrow(1).y


def test_frames_that_are_sent_together_arrive_below_each_other() -> None:
    scene = Scene()
    for _ in range(3):
        scene.frame("a", "b", FrameKind.CREDIT)
    ends = [drawn(scene.trace).arrow(i).to_y for i in range(3)]
    assert ends == sorted(set(ends))


def test_what_is_cut_off_ends_with_a_cross_on_the_way() -> None:
    scene = Scene()
    scene.frame("a", "b", FrameKind.PACKAGE)
    scene.frame("a", "b", FrameKind.PACKAGE, math.inf)
    picture = drawn(scene.trace)
    whole, cut = picture.rows
    assert "#c62828" not in ElementTree.tostring(whole, "unicode")
    crosses = [path.get("d", "") for path in cut.iter(f"{SVG}path") if path.get("stroke") == "#c62828"]
    a, b = picture.hosts.values()
    assert len(crosses) == 1
    assert all(a < float(x) < b for x in crosses[0].replace("M ", "").replace("L ", "").split()[::2])
    assert "does not arrive: the way is cut" in picture.tooltips[1]
    assert "arrives at 0.05 s, 50 ms later" in picture.tooltips[0]


def test_an_hour_of_heartbeats_is_one_arrow() -> None:
    scene = Scene()
    scene.heartbeats("a", "b", 1440)
    picture = drawn(scene.trace)
    assert picture.labels == [f"PING/PONG {TIMES} 1440in 60 min"]
    first, *_, last = scene.trace
    story = [f"PING/PONG {TIMES} 1440 in 60 min", f"from {first.time!r} s to {last.time!r} s", "a → b, connection 1"]
    assert picture.tooltips == ["\n".join(story)]
    heads = [path for path in picture.rows[0].iter(f"{SVG}path") if path.get("d", "").endswith("Z")]
    assert len(heads) == 2  # both sent


def test_heartbeats_are_folded_for_each_connection_until_something_else_happens() -> None:
    scene = Scene()
    for _ in range(5):
        scene.heartbeats("a", "b", 1)
        scene.heartbeats("a", "c", 1, connection=2)
    scene.frame("a", "b", FrameKind.PACKAGE)
    scene.heartbeats("a", "b", 2)
    scene.frame("a", "b", FrameKind.PACKAGE)
    scene.heartbeats("a", "b", 1)
    for _ in range(4):
        scene.frame("a", "b", FrameKind.PING, math.inf)
    assert drawn(scene.trace).words == [
        f"PING/PONG {TIMES} 5",
        f"PING/PONG {TIMES} 5",
        "PACKAGE",
        f"PING/PONG {TIMES} 2",
        "PACKAGE",
        "PING",
        "PONG",
        f"PING {TIMES} 4",
    ]


def test_heartbeats_that_do_not_arrive_are_told_for_each_sender() -> None:
    scene = Scene()
    for _ in range(3):
        scene.frame("a", "b", FrameKind.PING, math.inf)
        scene.frame("b", "a", FrameKind.PING, math.inf)
    assert drawn(scene.trace).words == [f"PING {TIMES} 3"] * 2


def test_unequal_counts_are_all_named() -> None:
    scene = Scene()
    scene.heartbeats("a", "b", 4)
    scene.frame("a", "b", FrameKind.PING)
    assert drawn(scene.trace).words == [f"PING {TIMES} 5, PONG {TIMES} 4"]


def test_silence_is_told_and_costs_no_room() -> None:
    def height(gap: float) -> float:
        scene = Scene()
        for _ in range(5):
            scene.frame("a", "b", FrameKind.PACKAGE, 0)
            scene.now += 0.01
        scene.now += gap
        scene.frame("a", "b", FrameKind.PACKAGE, 0)
        picture = drawn(scene.trace)
        assert [text for text in picture.texts if "silence" in text] == (
            [] if not gap else [f"{gap + 0.01:.3g} s of silence"]
        )
        return float(picture.root.get("height", ""))

    assert height(0) < height(5) == height(70)


def test_only_the_last_rows_are_shown_if_there_are_many() -> None:
    scene = Scene(kept=100)
    for _ in range(250):
        scene.frame("a", "b", FrameKind.PACKAGE, 0)
        scene.now += 0.1
    picture = drawn(scene.trace, most=30)
    assert len(picture.rows) == 30
    assert "220 events came before" in picture.texts
    assert "150 events came before" in drawn(scene.trace).texts
    assert "200 events came before" in drawn(scene.trace.last(50)).texts
    assert "came before" not in drawn(three_hosts()).text
    assert "1 event came before" in drawn(list(three_hosts())[1:]).texts


def test_kinds_choose_what_is_shown() -> None:
    trace = three_hosts()
    assert drawn(trace, kinds=["fault"]).labels == ["partition", "heal", "cut"]
    assert drawn(trace, kinds={"PACKAGE"}).words == ["PACKAGE"] * 5
    assert len(drawn(trace, kinds=["fault", "PACKAGE"]).rows) == 3 + 5
    assert drawn(trace, kinds=[]).rows == []


def test_faults_reach_across_those_whom_they_concern() -> None:
    picture = drawn(three_hosts())
    bands = [
        rect for rect in picture.root.iter(f"{SVG}rect") if rect.get("stroke-width") == "2" and rect.get("rx") == "0"
    ]
    places = picture.hosts

    def inside(band: ElementTree.Element) -> set[str]:
        left = float(band.get("x", ""))
        return {name for name, x in places.items() if left < x < left + float(band.get("width", ""))}

    assert [inside(band) for band in bands] == [{"a", "b"}, {"a", "b", "c"}, {"a", "b"}]
    assert [band.get("stroke") for band in bands] == ["#c62828", "#2e7d32", "#c62828"]


def test_tooltips_tell_all() -> None:
    scene = Scene()
    scene.now = 1 / 3
    scene.frame("a", "b", FrameKind.CREDIT, 0.25, connection=7)
    event = next(iter(scene.trace))
    assert drawn(scene.trace).tooltips == [
        f"1: CREDIT {event.details}\na → b, connection 7\nat {1 / 3!r} s\narrives at {1 / 3 + 0.25!r} s, 250 ms later\n30 bytes"
    ]


def test_connections_are_numbered_where_there_are_several() -> None:
    scene = Scene()
    scene.frame("a", "b", FrameKind.SYNC)
    scene.frame("b", "a", FrameKind.SYNC)
    assert drawn(scene.trace).words == ["SYNC", "SYNC"]
    scene.frame("a", "b", FrameKind.SYNC, connection=2)
    assert drawn(scene.trace).words == ["SYNC #1", "SYNC #1", "SYNC #2"]


HOSTILE = 'a<b>&"c"\x00\x1b[31m\ud800\ufffe\u202e]]><!-- \r\n\t é 日本 😀'


def test_any_text_can_be_shown() -> None:
    kinds: tuple[EventKind, ...] = ("note", "fault", "dial")
    events = [TraceEvent(i, 0.0, kind, HOSTILE, "b", 0, 0, None, HOSTILE) for i, kind in enumerate(kinds, 1)]
    picture = drawn(events, title=HOSTILE)
    shown = 'a<b>&"c"\\x00\\x1b[31m\\ud800\\ufffe\\u202e]]><!-- é 日本 😀'
    assert picture.texts[0] == shown
    assert picture.labels[0] == shown
    assert picture.root.findtext(f"{SVG}title", "").startswith('a<b>&"c"\\x00')


def test_long_texts_are_cut_or_broken() -> None:
    scene = Scene()
    scene.word("note", "a", words="LONG WORDS " * 10_000)
    scene.word("dial", "a", "b", "x" * 10_000)
    scene.word("fault", "a", "a", "y" * 10_000)
    picture = drawn(scene.trace, title="title " * 1000)
    assert all(len(text) < 200 for text in picture.texts)
    assert sum(text.endswith("…") for text in picture.texts) >= 4
    assert_texts_are_apart(picture)


def boxes(picture: Picture) -> Iterator[tuple[str, float, float, float, float]]:
    """Each text with the left, right, top and bottom of it."""
    moved = {
        id(text): tuple(float(word) for word in group.get("transform", "")[10:-1].split())
        for group in picture.root.iter(f"{SVG}g")
        if group.get("transform")
        for text in group.iter(f"{SVG}text")
    }
    assert not moved  # only the samples of the legend are, which have no text
    for text in picture.root.iter(f"{SVG}text"):
        size = float(text.get("font-size", "12"))
        parts = [(text.text or "", size, text.get("font-weight") == "bold", 0.0)]
        parts += [
            (
                part.text or "",
                float(part.get("font-size", size)),
                part.get("font-weight") == "bold",
                float(part.get("dx", 0)),
            )
            for part in text
        ]
        width = sum(svg.text_width(words, points, is_bold=is_bold) + space for words, points, is_bold, space in parts)
        x, y = float(text.get("x", "")), float(text.get("y", ""))
        left = {"start": x, "middle": x - width / 2, "end": x - width}[text.get("text-anchor", "start")]
        yield "".join(text.itertext()), left, left + width, y - 0.75 * size, y + 0.2 * size


def assert_texts_are_apart(picture: Picture) -> None:
    places = list(boxes(picture))
    width, height = float(picture.root.get("width", "")), float(picture.root.get("height", ""))
    for words, left, right, top, bottom in places:
        assert left >= 0, words
        assert right <= width, words
        assert top >= 0, words
        assert bottom <= height, words
    for one, other in itertools.combinations(places, 2):
        is_apart = one[2] <= other[1] or other[2] <= one[1] or one[4] <= other[3] or other[4] <= one[3]
        assert is_apart, (one, other)


@pytest.mark.parametrize("hosts", [None, ["a"], ["a", "b"], ["c", "a", "b"], ["a", "b", "c", "d", "e", "f", "g"]])
def test_texts_do_not_overlap(hosts: list[str] | None) -> None:
    assert_texts_are_apart(drawn(three_hosts(), hosts=hosts, title="Three hosts"))
    assert_texts_are_apart(drawn(three_hosts(), hosts=hosts, most=8))


def test_nothing_is_drawn_outside_of_it() -> None:
    picture = drawn(three_hosts())
    width = float(picture.root.get("width", ""))
    ends = [(float(rect.get("x", "")), float(rect.get("width", ""))) for rect in picture.root.findall(f"{SVG}rect")]
    assert len(ends) > 6
    assert all(x >= 0 and x + length <= width for x, length in ends)
    wider = drawn(three_hosts(), hosts=list("abcdefgh"))
    assert float(wider.root.get("width", "")) > width


def test_names_of_hosts_come_again_in_a_long_diagram() -> None:
    scene = Scene()
    for _ in range(200):
        scene.frame("a", "b", FrameKind.PACKAGE, 0)
    picture = drawn(scene.trace)
    assert 5 < picture.texts.count("a") == picture.texts.count("b") < 15
    assert_texts_are_apart(picture)


def test_long_names_of_hosts_keep_apart() -> None:
    scene = Scene()
    names = [f"{letter * 30}-with-a-long-name" for letter in "abcd"]
    for one, other in itertools.permutations(names, 2):
        scene.frame(one, other, FrameKind.PACKAGE)
    picture = drawn(scene.trace)
    assert len(picture.hosts) == 4
    assert_texts_are_apart(picture)


def test_a_short_gap_among_many_is_no_silence() -> None:
    scene = Scene()
    for gap in (0.01, 0.02, 0.03, 0.02, 0.01):
        scene.frame("a", "b", FrameKind.PACKAGE, 0.01)
        scene.now += gap
    scene.frame("a", "b", FrameKind.PACKAGE, 0)
    assert "silence" not in drawn(scene.trace).text


def test_it_has_its_own_background() -> None:
    first = next(drawn(three_hosts()).root.iter(f"{SVG}rect"))
    assert first.get("fill") == "#ffffff"


def test_nothing_can_be_drawn() -> None:
    picture = drawn([])
    assert picture.texts == ["0 events", "seconds"]
    assert picture.hosts == {}
    scene = Scene()
    scene.word("note", words="all alone")
    scene.word("dial", "", "")
    assert drawn(scene.trace).labels == ["all alone", "dial"]


def test_a_host_that_sends_to_itself() -> None:
    scene = Scene()
    for kind in ("dial", "refused", "open", "end"):
        scene.word(kind, "a", "a")
    scene.frame("a", "a", FrameKind.PACKAGE, math.inf)
    scene.frame("a", "a", FrameKind.PACKAGE, 0.1)
    picture = drawn(scene.trace)
    assert list(picture.hosts) == ["a"]
    assert len(picture.rows) == 6
    assert_texts_are_apart(picture)


def test_times_have_as_many_digits_as_they_need() -> None:
    scene = Scene()
    for time in (1.5, 1.5, 1.50001, 2):
        scene.now = time
        scene.frame("a", "b", FrameKind.PACKAGE, 0)
    assert [text for text in drawn(scene.trace).texts if text[:2] in ("1.", "2.")] == ["1.50000", "1.50001", "2.00000"]


def test_it_is_the_same_each_time() -> None:
    assert sequence_diagram(three_hosts()) == sequence_diagram(three_hosts())


def test_it_can_be_written_to_a_file(tmp_path: Path) -> None:
    trace = three_hosts()
    write_diagram(tmp_path / "trace.svg", trace, title="é", hosts=["a", "b"], kinds=["frame"], most=7)
    expected = sequence_diagram(trace, title="é", hosts=["a", "b"], kinds=["frame"], most=7)
    assert (tmp_path / "trace.svg").read_bytes() == expected.encode()
    write_diagram(str(tmp_path / "trace.svg"), [])
    assert (tmp_path / "trace.svg").read_text() == sequence_diagram([])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"hosts": "abc"}, TypeError, "hosts must be several str, not 'abc'"),
        ({"hosts": [1]}, TypeError, r"hosts must be several str, not \[1\]"),
        ({"hosts": ["a", "A"]}, ValueError, "hosts must name each host once"),
        ({"kinds": "frame"}, TypeError, "kinds must be several str, not 'frame'"),
        ({"kinds": ["wave"]}, ValueError, "kinds must be some of frame, .*PACKAGE.*, not 'wave'"),
        ({"title": None}, TypeError, "title must be a str, not None"),
        ({"most": True}, TypeError, "most must be a number of rows, not True"),
        ({"most": 0}, ValueError, "most must be at least 1, not 0"),
        ({"events": ["a"]}, TypeError, "events must be those of a trace, not 'a'"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sequence_diagram(**{"events": [], **options})  # type: ignore[arg-type]


def test_an_event_may_come_before_the_one_ahead_of_it() -> None:
    scene = Scene()
    scene.now = 5
    scene.frame("a", "b", FrameKind.PACKAGE)
    early = attrs.evolve(next(iter(scene.trace)), time=1.0, arrival=1.5)
    assert len(drawn([*scene.trace, early]).rows) == 2


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    program = "import sys, trioton.testing; print([name for name in sys.modules if 'diagram' in name])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


async def test_a_simulated_run_can_be_looked_at(autojump_clock: MockClock) -> None:
    net = Network(seed=7, latency=LATENCY)
    async with (
        trioton.open_context("kernel", network=net.host("kernel")) as kernel,
        trioton.open_context("ide", network=net.host("ide")) as ide,
    ):
        await kernel.bind("kernel:1")
        await ide.connect("kernel:1")
        stdout = trioton.PubChannel(kernel, "stdout")
        shell = trioton.SubChannel(ide, "stdout")
        await stdout.wait_subscribers(1)
        await trio.sleep(3600)
        net.partition({"kernel"}, {"ide"})
        await stdout.send("are you there?")
        await trio.sleep(1)
        net.heal()
        await shell.receive()
    picture = drawn(net.trace, title="A run")
    assert sorted(picture.hosts) == ["ide", "kernel"]
    assert len(picture.rows) < 60
    assert "cannot be read" not in picture.text
    whats = [words.split(" #")[0] for words in picture.words]
    assert {"HELLO", "WELCOME", "SUBSCRIBE", "PACKAGE", "CLOSE"} <= set(whats)
    assert any(what.startswith("PING/PONG") for what in whats)
    assert "does not arrive: the way is cut" in "\n".join(picture.tooltips)
    assert_texts_are_apart(picture)
