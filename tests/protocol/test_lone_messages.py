"""The short way of a message that goes alone, at each of the places it passes: it must leave all as the long way does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.flow import UNLIMITED, Branch, SendFlow
from trioton.protocol.inbox import Inbox, ReceiveFlow, Run
from trioton.protocol.outbox import Outbox
from trioton.protocol.packages import PackageHeader, parse_package_header
from trioton.protocol.policies import Block, DropOldest, Mode
from trioton.protocol.values import decode_run

SOURCE = bytes(range(16))
BODY = b"\x81\x61x"


def send_flow(mode: Mode | None, *, room: int = 10, window_bytes: int = 1000) -> tuple[SendFlow, Outbox]:
    """A flow with one branch of a mode, or with none, and the outbox of that branch."""
    flow, outbox = SendFlow(SOURCE, "slot", 1, window_bytes=window_bytes), Outbox(1 << 20)
    if mode is not None:
        branch = Branch("peer", outbox, mode, 100, 1)
        flow.add_branch(branch)
        if mode is Mode.BLOCK:
            flow.grant_first(branch, room, now=0)
    return flow, outbox


def state(flow: SendFlow) -> tuple[object, ...]:
    log = [(package.header, b"".join(package.body), package.body_size, package.end) for package in flow.log]
    return flow.room, flow.next, flow.cut_to, flow.taken, flow.log_bytes, flow.piece_bytes, flow.takes_text, log


# ------------------------------------------------------------------------------------------------------------- sending


@pytest.mark.parametrize("mode", [Mode.BLOCK, Mode.DROP_OLDEST])
@given(texts=st.lists(st.text(st.characters(max_codepoint=127), max_size=400), min_size=1, max_size=10))
def test_a_package_cut_alone_leaves_the_flow_as_any_other(mode: Mode, texts: list[str]) -> None:
    (lone, lone_outbox), (usual, usual_outbox) = send_flow(mode), send_flow(mode)
    for number, text in enumerate(texts):
        for flow in (lone, usual):
            flow.add_text(text, len(text) + 1)
        package = lone.cut_lone()
        assert usual.cut() == 1
        assert state(lone) == state(usual)
        assert decode_run(b"".join(package.body)) == [text]
        assert parse_package_header(package.header) == PackageHeader(0, SOURCE, 1, number, "slot", 1, None)
        assert sum(map(len, package.body)) == package.body_size
    assert not lone_outbox
    assert usual_outbox


def test_a_package_cut_alone_uses_up_the_bytes_of_the_window() -> None:
    flow, _ = send_flow(Mode.BLOCK, window_bytes=100)
    flow.add_text("x" * 50, 51)
    flow.cut_lone()
    assert flow.room == 9
    flow.add_text("x" * 50, 51)
    flow.cut_lone()
    assert flow.room == 0
    assert flow.is_blocked_by_branch
    flow.credit(flow.branches["peer"], 2, 10, now=1)
    assert flow.room == 8
    assert not flow.log


def test_nothing_is_kept_of_a_package_for_which_nobody_blocks() -> None:
    flow, _ = send_flow(None)
    flow.add_text("x", 2)
    flow.cut_lone()
    assert (flow.taken, flow.log_bytes, len(flow.log)) == (1, 0, 0)
    flow.update_room()
    assert flow.room == UNLIMITED - 1


def test_an_outbox_counts_what_leaves_without_having_waited_in_it() -> None:
    flow, outbox = send_flow(Mode.BLOCK)
    flow.add_text("x", 2)
    outbox.passed(flow.cut_lone())
    assert (outbox.packages, outbox.messages) == (1, 1)
    assert not outbox
    flow.add_text("y", 2)
    flow.cut()
    outbox.next_buffers()
    assert (outbox.packages, outbox.messages) == (2, 2)


# ----------------------------------------------------------------------------------------------------------- receiving


def receive_flow(start: int | None = None, granted: int | None = None) -> ReceiveFlow:
    flow = ReceiveFlow(SOURCE, "slot", 1, 1000)
    if start is not None:
        flow.start(start)
    flow.granted = granted
    return flow


@pytest.mark.parametrize(
    ("start", "granted", "first", "count", "is_next"),
    [
        (5, None, 5, 1, True),
        (5, None, 5, 512, True),
        (5, 6, 5, 1, True),
        (5, 6, 5, 2, False),
        (5, 5, 5, 1, False),
        (5, None, 4, 1, False),
        (5, None, 6, 1, False),
        (None, None, 0, 1, False),
    ],
)
def test_only_the_very_next_package_for_which_there_is_room_goes_the_short_way(
    start: int | None, granted: int | None, first: int, count: int, is_next: bool
) -> None:
    flow = receive_flow(start, granted)
    assert flow.receive_next(first, count) is is_next
    assert flow.expected == (first + count if is_next else start)


def test_nothing_goes_the_short_way_after_the_end() -> None:
    flow = receive_flow(0)
    flow.receive(PackageHeader(0, SOURCE, 1, 0, "slot", 0, None), is_last=True)
    assert flow.expected == 1
    assert not flow.receive_next(1, 1)
    assert flow.expected == 1


@pytest.mark.parametrize("policy", [Block(10), DropOldest(10)])
def test_a_message_handed_over_leaves_the_inbox_as_one_that_waited_and_was_taken(policy: Block | DropOldest) -> None:
    short, long = Inbox(policy), Inbox(policy)
    flows = receive_flow(0, 10), receive_flow(0, 10)
    for inbox, flow in zip((short, long), flows, strict=True):
        if inbox.window is not None:
            inbox.window.join(flow, 0)
    for number in range(3):
        for flow in flows:
            assert flow.receive_next(number, 1)
        short.handed_over(flows[0], len(BODY))
        long.add(Run(flows[1], number, BODY, 0, 1, number))
        long.next_run()
    for inbox, flow in zip((short, long), flows, strict=True):
        counts = inbox.counts
        assert (counts.received, counts.bytes, counts.dropped) == (3, 9, 0)
        assert inbox.pending == 0
        assert inbox.taken_position(flow) == 3
        if inbox.window is not None:
            assert inbox.bytes_ahead == 9
            assert inbox.window.rooms[flow].received == 3


def test_a_message_may_be_handed_over_whose_source_has_no_room_in_the_window() -> None:
    """A source that has left may have been in the middle of a package."""
    inbox, flow = Inbox(Block(10)), receive_flow(0)
    assert inbox.window is not None
    assert flow.receive_next(0, 1)
    inbox.handed_over(flow, 3)
    assert inbox.counts.received == 1
    assert not inbox.window.rooms


def test_a_message_handed_over_again_does_not_set_the_room_back() -> None:
    inbox, flow = Inbox(Block(10)), receive_flow(0)
    assert inbox.window is not None
    room = inbox.window.join(flow, 0)
    inbox.window.received(flow, 5)
    assert flow.receive_next(0, 1)
    inbox.handed_over(flow, 3)
    assert room.received == 5
