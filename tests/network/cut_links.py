"""Publishers and a subscriber over links that can be cut at any byte, driven step by step without any task.

The real sending and receiving sides of contexts, outboxes and sessions are put together as `Connection` does it; only the
transport is a list of bytes here. So a test decides about every piece that travels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import attrs

from trioton.network.events import Event, Gap
from trioton.network.receiving.subscription import Subscription
from trioton.network.sending.outlet import Outlet
from trioton.network.traffic import Traffic
from trioton.protocol import control
from trioton.protocol.flow import Branch
from trioton.protocol.frames import FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import Limits
from trioton.protocol.outbox import Outbox
from trioton.protocol.policies import Policy
from trioton.protocol.session import PackageReceived, Role, Session
from trioton.protocol.values import decode_run, encode_value

SLOT = "numbers.obj.pub-sub"
LIMITS = Limits(window_bytes=2000, queue_bytes=2000)


class Hub:
    """Keeps the gaps that are told of."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Gap):
            self.gaps.append(event)


@attrs.frozen
class Peer:
    wire_id: bytes


class Side:
    """A context: what it sends, what it receives, and its ends of links."""

    def __init__(self, number: int) -> None:
        self.id = ContextId(number)
        self.wire_id = self.id.to_wire()
        self.hub = Hub()
        self.ends: dict[bytes, End] = {}
        hub: Any = self.hub
        self.traffic = Traffic(
            self.wire_id,
            LIMITS,
            hub,
            lambda: 0.0,
            self.ends.get,  # type: ignore[arg-type]  # an End stands for a Connection here
            lambda: list(self.ends.values()),  # type: ignore[arg-type]
        )
        self.dispatcher = self.traffic.dispatcher

    def run_flusher(self) -> None:
        """What the flusher task does, until nothing is left to do."""
        while self.dispatcher.is_hot:
            self.traffic.report_due()
            self.dispatcher.cut()
            self.dispatcher.write()
            self.traffic.report_due()
            self.dispatcher.is_hot = bool(self.dispatcher._unwritten)


class End:
    """One end of a connection, which outlives its links, as `Connection` is one."""

    def __init__(self, side: Side, peer: Side, role: Role) -> None:
        self.side = side
        self.peer = Peer(peer.wire_id)
        self.role = role
        self.outbox = Outbox(LIMITS.queue_bytes)
        self.window_bytes = LIMITS.window_bytes
        self.is_same_user = False
        self.awaits_snapshot = True
        self.is_up = False
        self.is_remote = False
        self.memory = None
        self.open_link = None  # so that all that is sent passes the outbox
        self.session: Session
        self.pipe = bytearray()
        self.announced: set[str] = set()
        side.ends[peer.wire_id] = self
        traffic, grants, audience = side.traffic, side.traffic.grants, side.traffic.audience
        association: Any = self
        self.handlers: dict[type, Callable[[Any], object]] = {
            PackageReceived: lambda event: traffic.reception.package(association, event),
            control.Subscribe: self.subscribe_came,
            control.Unsubscribe: lambda event: audience.unsubscribe(association, event),
            control.Credit: lambda event: audience.credit(association, event),
            control.Offer: lambda event: grants.offer(association, event),
            control.Started: lambda event: grants.started(*event),
            control.Kept: grants.kept,
            control.Flush: grants.flush,
            control.Sync: self.sync_came,
            control.Synced: lambda _event: None,
        }

    # what contexts ask of an association

    def equip(self, branch: Branch) -> None:
        """It leads straight to the peer, and nobody is behind that."""

    def send_control(self, message: Any) -> None:
        if self.is_up:
            self.outbox.add_control(control.encode_control(message))
            self.side.dispatcher.will_write(self)  # type: ignore[arg-type]

    def try_write(self) -> None:
        """Nothing: the transport is full until `write`."""

    # what links do

    def link_up(self) -> None:
        self.session = Session(self.role, LIMITS)
        kind = FrameKind.HELLO if self.role is Role.SERVER else FrameKind.WELCOME
        hello = Hello(
            id=self.side.id,
            name="",
            pid=1,
            host=bytes(16),
            max_package=1,
            window_bytes=1,
            reassembly_bytes=1,
            lease=1,
            session=bytes(16),
        )
        self.session.receive_data(hello.to_frame(kind))
        self.session.accept_peer()
        self.is_up = self.awaits_snapshot = True
        self.announced.clear()
        self.pipe.clear()
        association: Any = self
        self.side.traffic.listening.announce(association, self.peer.wire_id)
        self.send_control(control.Sync())
        self.side.traffic.branches.ask_again(association)

    def link_down(self) -> None:
        self.is_up = False
        self.outbox.restart()

    def write(self) -> None:
        if self.is_up:
            self.pipe += b"".join(self.outbox.next_buffers())

    def hear(self, data: bytes) -> None:
        for event in self.session.receive_data(data):
            self.handlers[type(event)](event)

    def subscribe_came(self, message: control.Subscribe) -> None:
        self.announced.add(message.slot)
        self.side.traffic.audience.subscribe(self, message)  # type: ignore[arg-type]

    def sync_came(self, _message: control.Sync) -> None:
        if self.awaits_snapshot:
            self.side.traffic.audience.forget_unannounced(self, self.announced)  # type: ignore[arg-type]
        self.awaits_snapshot = False
        self.send_control(control.Synced())


@attrs.define(eq=False)
class Link:
    """The two ends of a connection between a publisher and the subscriber.

    Attributes:
        has_ended: Whether a channel was closed, of which something may not have arrived yet.
    """

    publisher: Side
    there: End
    here: End
    has_ended: bool = False

    @property
    def ends(self) -> tuple[tuple[End, End], tuple[End, End]]:
        return (self.there, self.here), (self.here, self.there)


@attrs.define(eq=False)
class Channel:
    """A subscription, and what was received over it.

    Attributes:
        received: The publisher and the number of each message.
        from_start: Whether it has been there since before anything was sent.
    """

    subscription: Subscription
    received: list[tuple[int, int]] = attrs.field(factory=list)
    from_start: bool = False

    @property
    def dropped(self) -> int:
        return self.subscription.inbox.counts.dropped

    @property
    def blocks(self) -> bool:
        return self.subscription.inbox.window is not None

    def numbers_of(self, publisher: int) -> list[int]:
        return [number for owner, number in self.received if owner == publisher]

    def take(self, most: int) -> int:
        """Take messages as a receiving channel does it."""
        taken = 0
        inbox, subscription = self.subscription.inbox, self.subscription
        while taken < most:
            if not inbox.ready:
                run = inbox.next_run()
                if run is None:
                    break
                inbox.ready.extend(decode_run(run.body)[run.start : run.stop])
            publisher, number, _ = inbox.ready.popleft()
            self.received.append((publisher, number))
            taken += 1
            subscription.until_credit -= 1
            if subscription.until_credit < 0:
                subscription.credit_due()
        return taken


class Mesh:
    """One subscriber and some publishers, each with one link to it, and all channels on one slot."""

    def __init__(self, publishers: int, *policies: Policy) -> None:
        self.subscriber = Side(1000)
        self.links: list[Link] = []
        self.outlets: dict[int, Outlet] = {}
        self.sent: dict[int, int] = {}
        self.channels: list[Channel] = []
        for number in range(publishers):
            side = Side(number)
            link = Link(side, End(side, self.subscriber, Role.SERVER), End(self.subscriber, side, Role.CLIENT))
            self.links.append(link)
            self.sent[number] = 0
            self.open_outlet(number)
            self.come_back(link)
        for policy in policies:
            self.subscribe(policy)
        self.settle()
        # All that is sent from now on must arrive at these, or be counted.
        for channel in self.channels:
            channel.from_start = True

    def open_outlet(self, number: int) -> None:
        outlet = self.links[number].publisher.traffic.lives.open(SLOT)
        outlet.backlog_size = 1000
        self.outlets[number] = outlet

    def reopen_outlet(self, number: int) -> None:
        """A publisher closes its channel, and opens another on the same slot."""
        link, outlet = self.links[number], self.outlets[number]
        if outlet.flow.next or outlet.backlog:
            link.has_ended = True
            if not link.there.is_up or link.there.awaits_snapshot:
                self.lose_count()
        link.publisher.traffic.lives.close(outlet)
        self.open_outlet(number)

    def lose_count(self) -> None:
        """What a link takes with it of a channel that was closed is the one thing that those who drop never hear of.

        Its publisher has forgotten it by then. That is documented in `docs/explain/promises.rst`, and nothing else is left out here.
        """
        for channel in self.channels:
            channel.from_start = channel.from_start and channel.blocks

    @property
    def sides(self) -> list[Side]:
        return [self.subscriber, *(link.publisher for link in self.links)]

    def subscribe(self, policy: Policy) -> Channel:
        subscription = Subscription(self.subscriber.traffic.listening, SLOT, policy)
        self.subscriber.traffic.listening.add(subscription)
        channel = Channel(subscription)
        self.channels.append(channel)
        return channel

    def close(self, channel: Channel) -> None:
        channel.subscription.close()
        self.channels.remove(channel)

    def send(self, number: int, count: int, size: int = 1) -> int:
        """A publisher sends without waiting, as far as there is room; gives how many messages that were."""
        outlet = self.outlets[number]
        for done in range(count):
            if outlet.flow.room <= 0:
                return done
            piece = encode_value([number, self.sent[number], b"x" * size])
            outlet.add(((piece,), len(piece)))
            self.sent[number] += 1
        return count

    def travel(self, sender: End, receiver: End, share: float = 1.0, more: int = 0) -> bool:
        """Bytes are written, and some of them arrive; whether any did."""
        sender.write()
        if not sender.is_up:
            return False
        size = round(len(sender.pipe) * share) + more
        piece = bytes(sender.pipe[:size])
        del sender.pipe[:size]
        if piece:
            receiver.hear(piece)
        return bool(piece)

    def to_subscriber(self, number: int) -> None:
        """All that a publisher has to say arrives."""
        link = self.links[number]
        link.publisher.run_flusher()
        self.travel(link.there, link.here)

    def to_publisher(self, number: int) -> None:
        link = self.links[number]
        self.subscriber.run_flusher()
        self.travel(link.here, link.there)

    def cut(self, link: Link, share: float = 0.0, more: int = 0) -> None:
        """A link is lost: of what was written, some arrives, and the rest never does."""
        if link.has_ended:
            self.lose_count()
        for sender, receiver in link.ends:
            self.travel(sender, receiver, share, more)
        for end, _ in link.ends:
            end.link_down()

    def come_back(self, link: Link) -> None:
        for end, _ in link.ends:
            end.link_up()

    def settle(self) -> None:
        """Let all that is on its way arrive, and all that follows from it."""
        for _ in range(1000):
            for side in self.sides:
                side.run_flusher()
            ends = itertools.chain.from_iterable(link.ends for link in self.links)
            busy = [self.travel(sender, receiver) for sender, receiver in ends]
            if not any(busy) and not any(side.dispatcher.is_hot for side in self.sides):
                for link in self.links:
                    link.has_ended = link.has_ended and not link.there.is_up
                return
        raise AssertionError("they never come to rest")

    def come_to_rest(self) -> None:
        """All links come up, and all that was sent is taken."""
        for link in self.links:
            if not link.there.is_up:
                self.come_back(link)
        self.settle()
        while sum(channel.take(1) for channel in self.channels):
            self.settle()
        self.check_rest()

    def check_rest(self) -> None:
        for number, outlet in self.outlets.items():
            flow = outlet.flow
            assert not outlet.backlog or not self.channels, "somebody waits for room that is there"
            assert flow.room > 0 or not outlet.is_listened_to
            if any(branch.blocks for branch in flow.branches.values()):
                unconfirmed = flow.next - flow.taken
                sizes = [c.subscription.inbox.policy.size for c in self.channels if c.blocks]
                assert unconfirmed <= max(sizes), "the publisher hears what was taken"
            assert self.links[number].publisher.traffic.outlets.ending == {}
        for channel in self.channels:
            if channel.from_start:
                self.check_whole(channel)

    def check_whole(self, channel: Channel) -> None:
        total = sum(self.sent.values())
        assert len(channel.received) + channel.dropped == total, "all was received, or is known to be missing"
        if channel.blocks:
            assert channel.dropped == 0
            for number, count in self.sent.items():
                assert channel.numbers_of(number) == list(range(count))


@contextmanager
def standing_clock() -> Iterator[None]:
    """Nobody here waits, so it is always the same time."""
    with mock.patch("trio.current_time", lambda: 0.0):
        yield
