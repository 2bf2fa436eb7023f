"""What waits for a link: nothing is late, nothing is lost without being counted, and order is kept."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioton.protocol import control
from trioton.protocol.codec import bytes_head
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.inbox import ReceiveFlow
from trioton.protocol.limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, SMALL_FRAGMENT, Limits
from trioton.protocol.outbox import BATCH_BYTES, Outbox
from trioton.protocol.packages import Buffer, parse_opening, parse_package_header
from trioton.protocol.policies import Mode
from trioton.protocol.session import PackageReceived, Role, Session
from trioton.protocol.values import encode_value

SOURCE = bytes(range(16))
KIB = 1024
MIB = KIB * KIB
HELLO = Hello(
    id=ContextId(1), name="", pid=1, host=bytes(16), max_package=1, window_bytes=1, reassembly_bytes=1, lease=1
)


class Peer:
    """The other end of the link: it reads what is written, and judges it as the protocol demands."""

    def __init__(self, reassembly_bytes: int = 32 * MIB, max_package: int = 16 * MIB) -> None:
        self.session = Session(Role.SERVER, Limits(reassembly_bytes=reassembly_bytes, max_package=max_package))
        self.session.receive_data(HELLO.to_frame(FrameKind.HELLO))
        self.session.accept_peer()
        self.events: list[Any] = []

    def read(self, buffers: list[Buffer]) -> list[Any]:
        events = self.session.receive_data(b"".join(buffers))
        self.events += events
        return events

    @property
    def numbers(self) -> list[int]:
        """The numbers of the messages of all packages, in order of arrival."""
        packages = [event.header for event in self.events if isinstance(event, PackageReceived)]
        return [number for header in packages for number in range(header.first, header.first + header.count)]


@attrs.define
class Written:
    """One frame that was written."""

    kind: int
    header: bytes
    size: int


def frames_of(buffers: list[Buffer]) -> list[Written]:
    data = b"".join(buffers)
    frames, position = [], 0
    while position < len(data):
        kind, _, header_size, body_size = PREFIX.unpack_from(data, position)
        position += PREFIX_SIZE
        frames.append(Written(kind, data[position : position + header_size], body_size))
        position += header_size + body_size
    assert position == len(data)
    return frames


def ping(nonce: int) -> bytes:
    return control.encode_control(control.Ping(nonce))


def open_branch(
    outbox: Outbox, mode: Mode = Mode.BLOCK, size: int = 100, slot: str = "slot", stream: int = 1
) -> tuple[SendFlow, Branch]:
    """A flow with one branch, which may send a thousand messages if it blocks."""
    flow = SendFlow(SOURCE, slot, stream, window_bytes=1 << 40)
    branch = Branch("peer", outbox, mode, size, 1)
    flow.add_branch(branch)
    if mode is Mode.BLOCK:
        flow.grant_first(branch, 1000, now=0)
    return flow, branch


def send(flow: SendFlow, size: int = 1, count: int = 1) -> None:
    """Send `count` packages of one message each, with about `size` bytes."""
    for _ in range(count):
        if size < 16 * KIB:
            flow.add(encode_value(bytes(size)))
            flow.cut()
        else:
            flow.add_large((bytes_head(size), bytes(size)), len(bytes_head(size)) + size)


def drain(outbox: Outbox) -> list[Buffer]:
    buffers: list[Buffer] = []
    while outbox:
        buffers += outbox.next_buffers()
    assert outbox.queued == 0
    return buffers


# -------------------------------------------------------------------------------------------------------------- stories


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


# ------------------------------------------------------------------------------------------------------------- dropping


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


# ------------------------------------------------------------------------------------------------------------- changes


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


# ------------------------------------------------------------------------------------------------------ links that drop


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


# ----------------------------------------------------------------------------------------------------- whatever happens


@attrs.define
class Stream:
    """A flow with its only branch, and what the peer knows of it."""

    flow: SendFlow
    branch: Branch
    received: ReceiveFlow
    arrived: int = 0
    gaps: int = 0


class OutboxWorld(RuleBasedStateMachine):
    """Flows of all kinds share a link, whose other end is a `Session` that refuses all that is not allowed."""

    @initialize(
        modes=st.lists(st.sampled_from(Mode), min_size=1, max_size=4),
        size=st.integers(1, 6),
        queue_bytes=st.sampled_from([1000, 300 * KIB, 2 * MIB]),
        open_limit=st.sampled_from([1, 400 * KIB, 32 * MIB]),
    )
    def open(self, modes: list[Mode], size: int, queue_bytes: int, open_limit: int) -> None:
        self.outbox = Outbox(queue_bytes)
        self.outbox.open_limit = self.open_limit = open_limit
        self.peer = Peer(open_limit, max_package=MIB)
        self.streams: list[Stream] = []
        for number, mode in enumerate(modes):
            flow, branch = open_branch(self.outbox, mode, size, slot=str(number), stream=number)
            if mode is Mode.BLOCK:
                flow.credit(branch, 0, 1 << 40, now=0)
            received = ReceiveFlow(SOURCE, str(number), number, 0)
            received.start(0)
            self.streams.append(Stream(flow, branch, received))
        self.pings = 0
        self.open_bytes: dict[int, int] = {}

    def some(self, data: st.DataObject) -> Stream:
        return data.draw(st.sampled_from(self.streams))

    @rule(data=st.data(), count=st.integers(1, 5), together=st.booleans())
    def send_small(self, data: st.DataObject, count: int, together: bool) -> None:
        flow = self.some(data).flow
        for _ in range(count):
            flow.add(encode_value(flow.next))
            if not together:
                flow.cut()
        flow.cut()

    @rule(data=st.data(), size=st.sampled_from([500, 40 * KIB, 65 * KIB, 200 * KIB, 900 * KIB]))
    def send_large(self, data: st.DataObject, size: int) -> None:
        send(self.some(data).flow, size=max(size, 16 * KIB))

    @rule()
    def beat(self) -> None:
        self.pings += 1
        self.outbox.add_control(ping(self.pings))

    @precondition(lambda self: self.outbox)
    @rule()
    def write(self) -> None:
        self.write_once()

    def write_once(self) -> None:
        buffers = self.outbox.next_buffers()
        assert buffers
        frames = frames_of(buffers)
        kinds = [frame.kind for frame in frames]
        assert kinds == sorted(kinds, key=lambda kind: kind != FrameKind.PING), "control goes first"
        pieces = [frame for frame in frames if frame.kind != FrameKind.PACKAGE or frame.size > SMALL_FRAGMENT]
        pieces = [frame for frame in pieces if frame.kind != FrameKind.PING]
        assert len(pieces) <= 1, "at most one fragment a time"
        for piece in pieces:
            self.check_piece(piece)
        for event in self.peer.read(buffers):
            if isinstance(event, PackageReceived):
                self.arrive(event)

    def check_piece(self, piece: Written) -> None:
        if piece.size > SMALL_FRAGMENT:
            waiting = {number for number, stream in enumerate(self.streams) if self.outbox.holds(str(number))}
            assert piece.size <= LARGE_FRAGMENT
            assert len(waiting) <= 1, "somebody else waits"
        if piece.kind == FrameKind.OPENING:
            tag, size, _ = parse_opening(piece.header)
            self.open_bytes[tag] = size

    def arrive(self, event: PackageReceived) -> None:
        stream = self.streams[int(event.header.slot)]
        known, missing = stream.received.receive(event.header, is_last=event.is_last)
        assert not known, "sent twice"
        stream.arrived += event.header.count
        stream.gaps += missing
        if stream.branch.blocks:
            assert not missing, "out of order or lost"

    @rule(data=st.data())
    def lose_link(self, data: st.DataObject) -> None:
        """The rest of what is under way is lost, all else goes on over a new link."""
        self.outbox.restart()
        self.peer = Peer(self.open_limit, max_package=MIB)
        for stream in self.streams:
            if data.draw(st.booleans()):
                stream.flow.add(encode_value("meanwhile"))
                stream.flow.cut()
            if stream.branch.blocks:
                assert stream.received.expected is not None
                stream.flow.resume(stream.branch, stream.received.expected)

    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        stream = self.some(data)
        if stream.branch.blocks:
            assert stream.received.expected is not None
            stream.flow.credit(stream.branch, stream.received.expected, 1 << 40, now=0)

    @invariant()
    def counts_add_up(self) -> None:
        for stream in self.streams:
            branch = stream.branch
            assert stream.arrived + stream.gaps <= stream.flow.next
            assert 0 <= branch.queued <= branch.queued_messages or not branch.queued
            if not branch.blocks and branch.queued > 1:
                assert branch.queued_messages <= max(branch.size, 5)
        assert self.outbox.queued >= sum(stream.branch.queued for stream in self.streams)

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        while self.outbox:
            self.write_once()
        assert not self.peer.session.is_mid_frame
        for stream in self.streams:
            assert stream.branch.queued == stream.branch.queued_messages == 0
            if stream.branch.blocks:
                assert stream.arrived == stream.flow.next
            # Whoever does not block knows of all that it does not have, but for what a lost link took with it at the end.
            stream.flow.branches.clear()
            end = parse_package_header(stream.flow.end().header)
            _, missing = stream.received.receive(end, is_last=True)
            assert stream.arrived + stream.gaps + missing == stream.flow.next - 1


TestOutbox = OutboxWorld.TestCase
