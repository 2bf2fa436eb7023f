"""Wrong arguments of contexts and connections raise an error that names the argument and the value, before anything is done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioton
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import Pair


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": 5}, TypeError, "name must be a str, not 5"),
        ({"name": None}, TypeError, "name must be a str, not None"),
        ({"name": "a\nb"}, ValueError, r"name must be at most \d+ printable characters, not 'a\\nb'"),
        ({"name": "x" * 10_000}, ValueError, "^name must be .{1,400}$"),
        ({"grace": "5"}, TypeError, "grace must be a number of seconds, not '5'"),
        ({"grace": True}, TypeError, "grace must be a number of seconds, not True"),
        ({"grace": -1}, ValueError, "grace must be finite and not negative, not -1"),
        ({"grace": math.inf}, ValueError, "grace must be finite and not negative, not inf"),
        ({"grace": math.nan}, ValueError, "grace must be finite and not negative, not nan"),
        ({"limits": None}, TypeError, r"limits must be a trioton\.Limits, not None"),
        ({"limits": trioton.Heartbeat()}, TypeError, r"limits must be a trioton\.Limits, not Heartbeat"),
        ({"heartbeat": 5}, TypeError, r"heartbeat must be a trioton\.Heartbeat, not 5"),
        ({"network": "a"}, TypeError, "network must be a network, .* not 'a'"),
        ({"network": Network(seed=1)}, TypeError, "network must be a network, such as a host of .* not <Network"),
    ],
)
async def test_open_context(autojump_clock: object, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        async with trioton.open_context(**options):
            pytest.fail("the context was opened")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_tries": "1"}, TypeError, "max_tries must be an int, not '1'"),
        ({"max_tries": True}, TypeError, "max_tries must be an int, not True"),
        ({"max_tries": 1.0}, TypeError, r"max_tries must be an int, not 1\.0"),
        ({"max_tries": 0}, ValueError, "max_tries must be at least 1, not 0"),
        ({"max_tries": -3}, ValueError, "max_tries must be at least 1, not -3"),
    ],
)
async def test_bind(
    autojump_clock: object, pair: Pair, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await pair.b.bind("b:1", **options)
    await pair.b.bind("b:1")  # it is still free


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reconnect": 1.0}, r"reconnect must be a trioton\.Reconnect or None, not 1\.0"),
        ({"reconnect": False}, r"reconnect must be a trioton\.Reconnect or None, not False"),
        ({"name": b"a"}, "name must be a str, not b'a'"),
    ],
)
async def test_connect(autojump_clock: object, pair: Pair, options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        await pair.a.connect("b:1", **options)
    assert pair.a.connections == [pair.to_b]


@pytest.mark.parametrize("value", [None, True, 1.5, b"a"])
async def test_wait_context(autojump_clock: object, pair: Pair, value: Any) -> None:
    with pytest.raises(TypeError, match=f"name_or_id must be a name or an identity, not {value!r}"):
        await pair.a.wait_context(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "name_or_id must name something, not ''"),
        ("x" * 300, "name_or_id must be at most 256 printable characters"),
        ("a\n", "name_or_id must be at most 256 printable characters"),
        (-1, "name_or_id must be the identity of a context, not -1"),
        (1 << 128, "name_or_id must be the identity of a context, not 34"),
    ],
)
async def test_whom_nobody_can_be_is_not_waited_for(
    autojump_clock: object, pair: Pair, value: str | int, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        await pair.a.wait_context(value)


async def test_a_context_does_not_wait_for_itself(autojump_clock: object, pair: Pair) -> None:
    with pytest.raises(ValueError, match=r"name_or_id is this context itself, .*; only others are waited for"):
        await pair.a.wait_context(pair.a.id)
    with trio.move_on_after(1) as scope:
        await pair.a.wait_context("a")
    assert scope.cancelled_caught, "there might be another of that name"
    async with trioton.open_context("a", network=pair.net.host("c")) as namesake:
        await namesake.connect("a:1")
        assert (await pair.a.wait_context("a")).id == namesake.id


async def test_a_name_of_a_connection_is_taken_once(autojump_clock: object, pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as c:
        await c.bind("c:1")
        first = await pair.b.connect("c:1", name="mine")
        with (
            trio.fail_after(1),
            pytest.raises(trioton.ConnectError, match="there is a connection named 'mine' already"),
        ):
            await pair.b.connect("a:1", name="mine")
        assert first.is_connected
        assert first.name == "mine"


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_flags_are_true_or_false(autojump_clock: object, pair: Pair, value: object) -> None:
    for argument in ("insecure", "wait", "local_shortcut"):
        with pytest.raises(TypeError, match=f"{argument} must be True or False, not {value!r}"):
            await pair.b.connect("a:1", **{argument: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"insecure must be True or False, not {value!r}"):
        await pair.b.bind("b:1", insecure=value)  # type: ignore[arg-type]
