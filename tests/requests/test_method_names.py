"""Which names of methods may be called, and which may not, on either side."""

from __future__ import annotations

from typing import Any

import pytest

import trioton
from tests.conftest import Pair
from tests.requests.conftest import Asking
from trioton import RepChannel, ReqChannel


async def test_methods_of_a_target_are_called_by_name(pair: Pair) -> None:
    class Shop:
        price = 3

        async def buy(self, number: int) -> int:
            return number * self.price

        async def burn(self) -> None:
            raise AssertionError("nobody may do that")

    RepChannel(pair.a, "shop", target=Shop(), methods=["buy"])
    req = ReqChannel(pair.b, "shop")
    assert await req.buy(4) == 12
    for name in ("burn", "price", "echo", "nothing"):
        with pytest.raises(AttributeError, match=f"has no method '{name}' that may be called"):
            await req.call(name)


@pytest.mark.parametrize("wrong", [5, None, "method", property(str), int])
def test_hidden_is_for_methods(wrong: Any) -> None:
    with pytest.raises(TypeError, match="hidden is for methods, not for "):
        trioton.hidden(wrong)


async def test_hidden_goes_with_other_decorators_in_any_order(autojump_clock: object, pair: Pair) -> None:
    class Decorated(RepChannel):
        @trioton.hidden
        @staticmethod
        def first() -> int:
            return 1

        @staticmethod
        @trioton.hidden
        def second() -> int:
            return 2

        @trioton.hidden
        @classmethod
        def third(cls) -> int:
            return 3

    Decorated(pair.a, "slot")
    req = ReqChannel(pair.b, "slot")
    for name in ("first", "second", "third"):
        with pytest.raises(AttributeError, match=f"no method '{name}' that may be called"):
            await req.call(name)


async def test_hidden_and_private_methods_and_those_of_the_channel_are_never_called(pair: Pair) -> None:
    class Open(RepChannel):
        called: list[str] = []  # noqa: RUF012

        async def seen(self) -> int:
            return 1

        @trioton.hidden
        async def unseen(self) -> None:
            self.called.append("unseen")

        async def _private(self) -> None:
            self.called.append("_private")

    class Below(Open):
        async def unseen(self) -> None:
            self.called.append("unseen below")

    class Hidden(Open):
        @trioton.hidden
        async def seen(self) -> int:
            raise AssertionError("nobody may do that")

    req = ReqChannel(pair.b, "open")
    rep = Open(pair.a, "open")
    assert await req.seen() == 1
    names = ["unseen", "_private", "__class__", "__init__", "__dict__", "close", "aclose", "closed", "context", "slot"]
    for name in [*names, "statistics", "_methods", "called", "", " "]:
        if name:
            with pytest.raises(AttributeError, match="that may be called"):
                await req.call(name)
    assert not rep.closed
    assert Open.called == []
    rep.close()
    hidden = Hidden(pair.a, "open")
    with pytest.raises(AttributeError, match="'seen'"):
        await req.seen()
    hidden.close()
    Below(pair.a, "open")
    await req.unseen()
    assert Open.called == ["unseen below"]


async def test_names_that_begin_with_an_underscore_are_no_methods_here_either(asking: Asking) -> None:
    with pytest.raises(AttributeError, match="names that begin with '_' are never called"):
        asking.req._nothing()
    with pytest.raises(AttributeError, match="names that begin with '_'"):
        asking.req.to(asking.there.id).__nothing__()


def test_a_method_that_hides_one_of_the_channel_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Bad.close hides what every RepChannel has"):

        class Bad(RepChannel):
            def close(self) -> None:
                """Others would call this."""


async def test_names_that_clash_with_those_of_the_requester_go_through_call(pair: Pair) -> None:
    class Target:
        async def close(self) -> str:
            return "closed"

        async def to(self, where: str) -> str:
            return f"to {where}"

    RepChannel(pair.a, "x", target=Target(), methods=["close", "to"])
    req = ReqChannel(pair.b, "x")
    assert await req.call("close") == "closed"
    assert await req.call("to", "here") == "to here"
    assert await req.call("to", where="there") == "to there"


async def test_keywords_of_any_name_reach_the_handler(asking: Asking) -> None:
    names = {"method": 1, "self_": 2, "name": 3, "context_id": 4, "stream": 5}
    assert await asking.req.give(0, **names) == (0, names)
    assert await asking.req.call("give", 0, **names) == (0, names)
