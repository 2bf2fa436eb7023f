"""Room for requests: repliers are chosen by it, and who is turned away gets its turn."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trioton.protocol.rooms import KEPT_FOR, Candidate, Choice, Rooms


def anywhere(_: object) -> bool:
    return True


def candidates(*capacities: int) -> list[Candidate]:
    return [Candidate(capacity) for capacity in capacities]


# -------------------------------------------------------------------------------------------------- choosing a replier


def test_the_one_with_most_room_is_chosen_and_of_equals_the_one_that_waited_longest() -> None:
    choice: Choice[Candidate] = Choice()
    small, large, other = candidates(1, 3, 3)
    order = []
    for _ in range(7):
        best = choice.choose([small, large, other], anywhere)
        assert best is not None
        best.running += 1
        order.append(best)
    assert order[:4] == [large, other, large, other]
    assert set(order[4:]) == {small, large, other}
    assert choice.choose([small, large, other], anywhere) is None


def test_nobody_is_chosen_of_none() -> None:
    assert Choice[Candidate]().choose([], anywhere) is None
    assert Choice[Candidate]().choose(candidates(0, 0), anywhere) is None


def test_those_out_of_reach_come_last() -> None:
    choice: Choice[Candidate] = Choice()
    near, far = candidates(1, 100)
    assert choice.choose([far, near], lambda each: each is near) is near
    near.running = 1
    assert choice.choose([far, near], lambda each: each is near) is far


def test_one_that_was_full_is_left_alone_until_there_may_be_room() -> None:
    (candidate,) = candidates(5)
    candidate.running = 2
    candidate.turned_away()
    assert candidate.room == 0
    candidate.ended()
    assert candidate.room == 5
    assert candidate.running == 0


def test_one_whose_capacity_shrinks_has_no_room() -> None:
    (candidate,) = candidates(5)
    candidate.running = 4
    candidate.capacity = 2
    assert candidate.room < 0
    assert Choice[Candidate]().choose([candidate], anywhere) is None


# ------------------------------------------------------------------------------------------------- letting requesters in


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_is_turned_away_first_is_invited_first() -> None:
    clock, rooms = Clock(), Rooms[str]()
    rooms.capacity = 1
    assert rooms.enter("a", clock)
    assert not rooms.enter("b", clock)
    assert not rooms.enter("c", clock)
    assert not rooms.enter("b", clock)
    assert rooms.to_invite(clock) == []
    rooms.leave()
    assert rooms.to_invite(clock) == ["b"]
    assert rooms.has_kept
    assert not rooms.enter("a", clock), "the room is kept for another"
    assert rooms.enter("b", clock)
    rooms.leave()
    assert rooms.to_invite(clock) == ["c"]
    rooms.passed("c")
    assert rooms.to_invite(clock) == ["a"]
    rooms.forget("a")
    assert not rooms.is_wanted
    assert not rooms.has_kept


def test_room_is_kept_for_a_moment_only() -> None:
    clock, rooms = Clock(), Rooms[str]()
    rooms.capacity = 1
    assert rooms.enter("a", clock)
    assert not rooms.enter("b", clock)
    rooms.leave()
    assert rooms.to_invite(clock) == ["b"]
    clock.now += KEPT_FOR / 2
    assert not rooms.enter("c", clock)
    rooms.expire(clock())
    assert rooms.to_invite(clock) == []
    clock.now += KEPT_FOR
    rooms.expire(clock())
    assert rooms.to_invite(clock) == ["c"]
    clock.now += 2 * KEPT_FOR
    assert rooms.enter("d", clock), "nobody else waits, and what was kept is old"


class Replying(RuleBasedStateMachine):
    """Requesters with requests that wait, and a replier, with messages on their way in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.rooms: Rooms[int] = Rooms()
        self.rooms.capacity = 2
        self.waiting: Counter[int] = Counter()
        self.running: list[int] = []
        self.invited: deque[int] = deque()
        self.turned_away: dict[int, None] = {}
        self.gone: set[int] = set()

    def invite(self) -> None:
        before = list(self.turned_away)
        invited = self.rooms.to_invite(self.clock)
        assert invited == before[: len(invited)], "in turn"
        for requester in invited:
            del self.turned_away[requester]
            self.invited.append(requester)

    @rule(requester=st.integers(0, 4))
    def ask(self, requester: int) -> None:
        if self.rooms.enter(requester, self.clock):
            self.running.append(requester)
            assert len(self.running) <= self.rooms.capacity
        else:
            self.waiting[requester] += 1
            self.turned_away.setdefault(requester)

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 100))
    def end(self, number: int) -> None:
        self.running.pop(number % len(self.running))
        self.rooms.leave()
        self.invite()

    @precondition(lambda self: self.invited)
    @rule()
    def answer_invitation(self) -> None:
        requester = self.invited.popleft()
        count, self.waiting[requester] = self.waiting[requester], 0
        for _ in range(count):
            self.ask(requester)
        if not count:
            self.rooms.passed(requester)
            self.invite()

    @precondition(lambda self: self.invited)
    @rule()
    def lose_invitation(self) -> None:
        """A requester is slow: what was kept for it is let go of in the end."""
        requester = self.invited.popleft()
        self.rooms.forget(requester)
        self.turned_away.pop(requester, None)
        self.waiting[requester] = 0
        self.invite()

    @rule()
    def time_passes(self) -> None:
        self.clock.now += KEPT_FOR
        if self.rooms.is_wanted:
            self.rooms.expire(self.clock())
            self.invite()

    @rule(capacity=st.integers(0, 4))
    def change_capacity(self, capacity: int) -> None:
        self.rooms.capacity = capacity
        self.invite()

    @invariant()
    def what_runs_is_counted(self) -> None:
        assert self.rooms.running == len(self.running)

    @invariant()
    def who_was_turned_away_waits_for_something(self) -> None:
        assert self.rooms.is_wanted == bool(self.turned_away)

    def teardown(self) -> None:
        self.rooms.capacity = max(1, self.rooms.capacity)
        for _ in range(1000):
            self.time_passes()
            if self.running:
                self.end(0)
            while self.invited:
                self.answer_invitation()
            if not any(self.waiting.values()) and not self.running and not self.rooms.is_wanted:
                break
        assert not any(self.waiting.values()), "everybody gets its turn"
        self.clock.now += 2 * KEPT_FOR
        self.rooms.expire(self.clock())
        assert not self.rooms.has_kept
        assert self.rooms.running == 0


TestReplying = Replying.TestCase
TestReplying.settings = settings(stateful_step_count=40)
