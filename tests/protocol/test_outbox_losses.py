"""What an outbox drops when there is no room, when a policy changes or when the link is lost: all of it is counted, none of it twice."""

from __future__ import annotations

import pytest

from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.inbox import ReceiveFlow
from trioton.protocol.outbox import Outbox
from trioton.protocol.policies import Mode

from .outbox_peer import KIB, MIB, SOURCE, Peer, drain, open_branch, ping, send

# --------------------------------------------------------------------------------------------------------- without room


@pytest.mark.parametrize(
    ("mode", "numbers"), [(Mode.DROP_OLDEST, [7, 8, 9]), (Mode.DROP_NEWEST, [0, 1, 2]), (Mode.BLOCK, list(range(10)))]
)
def test_who_has_no_room_loses_what_its_policy_says(mode: Mode, numbers: list[int]) -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, branch = open_branch(outbox, mode, size=3)
    send(flow, count=10)
    assert branch.queued_messages == len(numbers)
    peer.read(drain(outbox))
    assert peer.numbers == numbers
    assert outbox.dropped == 10 - len(numbers)
    assert branch.queued == branch.queued_messages == 0


def test_bytes_are_a_limit_as_well() -> None:
    outbox = Outbox(queue_bytes=1000)
    oldest, _ = open_branch(outbox, Mode.DROP_OLDEST, size=100, stream=1)
    newest, _ = open_branch(outbox, Mode.DROP_NEWEST, size=100, stream=2)
    blocking, _ = open_branch(outbox, Mode.BLOCK, stream=3)
    send(blocking, size=5000, count=2)
    send(newest, size=300, count=2)
    send(oldest, size=300, count=2)
    assert outbox.dropped == 1
    send(newest, size=300)
    assert outbox.dropped == 2
    drain(outbox)
    send(oldest, size=5000)
    assert outbox.dropped == 2, "an empty queue takes one package of any size"


def test_the_end_of_a_flow_is_never_dropped() -> None:
    outbox, peer = Outbox(1000), Peer()
    flow, _ = open_branch(outbox, Mode.DROP_NEWEST, size=1)
    send(flow, size=1000, count=3)
    flow.end()
    received = ReceiveFlow(SOURCE, "slot", 1, 0)
    gaps = [received.receive(event.header, is_last=event.is_last)[1] for event in peer.read(drain(outbox))]
    assert received.is_ended
    assert sum(gaps) == outbox.dropped == 2


def test_who_lost_the_newest_hears_of_it_when_the_rest_has_left() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, branch = open_branch(outbox, Mode.DROP_NEWEST, size=2)
    send(flow, count=5)
    assert branch.is_behind
    peer.read(drain(outbox))
    assert peer.numbers == [0, 1]
    assert (peer.events[-1].header.first, peer.events[-1].header.count) == (5, 0)
    assert not branch.is_behind
    send(flow)
    assert len(peer.read(drain(outbox))) == 1


def test_who_lost_the_newest_behind_a_large_one_hears_of_it_too() -> None:
    outbox, peer = Outbox(100 * KIB), Peer()
    flow, _ = open_branch(outbox, Mode.DROP_NEWEST, size=1)
    send(flow, size=2 * MIB)
    send(flow, count=2)
    peer.read(drain(outbox))
    assert peer.numbers == [0]
    assert peer.events[-1].header.first == 3


def test_what_was_dropped_behind_a_large_one_stays_dropped() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox, Mode.DROP_OLDEST, size=2)
    other, _ = open_branch(outbox, slot="other", stream=2)
    send(flow, size=2 * MIB)
    peer.read(outbox.next_buffers())
    send(flow, count=2)
    send(other)
    peer.read(outbox.next_buffers())
    send(flow, count=2)
    peer.read(drain(outbox))
    assert [event.header.first for event in peer.events if event.header.slot == "slot"] == [0, 3, 4]
    assert outbox.dropped == 2


# ------------------------------------------------------------------------------------------------- policies that change


def test_a_branch_that_blocked_and_drops_now_keeps_its_counts() -> None:
    """What it was sent while it blocked cannot be dropped, and is not counted as what can."""
    outbox, peer = Outbox(2000), Peer()
    flow, branch = open_branch(outbox, Mode.BLOCK, size=10)
    send(flow, size=1500, count=2)
    branch.mode = Mode.DROP_OLDEST
    flow.update_room()
    send(flow, size=10, count=2)
    peer.read(drain(outbox))
    assert peer.numbers == [0, 1, 2, 3]
    send(flow, size=900, count=2)
    assert outbox.dropped == 0
    send(flow, size=900)
    assert outbox.dropped == 1


def test_a_branch_that_dropped_and_blocks_now_keeps_its_counts() -> None:
    outbox, peer = Outbox(2000), Peer()
    flow, branch = open_branch(outbox, Mode.DROP_OLDEST, size=5)
    send(flow, size=900, count=2)
    branch.mode = Mode.BLOCK
    flow.grant_first(branch, 10, now=0)
    send(flow, size=900, count=2)
    peer.read(drain(outbox))
    assert peer.numbers == [0, 1, 2, 3]
    assert (branch.queued, branch.queued_messages, outbox.dropped) == (0, 0, 0)


@pytest.mark.parametrize("mode", Mode)
def test_who_no_longer_listens_gets_nothing_but_the_rest_of_a_large_package(mode: Mode) -> None:
    outbox, peer = Outbox(3 * MIB), Peer()
    flow, branch = open_branch(outbox, mode)
    other, _ = open_branch(outbox, mode, slot="other", stream=2)
    send(flow, size=2 * MIB)
    peer.read(outbox.next_buffers())
    send(flow, size=1000)
    send(other)
    peer.read(outbox.next_buffers())
    send(flow, size=1000)
    outbox.remove_branch(branch)
    assert branch.queued == branch.queued_messages == 0
    peer.read(drain(outbox))
    assert [event.header.slot for event in peer.events] == ["other", "slot"]
    send(other, size=2 * MIB + 500 * KIB)
    send(other, size=400 * KIB)
    assert outbox.dropped == 0, "what was forgotten takes no room"


# ----------------------------------------------------------------------------------------------------------- lost links


def test_a_lost_link_takes_with_it_what_flows_keep_and_leaves_the_rest() -> None:
    outbox = Outbox(MIB)
    blocking, block_branch = open_branch(outbox, Mode.BLOCK, stream=1)
    dropping, drop_branch = open_branch(outbox, Mode.DROP_OLDEST, slot="drop", stream=2)
    send(blocking, count=3)
    send(dropping, count=2)
    outbox.add_control(ping(1))
    outbox.restart()
    assert outbox.queued == 2
    assert (block_branch.queued, drop_branch.queued) == (0, 2)
    peer = Peer()
    peer.read(drain(outbox))
    assert [event.header.slot for event in peer.events] == ["drop", "drop"]


def test_nothing_is_sent_before_it_is_known_where_a_blocking_peer_stands() -> None:
    """Else what is sent meanwhile would overtake what the lost link did not bring."""
    outbox, peer = Outbox(MIB), Peer()
    flow, branch = open_branch(outbox)
    send(flow, count=3)
    drain(outbox)
    outbox.restart()
    send(flow, count=2)
    assert not outbox
    flow.resume(branch, 1)
    send(flow)
    peer.read(drain(outbox))
    assert peer.numbers == [1, 2, 3, 4, 5]


def test_who_is_granted_room_over_a_new_link_needs_no_resuming() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow = SendFlow(SOURCE, "slot", 1, window_bytes=MIB)
    branch = Branch("peer", outbox, Mode.BLOCK, 1, 1)
    flow.add_branch(branch)
    outbox.restart()
    flow.grant_first(branch, 5, now=0)
    send(flow)
    peer.read(drain(outbox))
    assert peer.numbers == [0]


def test_what_waited_behind_a_large_package_on_a_lost_link_keeps_its_order() -> None:
    outbox, peer = Outbox(3 * MIB), Peer()
    flow, branch = open_branch(outbox, Mode.DROP_OLDEST)
    other, _ = open_branch(outbox, Mode.BLOCK, slot="other", stream=2)
    send(flow, size=2 * MIB)
    outbox.next_buffers()
    send(flow, count=2)
    send(other, size=2 * MIB)
    outbox.next_buffers()
    send(flow, count=2)
    outbox.restart()
    assert (outbox.queued, branch.queued, branch.queued_messages) == (4, 4, 4)
    peer.read(drain(outbox))
    assert peer.numbers == [1, 2, 3, 4]
    assert branch.queued == branch.queued_messages == 0


def test_what_is_abandoned_is_counted() -> None:
    outbox = Outbox(3 * MIB)
    flow, branch = open_branch(outbox)
    dropping, drop_branch = open_branch(outbox, Mode.DROP_NEWEST, slot="drop", stream=2)
    send(flow, size=2 * MIB)
    outbox.next_buffers()
    send(flow, count=2)
    outbox.next_buffers()
    send(flow, count=3)
    send(dropping, count=4)
    assert outbox.abandon() == 9
    assert not outbox
    assert outbox.abandon() == 0
    assert branch.queued == branch.queued_messages == drop_branch.queued == drop_branch.queued_messages == 0
    send(dropping, size=2 * MIB)
    assert outbox.dropped == 0
