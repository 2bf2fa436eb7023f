"""What waits to be written to one link: a control lane, which goes first, and a data lane, in the order in which it was sent.

Packages leave whole, except that large ones leave in fragments, between which everything else may pass. For neighbours that do
not block, the data lane is where messages are dropped: whole packages, by the subscription's policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from .flow import Branch
from .frames import FrameKind
from .limits import LARGE_FRAGMENT, MAX_OPEN_FRAGMENTED, SMALL_FRAGMENT
from .packages import Buffer, Fragments, Package
from .policies import Mode
from .way import Way

BATCH_BYTES: Final = 256 * 1024
"""About how many bytes one write takes."""


class PositionedFlow(Protocol):
    """What an outbox must know of a flow whose packages it drops.

    Attributes:
        slot: Its slot.
        cut_to: The number after the last message of which a package was made.
    """

    slot: str
    cut_to: int

    def marker(self, position: int) -> Package:
        """An empty package that says that all before `position` was sent or dropped."""


class _Entry:
    """A package that waits for its turn; `package` is None once it has been dropped."""

    __slots__ = ("branch", "flow", "is_droppable", "package")

    def __init__(self, branch: Branch | Way, package: Package, flow: PositionedFlow) -> None:
        self.branch = branch
        self.package: Package | None = package
        self.flow = flow
        # A package without messages says where its flow stands, or that it ends: that must arrive.
        self.is_droppable = branch.mode is not Mode.BLOCK and package.count > 0

    def forget(self) -> None:
        """The package will not leave."""
        assert self.package is not None
        self.branch.queued -= 1
        self.branch.queued_messages -= self.package.count
        if self.package.held is not None:
            self.package.held.left()
        self.package = None


class LatePackage(Package):
    """Stands in the data lane for a package that is made only when its turn has come.

    Args:
        make: Gives the package, or None if there is none any more.
    """

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Package | None]) -> None:
        super().__init__(b"", (), 0, 0, 0)
        self.make = make


class _Large:
    """A large package under way, and the packages of the same flow that wait for its end."""

    __slots__ = ("branch", "flow", "fragments", "waiting")

    def __init__(self, branch: Branch | Way, flow: PositionedFlow, fragments: Fragments) -> None:
        self.branch = branch
        self.flow = flow
        self.fragments = fragments
        self.waiting: deque[_Entry] = deque()


_NOTHING: Final[deque[_Entry]] = deque()
"""Stands for the packages of links that have had none: it takes 700 bytes to have a deque of one's own. Nothing is ever added to it."""


class Outbox:
    """The lanes of one link.

    Args:
        queue_bytes: Bytes that may wait for neighbours that do not block.

    Attributes:
        open_limit: Bytes of large packages that may be under way at once, as the peer wants it; one always may.
        links_lost: How many links it has outlived.
        dropped: Messages dropped so far.
        packages: Packages handed out so far.
        messages: Messages handed out so far.
        control_bytes: Bytes that wait on the control lane.
    """

    def __init__(self, queue_bytes: int) -> None:
        self._queue_bytes = queue_bytes
        self._control: list[bytes] = []
        self.control_bytes = 0
        self._data = _NOTHING
        self._large: dict[Branch | Way, _Large] = {}
        self._turns: list[
            _Large
        ] = []  # few at most, and mostly none: an empty deque takes 700 bytes more for each link
        self._droppable: dict[Branch | Way, deque[_Entry]] = {}
        self._droppable_bytes = 0
        self._next_tag = 0
        self._open_bytes = 0
        self.open_limit = queue_bytes
        self.links_lost = 0
        self.dropped = 0
        self.packages = 0
        self.messages = 0

    def __bool__(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._control or self._data or self._turns)

    @property
    def queued(self) -> int:
        """Packages that wait, those under way included."""
        return len(self._turns) + len(self._all_waiting())

    def _all_waiting(self) -> list[_Entry]:
        """What waits, those of each flow in their order."""
        behind_large = [entry for large in self._turns for entry in large.waiting]
        return [entry for entry in (*behind_large, *self._data) if entry.package is not None]

    def holds(self, slot: str) -> bool:
        """Whether a package of a flow on this slot waits, or is under way."""
        flows = [large.flow for large in self._turns] + [entry.flow for entry in self._all_waiting()]
        return any(flow.slot == slot for flow in flows)

    def add_control(self, frame: bytes) -> None:
        """Add a frame to the lane that is written first."""
        self._control.append(frame)
        self.control_bytes += len(frame)

    def last_words(self) -> Outbox:
        """Move what waits on the control lane to an outbox of its own: what is added to this one from now on does not leave behind it."""
        last = Outbox(self._queue_bytes)
        last._control, self._control = self._control, []
        last.control_bytes, self.control_bytes = self.control_bytes, 0
        return last

    def add_package(self, branch: Branch, package: Package, flow: PositionedFlow) -> None:
        """Add a package for a neighbour.

        If the neighbour does not block and has no room, its policy drops packages. If it blocks, and the link over which it was
        told of the packages before this one is lost, nothing is added: its flow keeps the package until `SendFlow.resume`.
        """
        if branch.mode is not Mode.BLOCK or branch.links_lost == self.links_lost:
            self.add_shared(branch, package, flow)

    def add_shared(self, branch: Branch | Way, package: Package, flow: PositionedFlow) -> None:
        """Add a package for several contexts behind a neighbour, or what comes from elsewhere and goes on: see `add_package`.

        How far those are that block is known only to their source, so it goes even if the last link is lost.

        Raises:
            OverMemoryError: It came over a link that makes too much wait here. The package was not added.
        """
        if branch.mode is not Mode.BLOCK and not self._make_room(branch, package):
            self.dropped += package.count
            branch.is_behind = True
            return
        if package.held is not None:
            package.held.keep()
        branch.is_behind = False
        entry = _Entry(branch, package, flow)
        branch.queued += 1
        branch.queued_messages += package.count
        if entry.is_droppable:
            self._droppable.setdefault(branch, deque()).append(entry)
            self._droppable_bytes += package.body_size
        if self._data is _NOTHING:
            self._data = deque()
        self._data.append(entry)

    def _make_room(self, branch: Branch | Way, package: Package) -> bool:
        """Whether a package may be added; an empty queue always has room for one, and the end of a flow is never dropped."""
        waiting = self._droppable.get(branch)
        if not waiting or not package.count:
            return True
        while waiting and not self._has_room(branch, package):
            if branch.mode is Mode.DROP_NEWEST:
                return False
            self._drop(waiting.popleft())
        return True

    def _has_room(self, branch: Branch | Way, package: Package) -> bool:
        messages = branch.queued_messages + package.count
        return messages <= branch.size and self._droppable_bytes + package.body_size <= self._queue_bytes

    def _drop(self, entry: _Entry) -> None:
        assert entry.package is not None
        self.dropped += entry.package.count
        self._droppable_bytes -= entry.package.body_size
        entry.forget()

    def _forget(self, entry: _Entry) -> None:
        if entry.is_droppable:
            assert entry.package is not None
            self._droppable_bytes -= entry.package.body_size
            waiting = self._droppable[entry.branch]
            waiting.remove(entry)
            if not waiting:
                del self._droppable[entry.branch]
        entry.forget()

    def remove_branch(self, branch: Branch | Way) -> None:
        """Forget the packages that wait for a neighbour's branch; what is under way still ends as it must."""
        for entry in self._all_waiting():
            if entry.branch is branch:
                self._forget(entry)

    def restart(self) -> None:
        """The link is gone: forget all but what waits for neighbours that do not block. The rest is kept by its flows."""
        kept = []
        for entry in self._all_waiting():
            if entry.branch.mode is Mode.BLOCK:
                self._forget(entry)
            else:
                kept.append(entry)
        self._data = deque(kept) if kept else _NOTHING
        self._control.clear()
        self.control_bytes = 0
        self._large.clear()
        self._turns.clear()
        self._open_bytes = 0
        self.links_lost += 1

    def abandon(self) -> int:
        """Forget everything that waits, because the link is about to end; gives how many messages that were."""
        messages = 0
        for entry in self._all_waiting():
            assert entry.package is not None
            messages += entry.package.count
            self._forget(entry)
        self.restart()
        return messages

    def passed(self, package: Package) -> None:
        """A package leaves on the link without ever having waited here, which is empty."""
        self.packages += 1
        self.messages += package.count

    def next_buffers(self) -> list[Buffer]:
        """Take what shall be written next: all of the control lane and about `BATCH_BYTES` of data. Empty if nothing waits."""
        buffers: list[Buffer] = list(self._control)
        self._control.clear()
        self.control_bytes = 0
        size = 0
        while self._data and size < BATCH_BYTES:
            entry = self._data.popleft()
            package = entry.package
            if package is None:
                continue
            large = self._large.get(entry.branch)
            if large is not None:
                large.waiting.append(entry)
            elif package.body_size <= SMALL_FRAGMENT:
                if not package.body_size:  # no package has no body: this one is made now
                    self._make(entry, package)
                    continue
                size += self._take_whole(entry, package, buffers)
            elif not self._may_open(package):
                self._data.appendleft(entry)
                break
            else:
                self._open(entry, package)
                break
        if self._turns:
            self._take_fragment(buffers)
        return buffers

    def _make(self, entry: _Entry, late: Package) -> None:
        """The turn of a package has come that is made only now: it goes on in the place of what stood for it."""
        assert isinstance(late, LatePackage)
        entry.package = late.make()
        if entry.package is None:
            entry.branch.queued -= 1
        else:
            self._data.appendleft(entry)

    def _leaves(self, entry: _Entry, package: Package) -> None:
        """An entry leaves the lane: from here on it cannot be dropped any more."""
        self.packages += package.kind is FrameKind.PACKAGE
        self.messages += package.count
        branch = entry.branch
        branch.queued -= 1
        branch.queued_messages -= package.count
        if package.held is not None:
            package.held.left()
        if entry.is_droppable:
            waiting = self._droppable[branch]
            waiting.popleft()
            self._droppable_bytes -= package.body_size
            if not waiting:
                del self._droppable[branch]

    def _take_whole(self, entry: _Entry, package: Package, buffers: list[Buffer]) -> int:
        self._leaves(entry, package)
        buffers.append(package.frame())
        self._tell_position(entry.branch, entry.flow, buffers)
        return package.body_size

    def _tell_position(self, branch: Branch | Way, flow: PositionedFlow, buffers: list[Buffer]) -> None:
        if branch.is_behind and not branch.queued:
            # What was dropped behind this package would go unnoticed until the next one: say where the flow stands.
            buffers.append(flow.marker(flow.cut_to).frame())
            branch.is_behind = False

    def _may_open(self, package: Package) -> bool:
        turns = len(self._turns)
        return not turns or (turns < MAX_OPEN_FRAGMENTED and self._open_bytes + package.body_size <= self.open_limit)

    def _open(self, entry: _Entry, package: Package) -> None:
        self._leaves(entry, package)
        large = _Large(entry.branch, entry.flow, Fragments(package, self._next_tag))
        self._next_tag += 1
        self._open_bytes += package.body_size
        self._large[entry.branch] = large
        self._turns.append(large)

    def _take_fragment(self, buffers: list[Buffer]) -> None:
        large = self._turns.pop(0)
        alone = not (self._control or self._turns or len(self._data) > large.branch.queued - len(large.waiting))
        buffers += large.fragments.next_buffers(LARGE_FRAGMENT if alone else SMALL_FRAGMENT)
        if large.fragments.remaining:
            self._turns.append(large)
            return
        del self._large[large.branch]
        self._open_bytes -= large.fragments.size
        self._tell_position(large.branch, large.flow, buffers)
        self._data.extendleft(reversed(large.waiting))
