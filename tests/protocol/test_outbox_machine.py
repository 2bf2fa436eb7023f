"""Whatever flows do with an outbox in whatever order: nothing is late, nothing is lost without being counted, and order is kept."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import FrameKind
from trioton.protocol.inbox import ReceiveFlow
from trioton.protocol.limits import LARGE_FRAGMENT, SMALL_FRAGMENT
from trioton.protocol.outbox import Outbox
from trioton.protocol.packages import parse_opening, parse_package_header
from trioton.protocol.policies import Mode
from trioton.protocol.session import PackageReceived
from trioton.protocol.values import encode_value

from .outbox_peer import KIB, MIB, SOURCE, Peer, Written, frames_of, open_branch, ping, send


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
