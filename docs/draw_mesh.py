"""Draws what the explanations show of contexts that are no neighbours, into docs/_static/: ``python docs/draw_mesh.py``.

``routing.svg`` has the trees that the library computes, and ``failover.svg`` a simulated run; ``held.svg`` is a drawing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

import trioton
from trioton import _svg as svg
from trioton.protocol.records import LinkRecord, NodeRecord
from trioton.protocol.trees import Graph, Tree
from trioton.testing import Network, run_simulation

HERE = Path(__file__).parent

INK: Final = "#17384f"
BLUE: Final = "#1f5f8b"
GREY: Final = "#9db3c4"
PALE: Final = "#f4f8fb"
RED: Final = "#b3362b"

# ------------------------------------------------------------------------------------------------------- the tree of a source

PLACES: Final = {
    "press": (190, 75),
    "left": (90, 155),
    "right": (290, 155),
    "hub": (190, 235),
    "eve": (45, 235),
    "kim": (335, 235),
    "ann": (120, 315),
    "ben": (260, 315),
}
LINKS: Final = ["press left", "press right", "left hub", "right hub", "left eve", "right kim", "hub ann", "hub ben"]
LISTENERS: Final = ("eve", "ann", "ben")


def identity(name: str) -> bytes:
    """An identity for a name, in the order of the alphabet."""
    return name.encode().ljust(16, b"\0")


def tree_of(source: str, suspended: str = "") -> Tree:
    """The tree that every context computes for a source."""
    ends = [link.split() for link in LINKS]
    nodes: dict[bytes, NodeRecord] = {}
    graph = Graph()
    for name in PLACES:
        links = {
            identity(there if here == name else here): LinkRecord(suspended == f"{here} {there}", 1)
            for here, there in ends
            if name in {here, there}
        }
        node = nodes[identity(name)] = NodeRecord(identity(name), 1, name, 1, 1, 1, links, {})
        graph.install(node, nodes)
    return Tree(identity(source), graph)


def between(here: str, there: str) -> tuple[float, float, float, float]:
    """The ends of a line between two contexts, outside of their circles."""
    (from_x, from_y), (x, y) = PLACES[here], PLACES[there]
    length = ((x - from_x) ** 2 + (y - from_y) ** 2) ** 0.5
    step_x, step_y = 24 * (x - from_x) / length, 24 * (y - from_y) / length
    return from_x + step_x, from_y + step_y, x - step_x, y - step_y


def draw_tree(title: str, suspended: str = "") -> str:
    """One panel: the links, and on which of them one message travels."""
    tree = tree_of("press", suspended)
    paths = [[name.rstrip(b"\0").decode() for name in tree.path(identity(listener))] for listener in LISTENERS]
    used = dict.fromkeys(itertools.chain.from_iterable(map(itertools.pairwise, paths)))
    parts = [svg.text(title, 190, 28, font_size=14, font_weight="bold", fill=INK, text_anchor="middle")]
    for link in LINKS:
        here, there = link.split()
        line = between(here, there)
        if link == suspended:
            parts.append(svg.path("M", *line[:2], "L", *line[2:], stroke=RED, stroke_width=1.6, stroke_dasharray="5 4"))
            parts.append(svg.cross((line[0] + line[2]) / 2, (line[1] + line[3]) / 2, RED))
        elif (here, there) not in used and (there, here) not in used:
            parts.append(svg.path("M", *line[:2], "L", *line[2:], stroke=GREY, stroke_width=1.6))
    for here, there in used:
        line = between(here, there)
        parts.append(svg.path("M", *line[:2], "L", *line[2:], stroke=BLUE, stroke_width=2.6))
        parts.append(svg.head(*line, BLUE))
    for name, (x, y) in PLACES.items():
        listens = name in LISTENERS
        parts.append(
            svg.element("circle", cx=x, cy=y, r=22, fill=BLUE if listens else PALE, stroke=BLUE, stroke_width=1.6)
        )
        color = "#ffffff" if listens else INK
        parts.append(svg.text(name, x, y + 4, fill=color, text_anchor="middle", font_weight="bold"))
    return "\n".join(parts)


def draw_routing() -> str:
    """The same message, before and after a link was lost."""
    first = draw_tree("one copy for each link, none to kim")
    second = draw_tree("left and hub have lost their link", "left hub")
    return _picture(first + "\n" + svg.element("g", second, transform="translate(380 0)"), 760, 350)


# ---------------------------------------------------------------------------------------------------------------- a failover

SECONDS: Final = 15.0
LOST_AT: Final = 2.0


async def fail_over(net: Network, *, is_cut: bool) -> list[tuple[float, float]]:
    """When each number was sent and received, while the link that is used is lost."""
    times: list[tuple[float, float]] = []
    async with (
        trioton.open_context("source", network=net.host("source")) as source,
        trioton.open_context("left", network=net.host("left")) as left,
        trioton.open_context("right", network=net.host("right")) as right,
        trioton.open_context("sink", network=net.host("sink")) as sink,
        trio.open_nursery() as nursery,
    ):
        for router in (left, right):
            await router.bind(f"{router.name}:1")
            for end in (source, sink):
                await end.connect(f"{router.name}:1")
        pub = trioton.PubChannel(source, "numbers", trioton.OBJECT)
        sub = trioton.SubChannel(sink, "numbers", trioton.OBJECT, policy=trioton.Block(60))
        await pub.wait_subscribers()
        start = trio.current_time()

        async def send() -> None:
            for number in itertools.count():
                await trio.sleep_until(start + 0.1 * (number + 1))
                await pub.send(trio.current_time() - start)

        async def lose() -> None:
            await trio.sleep_until(start + LOST_AT)
            used = min(left, right, key=lambda router: router.id).name
            net.partition("source", used)
            if is_cut:
                net.cut("source", used)

        nursery.start_soon(send)
        nursery.start_soon(lose)
        with trio.move_on_at(start + SECONDS):
            while True:
                sent = await sub.receive()
                times.append((sent, trio.current_time() - start))
        nursery.cancel_scope.cancel()
    return times


def times_of(*, is_cut: bool) -> list[tuple[float, float]]:
    """The times of a run that is always the same."""
    results = []

    async def scenario(net: Network) -> None:
        results.append(await fail_over(net, is_cut=is_cut))

    run_simulation(scenario, seeds=[1], network={"latency": 0.02})
    return results[0]


def draw_times(title: str, times: Sequence[tuple[float, float]], words: str) -> str:
    """One panel: a dot for each number, when it was sent and when it came."""
    left, bottom, width, height = 55.0, 235.0, 290.0, 180.0
    scale_x, scale_y = width / SECONDS, height / (SECONDS * 10)
    parts = [
        svg.text(title, 190, 28, font_size=14, font_weight="bold", fill=INK, text_anchor="middle"),
        svg.path("M", left, bottom - height, "L", left, bottom, "L", left + width, bottom, fill="none", stroke=INK),
        svg.text("seconds", left + width / 2, bottom + 36, fill=INK, text_anchor="middle"),
        svg.text("messages", left - 4, bottom - height - 8, fill=INK, text_anchor="middle"),
    ]
    parts += [
        svg.text(str(second), left + second * scale_x, bottom + 18, fill=INK, text_anchor="middle")
        for second in range(0, int(SECONDS) + 1, 5)
    ]
    parts += [
        svg.text(str(count), left - 8, bottom - count * scale_y + 4, fill=INK, text_anchor="end")
        for count in (50, 100, 150)
    ]
    lost = left + LOST_AT * scale_x
    parts.append(svg.path("M", lost, bottom, "L", lost, bottom - height, stroke=RED, stroke_dasharray="5 4"))
    parts.append(svg.text(words, lost + 6, bottom - height + 10, fill=RED))
    for number, (sent, came) in enumerate(times):
        y = bottom - (number + 1) * scale_y
        parts.append(svg.element("circle", cx=left + sent * scale_x, cy=y, r=1.1, fill=GREY))
        parts.append(svg.element("circle", cx=left + came * scale_x, cy=y, r=1.6, fill=BLUE))
    parts.append(svg.element("circle", cx=left + 180, cy=bottom - 30, r=2, fill=GREY))
    parts.append(svg.text("sent", left + 188, bottom - 26, fill=INK))
    parts.append(svg.element("circle", cx=left + 180, cy=bottom - 14, r=2.5, fill=BLUE))
    parts.append(svg.text("received", left + 188, bottom - 10, fill=INK))
    return "\n".join(parts)


def draw_failover() -> str:
    """A link that is cut and one that falls silent."""
    first = draw_times("the link is cut", times_of(is_cut=True), "cut")
    second = draw_times("the link falls silent", times_of(is_cut=False), "silent")
    return _picture(first + "\n" + svg.element("g", second, transform="translate(380 0)"), 760, 290)


# ------------------------------------------------------------------------------------------------------------------ who holds

HOLDERS: Final = (
    ("source", "keeps what is not taken", "at most a window", 150),
    ("router", "what waits for its next link", "a part of that window", 60),
    ("router", "what waits for its next link", "a part of that window", 25),
    ("subscriber", "keeps what is not received", "at most a window", 110),
)


def draw_held() -> str:
    """Where the messages of one flow to a blocking subscriber can be."""
    parts = [
        svg.text("One flow over two routers", 380, 28, font_size=14, font_weight="bold", fill=INK, text_anchor="middle")
    ]
    for place, (name, first, second, fill) in enumerate(HOLDERS):
        x = 20.0 + 188 * place
        parts.append(
            svg.element("rect", x=x, y=50, width=156, height=112, rx=10, fill=PALE, stroke=BLUE, stroke_width=1.6)
        )
        parts.append(svg.text(name, x + 78, 74, fill=INK, font_weight="bold", text_anchor="middle"))
        parts.append(svg.text(first, x + 78, 98, fill=INK, font_size=11, text_anchor="middle"))
        parts.append(svg.text(second, x + 78, 114, fill=INK, font_size=11, text_anchor="middle"))
        parts.append(svg.element("rect", x=x + 13, y=130, width=130, height=12, fill="#ffffff", stroke=GREY))
        parts.append(svg.element("rect", x=x + 13, y=130, width=fill * 130 / 150, height=12, fill=BLUE))
        if place:
            parts.append(svg.path("M", x - 32, 106, "L", x - 2, 106, stroke=BLUE, stroke_width=2.6))
            parts.append(svg.head(x - 32, 106, x - 2, 106, BLUE))
    y = 190.0
    parts.append(
        svg.path("M", 662, 164, "L", 662, y, "L", 98, y, "L", 98, 166, fill="none", stroke=GREY, stroke_width=1.6)
    )
    parts.append(svg.head(98, y, 98, 164, GREY))
    words = "taken up to, may be sent up to: from end to end, routers only pass it on"
    parts.append(svg.text(words, 380, y + 20, fill=INK, text_anchor="middle"))
    return _picture("\n".join(parts), 760, 225)


def _picture(content: str, width: float, height: float) -> str:
    frame = svg.element(
        "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10, fill="#ffffff", stroke="#d5dbe1"
    )
    return svg.document(f"{frame}\n{content}", width, height)


def main(folder: str | Path = HERE / "_static") -> None:
    pictures = {"routing.svg": draw_routing(), "failover.svg": draw_failover(), "held.svg": draw_held()}
    for name, picture in pictures.items():
        (Path(folder) / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
