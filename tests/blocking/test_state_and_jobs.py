"""States and pipelines of plain threads do what those of tasks do."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

import trioton
from trioton import OBJECT, MessageTypeError, blocking

from .conftest import DEADLINE, Pair


def test_a_state_is_shared(pair: Pair) -> None:
    with blocking.StateChannel(pair.a, "status") as here, blocking.StateChannel(pair.b, "Status") as there:
        assert (here.value, here.writer, here.slot) == (trioton.UNSET, None, "status.txt.state")
        with pytest.raises(TimeoutError):
            there.receive(timeout=0.01)
        here.send("busy")
        here.wait_synced(timeout=DEADLINE)
        assert (there.value, there.writer) == ("busy", pair.a.id)
        assert there.receive(timeout=DEADLINE) == "busy"
        with pytest.raises(trio.WouldBlock):
            there.receive_nowait()
        here.send_nowait("idle")
        assert next(there) == "idle"
        assert (there.statistics().taken, here.statistics().sent) == (2, 2)
    assert there.closed
    assert there.value == "idle"
    for use in (there.receive, lambda: there.wait_value("idle"), there.wait_synced, lambda: there.send("x")):
        with pytest.raises(trio.ClosedResourceError):
            use()


async def is_never(value: object) -> bool:
    raise AssertionError("nobody awaits it")


def test_a_thread_waits_for_a_value(pair: Pair) -> None:
    here, there = (blocking.StateChannel(ctx, "number", OBJECT) for ctx in (pair.a, pair.b))
    asked: list[tuple[Any, threading.Thread]] = []

    def is_large(value: int) -> bool:
        asked.append((value, threading.current_thread()))
        return value > 2

    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            there.wait_value(1, timeout=timeout)
    here.send(1)
    assert there.wait_value(1, timeout=DEADLINE) == 1
    assert there.wait_value(1, timeout=0) == 1
    with pytest.raises(TimeoutError):
        there.wait_value(predicate=is_large, timeout=0.01)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(there.wait_value(predicate=is_large, timeout=DEADLINE)))
    thread.start()
    here.send(2)
    here.send(3)
    thread.join(DEADLINE)
    assert found == [3]
    assert {who for _, who in asked} == {threading.main_thread(), thread}
    assert there.receive(timeout=DEADLINE) == 3
    with pytest.raises(TypeError, match="takes either a value or predicate"):
        there.wait_value()  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="predicate must be a function, not 3"):
        there.wait_value(predicate=3)  # type: ignore[call-overload]
    for predicate in (is_never, lambda value: is_never(value)):
        with pytest.raises(TypeError, match=r"predicate must .* async"):
            there.wait_value(predicate=predicate, timeout=DEADLINE)  # type: ignore[arg-type]
    with pytest.raises(MessageTypeError, match="Unset"):
        there.wait_value(trioton.UNSET, timeout=0)
    pair.b.close()
    assert there.wait_value(3) == 3
    for use in (lambda: there.wait_value(4), there.wait_synced):
        with pytest.raises(trio.EndOfChannel):
            use()
    assert list(there) == []


def test_what_an_interrupted_thread_left_is_replaced_by_newer_values(pair: Pair) -> None:
    state = blocking.StateChannel(pair.a, "status")
    state.send("old")
    state._give_back([state.receive(timeout=DEADLINE)])
    assert state.statistics().taken == 0
    assert state.receive(timeout=0) == "old"
    state._give_back(["old"])
    state.send("new")
    assert state.receive(timeout=0) == "new"
    assert state.statistics().taken == 1
    with pytest.raises(TimeoutError):
        state.receive(timeout=0)


def test_each_job_is_done_once(pair: Pair) -> None:
    with blocking.PushChannel(pair.a, "jobs", OBJECT, max_pending=5) as push:
        pull = blocking.PullChannel(pair.b, "jobs", OBJECT)
        done: list[int] = []
        threads = [threading.Thread(target=lambda: done.extend(pull)) for _ in range(3)]
        for thread in threads:
            thread.start()
        push.wait_pullers(timeout=DEADLINE)
        push.send_many(range(100), timeout=DEADLINE)
        push.wait_done(timeout=DEADLINE)
        push.wait_done(timeout=0)
        assert sorted(done) == list(range(100))
        assert (push.statistics().done, pull.statistics().done, push.pullers) == (100, 100, 1)
        pair.b.close()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
    assert push.closed
    with pytest.raises(trio.ClosedResourceError):
        push.send(1)


def test_what_is_left_early_is_given_back(pair: Pair) -> None:
    push = blocking.PushChannel(pair.a, "jobs")
    pull = blocking.PullChannel(pair.b, "jobs")
    push.send("job")
    with pytest.raises(TimeoutError):
        push.wait_done(timeout=0)
    for job in pull:
        assert (job, pull.redelivered) == ("job", False)
        break
    with pytest.raises(RuntimeError, match="no"), pull.take(timeout=DEADLINE) as job:
        assert pull.redelivered
        raise RuntimeError("no")
    assert pull.statistics()[:3] == (0, 0, 2)
    with pull.take(timeout=DEADLINE) as job:
        assert (job, pull.statistics().running) == ("job", 1)
    push.wait_done(timeout=DEADLINE)
    push.send("last")
    assert pull.receive(timeout=DEADLINE) == "last"
    push.wait_done(timeout=DEADLINE)
    assert pull.statistics()[:3] == (2, 0, 2)
    taking = pull.take()
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match="no job came"):
            pull.receive(timeout=timeout)
    pull.close()
    assert pull.closed
    with pytest.raises(trio.ClosedResourceError), taking:
        pass
    with pytest.raises(RuntimeError, match="only once"), taking:
        pass


def test_without_a_timeout_there_is_what_waits_here(pair: Pair) -> None:
    push = blocking.PushChannel(pair.a, "jobs", max_pending=2)
    pull = blocking.PullChannel(pair.b, "jobs", prefetch=2)
    with pytest.raises(TimeoutError):
        pull.receive(timeout=0.01)  # now it is known that somebody pulls
    push.send("one")
    push.send_nowait("two")
    with pytest.raises(trio.WouldBlock):
        push.send_nowait("three")
    with pytest.raises(TimeoutError):
        push.send("three", timeout=0.01)
    assert pull.receive(timeout=DEADLINE) == "one"
    assert pull.receive(timeout=DEADLINE) == "two"
    push.wait_done(timeout=DEADLINE)
    assert push.statistics().sent == 2


def test_a_job_may_hold_a_sending_end(pair: Pair) -> None:
    push = blocking.PushChannel(pair.a, "jobs", OBJECT)
    pull = blocking.PullChannel(pair.b, "jobs", OBJECT)
    sender, receiver = blocking.open_channel(pair.a, OBJECT)
    push.send({"reply to": sender})
    with pull.take(timeout=DEADLINE) as job, job["reply to"] as reply:
        reply.send("done")
    assert receiver.receive(timeout=DEADLINE) == "done"
