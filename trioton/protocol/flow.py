"""The sending side of a flow: numbering, runs, room, and what must be kept until it has been taken.

A flow is what one context sends on one slot. Its messages are numbered from 0. They gather as encoded pieces until they are cut
into a package, which every branch (a neighbour with receivers behind it) gets. Blocking branches say up to which number may be
sent and up to which all has been taken; the flow goes by the slowest, and keeps packages until the slowest has taken them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Final, Protocol

from . import codec
from .frames import FLAG_SKIPPED
from .limits import MAX_RUN_BYTES, MAX_RUN_MESSAGES
from .packages import Buffer, Package, PackageKind, PackageTemplate
from .policies import Mode
from .way import Lane, Way

UNLIMITED: Final = 1 << 62
"""The room of a flow that nobody limits."""

LARGE_MESSAGE: Final = MAX_RUN_BYTES // 2
"""From this many bytes on, a message makes a package of its own, so that its bytes are not copied to join them with others."""

CUT_BYTES: Final = MAX_RUN_BYTES - LARGE_MESSAGE
"""A run is cut when it has this many bytes: one more message that is not large still fits."""


class Sink(Protocol):
    """Where the packages for a branch go: a link's outbox, or the context itself.

    Attributes:
        links_lost: How many links it has outlived; what they did not bring must be sent again.
    """

    links_lost: int

    def add_package(self, branch: Branch, package: Package, flow: SendFlow) -> None:
        """Take a package for a branch."""

    def remove_branch(self, branch: Branch) -> None:
        """Forget what waits for a branch."""


ONE_MESSAGE: Final = codec.array_head(1)


class Branch:
    """One neighbour with receivers of a flow.

    Attributes:
        key: The neighbour; whatever the owner uses.
        outbox: Where packages for it go.
        mode: What happens when it has no room.
        size: Messages that may wait for it in a mode that drops.
        subscriptions: How many subscriptions stand behind it.
        is_ready: Whether it has said how much room it has; until then nothing is sent to it.
        taken: All before this number has been taken, by what it said last.
        limit: Messages before this number may be sent to it.
        queued: Packages that wait for it in its outbox.
        queued_messages: The messages in them.
        begun: The first message that it is to get, or to know that it missed.
        is_behind: Whether the newest messages of the flow were dropped for it, and it does not know.
        links_lost: Those that the outbox had lost when it was last known where the neighbour stands. If it has lost more, a
            blocking neighbour is sent nothing before `SendFlow.resume` is called.
        agreed: The record of its interest when it said how much room it has: a later interest may no longer stand by that.
        since: When it last said that it has taken more; for the report of a congestion.
        address: The identity of its context, for packages that are meant for it alone.
        is_remote: Whether it is no neighbour.
        lane: The neighbour through which its packages go, itself or another; None if nobody else can be behind that.
        way: The way through that neighbour, if it is shared with others or leads on from there; else None.
        received: All before this number has come there, as it has said itself; only those that are no neighbours do.
    """

    __slots__ = (
        "address",
        "agreed",
        "begun",
        "is_behind",
        "is_ready",
        "is_remote",
        "key",
        "lane",
        "limit",
        "links_lost",
        "mode",
        "outbox",
        "queued",
        "queued_messages",
        "received",
        "since",
        "size",
        "subscriptions",
        "taken",
        "way",
    )

    def __init__(self, key: Hashable, outbox: Sink, mode: Mode, size: int, subscriptions: int) -> None:
        self.key = key
        self.outbox = outbox
        self.mode = mode
        self.size = size
        self.subscriptions = subscriptions
        self.is_ready = mode is not Mode.BLOCK
        self.taken = 0
        self.limit = 0
        self.queued = 0
        self.queued_messages = 0
        self.is_behind = False
        self.links_lost = outbox.links_lost
        self.agreed = 0
        self.begun = 0
        self.since = -math.inf
        self.address: bytes | None = None
        self.is_remote = False
        self.lane: Lane | None = None
        self.way: Way | None = None
        self.received = 0

    @property
    def blocks(self) -> bool:
        """Whether the flow waits for this branch."""
        return self.mode is Mode.BLOCK

    @property
    def has_come(self) -> int:
        """All before this number has come there, as far as is known; of neighbours that do not block nothing is."""
        return max(self.taken, self.received) if self.blocks else self.received


class SendFlow:
    """Everything that one context sends on one slot.

    `room` says how many messages may be added now. It is decided anew whenever a branch comes, goes or reports; the owner
    checks it before each `add`.

    Args:
        source: The 16 bytes of the sending context's identity.
        slot: The slot.
        stream: Which life of the flow this is; larger than that of any earlier flow of this source on this slot.
        window_bytes: Bytes that may be ahead of the slowest blocking branch.
        destination: The only receiver's identity, or None to publish.
    """

    def __init__(
        self, source: bytes, slot: str, stream: int, *, window_bytes: int, destination: bytes | None = None
    ) -> None:
        self.source = source
        self.slot = slot
        self.stream = stream
        self.destination = destination
        self.window_bytes = window_bytes
        self.cut_to = 0
        self.room = UNLIMITED
        self.taken = 0
        self.limit = UNLIMITED
        self.branches: dict[Hashable, Branch] = {}
        self.pieces: list[bytes | str] = []
        self.piece_bytes = 0
        self.log: deque[Package] = deque()
        self.log_bytes = 0
        self.is_ended = False
        self.is_held = False
        self.ways: dict[Lane, Way] = {}
        self._is_arranged = True
        self._templates: dict[bytes, PackageTemplate] = {}
        self._template = PackageTemplate(source, slot, stream, destination)
        self.takes_text = True
        self._blocking = 0

    # ---------------------------------------------------------------- branches

    def add_branch(self, branch: Branch) -> None:
        """A neighbour listens from now on; a blocking one once `grant_first` has been called for it."""
        self.branches[branch.key] = branch
        self.arrange_again()
        self.update_room()

    def remove_branch(self, key: Hashable) -> None:
        """A neighbour no longer listens, or is gone."""
        if self.branches.pop(key, None) is not None:
            self.arrange_again()
            self.update_room()

    def grant_first(self, branch: Branch, size: int, *, now: float, agreed: int = 0) -> int:
        """A blocking branch says how much room it has at first; gives the number of the first message that it gets.

        What has gathered must have been cut before, since it may be more than the branch has room for.
        """
        assert not self.pieces
        branch.agreed = agreed
        branch.links_lost = branch.outbox.links_lost
        branch.taken = self.cut_to
        if not branch.is_ready:
            branch.is_ready = True
            branch.begun = branch.taken
        self.arrange_again()
        branch.limit = branch.taken + size
        branch.since = now
        self.update_room()
        return branch.taken

    def credit(self, branch: Branch, taken: int, limit: int, now: float) -> int | None:
        """A blocking branch says what it has taken and how far may be sent.

        Returns:
            The limit that is kept to, if the one given is lower than before; else None.
        """
        taken = min(taken, self.next)
        if taken > branch.taken:
            branch.since = now
        was_slowest = branch.limit <= self.limit or branch.taken <= self.taken
        branch.taken = max(branch.taken, taken)
        kept = None
        if limit >= branch.limit:
            branch.limit = limit
        else:
            kept = branch.limit = max(limit, self.next)
        if was_slowest or kept is not None:
            self.update_room()
        return kept

    def arrange_again(self) -> None:
        """Who listens, how, or through which neighbour has changed: packages may have to go other ways. `update_room` is to follow."""
        self._is_arranged = False

    def _arrange(self) -> None:
        """Find the neighbours through which packages go on to others, and share one way among all behind each of them."""
        self._is_arranged = True
        members: dict[Lane, list[Branch]] = {}
        for branch in self.branches.values():
            branch.way = None
            if branch.lane is not None and self.destination is None:
                members.setdefault(branch.lane, []).append(branch)
        known, self.ways = self.ways, {}
        for lane, branches in members.items():
            if not any(branch.is_remote for branch in branches):
                continue  # only the neighbour itself
            way = self.ways[lane] = known.get(lane) or Way(lane)
            ready = [branch for branch in branches if branch.is_ready]
            way.is_wanted = bool(ready)
            way.mode = min([branch.mode for branch in ready], default=Mode.BLOCK)
            way.size = max([branch.size for branch in ready if branch.mode is way.mode], default=1)
            way.members = branches
            way.own = next((branch for branch in branches if not branch.is_remote), None)
            for branch in branches:
                branch.way = way

    @property
    def is_blocked_by_branch(self) -> bool:
        """Whether it is a blocking branch that keeps messages from being added."""
        used_up = self.next >= self.limit or self.log_bytes + self.piece_bytes >= self.window_bytes
        return self._blocking > 0 and used_up

    def slowest(self) -> Branch | None:
        """The blocking branch that has taken least, or None if none blocks."""
        blocking = [branch for branch in self.branches.values() if branch.blocks]
        return min(blocking, key=lambda branch: (branch.is_ready, branch.taken, branch.limit), default=None)

    def update_room(self) -> None:
        """Decide anew how much may be added, and forget what the slowest branch has taken."""
        if not self._is_arranged:
            self._arrange()
        blocking = [branch for branch in self.branches.values() if branch.mode is Mode.BLOCK and branch.is_ready]
        self._blocking = len(blocking)
        if blocking:
            self.limit = min([branch.limit for branch in blocking])
            self.taken = min([branch.taken for branch in blocking])
        else:
            self.limit = UNLIMITED
            self.taken = self.next
        log = self.log
        while log and log[0].end <= self.taken:
            self.log_bytes -= log.popleft().body_size
        has_bytes = not blocking or self.log_bytes + self.piece_bytes < self.window_bytes
        self.room = self.limit - self.next if has_bytes and not self.is_held else 0

    def hold(self, *, held: bool) -> None:
        """Let nothing be added any more, because other messages must go first; or let it again."""
        self.is_held = held
        self.update_room()

    # ---------------------------------------------------------------- messages

    def add_text(self, text: str, size: int) -> bool:
        """Add an ASCII text of about `size` bytes, which is encoded together with others when its run is cut; see `add`.

        To be called only while `takes_text`. The fastest sender does these steps itself.
        """
        self.pieces.append(text)
        self.room -= 1
        self.piece_bytes += size
        return self.is_due

    def add_texts(self, texts: list[str], size: int) -> bool:
        """Add several ASCII texts of about `size` bytes in all; see `add_text`."""
        self.pieces += texts
        self.room -= len(texts)
        self.piece_bytes += size
        return self.is_due

    def add(self, piece: bytes) -> bool:
        """Add an encoded message, for which there must be room.

        Returns:
            Whether the pieces should be cut now.
        """
        if self.takes_text:
            self.takes_text = False
            self.pieces = [codec.text_head(len(text)) + text.encode() for text in self.pieces]  # type: ignore[union-attr]
        self.pieces.append(piece)
        self.room -= 1
        self.piece_bytes += len(piece)
        return self.is_due

    @property
    def is_due(self) -> bool:
        """Whether what has gathered makes a full run."""
        return self.piece_bytes >= CUT_BYTES or len(self.pieces) >= MAX_RUN_MESSAGES

    @property
    def next(self) -> int:
        """The sequence number of the next message that is added."""
        return self.cut_to + len(self.pieces)

    def cut(self) -> int:
        """Make packages of the gathered pieces and put them on every branch's outbox; gives how many messages they carry."""
        pieces = self.pieces
        count = len(pieces)
        if not count:
            return 0
        self.pieces = []
        self.piece_bytes = 0
        is_text, self.takes_text = self.takes_text, True
        first = self.cut_to
        self.cut_to += count
        for start in range(0, count, MAX_RUN_MESSAGES):
            run = pieces if count <= MAX_RUN_MESSAGES else pieces[start : start + MAX_RUN_MESSAGES]
            if is_text and count == 1:
                body = _lone_text(pieces[0])  # type: ignore[arg-type]  # all pieces are ASCII text while this is set
            elif is_text:
                body = codec.encode_texts(run)  # type: ignore[arg-type]
            else:
                body = codec.array_head(len(run)) + b"".join(run)  # type: ignore[arg-type]  # and bytes otherwise
            self._distribute(self._package((body,), len(body), first + start, len(run)))
        self._was_cut()
        return count

    def cut_lone(self) -> Package:
        """Make the package of the only message that has gathered, and put it nowhere: the owner writes it itself."""
        (piece,) = self.pieces
        self.pieces = []
        self.piece_bytes = 0
        self.takes_text = True
        first = self.cut_to
        self.cut_to = first + 1
        body = _lone_text(piece) if type(piece) is str else ONE_MESSAGE + piece  # type: ignore[operator]  # else it is bytes
        package = self._package((body,), len(body), first, 1)
        self._was_cut()
        return package

    def pass_lone(self, piece: bytes) -> Package:
        """Make the package of one encoded message while nothing has gathered, and put it nowhere: the owner writes it itself."""
        first = self.cut_to
        self.cut_to = first + 1
        self.room -= 1
        package = self._package((ONE_MESSAGE, piece), len(piece) + 1, first, 1)
        self._was_cut()
        return package

    def _package(self, parts: tuple[Buffer, ...], size: int, first: int, count: int) -> Package:
        package = Package(self._template.header(first, count), parts, size, first, count)
        self._keep(package)
        return package

    def _keep(self, package: Package) -> None:
        """Keep a package until the slowest blocking branch has taken it."""
        if self._blocking:
            self.log.append(package)
            self.log_bytes += package.body_size

    def _was_cut(self) -> None:
        """Packages were made: where nobody blocks nothing waits to be taken, else there may be no room left for more bytes."""
        if not self._blocking:
            self.taken = self.cut_to
        elif self.log_bytes >= self.window_bytes:
            self.room = 0

    def add_large(self, buffers: tuple[Buffer, ...], size: int) -> Package:
        """Add one large message as a package of its own, after what has gathered has been cut. Its buffers are not copied."""
        assert not self.pieces
        first = self.cut_to
        self.cut_to += 1
        self.room -= 1
        package = self._package((ONE_MESSAGE, *buffers), size + 1, first, 1)
        self._was_cut()
        self._distribute(package)
        return package

    def skip(self) -> None:
        """Leave a number out, after what has gathered has been cut: a message that was accepted cannot be sent, and all see a gap."""
        assert not self.pieces
        self.cut_to += 1
        self.room -= 1
        package = self.marker(self.cut_to, flags=FLAG_SKIPPED)
        self._keep(package)
        self._was_cut()
        self._distribute(package)

    def end(self) -> Package:
        """End the flow after all that has been added; the end takes a sequence number and is kept like a message."""
        assert not self.pieces
        self.is_ended = True
        package = Package(self._template.header(self.next, 0), (codec.array_head(0),), 1, self.next, 0, is_last=True)
        self.cut_to += 1
        self._keep(package)
        self._was_cut()
        self._distribute(package)
        return package

    def marker(self, position: int, branch: Branch | None = None, *, flags: int = 0) -> Package:
        """An empty package that tells a branch, or all, that all before `position` was sent or dropped."""
        header = self._template_for(branch).header(position, 0)
        return Package(header, (codec.array_head(0),), 1, position, 0, flags=flags)

    def _template_for(self, branch: Branch | None) -> PackageTemplate:
        """What writes the headers of packages for one branch only, or for all: behind a neighbour there may be others."""
        if branch is None or branch.way is None:
            return self._template
        assert branch.address is not None
        template = self._templates.get(branch.address)
        if template is None:
            template = self._templates[branch.address] = PackageTemplate(
                self.source, self.slot, self.stream, branch.address, PackageKind.AGAIN
            )
        return template

    def _distribute(self, package: Package) -> None:
        # A subscription of the context itself may break at this very package, and its branch go.
        for branch in list(self.branches.values()):
            if branch.is_ready and branch.way is None:
                branch.outbox.add_package(branch, package, self)
        for way in self.ways.values():
            if way.passes_by:
                self._send_singly(way, package)
            elif way.is_wanted:
                way.add(package, self)

    def _send_singly(self, way: Way, package: Package) -> None:
        """Send a package to each context behind a neighbour that cannot take it itself."""
        for branch in way.members:
            if branch.is_remote and branch.is_ready:
                branch.outbox.add_package(branch, self._addressed(package, branch), self)

    def resume(self, branch: Branch, expected: int) -> None:
        """The link to a blocking branch is new, and all before `expected` came over the old one: send the rest again."""
        assert not self.pieces
        branch.outbox.remove_branch(branch)
        branch.links_lost = branch.outbox.links_lost
        for package in self.log:
            if package.end > expected:
                branch.outbox.add_package(branch, self._addressed(package, branch), self)

    def _addressed(self, package: Package, branch: Branch) -> Package:
        """A package that others may have got already, for one branch only."""
        template = self._template_for(branch)
        if template is self._template:
            return package
        header = template.header(package.first, package.count)
        body, size, is_last = package.body, package.body_size, package.is_last
        return Package(header, body, size, package.first, package.count, is_last=is_last, flags=package.flags)


def _lone_text(text: str) -> bytes:
    """The body of a package that carries one ASCII text."""
    return ONE_MESSAGE + codec.text_head(len(text)) + text.encode()
