"""Who may send a job to a puller, and who is next: never more than there is room, and nobody is forgotten."""

from __future__ import annotations

import random

import pytest

from trioton.errors import ProtocolError
from trioton.protocol import jobs, values
from trioton.protocol.jobs import Answer, Job, Pull
from trioton.protocol.turns import KEPT_FOR, Turns


def enter(turns: Turns[str], pusher: str, now: float = 0.0) -> bool:
    may = turns.enter(pusher, now)
    turns.free -= may
    return may


def test_a_single_one_gets_all_the_room() -> None:
    turns: Turns[str] = Turns()
    turns.free = 2
    assert enter(turns, "a")
    assert turns.to_invite(0) == [("a", 1)]
    assert enter(turns, "a")
    assert not enter(turns, "a")
    assert turns.to_invite(0) == []
    turns.free = 3
    assert turns.room_for("a") == 3
    assert turns.to_invite(0) == []


def test_several_are_let_in_in_turn() -> None:
    turns: Turns[str] = Turns()
    for pusher in "abc":
        assert not enter(turns, pusher)
    order = []
    for _ in range(6):
        turns.free = 1
        ((pusher, room),) = turns.to_invite(0)
        assert room == 1
        if pusher != "d":
            assert not enter(turns, "d")
        assert enter(turns, pusher)
        order.append(pusher)
    assert order == ["a", "b", "c", "d", "a", "b"]


def test_room_is_kept_for_a_moment_only() -> None:
    turns: Turns[str] = Turns()
    assert not enter(turns, "a")
    turns.free = 1
    assert turns.to_invite(0) == [("a", 1)]
    assert not enter(turns, "b", KEPT_FOR / 2)
    assert turns.must_expire
    turns.expire(KEPT_FOR)
    assert turns.to_invite(KEPT_FOR) == [("b", 1)]
    assert not enter(turns, "a", KEPT_FOR)
    turns.passed("b")
    assert turns.to_invite(KEPT_FOR) == [("a", 1)]
    turns.forget("a")
    assert enter(turns, "c", KEPT_FOR)


def test_room_that_was_kept_may_vanish() -> None:
    turns: Turns[str] = Turns()
    assert not enter(turns, "a")
    turns.free = 1
    assert turns.to_invite(0) == [("a", 1)]
    turns.free = 0
    assert not enter(turns, "a")
    turns.free = 1
    assert turns.to_invite(0) == [("a", 1)]
    turns.refused("a")
    assert turns.to_invite(0) == [("a", 1)]


@pytest.mark.parametrize("seed", range(20))
def test_by_chance_there_is_never_room_that_nobody_knows_of(seed: int) -> None:
    """Whoever knows of no room, and of whom the puller does not think that he knows of some, is invited when there is some."""
    draw = random.Random(seed)
    turns: Turns[str] = Turns()
    known = dict.fromkeys("abc", 1)
    met: set[str] = set()
    now = 0.0
    for _ in range(500):
        now += draw.random() * 0.05
        pusher = draw.choice("abc")
        match draw.randrange(4):
            case 0 if known[pusher]:
                met.add(pusher)
                known[pusher] -= 1
                if not enter(turns, pusher, now):
                    known[pusher] = 0
            case 1:
                turns.free += 1
            case 2:
                turns.passed(pusher)
            case _ if pusher in met:
                known[pusher] = turns.room_for(pusher)
            case _:
                turns.expire(now)
        for invited, room in turns.to_invite(now):
            known[invited] = room
        assert turns.free >= 0
        if turns.spare > 0:
            assert all(known[each] for each in met)


def test_what_is_said_comes_back_as_it_was() -> None:
    for answer in (
        Answer(Pull.DONE, 7, 2, 9),
        Answer(Pull.BACK, 7, 2, 9, True),
        Answer(Pull.BUSY, 7, 0, 9),
        Answer(Pull.ROOM, 0, 3, 9),
        Answer(Pull.WAITS, 7),
        Answer(Pull.STARTED, 7),
        Answer(Pull.FAILED, 7, 1, 9, False, "no \u00e4"),
        Answer(Pull.LEAVES, 0, 0, 9),
    ):
        assert jobs.check_pull(values.decode_value(jobs.encode_answer(answer))) == answer
    data = jobs.job_head(1 << 40, 5, again=True) + values.encode_value({"x": 1})
    assert jobs.check_push(values.decode_value(data)) == Job(1 << 40, 5, True, {"x": 1})
    assert jobs.check_push(values.decode_value(jobs.PASS)) is None


@pytest.mark.parametrize(
    "message", [None, [], "x", [2], [0], [0, 1, 2, True], [0, -1, 0, False, 0], [0, 1, 0, 0, 0], [1, 2], [True]]
)
def test_nonsense_of_a_pusher_is_refused(message: object) -> None:
    with pytest.raises(ProtocolError, match="a pusher says"):
        jobs.check_push(message)


@pytest.mark.parametrize(
    "message", [None, [], "x", [8, 1], [0, 1, 1], [0, -1, 1, 1], [1, 1, 1, 1, 1], [6, 1, 1, 1, b""], [False, 1, 1, 1]]
)
def test_nonsense_of_a_puller_is_refused(message: object) -> None:
    with pytest.raises(ProtocolError, match="a puller says"):
        jobs.check_pull(message)
