"""The short pieces of code in the guides run, each in a small network where what they speak of is there."""

from __future__ import annotations

import ast
import doctest
import logging
import re
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

import trioton
from trioton import blocking
from trioton.testing import Network

GUIDE = Path(__file__).parent / "guide"
ELSEWHERE = {"keys", "permissions", "state"}
"""Guides whose code has a test of its own, in test_keys.py, test_permissions.py and test_snippets.py."""


def blocks(page: str, language: str = "python") -> list[str]:
    """The code blocks of a guide."""
    text = (GUIDE / f"{page}.rst").read_text(encoding="utf-8")
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in found]


class Work(trioton.RepChannel):
    """Answers what the guides ask."""

    ended = False

    async def slow_search(self, word: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.ended = True


class World:
    """Two contexts, of which one runs the code of a guide."""

    def __init__(self, net: Network, ctx: trioton.Context, other: trioton.Context) -> None:
        self.net = net
        self.ctx = ctx
        self.other = other
        self.told: list[object] = []
        self.work = Work(other, "work")
        self.subs = {name: trioton.SubChannel(ctx, name) for name in ("out", "err", "prompt")}

    def logger(self, name: str) -> object:
        assert name in logging.Logger.manager.loggerDict, "there is no such logger"
        return SimpleNamespace(setLevel=self.told.append)

    async def do(self, job: object) -> None:
        self.told.append(job)

    def scope(self) -> dict[str, Any]:
        """The names that the code finds."""
        here = SimpleNamespace(**{name: getattr(trioton, name) for name in dir(trioton)})
        here.open_context = lambda name: trioton.open_context(name, network=self.net.host(name))
        return {
            "__name__": "guide",
            "trioton": here,
            "trio": trio,
            "logging": SimpleNamespace(basicConfig=lambda level: None, getLogger=self.logger, INFO=20, DEBUG=10),
            "faulthandler": SimpleNamespace(enable=lambda file: self.told.append(file)),
            "sys": SimpleNamespace(__stderr__="stderr"),
            "ctx": self.ctx,
            "other": self.other,
            "print": lambda *words: self.told.append(" ".join(map(str, words))),
            "sub": trioton.SubChannel(self.ctx, "chat"),
            "req": trioton.ReqChannel(self.ctx, "work"),
            "do": self.do,
            "look": lambda: self.told.append("looked"),
            "jobs": ["one", "two"],
            **self.subs,
        }

    async def run(self, block: str) -> None:
        """Run the code for some seconds."""
        scope = self.scope()
        code = compile(block, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with trio.move_on_after(10):
            coroutine = eval(code, scope)  # our own page
            if coroutine is not None:
                await coroutine


async def run_blocks(page: str, *changes: tuple[str, str]) -> World:
    """Run all pieces of a guide, with some words changed; gives what they have done."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as ctx,
        trioton.open_context("b", network=net.host("b")) as other,
        trioton.open_context("c", network=net.host("broker.example")) as broker,
    ):
        await broker.bind("broker.example:9000")
        await ctx.bind("a:1")
        await other.connect("a:1")
        await other.bind("b:9000")
        world = World(net, ctx, other)
        for name in ("out", "err", "prompt", "chat"):
            await trioton.PubChannel(other, name).send(f"{name}!")
        pub = trioton.PubChannel(other, "chat")
        other.start_soon(say_again, pub)
        push = trioton.PushChannel(other, "jobs", trioton.OBJECT)
        await push.send_many(["first", "second"])
        other.start_soon(pull_all, world)
        await trio.sleep(0.1)
        for block in blocks(page):
            for old, new in changes:
                block = block.replace(old, new)
            await world.run(block)
        return world


async def say_again(pub: trioton.PubChannel[str]) -> None:
    while True:
        await trio.sleep(1)
        await pub.send("hello")


async def pull_all(world: World) -> None:
    async for job in trioton.PullChannel(world.other, "jobs", trioton.OBJECT):
        world.told.append(f"other: {job}")


CHANGES: dict[str, list[tuple[str, str]]] = {
    "broker": [],
    "channels": [],
    "contexts": [('"localhost:9000"', '"kernel:1"'), ('"localhost:9001"', '"b:9000"')],
    "errors": [('ctx.connect("localhost:9000", wait=True)', "trio.lowlevel.checkpoint()")],
    "files": [],
    "logging": [],
    "looking": [],
    "pipelines": [],
    "requests": [("Calculator(ctx", "Calculator(other")],
    "small_tools": [],
}


def test_each_guide_with_code_is_here() -> None:
    with_code = {path.stem for path in GUIDE.glob("*.rst") if blocks(path.stem)}
    assert with_code == CHANGES.keys() | ELSEWHERE


@pytest.mark.parametrize("page", CHANGES)
async def test_the_code_runs(autojump_clock: trio.testing.MockClock, page: str) -> None:
    changes = CHANGES[page]
    code = "\n".join(blocks(page))
    assert all(old in code for old, _ in changes)
    world = await run_blocks(page, *changes)
    match page:
        case "channels":
            assert "hello" in world.told
        case "pipelines":
            assert world.told == ["first", "second", "other: one", "other: two"]
        case "requests":
            assert world.work.ended
        case "small_tools":
            assert world.told.count("looked") > 40
        case "files":
            assert world.told == ["stderr"]


class Calculator(blocking.RepChannel):
    def add(self, a: int, b: int) -> int:
        return a + b

    def count(self, number: int) -> Any:
        yield from range(number)


def test_what_is_typed_in_the_guide_to_plain_threads_gives_what_it_says() -> None:
    with blocking.open_context("server") as server:
        server.bind("mem://guide")
        blocking.PubChannel(server, "chat").send("hello")
        answers = Calculator(server, "math")
        thread = threading.Thread(target=answers.serve_forever)
        thread.start()
        names: dict[str, Any] = {}
        for number, block in enumerate(blocks("blocking", "pycon")):
            source = block.replace("localhost:9000", "mem://guide")
            test = doctest.DocTestParser().get_doctest(source + "\n", names, f"block {number}", None, 0)
            said: list[str] = []
            result = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
            assert result.failed == 0, "".join(said)
            assert result.attempted > 2
            names = test.globs
        names["ctx"].close()
        answers.close()
        thread.join(20)
        assert not thread.is_alive()
