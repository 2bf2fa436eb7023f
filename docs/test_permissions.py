"""The guide to permissions says what happens."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

import trioton
from trioton.testing import Network

PAGE = (Path(__file__).parent / "guide" / "permissions.rst").read_text(encoding="utf-8")
OPEN, FUNCTION, FOLLOW = (
    textwrap.dedent(block).strip()
    for block in re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
)


async def run(code: str, scope: dict[str, Any]) -> None:
    compiled = compile(code, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    coroutine = eval(compiled, scope)  # our own page
    if coroutine is not None:
        await coroutine


async def test_the_broker_of_the_guide(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)

    def open_context(name: str, **options: Any) -> Any:
        return trioton.open_context(name, network=net.host(name), **options)

    here = SimpleNamespace(**{name: getattr(trioton, name) for name in dir(trioton)})
    here.open_context = open_context
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, OPEN.replace("localhost:9000", "broker:1"), {"trioton": here, "trio": trio})
        async with trioton.open_context("guest", network=net.host("guest", uid=5)) as guest:
            connection = await guest.connect("broker:1", wait=True)
            scope = {"trioton": trioton, "ctx": guest, "print": said.append}
            nursery.start_soon(run, FOLLOW, scope)
            assert connection.kind == "unauthenticated"
            for name in ("chat", "news", "secrets"):
                trioton.SubChannel(guest, name)
            trioton.RepChannel(guest, "calculator")
            await trio.sleep(1)
            said.sort()
            ends = [" ".join(line.split()[1:7]) for line in said]
            assert ends == [
                "may not block on chat.txt.pub-sub, says",
                "may not block on news.txt.pub-sub, says",
                "may not serve on calculator.obj.req-rep, says",
                "may not subscribe on secrets.txt.pub-sub, says",
            ]
        nursery.cancel_scope.cancel()


async def test_the_function_of_the_guide() -> None:
    scope: dict[str, Any] = {"trioton": trioton}
    await run(FUNCTION, scope)
    permissions = scope["permissions"]
    for identity, granted in (("alice", "MEMBER"), ("bob", "MEMBER"), ("eve", "GUEST"), (None, "GUEST")):
        assert permissions(SimpleNamespace(identity=identity, name="alice", uid=None)) is scope[granted]


def test_every_permission_is_in_the_table() -> None:
    named = re.findall(
        r"^``(\w+)``  ", PAGE.partition("by default\n")[2].partition("The library's own")[0], re.MULTILINE
    )
    fields = [field.name for field in trioton.Permissions.__attrs_attrs__ if field.init]
    assert named == fields
