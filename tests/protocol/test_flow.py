"""The sending side of a flow: numbers, runs, room, and what is kept until it has been taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trioton.protocol.flow import CUT_BYTES, LARGE_MESSAGE, UNLIMITED, Branch, SendFlow
from trioton.protocol.limits import MAX_RUN_BYTES, MAX_RUN_MESSAGES
from trioton.protocol.packages import Package, PackageHeader, parse_package_header
from trioton.protocol.policies import Mode
from trioton.protocol.values import decode_run, encode_value

SOURCE = bytes(range(16))
MIB = 1 << 20


class Sink:
    """Takes the packages of branches as an outbox would, and gives them to nobody."""

    links_lost = 0

    def __init__(self) -> None:
        self.packages: list[Package] = []

    def add_package(self, branch: Branch, package: Package, flow: SendFlow) -> None:
        assert flow.branches[branch.key] is branch
        self.packages.append(package)

    def remove_branch(self, branch: Branch) -> None:
        self.packages.clear()

    @property
    def messages(self) -> list[tuple[int, Any]]:
        """The messages in the packages, each with its number."""
        return [pair for package in self.packages for pair in numbered(package)]


def numbered(package: Package) -> list[tuple[int, Any]]:
    values = decode_run(b"".join(package.body))
    header = parse_package_header(package.header)
    assert header == PackageHeader(0, SOURCE, 3, package.first, "slot", package.count, None)
    assert len(values) == package.count
    assert sum(map(len, package.body)) == package.body_size
    return list(enumerate(values, package.first))


def make_flow(window_bytes: int = MIB, destination: bytes | None = None) -> SendFlow:
    return SendFlow(SOURCE, "slot", 3, window_bytes=window_bytes, destination=destination)


def add_branch(
    flow: SendFlow, mode: Mode = Mode.DROP_OLDEST, *, key: str = "a", size: int | None = None
) -> tuple[Branch, Sink]:
    """Add a branch; a blocking one is granted `size`."""
    sink = Sink()
    branch = Branch(key, sink, mode, 1, 1)
    flow.add_branch(branch)
    if size is not None:
        flow.grant_first(branch, size, now=0)
    return branch, sink


def send(flow: SendFlow, count: int = 1) -> None:
    for _ in range(count):
        flow.add(encode_value(flow.next))
    flow.cut()


# ------------------------------------------------------------------------------------------------------ runs and numbers

SIZES = st.sampled_from([0, 1, 100, CUT_BYTES - 10, LARGE_MESSAGE - 10])


@st.composite
def additions(draw: st.DrawFn) -> tuple[str, Any]:
    """A way in which a channel adds messages, and what it adds."""
    way = draw(st.sampled_from(["text", "texts", "piece", "large", "cut"]))
    size = draw(SIZES)
    what: Any = "x" * size
    if way == "texts":
        what = ["y" * draw(st.integers(0, 40)) for _ in range(draw(st.sampled_from([1, 5, 600])))]
    elif way == "piece":
        what = draw(st.one_of(st.integers(), st.text(max_size=5), st.just(b"z" * size)))
    elif way == "large":
        what = b"l" * (LARGE_MESSAGE + size)
    return way, what


@given(st.lists(additions(), max_size=15), st.booleans())
def test_what_goes_in_comes_out_in_order_and_numbered(steps: list[tuple[str, Any]], blocks: bool) -> None:
    flow = make_flow(window_bytes=100 * MIB)
    _, sink = add_branch(flow, Mode.BLOCK, size=1 << 40) if blocks else add_branch(flow)
    sent: list[Any] = []
    for way, what in steps:
        if way == "large":
            flow.cut()
            flow.add_large((encode_value(what)[:5], what), 5 + len(what))
            sent.append(what)
        elif way in ("text", "texts") and flow.takes_text:
            texts = what if way == "texts" else [what]
            due = flow.add_texts(texts, sum(map(len, texts))) if way == "texts" else flow.add_text(what, len(what))
            sent += texts
            assert due == flow.is_due
        elif way == "piece":
            assert flow.add(encode_value(what)) == flow.is_due
            sent.append(what)
        if way == "cut" or flow.is_due:
            gathered = len(flow.pieces)
            assert flow.cut() == gathered
            assert flow.takes_text
        assert flow.next == len(sent)
        assert flow.room == (1 << 40 if blocks else UNLIMITED) - len(sent)
    flow.cut()
    assert sink.messages == list(enumerate(sent))
    assert flow.cut() == 0
    for package in sink.packages:
        assert 1 <= package.count <= MAX_RUN_MESSAGES
        assert package.body_size <= MAX_RUN_BYTES + 3 or package.count == 1
    assert list(flow.log) == (sink.packages if blocks else [])
    assert flow.log_bytes == sum(package.body_size for package in flow.log)
    assert flow.taken == (0 if blocks else len(sent))


def test_texts_and_other_pieces_share_a_run() -> None:
    flow = make_flow()
    _, sink = add_branch(flow)
    flow.add_text("a", 1)
    flow.add(encode_value(1))
    assert not flow.takes_text
    flow.add(encode_value("b"))
    flow.cut()
    assert [value for _, value in sink.messages] == ["a", 1, "b"]
    assert len(sink.packages) == 1
    assert flow.takes_text


@pytest.mark.parametrize(("size", "count"), [(1, MAX_RUN_MESSAGES), (CUT_BYTES // 4, 4)])
def test_a_full_run_is_due(size: int, count: int) -> None:
    flow = make_flow()
    assert [flow.add(bytes(size)) for _ in range(count)] == [False] * (count - 1) + [True]


def test_the_buffers_of_a_large_message_are_not_copied() -> None:
    flow = make_flow()
    _, sink = add_branch(flow)
    buffer = bytearray(LARGE_MESSAGE)
    package = flow.add_large((b"head", buffer), 4 + len(buffer))
    assert sink.packages == [package]
    assert package.body[-1] is buffer
    assert package.body_size == 1 + 4 + len(buffer)


def test_a_flow_with_a_destination_says_so_in_its_packages() -> None:
    flow = make_flow(destination=SOURCE[::-1])
    _, sink = add_branch(flow)
    send(flow)
    assert parse_package_header(sink.packages[0].header).destination == SOURCE[::-1]
    assert parse_package_header(flow.marker(5).header).destination == SOURCE[::-1]


def test_the_end_takes_a_number_and_is_kept_like_a_message() -> None:
    flow = make_flow()
    branch, sink = add_branch(flow, Mode.BLOCK, size=5)
    send(flow, 2)
    end = flow.end()
    assert flow.is_ended
    assert (end.first, end.count, end.end, end.is_last) == (2, 0, 3, True)
    assert sink.packages[-1] is end is flow.log[-1]
    flow.credit(branch, 2, 5, now=0)
    assert list(flow.log) == [end]
    flow.credit(branch, 3, 5, now=0)
    assert not flow.log
    assert flow.taken == flow.next == 3


def test_nobody_waits_for_an_end_that_nobody_hears() -> None:
    flow = make_flow()
    send(flow, 2)
    flow.end()
    assert (flow.taken, flow.next, list(flow.log)) == (3, 3, [])


def test_a_marker_is_no_message() -> None:
    marker = make_flow().marker(7)
    assert (marker.first, marker.count, marker.end, marker.is_last) == (7, 0, 7, False)
    assert numbered(marker) == []


# ----------------------------------------------------------------------------------------------------------------- room


def test_without_blocking_branches_there_is_always_room() -> None:
    flow = make_flow(window_bytes=1)
    branch, _ = add_branch(flow)
    flow.add(bytes(1000))
    flow.update_room()
    assert flow.room == UNLIMITED - 1
    assert not flow.is_blocked_by_branch
    assert flow.slowest() is None
    flow.remove_branch(branch.key)
    flow.remove_branch("unknown")
    flow.cut()
    assert flow.room == UNLIMITED - 1
    assert flow.taken == 1


def test_an_unready_branch_gets_nothing_and_holds_nothing_up() -> None:
    flow = make_flow()
    branch, sink = add_branch(flow, Mode.BLOCK)
    send(flow, 3)
    assert not sink.packages
    assert flow.room > 1000
    assert flow.slowest() is branch
    assert flow.grant_first(branch, 2, now=1) == 3
    assert (branch.taken, branch.limit, branch.since, flow.room) == (3, 5, 1, 2)
    send(flow, 2)
    assert [number for number, _ in sink.messages] == [3, 4]
    assert flow.room == 0
    assert flow.is_blocked_by_branch


def test_the_slowest_branch_decides() -> None:
    flow = make_flow()
    slow, _ = add_branch(flow, Mode.BLOCK, key="slow", size=2)
    fast, _ = add_branch(flow, Mode.BLOCK, key="fast", size=10)
    send(flow, 2)
    assert flow.room == 0
    assert flow.slowest() is slow
    assert flow.credit(fast, 2, 12, now=5) is None
    assert (flow.room, flow.taken, len(flow.log)) == (0, 0, 1)
    assert flow.credit(slow, 1, 3, now=6) is None
    assert (flow.room, flow.taken, len(flow.log)) == (1, 1, 1)
    flow.remove_branch("slow")
    assert (flow.room, flow.taken, len(flow.log)) == (10, 2, 0)


def test_old_news_does_no_harm() -> None:
    flow = make_flow()
    branch, _ = add_branch(flow, Mode.BLOCK, size=10)
    send(flow, 5)
    assert flow.credit(branch, 4, 14, now=1) is None
    assert flow.credit(branch, 4, 14, now=2) is None
    assert (branch.taken, branch.limit, branch.since) == (4, 14, 1)
    flow.credit(branch, 2, 14, now=3)
    assert (branch.taken, branch.since, flow.taken) == (4, 1, 4)


def test_nothing_can_be_taken_that_was_not_sent() -> None:
    flow = make_flow()
    branch, _ = add_branch(flow, Mode.BLOCK, size=10)
    send(flow, 2)
    flow.credit(branch, 1 << 61, 20, now=0)
    assert branch.taken == flow.taken == 2


@pytest.mark.parametrize(("asked", "kept"), [(9, 9), (5, 5), (3, 4), (0, 4)])
def test_room_is_given_back_as_far_as_it_has_not_been_used(asked: int, kept: int) -> None:
    flow = make_flow()
    branch, _ = add_branch(flow, Mode.BLOCK, size=10)
    send(flow, 3)
    flow.add(encode_value("gathers"))
    assert flow.credit(branch, 0, asked, now=0) == kept
    assert (branch.limit, flow.room) == (kept, kept - 4)


def test_bytes_are_a_limit_as_well() -> None:
    """One message may always be ahead, whatever its size."""
    flow = make_flow(window_bytes=100)
    branch, _ = add_branch(flow, Mode.BLOCK, size=1000)
    flow.add_large((bytes(5000),), 5000)
    assert flow.room == 0
    assert flow.is_blocked_by_branch
    flow.credit(branch, 1, 1001, now=0)
    assert flow.room == 1000
    for _ in range(10):
        flow.add(bytes(10))
    flow.cut()
    assert flow.room == 0
    flow.credit(branch, 5, 1005, now=0)
    assert flow.room == 0, "a package is kept until all of it has been taken"
    flow.credit(branch, 11, 1011, now=0)
    assert flow.room == 1000


def test_a_held_flow_has_no_room() -> None:
    flow = make_flow()
    branch, _ = add_branch(flow, Mode.BLOCK, size=5)
    flow.hold(held=True)
    assert flow.room == 0
    assert not flow.is_blocked_by_branch
    flow.credit(branch, 0, 6, now=0)
    assert flow.room == 0
    flow.hold(held=False)
    assert flow.room == 6


# --------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize(("expected", "again"), [(2, [2, 3, 4, 5, 6]), (3, [2, 3, 4, 5, 6]), (4, [4, 5, 6]), (7, [])])
def test_what_a_lost_link_did_not_bring_is_sent_again(expected: int, again: list[int]) -> None:
    """Whole packages: the receiver drops what it has seen."""
    flow = make_flow()
    branch, sink = add_branch(flow, Mode.BLOCK, size=100)
    for count in (2, 2, 3):
        send(flow, count)
    flow.credit(branch, 2, 100, now=0)
    sink.links_lost = 1
    flow.resume(branch, expected)
    assert branch.links_lost == 1
    assert [number for number, _ in sink.messages] == again


# ----------------------------------------------------------------------------------------------------- whatever happens


class FlowWorld(RuleBasedStateMachine):
    """A flow with branches that come, grant, take and go, under an owner that looks at the room before it adds."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = make_flow(window_bytes=200)
        self.sinks: dict[int, Sink] = {}
        self.count = 0
        self.starts: dict[int, int] = {}

    def branches(self, *, ready: bool, blocks: bool = True) -> list[Branch]:
        return [each for each in self.flow.branches.values() if each.is_ready is ready and each.blocks is blocks]

    @rule(count=st.integers(1, 8), size=st.sampled_from([1, 5, 60]))
    def add(self, count: int, size: int) -> None:
        for _ in range(min(count, self.flow.room)):
            self.flow.add(encode_value("x" * size))
            if self.flow.is_due:
                self.flow.cut()

    @precondition(lambda self: self.flow.room > 0)
    @rule(size=st.sampled_from([1, 500]))
    def add_large(self, size: int) -> None:
        self.flow.cut()
        if self.flow.room > 0:
            self.flow.add_large((encode_value("y" * size),), len(encode_value("y" * size)))

    @rule()
    def cut(self) -> None:
        self.flow.cut()

    @rule(mode=st.sampled_from(Mode))
    def join(self, mode: Mode) -> None:
        self.count += 1
        self.sinks[self.count] = Sink()
        self.flow.add_branch(Branch(self.count, self.sinks[self.count], mode, 1, 1))
        if mode is not Mode.BLOCK:
            self.starts[self.count] = self.flow.cut_to

    @precondition(lambda self: self.branches(ready=False))
    @rule(data=st.data(), size=st.integers(0, 10))
    def grant(self, data: st.DataObject, size: int) -> None:
        self.flow.cut()
        branch = data.draw(st.sampled_from(self.branches(ready=False)))
        self.starts[branch.key] = self.flow.grant_first(branch, size, now=0)  # type: ignore[index]

    @precondition(lambda self: self.branches(ready=True))
    @rule(data=st.data(), ahead=st.integers(0, 10))
    def take(self, data: st.DataObject, ahead: int) -> None:
        branch = data.draw(st.sampled_from(self.branches(ready=True)))
        got = self.sinks[branch.key].messages  # type: ignore[index]
        taken = data.draw(st.integers(branch.taken, got[-1][0] + 1 if got else branch.taken))
        self.flow.credit(branch, taken, max(branch.limit, taken + ahead), now=0)

    @precondition(lambda self: self.branches(ready=True))
    @rule(data=st.data(), limit=st.integers(0, 50))
    def ask_back(self, data: st.DataObject, limit: int) -> None:
        branch = data.draw(st.sampled_from(self.branches(ready=True)))
        before = branch.limit
        kept = self.flow.credit(branch, branch.taken, limit, now=0)
        assert (kept is None) == (limit >= before)
        assert kept is None or kept <= before

    @precondition(lambda self: self.flow.branches)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.flow.branches)))  # type: ignore[type-var]
        self.flow.remove_branch(key)

    @precondition(lambda self: self.branches(ready=True))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.flow.cut()
        branch = data.draw(st.sampled_from(self.branches(ready=True)))
        sink = self.sinks[branch.key]  # type: ignore[index]
        got = sink.messages
        expected = data.draw(st.integers(branch.taken, got[-1][0] + 1 if got else branch.taken))
        self.flow.resume(branch, expected)
        again = [number for number, _ in sink.messages if number >= expected]
        assert again == list(range(expected, self.flow.next)), "what was not taken can be sent again"
        self.starts[branch.key] = sink.messages[0][0] if sink.packages else self.flow.next  # type: ignore[index]

    @invariant()
    def nobody_gets_more_than_it_has_room_for(self) -> None:
        for branch in self.branches(ready=True):
            assert self.flow.next <= branch.limit
            assert branch.taken <= self.flow.next
        assert self.flow.room <= self.flow.limit - self.flow.next or not self.flow.room

    @invariant()
    def what_a_branch_gets_is_contiguous(self) -> None:
        for branch in [*self.branches(ready=True), *self.branches(ready=True, blocks=False)]:
            start = self.starts[branch.key]  # type: ignore[index]
            numbers = [number for number, _ in self.sinks[branch.key].messages]  # type: ignore[index]
            assert numbers == list(range(start, self.flow.cut_to))

    @invariant()
    def what_is_kept_is_what_somebody_has_not_taken(self) -> None:
        blocking = self.branches(ready=True)
        least = min((branch.taken for branch in blocking), default=self.flow.next)
        assert least <= self.flow.taken or not blocking
        assert all(package.end > least for package in self.flow.log)
        assert self.flow.log_bytes == sum(package.body_size for package in self.flow.log)
        assert bool(blocking) or not self.flow.log

    @invariant()
    def a_flow_waits_only_for_somebody(self) -> None:
        if self.flow.room <= 0:
            assert self.flow.is_blocked_by_branch


TestFlow = FlowWorld.TestCase
