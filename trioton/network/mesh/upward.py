"""What a stub wants its parent to tell it, and what it was told.

A stub does not learn the whole network. It says which slots it sends on, and hears who listens there; and it asks for those contexts that
it names by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...protocol.flow import Branch
from ...protocol.identity import ID_BYTES
from ...protocol.permissions import REPORTS_SLOT
from ...protocol.policies import Mode
from ...protocol.records import NoRoute, Route, Want, WantKind, encode_record
from ..association import Association

if TYPE_CHECKING:
    from ...protocol.flow import SendFlow
    from ...protocol.packages import Package
    from ...protocol.records import Guidance
    from ...protocol.stubs import Wish
    from ...protocol.topology import Topology
    from ..connection import Connection
    from ..context import Context
    from ..sending.outlet import Outlet
    from .parenthood import Parenthood


class _Nowhere:
    """Stands where the outbox of those would be who are not known yet."""

    links_lost = 0

    def add_package(self, _branch: Branch, _package: Package, _flow: SendFlow) -> None:
        """Nothing is sent before it is known to whom."""

    def remove_branch(self, branch: Branch) -> None:
        """Nothing waits here."""


class Upward:
    """A stub's talk with its parent. In a context that is none it does nothing.

    Args:
        context: The context.
        topology: What is known of other contexts.
        send: Sends encoded records to a neighbour.

    Attributes:
        connection: The connection to the parent, as long as there is a session; None in a context that is no stub.
    """

    def __init__(
        self, context: Context, topology: Topology, send: Callable[[Connection, Iterable[bytes]], None]
    ) -> None:
        self.connection: Connection | None = None
        self.parenthood: Parenthood
        self._context = context
        self._topology = topology
        self._send = send
        self._own: dict[Wish, int] = {(WantKind.SLOT, REPORTS_SLOT): 1}
        self._told: dict[Wish, None] = {}
        self._unanswered: dict[str, None] = {}
        self._just_answered: dict[str, None] = {}
        self._held: dict[str, dict[Outlet, Association]] = {}
        self._presumed: dict[bytes, None] = {}
        self._answers: list[bytes] = []

    # ---------------------------------------------------------------- links and sessions

    def begin(self, connection: Connection) -> None:
        """A link to the parent is new: say anew what is wanted, and ask what has become of those who are known."""
        self.connection = connection
        self._told.clear()
        wishes = dict.fromkeys([*self._own, *self.parenthood.wishes()])
        doubtful = [origin for origin, route in self._topology.routes.items() if route.hops] + self.parenthood.asked
        records: list[Guidance] = [Want(WantKind.ONCE, origin, is_wanted=True) for origin in doubtful]
        records += [self._want(wish, is_wanted=True) for wish in wishes]
        self._send(connection, map(encode_record, records))

    @property
    def is_settled(self) -> bool:
        """Whether the parent has told all that it was asked for."""
        return not self._unanswered

    def over(self) -> None:
        """The session with the parent is over: nobody can be reached but those below."""
        self.connection = None
        self._topology.remove_routes()
        self._told.clear()
        self._presumed.clear()
        self._just_answered.update(self._unanswered)
        self._unanswered.clear()

    # ---------------------------------------------------------------- wishes

    def refresh(self, wish: Wish) -> None:
        """Something is wanted, or is not any more, by this context or by a stub of it: the parent must know."""
        connection = self.connection
        if connection is None or connection.open_link is None:
            return  # with the next link it is told all
        is_wanted = wish in self._own or self.parenthood.wants(wish)
        if is_wanted is not (wish in self._told):
            self._send(connection, [encode_record(self._want(wish, is_wanted=is_wanted))])

    def _want(self, wish: Wish, *, is_wanted: bool) -> Want:
        what, key = wish
        if is_wanted:
            self._told[wish] = None
        else:
            self._told.pop(wish, None)
        if what == WantKind.SLOT and isinstance(key, str):
            if is_wanted:
                self._unanswered[key] = None
            elif self._unanswered.pop(key, 0) is None:
                self._just_answered[key] = None
        return Want(what, key, is_wanted)

    def has_answered(self, slot: str) -> bool:
        """Whether all who listen to a slot are known here, if anybody has asked for them."""
        return slot not in self._unanswered

    def _use(self, wish: Wish) -> None:
        self._own[wish] = self._own.get(wish, 0) + 1
        self.refresh(wish)

    def _disuse(self, wish: Wish) -> None:
        self._own[wish] -= 1
        if not self._own[wish]:
            del self._own[wish]
        self.refresh(wish)

    def watched(self, slot: str, is_watched: bool) -> None:
        """Something here must know who listens to a slot, or need not know it any more."""
        (self._use if is_watched else self._disuse)((WantKind.SLOT, slot))

    def disuses(self, slot: str) -> None:
        """This context has ceased to send on a slot."""
        self._disuse((WantKind.SLOT, slot))

    def opened(self, outlet: Outlet) -> None:
        """This context begins to send on a slot: what is sent waits until it is known who listens there."""
        slot = outlet.flow.slot
        self._use((WantKind.SLOT, slot))
        if slot in self._unanswered and self.connection is not None:
            awaited = Association(self._context, self.connection.peer)
            self._held.setdefault(slot, {})[outlet] = awaited
            branch = Branch(awaited, _Nowhere(), Mode.BLOCK, 1, 0)
            branch.taken = branch.begun = outlet.flow.cut_to
            outlet.add_branch(branch)

    @contextmanager
    def looking_for(self, name_or_id: str | int) -> Iterator[None]:
        """In this block it is told if a context with this name or identity can be reached."""
        wish = _wish(name_or_id)
        self._use(wish)
        try:
            yield
        finally:
            self._disuse(wish)

    # ---------------------------------------------------------------- single contexts

    def ask(self, context: bytes) -> bool:
        """Ask the parent whether a context can be reached; gives whether there is one to ask."""
        connection = self.connection
        if connection is None:
            return False
        if connection.open_link is not None:
            self._send(connection, [encode_record(Want(WantKind.ONCE, context, is_wanted=True))])
        return True

    def presume(self, context: bytes) -> None:
        """Something is to be said to a context that is not known: it is taken to be somewhere beyond the parent until that denies it."""
        connection, topology = self.connection, self._topology
        if connection is None or context in topology.routes or context == topology.own.origin:
            return
        limits = self._context._limits
        most, window, parent = limits.max_package, limits.window_bytes, connection.peer.wire_id
        if topology.learn_route(parent, Route(context, "", 0, most, window, 1, 0, {}, ())) is not None:
            self._presumed[context] = None
            self.ask(context)
            self._context._mesh.membership.update()

    def is_presumed(self, context: bytes) -> bool:
        """Whether nobody has confirmed yet that a context can be reached."""
        return context in self._presumed

    # ---------------------------------------------------------------- what the parent says

    def heard(self, record: Guidance) -> list[str]:
        """The parent says something; gives the slots on which the interest of that context has changed."""
        assert self.connection is not None
        if isinstance(record, Want):
            if record.what == WantKind.SLOT and isinstance(record.key, str) and record.key in self._unanswered:
                del self._unanswered[record.key]
                self._just_answered[record.key] = None
            return []
        if isinstance(record, NoRoute):
            self._presumed.pop(record.origin, None)
            self._topology.remove_route(record.origin)
            self._answers.append(record.origin)
            return []
        near = self._context._neighbours.route(record.origin)
        if near is not None and near is not self.connection:
            return []
        slots = self._topology.learn_route(self.connection.peer.wire_id, record)
        if slots is None:
            return []
        mesh = self._context._mesh
        if record.origin in self._presumed:
            del self._presumed[record.origin]
            mesh.membership.confirmed(record)
        own = self._topology.own.origin
        if own in record.partings:
            mesh.membership.heard_parting(record.origin, record.partings[own])
        self.parenthood.changed(record.origin)
        self._answers.append(record.origin)
        return slots

    def settle(self) -> None:
        """All that has come has been taken in: go on with what has waited for it."""
        for context in self._answers:
            self.parenthood.answered_once(context)
        self._answers.clear()
        while self._just_answered:
            slot, _ = self._just_answered.popitem()
            self.parenthood.answered(slot)
            for outlet, awaited in self._held.pop(slot, {}).items():
                self._context._traffic.lives.remove_branch(outlet, awaited)


def _wish(name_or_id: str | int) -> Wish:
    """How a context with a possible name or identity is wanted."""
    if isinstance(name_or_id, str):
        return WantKind.NAME, name_or_id
    return WantKind.CONTEXT, int(name_or_id).to_bytes(ID_BYTES, "big")
