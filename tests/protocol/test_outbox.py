"""What waits for a link leaves in order: control first, large packages in fragments, and each flow in its turn."""

from __future__ import annotations

from collections.abc import Callable

from trioton.protocol import control
from trioton.protocol.frames import FrameKind
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, SMALL_FRAGMENT
from trioton.protocol.outbox import BATCH_BYTES, LatePackage, Outbox, PositionedFlow
from trioton.protocol.packages import Package
from trioton.protocol.retained import RetainedPackage
from trioton.protocol.session import PackageReceived, RetainedReceived
from trioton.protocol.way import Way

from .outbox_peer import KIB, MIB, Peer, drain, frames_of, open_branch, ping, send


def test_an_empty_outbox_has_nothing_to_write() -> None:
    outbox = Outbox(1000)
    assert not outbox
    assert outbox.next_buffers() == []
    assert not outbox.holds("slot")


def test_control_goes_before_data() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox)
    send(flow, count=3)
    outbox.add_control(ping(1))
    outbox.add_control(ping(2))
    events = peer.read(outbox.next_buffers())
    assert events[:2] == [control.Ping(1), control.Ping(2)]
    assert peer.numbers == [0, 1, 2]
    assert (outbox.packages, outbox.messages) == (3, 3)


def test_a_heartbeat_is_never_behind_more_than_one_fragment() -> None:
    outbox = Outbox(MIB)
    flow, _ = open_branch(outbox)
    send(flow, size=10 * MIB)
    written = 0
    while outbox:
        outbox.add_control(ping(written))
        first, *rest = frames_of(outbox.next_buffers())
        assert first.kind == FrameKind.PING
        assert len(rest) <= 1
        assert all(frame.size <= LARGE_FRAGMENT for frame in rest)
        written += 1
    assert written == 10


def test_one_write_takes_a_bounded_amount() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox)
    send(flow, size=60 * KIB, count=20)
    while outbox:
        buffers = outbox.next_buffers()
        assert sum(map(len, buffers)) < BATCH_BYTES + SMALL_FRAGMENT + 1000
        peer.read(buffers)
    assert peer.numbers == list(range(20))


def test_a_message_of_a_megabyte_travels_in_one_piece_if_nothing_else_waits() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox)
    send(flow, size=MIB)
    buffers = outbox.next_buffers()
    assert [frame.kind for frame in frames_of(buffers)] == [FrameKind.PACKAGE]
    peer.read(buffers)
    assert peer.numbers == [0]


def test_small_messages_of_others_pass_between_the_fragments() -> None:
    outbox, peer = Outbox(MIB), Peer()
    large, _ = open_branch(outbox, slot="large", stream=1)
    small, _ = open_branch(outbox, slot="small", stream=2)
    send(large, size=8 * MIB)
    while outbox.holds("large"):
        send(small)
        peer.read(outbox.next_buffers())
    slots = [event.header.slot for event in peer.events]
    assert slots == ["small"] * (len(slots) - 1) + ["large"]
    assert len(slots) >= 8


def test_fragments_are_small_while_more_waits_than_one_write_takes() -> None:
    outbox, peer = Outbox(MIB), Peer()
    large, _ = open_branch(outbox, slot="large", stream=1)
    small, _ = open_branch(outbox, slot="small", stream=2)
    send(large, size=8 * MIB)
    peer.read(outbox.next_buffers())
    send(small, size=60 * KIB, count=20)
    while outbox.holds("small"):
        buffers = outbox.next_buffers()
        if outbox.holds("small"):
            assert max(frame.size for frame in frames_of(buffers)) <= SMALL_FRAGMENT
        peer.read(buffers)
    assert peer.numbers == list(range(20))


def test_what_the_same_flow_sends_waits_for_the_end_of_its_large_package() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox)
    send(flow, size=3 * MIB)
    peer.read(outbox.next_buffers())
    send(flow, count=3)
    assert outbox.queued == 4
    assert outbox.holds("slot")
    assert not outbox.holds("other")
    peer.read(drain(outbox))
    assert peer.numbers == [0, 1, 2, 3]


def test_it_goes_on_in_order_behind_the_large_package_however_much_waits() -> None:
    outbox, peer = Outbox(MIB), Peer()
    flow, _ = open_branch(outbox)
    other, _ = open_branch(outbox, slot="other", stream=2)
    send(flow, size=200 * KIB)
    send(flow)
    send(other, size=60 * KIB, count=30)
    send(flow)
    peer.read(drain(outbox))
    assert [event.header.first for event in peer.events if event.header.slot == "slot"] == [0, 1, 2]


def test_large_packages_of_several_flows_take_turns() -> None:
    outbox, peer = Outbox(MIB), Peer()
    outbox.open_limit = 32 * MIB
    for number in range(3):
        send(open_branch(outbox, slot=str(number), stream=number)[0], size=MIB - KIB)
    kinds = []
    while outbox:
        buffers = outbox.next_buffers()
        kinds += [frame.kind for frame in frames_of(buffers)]
        if not peer.read(buffers) and len(kinds) > 1 and not peer.events:
            assert all(frame.size <= SMALL_FRAGMENT for frame in frames_of(buffers))
    assert kinds[:6].count(FrameKind.OPENING) == 3
    assert [event.header.slot for event in peer.events] == ["0", "1", "2"]


def test_large_packages_under_way_stay_within_what_the_peer_holds() -> None:
    outbox, peer = Outbox(MIB), Peer(reassembly_bytes=3 * MIB, max_package=MIB)
    outbox.open_limit = 3 * MIB
    for number in range(6):
        send(open_branch(outbox, slot=str(number), stream=number)[0], size=MIB - KIB)
    buffers = drain(outbox)
    peer.read(buffers)
    assert len(peer.events) == 6
    kinds = [frame.kind for frame in frames_of(buffers)]
    assert kinds[:10].count(FrameKind.OPENING) == 3, "as many as fit"
    for _ in range(2):
        for number in range(2):
            send(open_branch(outbox, slot=str(number), stream=number)[0], size=MIB - KIB)
        written = [buffer for _ in range(4) for buffer in outbox.next_buffers()]
        kinds = [frame.kind for frame in frames_of(written)]
        assert kinds.count(FrameKind.OPENING) == 2, "there is room again"
        outbox.restart()


def test_no_more_large_packages_are_under_way_than_the_peer_takes() -> None:
    outbox, peer = Outbox(MIB), Peer()
    outbox.open_limit = 1 << 40
    for number in range(MAX_OPEN_FRAGMENTED + 5):
        send(open_branch(outbox, slot=str(number), stream=number)[0], size=1500 * KIB)
    peer.read(drain(outbox))
    assert len(peer.events) == MAX_OPEN_FRAGMENTED + 5


def test_one_large_package_may_always_be_under_way() -> None:
    outbox, peer = Outbox(10), Peer(reassembly_bytes=1, max_package=2 * MIB + KIB)
    outbox.open_limit = 1
    flow, _ = open_branch(outbox)
    send(flow, size=2 * MIB, count=2)
    peer.read(drain(outbox))
    assert peer.numbers == [0, 1]


# ----------------------------------------------------------------------------------------- what is made when its turn comes


class NoFlow:
    """Stands for the flow of what is in no flow."""

    slot = ""
    cut_to = 0

    def marker(self, position: int) -> Package:
        raise NotImplementedError(position)


class NoLane:
    """A neighbour to which nothing is sent but by hand."""

    def add_shared(self, way: Way, package: Package, flow: PositionedFlow) -> None:
        raise NotImplementedError


def late(outbox: Outbox, way: Way, make: Callable[[], Package | None]) -> None:
    outbox.add_shared(way, LatePackage(make), NoFlow())


def test_what_is_made_late_holds_what_is_true_when_its_turn_comes() -> None:
    outbox, peer, way = Outbox(MIB), Peer(), Way(NoLane())
    flow, _ = open_branch(outbox)
    rows = [b"\x01"]
    send(flow)
    late(outbox, way, lambda: RetainedPackage(rows, 1))
    late(outbox, way, lambda: None)
    send(flow)
    rows[0] = b"\x02"
    assert outbox.queued == 4
    peer.read(drain(outbox))
    assert [type(event) for event in peer.events] == [PackageReceived, RetainedReceived, PackageReceived]
    assert peer.events[1].body == b"\x81\x02"
    assert way.queued == 0
    assert (outbox.packages, outbox.messages) == (2, 2), "it is no package of a flow"


def test_what_is_made_late_leaves_in_fragments_if_it_is_large() -> None:
    outbox, peer, way = Outbox(MIB), Peer(), Way(NoLane())
    flow, _ = open_branch(outbox)
    late(outbox, way, lambda: RetainedPackage([bytes(MIB)], 1))
    late(outbox, way, lambda: RetainedPackage([b"\x01"], 1))
    send(flow)
    peer.read(drain(outbox))
    assert [type(event) for event in peer.events] == [PackageReceived, RetainedReceived, RetainedReceived]
    assert [len(event.body) for event in peer.events[1:]] == [MIB + 1, 2]


def test_what_is_made_late_is_forgotten_with_the_link() -> None:
    outbox, way = Outbox(MIB), Way(NoLane())
    late(outbox, way, lambda: RetainedPackage([b"\x01"], 1))
    outbox.restart()
    assert not outbox
    assert way.queued == 0
