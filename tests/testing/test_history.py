"""A history says what was lost, doubled, out of order or never sent, and can be read, kept and compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import trioton
from tests.common import FAST
from trioton import OBJECT, Block, PubChannel, SubChannel
from trioton.testing import History, HistoryError, HistoryRecord, Network


def items(records: list[HistoryRecord]) -> list[Any]:
    return [record.item for record in records]


def history_of(sent: list[Any], received: list[Any]) -> History:
    """What `a` has sent to `b`."""
    history = History()
    history.listens("b", "a")
    for item in sent:
        history.sent("a", item)
    for item in received:
        history.received("b", item, sender="a")
    return history


@pytest.mark.parametrize(
    ("sent", "received", "lost", "duplicated", "unexpected", "out_of_order"),
    [
        ([], [], [], [], [], []),
        ([1, 2, 3], [1, 2, 3], [], [], [], []),
        ([1, 2, 3], [1, 3], [2], [], [], []),
        ([1, 2, 3], [], [1, 2, 3], [], [], []),
        ([1, 2, 3], [1, 2, 2, 3, 3], [], [2, 3], [], []),
        ([1, 2, 3], [1, 3, 2], [], [], [], [2]),
        ([1, 2, 3], [3, 1, 2], [], [], [], [1, 2]),
        ([1, 2], [1, 7, 2], [], [], [7], []),
        ([1], [2], [1], [], [2], []),
        (["x", "x", "y", "x"], ["x", "x", "y", "x"], [], [], [], []),
        (["x", "y", "x"], ["y", "x"], ["x"], [], [], []),
        (["x", "y", "x"], ["x", "y", "x", "x"], [], ["x"], [], []),
        ([[1], {"a": 1, "b": {2, 3}}], [[1], {"b": {3, 2}, "a": 1}], [], [], [], []),
        ([bytearray(b"a"), memoryview(b"b")], [b"a", b"b"], [], [], [], []),
        ([float("nan"), 2], [float("nan"), 2.0], [], [], [], []),
    ],
)
def test_what_was_not_right(
    sent: list[Any],
    received: list[Any],
    lost: list[Any],
    duplicated: list[Any],
    unexpected: list[Any],
    out_of_order: list[Any],
) -> None:
    history = history_of(sent, received)
    assert items(history.lost("b")) == lost
    assert items(history.duplicated("b")) == duplicated
    assert items(history.unexpected("b")) == unexpected
    assert items(history.out_of_order("b")) == out_of_order
    if not (lost or duplicated or unexpected or out_of_order):
        history.check()
        return
    with pytest.raises(HistoryError):
        history.check()


@given(st.lists(st.integers(0, 4)), st.data())
def test_what_arrives_in_order_is_never_found_fault_with_but_for_what_is_missing(sent: list[int], data: Any) -> None:
    kept = [data.draw(st.booleans()) for _ in sent]
    received = [item for item, keep in zip(sent, kept, strict=True) if keep]
    history = history_of(sent, received)
    assert len(history.lost("b")) == len(sent) - len(received)
    history.dropped("b", len(sent) - len(received))
    history.check(lossless=False)


@given(st.lists(st.integers(), unique=True, min_size=1), st.randoms())
def test_another_order_is_found_whatever_it_is(sent: list[int], chance: Any) -> None:
    received = sent.copy()
    chance.shuffle(received)
    history = history_of(sent, received)
    assert not history.lost("b")
    assert bool(history.out_of_order("b")) == (sent != received)


def test_senders_and_receivers_are_told_apart() -> None:
    history = History()
    history.listens("b", "a", "c")
    history.listens("d", "c")
    history.sent("a", 1)
    history.sent("c", 1)
    history.sent("c", 2)
    history.received("b", 1, sender="c")
    history.received("b", 2, sender="c")
    history.received("d", 1, sender="c")
    assert [(each.who, each.item) for each in history.lost("b")] == [("a", 1)]
    assert [(each.who, each.item) for each in history.lost("d")] == [("c", 2)]
    assert history.receivers == ["b", "d"]


def test_one_who_listens_later_misses_nothing_that_was_sent_before() -> None:
    history = History()
    history.sent("a", "x")
    history.listens("b")
    history.sent("a", "x")
    history.received("b", "x", sender="a")
    history.check()
    history.sent("a", "y")
    assert items(history.lost("b")) == ["y"]


def test_one_who_never_said_that_it_listens_is_to_receive_all() -> None:
    history = History()
    history.sent("a", 1)
    history.sent("c", 2)
    assert history.receivers == []
    history.received("b", 1, sender="a")
    assert items(history.lost("b")) == [2]


def test_one_that_receives_nothing_is_seen_if_it_said_that_it_listens() -> None:
    with pytest.raises(HistoryError, match=r"b lost 2 of a: 1, 2$") as caught:
        history_of([1, 2], []).check(no_silent_loss=False)
    assert caught.value.problems == ("b lost 2 of a: 1, 2",)
    with pytest.raises(HistoryError) as caught:
        history_of([1, 2], []).check()
    assert caught.value.problems == ("b lost 2 of a: 1, 2",)  # and not once more that nobody told of them


def test_what_was_told_must_be_what_was_lost() -> None:
    history = history_of([1, 2, 3, 4], [1, 4])
    with pytest.raises(HistoryError, match="b lost 2 messages, and was told of 0"):
        history.check(lossless=False)
    history.check(lossless=False, no_silent_loss=False)
    history.dropped("b", 1)
    assert history.told("b") == 1
    with pytest.raises(HistoryError, match="b lost 2 messages, and was told of 1"):
        history.check(lossless=False)
    history.dropped("b", 1, sender="a")
    history.check(lossless=False)
    with pytest.raises(HistoryError, match="b lost 2 of a: 2, 3"):
        history.check()
    history.dropped("b", 1)
    with pytest.raises(HistoryError, match="b lost 2 messages, and was told of 3"):
        history.check(lossless=False)


def test_a_loss_that_was_told_of_the_wrong_sender_is_found() -> None:
    history = history_of([1, 2], [1])
    history.sent("c", 1)
    history.dropped("b", 1, sender="c")
    with pytest.raises(HistoryError, match="b lost 0 of c, and was told of 1"):
        history.check(lossless=False)


def test_a_death_is_told_once_to_each() -> None:
    history = History()
    history.died("b", "a")
    history.died("c", "a")
    history.died("b", "d")
    history.check()
    history.died("b", "a")
    assert history.deaths("b") == ["a", "d", "a"]
    assert history.deaths("c") == ["a"]
    assert history.deaths("x") == []
    with pytest.raises(HistoryError, match="b was told 2 times that a died"):
        history.check()
    history.check(one_death_per_watcher=False)


def test_each_check_can_be_left_out_but_one() -> None:
    leave_out: dict[str, bool] = dict.fromkeys(("lossless", "no_silent_loss"), False)
    history_of([1, 2, 3], [1, 2, 2, 3]).check(no_duplicates=False)
    history_of([1, 2, 3], [3, 2, 1]).check(in_order=False)
    history_of([1, 2, 3], []).check(**leave_out)
    with pytest.raises(HistoryError, match=r"b received 1 that were never sent by a: 5$"):
        history_of([1], [1, 5]).check(**leave_out, no_duplicates=False, in_order=False)


def test_long_lists_and_long_messages_are_cut() -> None:
    history = history_of(list(range(100)), [50, *range(50), *range(51, 100), "z" * 500])
    with pytest.raises(HistoryError) as caught:
        history.check()
    first, second = caught.value.problems
    assert first == "b received 50 out of order of a: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 40 more"
    assert second == "b received 1 that were never sent by a: '" + "z" * 79 + "..."


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="count must not be negative, not -1"):
        History().dropped("b", -1)


async def test_times_are_those_of_trio(autojump_clock: MockClock) -> None:
    history = History()
    history.listens("b", "a")
    await trio.sleep(1.5)
    history.sent("a", {"x", "a", "b"})
    history.dropped("b", 2)
    await trio.sleep(1)
    history.received("b", "no", sender="a")
    history.received("b", "no", sender="c")
    history.died("b", "a")
    history.died("b", "a")
    assert history.lines() == [
        "    0.0000  b listens to a",
        "    1.5000  a sent ['a', 'b', 'x']",
        "    1.5000  b was told that 2 of somebody were dropped",
        "    2.5000  b received 'no' from a",
        "    2.5000  b received 'no' from c",
        "    2.5000  b was told that a died",
        "    2.5000  b was told that a died",
    ]
    assert str(history).splitlines() == history.lines()
    assert repr(history) == "<History of 7 records>"
    with pytest.raises(HistoryError) as caught:
        history.check()
    assert caught.value.problems == (
        "b lost 1 of a: ['a', 'b', 'x'] (sent at 1.5000)",
        "b received 1 that were never sent by a: 'no' (at 2.5000)",
        "b received 1 that were never sent by c: 'no' (at 2.5000)",
        "b lost 1 message, and was told of 2",
        "b was told 2 times that a died: at 2.5000, at 2.5000",
    )


def test_json_and_story() -> None:
    history = history_of([1, b"x", {"k": (1, None)}, {1: frozenset("ba")}], [1])
    history.died("b", "z")
    history.died("b", "a")
    history.dropped("b", 1, sender="a")
    history.dropped("b", 2)
    told = json.loads(history.to_json())
    assert told[0] == {"kind": "listens", "who": "b", "other": None, "item": ["a"], "time": None}
    assert [each["item"] for each in told if each["kind"] == "sent"] == [1, "b'x'", {"k": [1, None]}, {"1": ["a", "b"]}]
    assert history.story() == {
        "sent": {"a": [1, "b'x'", {"k": [1, None]}, {"1": ["a", "b"]}]},
        "received": {"b": {"a": [1]}},
        "dropped": {"b": 3},
        "died": {"b": ["a", "z"]},
    }


def test_the_story_does_not_depend_on_who_was_first() -> None:
    def tell(*events: Callable[[History], None]) -> History:
        history = History()
        for event in events:
            event(history)
        return history

    events: list[Callable[[History], None]] = [
        lambda history: history.sent("a", 1),
        lambda history: history.sent("c", 2),
        lambda history: history.received("b", 1, sender="a"),
        lambda history: history.received("b", 2, sender="c"),
        lambda history: history.died("b", "a"),
        lambda history: history.died("b", "c"),
    ]
    one, other = tell(*events), tell(*events[::-1])
    assert one.story() == other.story()
    assert json.dumps(one.story()) == json.dumps(other.story())
    assert one.to_json() != other.to_json()
    assert tell(*events[:-1]).story() != one.story()
    two = [lambda history: history.sent("a", 1), lambda history: history.sent("a", 2)]
    assert tell(*two).story() != tell(*two[::-1]).story()


PROGRAM = """
from trioton.testing import History
history = History()
for name in ("x", "y", "z"):
    history.listens(name, "b", "a")
    history.sent("a", {name, "p", "q", "r"})
    history.sent("b", frozenset([name, "p", "q", "r"]))
    history.died(name, "b")
    history.died(name, "b")
try:
    history.check()
except AssertionError as error:
    print(error, history, history.to_json(), history.story())
"""


@pytest.mark.slow
def test_all_is_the_same_whatever_the_seed_of_hashes_is() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(trioton.__file__).parent.parent)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert b"x lost 3 of a" in told[0]
    assert told[0] == told[1]


# ---------------------------------------------------------------- of contexts


async def run_program(at: str, networks: tuple[Any, Any]) -> History:
    """Two contexts: one sends, the other listens, and hears that the first has ended."""
    history = History()
    async with trioton.open_context("b", network=networks[1]) as b:
        listener = await b.bind(at)
        events = b.events()
        sub = SubChannel(b, "numbers", OBJECT, policy=Block(5))
        history.listens("b", "a")
        async with trioton.open_context("a", network=networks[0]) as a, trio.open_nursery() as nursery:

            async def receive() -> None:
                for _ in range(50):
                    history.received("b", await sub.receive(), sender="a")

            await a.connect(listener.address, reconnect=FAST)
            pub = PubChannel(a, "numbers", OBJECT)
            await pub.wait_subscribers()
            nursery.start_soon(receive)
            for number in range(50):
                await pub.send(number)
                history.sent("a", number)
        async for event in events:
            if isinstance(event, trioton.ContextDied):
                history.died("b", event.name)
                break
    return history


@pytest.mark.net
def test_a_simulated_run_has_the_same_story_as_one_over_sockets() -> None:
    net = Network(seed=3, latency=(0.01, 0.2), chunk=(1, 50))
    simulated = trio.run(run_program, "b:1", (net.host("a"), net.host("b")), clock=MockClock(autojump_threshold=0))
    real = trio.run(run_program, "localhost:0", (None, None))
    for history in (simulated, real):
        history.check()
    assert simulated.story() == real.story()
    assert simulated.story()["died"] == {"b": ["a"]}
    assert len(simulated.story()["received"]["b"]["a"]) == 50
