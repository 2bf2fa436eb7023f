"""The receiving side: what a flow brings twice or never, and which messages survive under which policy."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioton.errors import ProtocolError
from trioton.protocol.inbox import MOST_OLDER, Inbox, ReceiveFlow, Run
from trioton.protocol.packages import PackageHeader
from trioton.protocol.policies import Block, Disconnect, DropNewest, DropOldest, Latest, Policy

SOURCE = bytes(range(16))


def make_flow(stream: int = 1) -> ReceiveFlow:
    return ReceiveFlow(SOURCE, "slot", stream, 1000)


def header(first: int, count: int) -> PackageHeader:
    return PackageHeader(0, SOURCE, 1, first, "slot", count, None)


def receive(flow: ReceiveFlow, first: int, count: int, *, is_last: bool = False) -> tuple[int, int]:
    return flow.receive(header(first, count), is_last=is_last)


# ---------------------------------------------------------------------------------------------------------------- flows


def test_only_so_many_earlier_lives_of_a_flow_are_remembered_and_only_what_may_still_bring_something() -> None:
    flow = make_flow(stream=0)
    for stream in range(1, MOST_OLDER + 4):
        if stream != 2:
            receive(flow, 0, 1, is_last=stream == 5)
        later = make_flow(stream)
        later.succeed(flow)
        assert not flow.older
        flow = later
    assert [*flow.older] == [
        2,
        3,
        5,
        6,
        7,
        8,
        9,
        10,
    ]  # not 0, which is too long ago, 1, which brought nothing, and 4, which ended
    assert len(flow.older) == MOST_OLDER
    assert all(each.stream == stream for stream, each in flow.older.items())
    early = flow.overtake(1)
    assert (early.stream, early.expected, early.window_bytes) == (1, None, flow.window_bytes)
    assert [*flow.older] == [3, 5, 6, 7, 8, 9, 10, 1]
    assert flow.older[1] is early


@pytest.mark.parametrize(
    ("first", "count", "known", "missing", "expected"),
    [
        (10, 5, 0, 0, 15),
        (10, 0, 0, 0, 10),
        (12, 5, 0, 2, 17),
        (12, 0, 0, 2, 12),
        (8, 5, 2, 0, 13),
        (5, 5, 5, 0, 10),
        (2, 3, 3, 0, 10),
        (0, 0, 0, 0, 10),
    ],
)
def test_what_is_known_and_what_is_missing(first: int, count: int, known: int, missing: int, expected: int) -> None:
    flow = make_flow()
    flow.start(10)
    assert receive(flow, first, count) == (known, missing)
    assert flow.expected == expected


def test_a_flow_starts_where_its_sender_says_or_with_its_first_package() -> None:
    told, untold = make_flow(), make_flow()
    told.start(5)
    assert receive(told, 7, 1) == (0, 2)
    assert receive(untold, 7, 1) == (0, 0)
    told.start(100)
    untold.start(100)
    assert told.expected == untold.expected == 8


def test_the_end_comes_once() -> None:
    flow = make_flow()
    receive(flow, 0, 3)
    assert receive(flow, 3, 0, is_last=True) == (0, 0)
    assert flow.is_ended
    assert flow.expected == 4
    assert receive(flow, 3, 0, is_last=True) == (0, 0)
    assert receive(flow, 1, 2) == (2, 0)
    assert flow.expected == 4
    with pytest.raises(ProtocolError, match="goes on after its end"):
        receive(flow, 4, 1)


def test_a_flow_may_end_before_it_has_begun() -> None:
    flow = make_flow()
    assert receive(flow, 0, 0, is_last=True) == (0, 0)
    assert (flow.is_ended, flow.expected) == (True, 1)


def test_what_is_missing_before_the_end_is_counted() -> None:
    flow = make_flow()
    receive(flow, 0, 3)
    assert receive(flow, 8, 0, is_last=True) == (0, 5)
    assert (flow.is_ended, flow.expected) == (True, 9)


def test_an_old_end_is_none() -> None:
    """A package with the flag that stands before what is known cannot end anything."""
    flow = make_flow()
    receive(flow, 0, 5)
    assert receive(flow, 3, 0, is_last=True) == (0, 0)
    assert not flow.is_ended


def test_nothing_comes_beyond_the_limit() -> None:
    flow = make_flow()
    flow.start(0)
    flow.granted = 5
    receive(flow, 0, 5)
    receive(flow, 5, 0, is_last=True)
    other = make_flow()
    other.granted = 5
    with pytest.raises(ProtocolError, match="message 5 on 'slot' was sent beyond its limit of 5"):
        receive(other, 3, 3)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12))
def test_every_message_is_new_once_or_missing(packages: list[tuple[int, int]]) -> None:
    """Whatever order packages come in: nothing is delivered twice, and what is not delivered is counted."""
    flow = make_flow()
    flow.start(0)
    delivered: list[int] = []
    gaps = 0
    for first, count in packages:
        known, missing = receive(flow, first, count)
        delivered += range(first + known, first + count)
        gaps += missing
    assert delivered == sorted(set(delivered))
    assert flow.expected == len(delivered) + gaps


# ------------------------------------------------------------------------------------------------------------- policies


def make_run(flow: ReceiveFlow, first: int, count: int, arrival: int = 0, known: int = 0) -> Run:
    return Run(flow, first, bytes(count), known, count, arrival)


def take_all(inbox: Inbox) -> list[int]:
    """The numbers of all messages that wait, in order."""
    taken = list(inbox.ready)
    inbox.ready.clear()
    while (run := inbox.next_run()) is not None:
        taken += range(run.first + run.start, run.first + run.stop)
    return taken


@pytest.mark.parametrize(
    ("policy", "survive", "is_broken"),
    [
        (Block(4), [0, 1, 2, 3, 4, 5, 6, 7, 8], False),
        (DropOldest(4), [5, 6, 7, 8], False),
        (DropNewest(4), [0, 1, 2, 3], False),
        (Latest(), [8], False),
        (Disconnect(4), [0, 1, 2, 3], True),
        (Disconnect(9), [0, 1, 2, 3, 4, 5, 6, 7, 8], False),
        (DropOldest(6), [3, 4, 5, 6, 7, 8], False),
        (DropNewest(6), [0, 1, 2, 3, 4, 5], False),
    ],
    ids=repr,
)
def test_who_survives(policy: Policy, survive: list[int], is_broken: bool) -> None:
    """Three runs of three messages, of which nobody takes any."""
    inbox, flow = Inbox(policy), make_flow()
    flow.granted = 9
    dropped = sum(inbox.add(make_run(flow, first, 3)) for first in (0, 3, 6))
    assert inbox.pending == len(survive)
    assert take_all(inbox) == survive
    assert inbox.is_broken == is_broken
    assert inbox.counts.dropped == dropped
    assert inbox.counts.received - dropped == len(survive)


def test_who_was_not_granted_room_may_fill_what_is_free_and_no_more() -> None:
    """What a peer sends that did not ask cannot fill the memory; nor does what comes from times when nobody blocked."""
    inbox, flow, other = Inbox(Block(5)), make_flow(), make_flow()
    other.granted = 2
    assert inbox.add(make_run(flow, 0, 3)) == 0
    assert inbox.add(make_run(other, 0, 2)) == 0
    assert inbox.add(make_run(flow, 3, 3)) == 3
    assert inbox.pending == 5
    assert inbox.taken_position(other) == 0
    assert take_all(inbox) == [0, 1, 2, 0, 1]
    assert inbox.add(make_run(flow, 6, 7)) == 2
    assert take_all(inbox) == [6, 7, 8, 9, 10]
    assert inbox.counts.dropped == 5


def test_what_was_lost_on_the_way_counts_as_dropped() -> None:
    for policy in (DropOldest(4), DropNewest(4), Latest(), Block(4)):
        inbox = Inbox(policy)
        inbox.missed(3)
        assert (inbox.counts.received, inbox.counts.dropped, inbox.is_broken) == (0, 3, False)


def test_who_may_miss_nothing_ends_with_what_came_before() -> None:
    inbox, flow = Inbox(Disconnect(10)), make_flow()
    inbox.add(make_run(flow, 0, 2))
    inbox.missed(1)
    assert inbox.is_broken
    assert inbox.add(make_run(flow, 3, 2)) == 0
    assert take_all(inbox) == [0, 1]
    assert inbox.counts.received == 2


def test_closing_drops_everything() -> None:
    inbox = Inbox(Block(5))
    inbox.add(make_run(make_flow(), 0, 2))
    inbox.add(make_run(make_flow(), 0, 2))
    inbox.next_run()
    inbox.ready.append("decoded")
    inbox.clear()
    assert (inbox.pending, inbox.next_arrival, inbox.next_run()) == (0, None, None)


def test_a_run_that_cannot_be_decoded_is_counted() -> None:
    inbox, flow = Inbox(Block(9)), make_flow()
    inbox.forget_current()
    inbox.add(make_run(flow, 0, 5, known=2))
    inbox.next_run()
    inbox.forget_current()
    assert inbox.counts.dropped == 3


# ------------------------------------------------------------------------------------------------ what sources are told


def test_a_flow_that_ended_has_been_taken_only_when_its_messages_have_been() -> None:
    inbox, flow = Inbox(Block(9)), make_flow()
    assert inbox.taken_position(flow) is None
    flow.start(0)
    assert inbox.taken_position(flow) == 0
    receive(flow, 0, 3)
    inbox.add(make_run(flow, 0, 3))
    receive(flow, 3, 0, is_last=True)
    assert inbox.taken_position(flow) == 0
    inbox.next_run()
    inbox.ready.extend("abc")
    assert inbox.taken_position(flow) == 0
    inbox.ready.popleft()
    assert inbox.taken_position(flow) == 1
    inbox.ready.clear()
    assert inbox.taken_position(flow) == 4


def test_bytes_count_until_the_sources_have_heard_of_them() -> None:
    inbox, flow = Inbox(Block(9)), make_flow()
    for first in (0, 3):
        inbox.add(make_run(flow, first, 3))
    assert inbox.bytes_ahead == 6
    inbox.next_run()
    assert inbox.bytes_ahead == 6
    inbox.ready.extend("abc")
    inbox.reported()
    assert inbox.bytes_ahead == 6, "a source keeps a package until all of it has been taken"
    inbox.ready.clear()
    inbox.reported()
    assert inbox.bytes_ahead == 3


def test_a_source_may_be_asked_again() -> None:
    inbox, flow = Inbox(Block(9)), make_flow()
    inbox.ask_back_again(flow)
    Inbox(Latest()).ask_back_again(flow)
    assert inbox.window is not None
    inbox.window.join(flow, 0).asked_back = True
    inbox.ask_back_again(flow)
    assert not inbox.window.rooms[flow].asked_back


def test_only_a_blocking_inbox_has_sources_to_forget() -> None:
    Inbox(Latest()).forget(make_flow())
    Inbox(Block(5)).forget(make_flow())


# ----------------------------------------------------------------------------------------------------- whatever happens


@attrs.define
class Sender:
    """What is known of one flow besides its `ReceiveFlow`."""

    flow: ReceiveFlow
    is_gone: bool = False


POLICIES = st.one_of(
    *(st.integers(1, 12).map(kind) for kind in (Block, DropOldest, DropNewest, Disconnect)), st.just(Latest())
)


class InboxWorld(RuleBasedStateMachine):
    """An inbox beside a plain list that does the same, one message at a time."""

    @initialize(policy=POLICIES)
    def open(self, policy: Policy) -> None:
        self.inbox = Inbox(policy)
        self.senders = [Sender(make_flow(stream)) for stream in range(3)]
        self.waiting: list[tuple[int, int]] = []  # the sender and the number of each message
        self.given_out = 0
        self.arrivals: dict[tuple[int, int], int] = {}
        self.taken = self.missing = self.lost = 0
        self.arrival = 0
        for sender in self.senders:
            sender.flow.start(0)
            if self.inbox.window is not None:
                self.inbox.window.join(sender.flow, 0)
                sender.flow.granted = 1 << 40

    def present(self) -> list[int]:
        return [number for number, sender in enumerate(self.senders) if not sender.is_gone]

    @precondition(lambda self: self.present())
    @rule(data=st.data(), count=st.integers(0, 8), back=st.integers(0, 5), gap=st.sampled_from([0, 0, 0, 3]))
    def arrive(self, data: st.DataObject, count: int, back: int, gap: int) -> None:
        number = data.draw(st.sampled_from(self.present()))
        flow = self.senders[number].flow
        assert flow.expected is not None
        first = max(0, flow.expected - back + gap)
        known, missing = receive(flow, first, count)
        self.arrival += 1
        if missing:
            self.inbox.missed(missing)
            self.missing += missing
            self.model_missed()
        if known < count and not self.is_broken():
            new = [(number, each) for each in range(first + known, first + count)]
            self.arrivals.update(dict.fromkeys(new, self.arrival))
            dropped = self.inbox.add(Run(flow, first, bytes(count), known, count, self.arrival))
            assert dropped == self.model_add(new)
        elif known < count:
            assert self.inbox.add(Run(flow, first, bytes(count), known, count, self.arrival)) == 0

    def is_broken(self) -> bool:
        return getattr(self, "broken", False)

    def model_missed(self) -> None:
        if isinstance(self.inbox.policy, Disconnect):
            self.broken = True

    def model_add(self, new: list[tuple[int, int]]) -> int:
        policy, size = self.inbox.policy, self.inbox.policy.size
        before = len(self.waiting) + len(new)
        for message in new:
            if isinstance(policy, (DropNewest, Disconnect)) and len(self.waiting) == size:
                self.model_missed()
                continue
            self.waiting.append(message)
            if isinstance(policy, (DropOldest, Latest)) and len(self.waiting) > size:
                del self.waiting[0]
                self.given_out = max(0, self.given_out - 1)
        self.lost += before - len(self.waiting)
        return before - len(self.waiting)

    def give_out(self) -> Run | None:
        run = self.inbox.next_run()
        if run is not None:
            self.given_out = run.stop - run.start
        return run

    @precondition(lambda self: not self.inbox.ready)
    @rule()
    def decode(self) -> None:
        run = self.give_out()
        assert (run is None) == (not self.waiting)
        if run is not None:
            number = next(n for n, sender in enumerate(self.senders) if sender.flow is run.flow)
            self.inbox.ready.extend((number, each) for each in range(run.first + run.start, run.first + run.stop))

    @precondition(lambda self: not self.inbox.ready)
    @rule()
    def fail_to_decode(self) -> None:
        if self.give_out() is not None:
            self.inbox.forget_current()
            del self.waiting[: self.given_out]
            self.lost += self.given_out
            self.given_out = 0

    @precondition(lambda self: self.inbox.ready)
    @rule(count=st.integers(1, 8))
    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.inbox.ready))):
            assert self.inbox.ready.popleft() == self.waiting.pop(0)
            self.taken += 1
            self.given_out -= 1

    @precondition(lambda self: self.present())
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.present()))
        self.senders[number].is_gone = True
        self.inbox.forget(self.senders[number].flow)

    @rule()
    def report(self) -> None:
        self.inbox.reported()

    @invariant()
    def counts_add_up(self) -> None:
        counts = self.inbox.counts
        assert self.inbox.pending == len(self.waiting)
        assert self.inbox.is_broken == self.is_broken()
        assert counts.dropped == self.lost + self.missing
        assert counts.received == self.taken + len(self.waiting) + self.lost

    @invariant()
    def the_next_message_is_known(self) -> None:
        assert list(self.inbox.ready) == self.waiting[: self.given_out]
        assert self.inbox.next_arrival == (self.arrivals[self.waiting[0]] if self.waiting else None)

    @invariant()
    def sources_hear_what_was_taken(self) -> None:
        window = self.inbox.window
        if window is None:
            return
        for number, sender in enumerate(self.senders):
            first = next((each for owner, each in self.waiting if owner == number), sender.flow.expected)
            position = self.inbox.taken_position(sender.flow)
            assert position is not None
            assert first is not None
            # In front of a gap it may be said a little late that nothing waits there.
            assert position == first or (position < first and self.missing and first != sender.flow.expected)
        gone = {number for number, sender in enumerate(self.senders) if sender.is_gone}
        assert window.orphans == sum(owner in gone for owner, _ in self.waiting[self.given_out :])
        assert self.inbox.bytes_ahead >= len(self.waiting) - self.given_out

    def teardown(self) -> None:
        if hasattr(self, "inbox"):
            taken: list[Any] = list(self.inbox.ready)
            self.inbox.ready.clear()
            while (run := self.inbox.next_run()) is not None:
                number = next(n for n, sender in enumerate(self.senders) if sender.flow is run.flow)
                taken += [(number, each) for each in range(run.first + run.start, run.first + run.stop)]
            assert taken == self.waiting


TestInbox = InboxWorld.TestCase
