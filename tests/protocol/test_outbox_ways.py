"""What goes the same way to several contexts waits in an outbox like what goes to one neighbour, with a policy of its own."""

from __future__ import annotations

import pytest

from trioton.protocol.codec import encode_texts
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.limits import LARGE_FRAGMENT
from trioton.protocol.outbox import Outbox, PositionedFlow
from trioton.protocol.packages import Package, PackageTemplate
from trioton.protocol.policies import Mode
from trioton.protocol.way import Way

from .outbox_peer import KIB, MIB, SOURCE, Peer, drain, open_branch, send


class Lane:
    """A neighbour with an outbox."""

    def __init__(self, queue_bytes: int = MIB) -> None:
        self.outbox = Outbox(queue_bytes)

    def add_shared(self, way: Way, package: Package, flow: PositionedFlow) -> None:
        self.outbox.add_shared(way, package, flow)


class Elsewhere:
    """A flow of another context that passes here."""

    slot = "slot"

    def __init__(self) -> None:
        self.cut_to = 0
        self.template = PackageTemplate(SOURCE, self.slot, 1)

    def package(self, size: int = 1) -> Package:
        """The next package, of one message."""
        body = encode_texts(["x" * size])
        self.cut_to += 1
        return Package(self.template.header(self.cut_to - 1, 1), (body,), len(body), self.cut_to - 1, 1)

    def marker(self, position: int) -> Package:
        return Package(self.template.header(position, 0), (b"\x80",), 1, position, 0)


@pytest.mark.parametrize(
    ("mode", "numbers"), [(Mode.DROP_OLDEST, [7, 8, 9]), (Mode.DROP_NEWEST, [0, 1, 2]), (Mode.BLOCK, list(range(10)))]
)
def test_a_way_without_room_loses_what_its_policy_says(mode: Mode, numbers: list[int]) -> None:
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    way = Way(lane, mode, 3)
    for _ in range(10):
        way.add(flow.package(), flow)
    assert way.queued == way.queued_messages == len(numbers)
    assert way.is_behind == (mode is Mode.DROP_NEWEST)
    assert lane.outbox.holds("slot")
    peer.read(drain(lane.outbox))
    assert peer.numbers == numbers
    assert lane.outbox.dropped == 10 - len(numbers)
    assert way.queued == way.queued_messages == 0
    assert not way.is_behind


def test_those_behind_a_way_that_lost_the_newest_hear_where_the_flow_stands() -> None:
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    way = Way(lane, Mode.DROP_NEWEST, 2)
    for _ in range(5):
        way.add(flow.package(), flow)
    peer.read(drain(lane.outbox))
    assert peer.numbers == [0, 1]
    assert (peer.events[-1].header.first, peer.events[-1].header.count) == (5, 0)


def test_two_ways_of_one_link_have_room_each() -> None:
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    narrow, wide = Way(lane, Mode.DROP_OLDEST, 1), Way(lane, Mode.DROP_OLDEST, 5)
    package = [flow.package() for _ in range(3)]
    for way in (narrow, wide):
        for each in package:
            way.add(each, flow)
    assert (narrow.queued, wide.queued) == (1, 3)
    lane.outbox.remove_branch(wide)
    assert (narrow.queued, wide.queued) == (1, 0)
    peer.read(drain(lane.outbox))
    assert peer.numbers == [2]


def test_what_blocks_goes_a_way_whatever_link_was_lost() -> None:
    """How far those behind it are is known to their source only; so it, and nobody else, finds out what must be sent again."""
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    way = Way(lane)
    own_flow, own = open_branch(lane.outbox)
    way.add(flow.package(), flow)
    send(own_flow)
    lane.outbox.restart()
    assert (way.queued, own.queued) == (0, 0)
    way.add(flow.package(), flow)
    send(own_flow)
    assert (way.queued, own.queued) == (1, 0)
    peer.read(drain(lane.outbox))
    assert peer.numbers == [1]


def test_a_way_that_drops_keeps_what_waits_when_the_link_is_lost() -> None:
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    way = Way(lane, Mode.DROP_OLDEST, 5)
    way.add(flow.package(), flow)
    lane.outbox.restart()
    assert way.queued == 1
    peer.read(drain(lane.outbox))
    assert peer.numbers == [0]


def test_a_large_package_goes_a_way_in_fragments_and_the_next_waits_for_its_end() -> None:
    lane, peer, flow = Lane(), Peer(), Elsewhere()
    way = Way(lane)
    way.add(flow.package(2 * LARGE_FRAGMENT), flow)
    way.add(flow.package(), flow)
    peer.read(lane.outbox.next_buffers())
    assert lane.outbox.queued == 2
    peer.read(drain(lane.outbox))
    assert peer.numbers == [0, 1]


def test_one_copy_waits_for_all_who_share_a_way() -> None:
    lane, peer = Lane(), Peer()
    flow = SendFlow(SOURCE, "slot", 1, window_bytes=MIB)
    for name in "abc":
        branch = Branch(name, lane.outbox, Mode.BLOCK, 1, 1)
        branch.lane, branch.address, branch.is_remote = lane, name.encode() * 16, True
        flow.add_branch(branch)
        flow.grant_first(branch, 100, now=0)
    send(flow, size=KIB, count=4)
    assert lane.outbox.queued == 4
    assert [branch.queued for branch in flow.branches.values()] == [0, 0, 0]
    peer.read(drain(lane.outbox))
    assert peer.numbers == [0, 1, 2, 3]
