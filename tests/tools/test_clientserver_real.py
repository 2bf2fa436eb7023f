"""Single text requests over real sockets, each kind of address, and with handlers in threads."""

from __future__ import annotations

import ssl
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from trioton.clientserver import RequestError, do_request, serve_requests
from trioton.errors import BindError
from trioton.testing import leak_check

pytestmark = pytest.mark.net


@pytest.mark.parametrize("scheme", ["tcp", "unix", "mem"])
async def test_each_kind_of_address(scheme: str, tmp_path: Path) -> None:
    address = {"tcp": "localhost:0", "unix": f"unix://{tmp_path}/s", "mem": "mem://text"}[scheme]
    threads = []

    def handler(text: str) -> str:
        threads.append(threading.current_thread())
        return text[::-1]

    async with leak_check(), trio.open_nursery() as nursery:
        bound: str = await nursery.start(serve_requests, address, handler)
        assert bound.startswith(scheme)
        assert await do_request(bound, "abc\n" * 1000) == "\ncba" * 1000
        with pytest.raises(BindError):
            await serve_requests(bound, handler)
        nursery.cancel_scope.cancel()
    assert threads != [threading.main_thread()]
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240  # it is quick


async def test_tls() -> None:
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)
    async with leak_check(), trio.open_nursery() as nursery:
        serve = partial(serve_requests, ssl_context=server)
        bound = await nursery.start(serve, "tls://localhost:0", str.upper)
        assert await do_request(bound, "x" * 100_000, ssl_context=client) == "X" * 100_000
        with pytest.raises(RequestError, match="at most 1048576 are taken"):
            await do_request(bound, "x" * 3_000_000, ssl_context=client)
        nursery.cancel_scope.cancel()


async def test_further_ports_are_tried() -> None:
    async with trio.open_nursery() as nursery:
        first: str = await nursery.start(serve_requests, "localhost:0", str.upper)
        second: str = await nursery.start(partial(serve_requests, max_tries=50), first, str.lower)
        assert (await do_request(first, "aA"), await do_request(second, "aA")) == ("AA", "aa")
        nursery.cancel_scope.cancel()


async def test_a_thread_may_use_trio() -> None:
    def handler(text: str) -> str:
        return trio.from_thread.run_sync(lambda: f"{text} at {trio.current_time() > 0}")

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(serve_requests, "localhost:0", handler)
        assert await do_request(bound, "x") == "x at True"
        nursery.cancel_scope.cancel()
