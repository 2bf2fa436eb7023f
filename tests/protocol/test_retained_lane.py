"""What two neighbours tell each other of states over one link: the talk at its beginning, and what changes later."""

from __future__ import annotations

import pytest

from trioton import ProtocolError
from trioton.protocol.limits import MAX_RUN_BYTES
from trioton.protocol.retained import Known, Mark, RetainedStore, Row, RowKind, Value, parse_rows
from trioton.protocol.retained_lane import FEW, RetainedLane

A, B = (bytes([n]) * 12 + bytes(4) for n in (1, 2))
LIMIT = 1 << 26


class Side:
    """A store, and its lane of one link."""

    def __init__(self, own: bytes, *, most: int = LIMIT, limit: int = LIMIT) -> None:
        self.store = RetainedStore(own, limit)
        self.most = most
        self.rows: list[list[Row]] = []
        self.lane: RetainedLane

    def begin(self) -> None:
        self.lane = RetainedLane(self.store, self.most)

    def say(self) -> list[Row]:
        """What it says next, in one frame."""
        package = self.lane.next_package()
        if package is None:
            return []
        rows = parse_rows(b"".join(map(bytes, package.body)))
        self.rows.append(rows)
        return rows

    def hear(self, rows: list[Row]) -> None:
        for row in rows:
            if isinstance(row, Value):
                self.store.learn(row)
            elif isinstance(row, Known):
                self.lane.knows(row)
            else:
                self.lane.hear(row)

    def values(self) -> list[str]:
        """The slots that it has told of."""
        return [row.slot for rows in self.rows for row in rows if isinstance(row, Value)]


def talk(a: Side, b: Side) -> None:
    """Let both speak in turn until neither has anything to say."""
    while a.lane or b.lane:
        b.hear(a.say())
        a.hear(b.say())


def pair(**slots: str) -> tuple[Side, Side]:
    """Two sides; the slots named are known to the side "a", to "b", or to both."""
    a, b = Side(A), Side(B)
    for slot, who in slots.items():
        for side in (a, b):
            if who in {"both", "a" if side is a else "b"}:
                side.store.learn(Value(slot, 1, B, slot.encode()))
    a.begin()
    b.begin()
    return a, b


def test_where_nobody_knows_anything_one_frame_says_so() -> None:
    a, b = pair()
    rows = a.say()
    assert rows == [Mark(RowKind.ALL_NAMED), Mark(RowKind.NOTHING_LACKS)]
    assert not a.lane
    b.hear(rows)
    a.hear(b.say())
    assert not a.lane
    assert not b.lane
    assert a.lane.is_settled
    assert b.lane.is_settled


def test_each_side_tells_what_the_other_lacks() -> None:
    a, b = pair(x="a", y="b", z="both")
    talk(a, b)
    assert a.values() == ["x"]
    assert b.values() == ["y"]
    assert sorted(a.store.slots()) == sorted(b.store.slots()) == ["x", "y", "z"]
    assert a.lane.is_settled
    assert b.lane.is_settled


def test_it_is_not_settled_before_the_other_has_it() -> None:
    a, b = pair(x="a")
    b.hear(a.say())
    a.hear(b.say())
    assert b.lane.peer_has_all
    assert not b.lane.has_all
    assert a.lane.has_all
    assert not a.lane.peer_has_all
    rows = a.say()
    assert [type(row) for row in rows] == [Value, Mark]
    b.hear(rows)
    assert b.lane.is_settled
    assert not a.lane.is_settled
    a.hear(b.say())
    assert a.lane.is_settled


def test_of_a_slot_that_changes_often_only_the_newest_leaves() -> None:
    a, b = pair()
    talk(a, b)
    for n in range(100):
        a.store.put("s", b"%d" % n)
        a.lane.changed("s")
    (row,) = a.say()
    assert isinstance(row, Value)
    assert row.data == b"99"
    assert not a.lane


def test_frames_are_filled_and_what_is_large_has_its_own() -> None:
    a, b = Side(A), Side(B)
    for n in range(2000):
        a.store.put(f"small {n}", bytes(100))
    a.store.put("large", bytes(3 * MAX_RUN_BYTES))
    a.store.put("behind", b"x")
    a.begin()
    b.begin()
    talk(a, b)
    assert b.store.slots() == a.store.slots()
    told = [rows for rows in a.rows if any(isinstance(row, Value) for row in rows)]
    assert len(told) <= 7, "280 KB in frames of 64 KiB, and two more"
    (large,) = [rows for rows in told if any(isinstance(row, Value) and row.slot == "large" for row in rows)]
    assert len(large) == 1
    assert a.rows[-1][-1] == Mark(RowKind.ALL_TOLD)


def test_changes_do_not_put_off_the_end_of_the_talk() -> None:
    a, b = pair(x="a")
    b.hear(a.say())
    a.hear(b.say())
    for n in range(10):
        a.store.put(f"new {n}", bytes(MAX_RUN_BYTES))
        a.lane.changed(f"new {n}")
    first = a.say()
    assert first[-1] == Mark(RowKind.ALL_TOLD)
    b.hear(first)
    assert b.lane.is_settled
    talk(a, b)
    assert len(b.store) == 11


def test_what_changes_while_the_talk_goes_on_is_told() -> None:
    a, b = pair(x="a")
    named = a.say()
    a.store.put("x", b"newer")
    a.lane.changed("x")
    b.hear(named)
    talk(a, b)
    retained = b.store.get("x")
    assert retained is not None
    assert retained.data == b"newer"
    assert a.lane.is_settled


def test_what_has_given_way_meanwhile_is_left_out() -> None:
    a, b = Side(A, limit=400), Side(B)
    a.store.put("x", b"1")
    a.begin()
    b.begin()
    b.hear(a.say())
    a.hear(b.say())
    a.store.put("y", b"2")  # x gives way
    talk(a, b)
    assert a.lane.is_settled
    assert b.lane.is_settled
    assert b.store.slots() == []


def test_what_has_given_way_is_named_but_not_told() -> None:
    a, b = Side(A, limit=400), Side(B)
    a.store.put("x", b"1")
    a.store.put("y", b"2")
    b.store.learn(Value("x", 1, A, b"1"))
    a.begin()
    b.begin()
    talk(a, b)
    assert b.values() == []
    assert sorted(b.store.slots()) == ["x", "y"]


def test_a_neighbour_that_takes_less_is_not_told_of_what_is_larger() -> None:
    a, b = Side(A, most=100), Side(B)
    a.store.put("large", bytes(101))
    a.store.put("small", bytes(100))
    a.begin()
    b.begin()
    talk(a, b)
    assert b.store.slots() == ["small"]
    assert a.lane.too_large == 1
    assert a.lane.is_settled


def test_who_asks_for_a_slot_is_told() -> None:
    a, b = pair(x="a")
    talk(a, b)
    b.lane.ask("x")
    b.lane.ask("nobody knows this")
    a.hear(b.say())
    (row,) = a.say()
    assert isinstance(row, Value)
    assert row.slot == "x"


@pytest.mark.parametrize("kinds", [(2, 2), (3, 3), (4, 4), (3, 4), (4, 3), (5,), (2, 5)], ids=str)
def test_steps_that_cannot_be_are_refused(kinds: tuple[int, ...]) -> None:
    a, _ = pair(x="both")
    a.say()
    with pytest.raises(ProtocolError):
        for kind in kinds:
            a.lane.hear(Mark(RowKind(kind)))


def test_a_peer_that_names_ever_more_slots_is_not_remembered() -> None:
    a, _ = pair(x="a")
    for n in range(1000):
        a.lane.knows(Known(f"made up {n}", a.store.version("x")))
    assert not a.lane._peer_knows


def test_what_has_given_way_is_not_due_to_a_neighbour_that_does_not_read() -> None:
    a, b = Side(A, limit=10_000), Side(B)
    a.begin()
    b.begin()
    talk(a, b)
    for n in range(10_000):
        a.store.put(f"slot {n}", b"x")
        a.lane.changed(f"slot {n}")
    assert len(a.lane._due) <= FEW
    talk(a, b)
    assert b.store.slots() == a.store.slots()
    assert len(b.store) > 30
