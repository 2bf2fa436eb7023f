"""Requests between plain threads: futures, streams, and handlers on a thread of one's own choice."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

import trioton
from trioton import blocking

from .conftest import DEADLINE, Pair


class Calculator(blocking.RepChannel):
    """What is called below."""

    ran_in: list[threading.Thread]
    closed_early = False

    def add(self, a: int, b: int = 1) -> int:
        self.ran_in = [threading.current_thread()]
        return a + b

    def divide(self, a: int, b: int) -> float:
        return a / b

    async def meet(self) -> str:
        await trio.lowlevel.checkpoint()
        return threading.current_thread().name

    def count(self, n: int) -> Iterator[int]:
        try:
            yield from range(n)
        finally:
            self.closed_early = n > 100

    def answer_on(self, sender: blocking.Sender[Any]) -> str:
        with sender:
            sender.send("here")
        return "sent"

    @trioton.hidden
    def secret(self) -> None: ...


@contextmanager
def serving(rep: blocking.RepChannel) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=rep.serve_forever)
    thread.start()
    try:
        yield thread
    finally:
        rep.close()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_a_request_runs_on_the_thread_that_serves(pair: Pair) -> None:
    req = blocking.ReqChannel(pair.b, "math")
    rep = Calculator(pair.a, "math")
    req.wait_repliers(1, timeout=DEADLINE)
    assert (req.repliers, req.slot, rep.slot) == (1, "math.obj.req-rep", "math.obj.req-rep")
    with serving(rep) as thread:
        future = req.add(3, b=4)
        assert (future.method, future.result(timeout=DEADLINE), future.exception()) == ("add", 7, None)
        assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
        assert rep.ran_in == [thread]
        assert req.call("add", 1) == 2
        assert req.to(pair.a.id).add(5).result(timeout=DEADLINE) == 6
        assert req.meet().result(timeout=DEADLINE) == "trioton.blocking"
        assert req.echo("x").result(timeout=DEADLINE)[0] == "x"
        with pytest.raises(ZeroDivisionError):
            req.divide(1, 0).result(timeout=DEADLINE)
        assert type(req.divide(1, 0).exception(timeout=DEADLINE)) is ZeroDivisionError
        with pytest.raises(AttributeError, match="secret"):
            req.call("secret")
        with pytest.raises(trioton.MessageTypeError):
            req.add(object())
        for name in ("_private", "aclose"):
            with pytest.raises(AttributeError):
                getattr(req, name)
    assert rep.closed
    assert req.statistics().pending == 0
    req.close()
    with pytest.raises(trio.ClosedResourceError):
        req.add(1)
    assert "closed" in repr(req) + repr(rep)


def test_many_threads_ask_and_serve(pair: Pair) -> None:
    rep = blocking.RepChannel(pair.a, "math", target=Adder(), methods=["add"])
    req = blocking.ReqChannel(pair.b, "math")
    servers = [threading.Thread(target=rep.serve_forever) for _ in range(3)]
    got: list[int] = []

    def ask(first: int) -> None:
        got.extend(req.add(first, number).result(timeout=DEADLINE) for number in range(30))

    clients = [threading.Thread(target=ask, args=(first,)) for first in (0, 100, 200)]
    for thread in servers + clients:
        thread.start()
    for thread in clients:
        thread.join(DEADLINE)
    pair.a.close()
    for thread in servers:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert sorted(got) == [first + number for first in (0, 100, 200) for number in range(30)]


class Adder:
    def add(self, a: int, b: int) -> int:
        return a + b


def test_requests_wait_until_they_are_served_by_hand(pair: Pair) -> None:
    rep = blocking.RepChannel(pair.a, "math", target=Adder(), methods=["add"])
    req = blocking.ReqChannel(pair.b, "math")
    assert rep.serve_pending() == rep.serve_pending(block=0.01) == 0
    futures = [req.add(number, 1) for number in range(3)]
    with pytest.raises(TimeoutError):
        futures[0].result(timeout=0.05)
    with pytest.raises(TimeoutError):
        futures[0].wait(timeout=0)
    done: queue.Queue[blocking.Future[Any]] = queue.Queue()
    futures[2].add_done_callback(done.put)
    served = 0
    while served < 3:
        served += rep.serve_pending(block=True)
    assert [future.result(timeout=DEADLINE) for future in futures] == [1, 2, 3]
    assert done.get(timeout=DEADLINE) is futures[2]
    assert futures[0].replier == pair.a.id
    assert rep.statistics().succeeded == 3
    rep.close()
    assert rep.serve_pending(block=True) == 0


def test_a_request_that_is_cancelled_before_it_has_begun_is_not_run(pair: Pair) -> None:
    rep = Calculator(pair.a, "math")
    req = blocking.ReqChannel(pair.b, "math", cancel_grace=DEADLINE)
    future = req.add(1)
    while not rep.statistics().running:
        pass
    assert future.cancel()
    with pytest.raises(trioton.RequestCancelled):
        future.result(timeout=DEADLINE)
    assert not future.cancel()
    assert future.cancelled()
    assert rep.serve_pending(block=0.05) == 0
    assert not hasattr(rep, "ran_in")


def test_who_cancels_does_not_hear_that_a_thread_has_stopped_before_it_has(pair: Pair) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(blocking.RepChannel):
        def wait(self) -> None:
            begun.set()
            go_on.wait(DEADLINE)

    req = blocking.ReqChannel(pair.b, "slow", cancel_grace=0.05)
    with serving(Slow(pair.a, "slow")):
        request = req.wait()
        assert begun.wait(DEADLINE)
        request.cancel()
        with pytest.raises(trioton.RequestCancelled, match="unknown"):
            request.result(timeout=DEADLINE)
        go_on.set()


def test_items_come_one_by_one(pair: Pair) -> None:
    rep = Calculator(pair.a, "math")
    req = blocking.ReqChannel(pair.b, "math")
    with serving(rep):
        with req.stream("count", 5) as items:
            assert list(items) == [0, 1, 2, 3, 4]
        with req.stream("count", 10**9) as items:
            assert [items.receive(timeout=DEADLINE) for _ in range(200)] == list(range(200))
        while not rep.closed_early:
            pass
        with pytest.raises(TypeError, match="stream"), req.stream("add", 1) as items:
            list(items)


def test_a_sending_end_travels_as_an_argument(pair: Pair) -> None:
    req = blocking.ReqChannel(pair.b, "math")
    with serving(Calculator(pair.a, "math")):
        for number in range(2):
            sender, receiver = blocking.open_channel(pair.b)
            if number:
                assert req.answer_on(sender).result(timeout=DEADLINE) == "sent"
            else:
                assert req.call("answer_on", sender) == "sent"
            assert list(receiver) == ["here"]


def test_ctrl_c_in_a_handler_is_for_the_thread_and_the_requester_is_told(pair: Pair) -> None:
    class Interrupted(blocking.RepChannel):
        def work(self) -> None:
            raise KeyboardInterrupt

    rep = Interrupted(pair.a, "slot")
    future = blocking.ReqChannel(pair.b, "slot").work()
    with pytest.raises(KeyboardInterrupt):
        rep.serve_pending(block=True)
    with pytest.raises(RuntimeError, match="ended by a KeyboardInterrupt"):
        future.result(timeout=DEADLINE)


class Ends(blocking.RepChannel):
    def work(self) -> str:
        return "done"

    def leave(self) -> None:
        sys.exit(3)

    def interrupt(self) -> None:
        raise KeyboardInterrupt("from the handler")

    def items(self) -> Iterator[int]:
        yield 1
        raise SystemExit(4)


def check_ends(req: blocking.ReqChannel, name: str) -> None:
    with pytest.raises(trioton.RemoteError) as caught:
        getattr(req, name)().result(timeout=DEADLINE)
    assert caught.value.type_name == {"leave": "SystemExit", "interrupt": "KeyboardInterrupt"}[name]
    assert req.work().result(timeout=DEADLINE) == "done"


def test_what_would_end_a_thread_ends_only_the_request(pair: Pair) -> None:
    req = blocking.ReqChannel(pair.b, "slot")
    with serving(Ends(pair.a, "slot")):
        check_ends(req, "leave")
        check_ends(req, "interrupt")
        with req.stream("items") as items:
            assert next(items) == 1
            with pytest.raises(trioton.RemoteError, match="SystemExit"):
                next(items)
        assert req.work().result(timeout=DEADLINE) == "done"


def test_a_handler_that_would_end_the_program_does_not(pair: Pair) -> None:
    """In the main thread `SystemExit` is like any other error; Ctrl-C alone is for the program."""
    rep = Ends(pair.a, "slot")
    future = blocking.ReqChannel(pair.b, "slot").leave()
    assert rep.serve_pending(block=True) == 1
    with pytest.raises(trioton.RemoteError, match="SystemExit"):
        future.result(timeout=DEADLINE)


def test_wrong_names_are_told(pair: Pair) -> None:
    class Clashing(blocking.RepChannel):
        def serve_pending(self, block: bool | float = False) -> int:
            return 0

    with pytest.raises(TypeError, match="serve_pending hides"):
        Clashing(pair.a, "slot")
    with pytest.raises(ValueError, match="methods must be names of public methods"):
        blocking.RepChannel(pair.a, "slot", target=Adder(), methods=["subtract"])
    with pytest.raises(TypeError, match="methods must name"):
        blocking.RepChannel(pair.a, "slot", target=Adder())
    with pytest.raises(TypeError, match="methods must be several names"):
        blocking.RepChannel(pair.a, "slot", target=Adder(), methods="add")
