"""What a context does for its stubs: it tells each of the contexts that this one has to do with, and of no others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from ...protocol.records import NoRoute, Want, WantKind, encode_record
from ...protocol.stubs import View, Ways

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...protocol.records import Guidance
    from ...protocol.stubs import Wish
    from ...protocol.topology import Topology
    from ..connection import Connection
    from ..context import Context
    from .upward import Upward

logger = logging.getLogger("trioton.context")

K = TypeVar("K")


class Parenthood:
    """The stubs of a context.

    What changes gathers, and is told with the next flood, or before something is passed down that depends on it.

    Args:
        context: The context.
        topology: What is known of all contexts.
        upward: Knows more, if the context is a stub itself.
        send: Sends encoded records to a neighbour.
        wake: Sees to it that `flush` is called soon.

    Attributes:
        has_news: Whether anything has gathered.
    """

    def __init__(
        self,
        context: Context,
        topology: Topology,
        upward: Upward,
        send: Callable[[Connection, Iterable[bytes]], None],
        wake: Callable[[], object],
    ) -> None:
        self._context = context
        self._topology = topology
        self._upward = upward
        self._send = send
        self._wake = wake
        self._views: dict[Connection, View] = {}
        self._ways = Ways()
        self._due: dict[Connection, dict[bytes, None]] = {}
        self._wanting: dict[Wish, dict[Connection, None]] = {}
        self._told_to: dict[bytes, dict[Connection, None]] = {}
        self._asked: dict[bytes, dict[Connection, None]] = {}  # by stubs, and not known here: the parent is asked
        self._doubted: dict[bytes, dict[Connection, None]] = {}
        self._own_partings: Mapping[bytes, int] = {}
        self.has_news = False

    # ---------------------------------------------------------------- stubs come and go

    def begin(self, connection: Connection) -> None:
        """A link to a stub is new: it says anew what it wants to be told of, and may have missed what it was told last."""
        view = self._views.get(connection)
        if view is None:
            self._topology.forget_route(connection.peer.wire_id)
            view = self._views[connection] = View(connection.peer.wire_id, self._context._limits.subscriptions)
        known = view.begin()
        self._send(connection, [encode_record(view.own_route(self._topology))])
        self._mark(connection, known)

    def settle(self, connection: Connection) -> None:
        """A stub has said, over a new link, all that it wants to be told of."""
        view = self._views.get(connection)
        for wish in [] if view is None else view.settle():
            self._unwant(connection, wish)

    def forget(self, connection: Connection) -> None:
        """The session with a stub is over."""
        view = self._views.pop(connection, None)
        if view is None:
            return
        self._due.pop(connection, None)
        for context in list(view.told):
            self._untell(connection, context)
        for wish in view.wishes:
            self._unwant(connection, wish)
        for index in (self._asked, self._doubted):
            for context in [each for each, connections in index.items() if connection in connections]:
                _discard(index, context, connection)

    def wants(self, wish: Wish) -> bool:
        """Whether any stub wants to be told of something."""
        return wish in self._wanting

    @property
    def asked(self) -> list[bytes]:
        """The contexts that stubs ask for and that are not known here."""
        return list(self._asked)

    def wishes(self) -> Iterable[Wish]:
        """What all stubs want to be told of."""
        return self._wanting.keys()

    def may_speak_for(self, connection: Connection, context: bytes) -> bool:
        """Whether a stub is believed what it says of a context: it must be below it."""
        view = self._views.get(connection)
        return view is not None and view.may_speak_for(self._topology, context)

    def reconsider(self, connection: Connection) -> None:
        """What a stub has said before may be why it may speak for others now: draw all conclusions from that."""
        self._context._mesh.membership.update()
        view = self._views.get(connection)
        if view is not None:
            view.forget_those_gone(self._topology)

    def has_spoken_for(self, connection: Connection, context: bytes) -> bool:
        """Whether a stub was believed before what it said of a context, which may have gone elsewhere meanwhile."""
        view = self._views.get(connection)
        return view is not None and context in view.below

    def doubt(self, connection: Connection, context: bytes) -> None:
        """A stub spoke for a context that is elsewhere: perhaps it was too early."""
        if len(self._doubted) < self._context._limits.subscriptions:
            self._doubted.setdefault(context, {})[connection] = None

    # ---------------------------------------------------------------- what they want

    def hear(self, connection: Connection, want: Want) -> None:
        """A stub wants to be told of something."""
        view, topology, wish = self._views[connection], self._topology, (want.what, want.key)
        if not want.is_wanted:
            view.hear(want)
            self._unwant(connection, wish)
            return
        # A stub can want no more of its parent than the parent takes: some of that is for itself.
        most = self._context._limits.subscriptions
        is_too_much = self._upward.connection is not None and len(self._wanting) >= most // 2
        if (is_too_much and wish not in self._wanting and want.what != WantKind.ONCE) or not view.hear(want):
            if not view.has_warned:
                view.has_warned = True
                logger.warning("%s: stub %s wants to be told of too much", self._context, connection.peer)
            if want.what == WantKind.SLOT:
                self._send(connection, [encode_record(want)])
            return
        if want.what == WantKind.ONCE:
            assert isinstance(want.key, bytes)
            self._ask_for(connection, want.key)
            return
        self._wanting.setdefault(wish, {})[connection] = None
        self._upward.refresh(wish)
        found: Iterable[bytes]
        is_answered = False
        if isinstance(want.key, bytes):
            found = [want.key]
        elif want.what == WantKind.SLOT:
            # Who has ceased to listen while the stub did not want to know must be told of, too.
            found = [record.origin for record in topology.interested(want.key)] + view.told_on(want.key)
            is_answered = self._upward.has_answered(want.key)
        else:
            nodes = [topology.node(each) for each in topology.contexts()]
            found = [node.origin for node in nodes if node is not None and node.name == want.key]
        self._mark(connection, found)
        self.flush_to(connection)
        if is_answered:
            self._send(connection, [encode_record(want)])

    def _ask_for(self, connection: Connection, context: bytes) -> None:
        """A stub asks for a context."""
        is_too_much = len(self._asked) >= self._context._limits.subscriptions
        if self._topology.node(context) is not None or is_too_much or not self._upward.ask(context):
            self._answer_once(connection, context)
            return
        self._asked.setdefault(context, {})[connection] = None

    def _answer_once(self, connection: Connection, context: bytes) -> None:
        view = self._views[connection]
        view.told.pop(context, None)  # it is told again
        self._mark(connection, [context])
        self.flush_to(connection)
        if context not in view.told:
            _discard(self._told_to, context, connection)
            self._send(connection, [encode_record(NoRoute(context))])

    def answered(self, slot: str) -> None:
        """All are known here now who listen to a slot."""
        for connection in self._wanting.get((WantKind.SLOT, slot), ()):
            self.flush_to(connection)
            self._send(connection, [encode_record(Want(WantKind.SLOT, slot, is_wanted=True))])

    def answered_once(self, context: bytes) -> None:
        """The parent has said whether a context can be reached."""
        for connection in self._asked.pop(context, ()):
            self._answer_once(connection, context)

    def give_up_asking(self) -> None:
        """There is no parent any more: nobody else can be reached."""
        for context in list(self._asked):
            self.answered_once(context)

    def _unwant(self, connection: Connection, wish: Wish) -> None:
        _discard(self._wanting, wish, connection)
        self._upward.refresh(wish)

    # ---------------------------------------------------------------- what they must hear

    def ensure(self, connection: Connection, context: bytes) -> None:
        """Something follows that comes from a context: the stub must know that, and all that has gathered."""
        view = self._views.get(connection)
        if view is not None and context not in view.told and context != self._topology.own.origin:
            self._mark(connection, [context])
        if connection in self._due:
            self.flush_to(connection)

    def changed(self, context: bytes) -> None:
        """Something is another about a context, or it cannot be reached any more."""
        for connection in self._told_to.get(context, ()):
            self._mark(connection, [context])

    def interest_changed(self, context: bytes, slot: str) -> None:
        """A context listens to a slot in another way."""
        for connection in self._wanting.get((WantKind.SLOT, slot), ()):
            self._mark(connection, [context])

    def joined(self, context: bytes) -> None:
        """A context can be reached now."""
        if not self._views:
            return
        topology = self._topology
        node = topology.node(context)
        wishes: list[Wish] = [(WantKind.SLOT, slot) for slot in topology.slots_of(context)]
        wishes += [(WantKind.CONTEXT, context), (WantKind.NAME, "" if node is None else node.name)]
        for wish in wishes:
            for connection in self._wanting.get(wish, ()):
                self._mark(connection, [context])
        # If it is below a stub, that must hear of those who have given it up before.
        nearer = topology.next_hop(topology.own.origin, context)
        above = None if nearer is None else self._context._neighbours.route(nearer)
        view = None if above is None else self._views.get(above)
        if above is not None and view is not None:
            nodes = [topology.node(each) for each in view.told]
            self._mark(above, [each.origin for each in nodes if each is not None and context in each.partings])
            self.tell_partings(topology.own.partings, is_new=context in topology.own.partings)

    def gone(self, context: bytes) -> None:
        """A context cannot be reached any more."""
        self.changed(context)
        for connection in self._doubted.pop(context, ()):
            if connection.open_link is not None:
                self._send(connection, [encode_record(self._topology.digest([connection.peer.wire_id]))])

    def ways_changed(self) -> None:
        """Links have come or gone: some ways may be others now."""
        for context in list(self._told_to):
            if self._ways.has_changed(self._topology, context):
                self.changed(context)

    def tell_partings(self, partings: Mapping[bytes, int], *, is_new: bool = False) -> None:
        """This context has counted a parting: if it is one from a stub, or from one below that, the stub must hear of it."""
        if partings is self._own_partings and not is_new:
            return
        self._own_partings = partings
        for connection, view in self._views.items():
            route = view.own_route(self._topology)
            if route.partings:
                self._send(connection, [encode_record(route)])

    def _mark(self, connection: Connection, contexts: Iterable[bytes]) -> None:
        for context in contexts:
            self._due.setdefault(connection, {})[context] = None
            self.has_news = True
        if self.has_news:
            self._wake()

    def flush(self) -> None:
        """Tell all stubs what has gathered."""
        self.has_news = False
        for connection in list(self._due):
            self.flush_to(connection)

    def flush_to(self, connection: Connection) -> None:
        """Tell one stub what has gathered; if there is no link to it, it is told with the next one."""
        due = self._due.pop(connection, None)
        view = self._views.get(connection)
        if not due or view is None:
            return
        if connection.open_link is None:
            self._due[connection] = due
            return
        records: list[Guidance] = []
        for context in due:
            record = view.update(self._topology, context, self._ways.number(self._topology, context))
            if record is not None:
                records.append(record)
            if context in view.told:
                self._told_to.setdefault(context, {})[connection] = None
            else:
                self._untell(connection, context)
        if records:
            self._send(connection, map(encode_record, records))

    def _untell(self, connection: Connection, context: bytes) -> None:
        _discard(self._told_to, context, connection)
        if context not in self._told_to:
            self._ways.forget(context)


def _discard(index: dict[K, dict[Connection, None]], key: K, connection: Connection) -> None:
    connections = index.get(key)
    if connections is not None:
        connections.pop(connection, None)
        if not connections:
            del index[key]
