"""The room of a blocking subscription: shared fairly, never more than there is, and always enough to go on."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioton.protocol.window import Room, Window


def sizes(window: Window) -> dict[Any, int]:
    return {source: room.size for source, room in window.rooms.items()}


def use_up(window: Window, source: str) -> None:
    window.received(source, window.rooms[source].limit)


# -------------------------------------------------------------------------------------------------------------- stories


def test_a_room_says_what_it_holds() -> None:
    window = Window(10)
    room = window.join("a", 100)
    window.received("a", 103)
    window.take("a", 101)
    assert repr(room) == "<Room 101 taken, 103 received, limit 110>"


def test_a_source_alone_gets_everything() -> None:
    window = Window(10)
    room = window.join("a", 100)
    assert (room.taken, room.received, room.limit) == (100, 100, 110)
    window.received("a", 107)
    window.take("a", 104)
    assert room.limit == 110
    window.share()
    assert (room.taken, room.received, room.limit) == (104, 107, 114)
    assert not room.is_hungry


def test_those_who_come_later_get_what_is_free_and_at_least_one() -> None:
    window = Window(10)
    window.join("a", 0)
    window.received("a", 3)
    assert window.join("b", 50).limit == 51
    assert window.free == -1
    window.leave("a")
    assert window.join("c", 0).size == 5
    window.leave("nobody")
    assert sizes(window) == {"b": 1, "c": 5}


def test_the_hungry_get_their_share_and_no_more() -> None:
    window = Window(12)
    for source in "abc":
        window.join(source, 0).limit = 1
    use_up(window, "a")
    use_up(window, "b")
    window.share()
    assert sizes(window) == {"a": 4, "b": 4, "c": 1}


def test_who_has_used_up_less_than_its_share_is_starved() -> None:
    window = Window(8)
    window.join("a", 0)
    window.join("b", 0)
    window.received("a", 8)
    window.rooms["b"].limit = 2
    assert not window.is_starved("b")
    window.received("b", 2)
    assert window.is_starved("b")
    assert not window.is_starved("a")
    assert not window.is_starved("c")


def test_who_is_hungry_alone_gets_all_that_is_free() -> None:
    window = Window(12)
    for source in "abc":
        window.join(source, 0).limit = 1
    use_up(window, "a")
    window.share()
    assert sizes(window) == {"a": 10, "b": 1, "c": 1}
    assert window.free == 0


def test_who_sits_on_more_than_its_share_is_asked_for_it_once() -> None:
    window = Window(10)
    window.join("a", 0)
    window.received("a", 2)
    window.join("b", 0)
    assert window.to_ask_back() == []
    use_up(window, "b")
    assert window.to_ask_back() == [("a", 5)]
    assert window.to_ask_back() == []
    window.kept("a", 6)
    assert sizes(window) == {"a": 6, "b": 1}
    window.kept("a", 3)
    assert sizes(window) == {"a": 6, "b": 1}, "nobody asked"
    window.share()
    assert sizes(window) == {"a": 6, "b": 4}


def test_what_has_been_used_is_not_asked_for() -> None:
    window = Window(10)
    window.join("a", 0)
    window.received("a", 8)
    window.join("b", 0)
    use_up(window, "b")
    assert window.to_ask_back() == [("a", 8)]
    window.kept("a", 4)
    assert window.rooms["a"].limit == 8


def test_one_who_has_ended_holds_what_it_has_sent_until_that_is_taken() -> None:
    window = Window(10)
    window.join("a", 0)
    window.received("a", 3)
    window.end("a", 4)
    assert sizes(window) == {"a": 4}
    window.share()
    assert sizes(window) == {"a": 4}
    assert window.join("b", 0).size == 5
    use_up(window, "b")
    assert window.to_ask_back() == []
    window.take("a", 4)
    assert sizes(window) == {"b": 5}
    window.end("a", 4)
    window.end("b", 5)
    window.take("b", 5)
    assert sizes(window) == {}
    window.share()


def test_one_who_has_ended_and_was_taken_leaves_at_once() -> None:
    window = Window(10)
    window.join("a", 0)
    window.take("a", 3)
    window.end("a", 3)
    assert sizes(window) == {}


@pytest.mark.parametrize(("orphans", "size"), [(0, 10), (4, 6), (9, 1), (10, 0), (12, 0)])
def test_what_is_left_of_those_who_are_gone_takes_room(orphans: int, size: int) -> None:
    """Otherwise peers that come and go could fill the memory of one who does not look."""
    window = Window(10)
    window.orphans = orphans
    assert window.join("a", 0).size == size
    window.share()
    assert sizes(window) == {"a": size}
    window.join("b", 0)
    for source in "ab":
        use_up(window, source)
    window.share()
    assert sum(sizes(window).values()) <= (10 - orphans + 2 if orphans < 10 else 0)
    window.orphans = 0
    window.share()
    assert all(sizes(window).values())


# ---------------------------------------------------------------------------------------------------- whatever happens


@attrs.define
class Source:
    """A sender as `SendFlow` is one: it has a limit, and answers when that is lowered."""

    sent: int
    limit: int
    to_hear: deque[int] = attrs.field(factory=deque)
    to_say: deque[int] = attrs.field(factory=deque)
    to_deliver: int = 0


class WindowWorld(RuleBasedStateMachine):
    """A window, its sources, and what travels between them in order, with any delay."""

    @initialize(size=st.integers(1, 12))
    def open(self, size: int) -> None:
        self.window = Window(size)
        self.sources: dict[int, Source] = {}
        self.told: dict[int, int] = {}
        self.count = 0

    def room(self, name: int) -> Room:
        return self.window.rooms[name]

    def report(self) -> None:
        """What the reception does: share, tell the limits that have grown, then ask back."""
        self.window.share()
        for name, source in self.sources.items():
            room = self.window.rooms.get(name)
            if room is not None and not room.asked_back and room.limit > self.told[name]:
                source.to_hear.append(room.limit)
                self.told[name] = room.limit
        for name, limit in self.window.to_ask_back():  # type: ignore[assignment]
            assert isinstance(name, int)
            assert limit <= self.told[name]
            self.sources[name].to_hear.append(limit)

    def some(self, data: st.DataObject) -> tuple[int, Source]:
        name = data.draw(st.sampled_from(sorted(self.sources)))
        return name, self.sources[name]

    @precondition(lambda self: len(self.sources) < 8)
    @rule(position=st.integers(0, 100))
    def join(self, position: int) -> None:
        self.count += 1
        limit = self.window.join(self.count, position).limit
        self.sources[self.count] = Source(position, limit)
        self.told[self.count] = limit

    @precondition(lambda self: self.sources)
    @rule(data=st.data(), count=st.integers(1, 12))
    def send(self, data: st.DataObject, count: int) -> None:
        _, source = self.some(data)
        count = min(count, source.limit - source.sent)
        source.sent += count
        source.to_deliver += count

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """A source hears the oldest news."""
        self.hear_one(self.some(data)[1])

    def hear_one(self, source: Source) -> None:
        if source.to_hear:
            limit = source.to_hear.popleft()
            if limit < source.limit:
                source.limit = max(limit, source.sent)
                self.deliver(source)  # what was sent before the answer arrives before it
                source.to_say.append(source.limit)
            source.limit = max(source.limit, limit)

    def deliver(self, source: Source) -> None:
        (name,) = (name for name, each in self.sources.items() if each is source)
        room = self.room(name)
        end = room.received + source.to_deliver
        assert end <= room.limit, "it has sent more than it has room for"
        self.window.received(name, end)
        source.to_deliver = 0

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        name, source = self.some(data)
        self.arrive_all(name, source)

    def arrive_all(self, name: int, source: Source) -> None:
        self.deliver(source)
        while source.to_say:
            limit = source.to_say.popleft()
            self.window.kept(name, limit)
            self.told[name] = min(self.told[name], limit)
        self.report()

    @precondition(lambda self: self.sources)
    @rule(data=st.data(), share=st.floats(0, 1))
    def take(self, data: st.DataObject, share: float) -> None:
        name, _ = self.some(data)
        room = self.room(name)
        self.window.take(name, room.taken + round((room.received - room.taken) * share))
        self.report()

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name, _ = self.some(data)
        self.window.leave(name)
        del self.sources[name]
        self.report()

    @rule(more=st.integers(1, 5))
    def all_want_more_and_get_it(self, more: int) -> None:
        """If all want to send, and what arrives is taken, each can send. It takes few rounds."""
        goals = {name: source.sent + more for name, source in self.sources.items()}
        rounds = 0
        while any(source.sent < goals[name] for name, source in self.sources.items()):
            rounds += 1
            assert rounds <= 4 * more + 4 * len(self.sources) + 10
            for name, source in self.sources.items():
                count = max(0, min(goals[name], source.limit) - source.sent)
                source.sent += count
                source.to_deliver += count
                self.arrive_all(name, source)
                self.window.take(name, self.room(name).received)
                self.report()
                while source.to_hear:
                    self.hear_one(source)

    @invariant()
    def there_is_not_more_than_there_is(self) -> None:
        assert sum(sizes(self.window).values()) <= self.window.size + len(self.window.rooms)
        waiting = sum(room.received - room.taken for room in self.window.rooms.values())
        assert waiting <= self.window.size + len(self.window.rooms)

    @invariant()
    def numbers_keep_their_order(self) -> None:
        for name, room in self.window.rooms.items():
            assert isinstance(name, int)
            assert 0 <= room.taken <= room.received <= room.limit
            assert self.sources[name].sent <= self.sources[name].limit <= room.limit


TestWindow = WindowWorld.TestCase


@given(size=st.integers(1, 50), sources=st.integers(1, 20))
def test_all_who_want_more_end_up_with_about_the_same(size: int, sources: int) -> None:
    window = Window(size)
    for number in range(sources):
        window.join(number, 0)
    for _ in range(2 * sources + 10):
        for number in range(sources):
            use_up(window, number)  # type: ignore[arg-type]
            window.take(number, window.rooms[number].received)
        window.share()
    share = max(1, size // sources)
    assert set(sizes(window).values()) <= {share, share + 1}
