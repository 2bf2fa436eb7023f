"""What the tests of requests have in common: a replier and a requester that know each other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

import trioton
from tests.conftest import OpenPair
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import ReqChannel
from trioton.testing import Network


@attrs.frozen
class Asking:
    """`here` (the context ``b``) asks, on the slot ``math``, what `there` (``a``) answers.

    Attributes:
        net: The network; its hosts are called ``a`` and ``b``.
        here: The context that asks.
        there: The context that answers, at ``a:1``.
        req: The channel that asks.
        rep: The channel that answers.
    """

    net: Network
    here: trioton.Context
    there: trioton.Context
    req: ReqChannel
    rep: Handlers


@pytest.fixture
async def asking(open_pair: OpenPair) -> AsyncIterator[Asking]:
    """A requester and a replier, some hundredths of a second apart; afterwards nothing may be left."""
    async with open_pair() as pair:
        rep = Handlers(pair.a, "math")
        req = ReqChannel(pair.b, "math")
        await req.wait_repliers(1)
        yield Asking(pair.net, pair.b, pair.a, req, rep)
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        check_rest(req, rep)


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is to be seen soon."""
    monkeypatch.setattr("tests.conftest.TIME_LIMIT", 2_000.0)
