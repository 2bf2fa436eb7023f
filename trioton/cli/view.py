"""What ``trioton top`` and ``trioton graph`` know of a network: the newest reports of its contexts, and what they say together.

The two newest reports of a context are kept, since only the difference tells how fast things go. What stands in them
was written by other processes: `shown` makes of a text what may go to a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

import trioton

from .._svg import one_line
from ..network.inspection import (
    AnsweringReport,
    AskingReport,
    ContextReport,
    LinkReport,
    ReceivingReport,
    ReportError,
    SendingReport,
    StateReport,
)
from ..network.inspector import REPORTS
from .output import say
from .pubsub import dial
from .security import MakeSecurity

PATIENCE: Final = 3.5
"""Seconds that contexts have to send the two reports that rates take."""

STALE_AFTER: Final = 5.0
"""Seconds without a report after which a context that cannot be reached is forgotten."""

MOST_CONTEXTS: Final = 10_000
"""Contexts that are remembered; reports of more are left out."""

MOST_WAITING: Final = 1000
"""Reports that wait to be read; the oldest give way."""

MOST_NAMED: Final = 10
"""Contexts without a report that are named."""

MOST_SHOWN: Final = 60
"""Characters of a text that are shown."""


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Give a text that came as it may be shown: in one line, without control characters, and not too long."""
    text = one_line(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def is_of_requests(slot: str) -> bool:
    """Whether a slot carries requests or their answers, of which a report tells by itself."""
    return slot.endswith((".req-rep", ".rep-req"))


def short_id(identity: str) -> str:
    """Give an identity as logs do."""
    return str(trioton.ContextId(int(identity, 16)))


@attrs.define
class Known:
    """What is known of one context.

    Attributes:
        report: Its newest report.
        earlier: The one before, or None.
        at: When the newest one came.
    """

    report: ContextReport
    earlier: ContextReport | None
    at: float

    def rate(self, newer: int, older: int | None) -> float | None:
        """How much a count grows in a second, or None if that is not known yet, or it began anew."""
        if self.earlier is None or older is None:
            return None
        seconds = self.report.uptime - self.earlier.uptime
        return (newer - older) / seconds if seconds > 0 and newer >= older else None

    def link_rate(self, link: LinkReport, name: str) -> float | None:
        """How fast one of the counts of a link grows."""
        links = () if self.earlier is None else self.earlier.links
        older = next((each for each in links if each.peer == link.peer), None)
        return self.rate(getattr(link, name), None if older is None else getattr(older, name))

    def sent_rate(self, slot: SendingReport) -> float | None:
        """How many messages are sent on a slot in a second."""
        slots = () if self.earlier is None else self.earlier.sending
        key = slot.slot, slot.stream
        return self.rate(slot.sent, next((each.sent for each in slots if (each.slot, each.stream) == key), None))

    def received_rate(self, slot: ReceivingReport) -> float | None:
        """How many messages come on a slot in a second."""
        slots = () if self.earlier is None else self.earlier.receiving
        return self.rate(slot.received, next((each.received for each in slots if each.slot == slot.slot), None))

    def made_rate(self, slot: AskingReport) -> float | None:
        """How many requests are made on a slot in a second."""
        slots = () if self.earlier is None else self.earlier.asking
        return self.rate(slot.made, next((each.made for each in slots if each.slot == slot.slot), None))

    def taken_rate(self, slot: AnsweringReport) -> float | None:
        """How many requests are taken on a slot in a second."""
        slots = () if self.earlier is None else self.earlier.answering
        return self.rate(slot.taken, next((each.taken for each in slots if each.slot == slot.slot), None))


_OTHER_WAY: Final = {
    "bytes_sent": "bytes_received",
    "bytes_received": "bytes_sent",
    "messages_sent": "messages_received",
    "messages_received": "messages_sent",
}
"""What the other end of a link calls a count."""


@attrs.frozen
class End:
    """What one end of a link tells of it.

    Attributes:
        known: What is known of the context that tells.
        link: What it says.
    """

    known: Known
    link: LinkReport


@attrs.frozen
class Edge:
    """A link between two contexts, as both of them tell of it, or the one that does.

    Attributes:
        here: The identity of the one that is named first; it has told.
        there: The identity of the other.
        ends: What they tell: of the first, and then of the other, if that has told of the link.
    """

    here: str
    there: str
    ends: tuple[End, ...]

    @property
    def link(self) -> LinkReport:
        """What the first one says."""
        return self.ends[0].link

    @property
    def is_up(self) -> bool:
        """Whether all who tell of it are connected."""
        return all(end.link.state == "connected" for end in self.ends)

    @property
    def state(self) -> str:
        """Its state; as both ends name it, if they do not agree."""
        return "/".join(dict.fromkeys(shown(end.link.state, 12) for end in self.ends))

    @property
    def transport(self) -> str | None:
        """The kind of its transport, or None while there is none."""
        return next((end.link.transport for end in self.ends if end.link.transport is not None), None)

    @property
    def rtt(self) -> float | None:
        """Seconds that a heartbeat took to be answered."""
        return next((end.link.rtt for end in self.ends if end.link.rtt is not None), None)

    @property
    def lost(self) -> int:
        """Transports that it has lost; the ends notice that one after the other."""
        return max(end.link.lost for end in self.ends)

    def both(self, name: str) -> int:
        """The sum of what both ends count."""
        return sum(getattr(end.link, name) for end in self.ends)

    def rate(self, name: str) -> float | None:
        """How fast one of the first one's counts grows; as the other end sees it, if the first cannot say yet."""
        names = (name, _OTHER_WAY[name])
        rates = [end.known.link_rate(end.link, each) for end, each in zip(self.ends, names, strict=False)]
        return next((rate for rate in rates if rate is not None), None)


@attrs.frozen
class Shared:
    """A state, as all contexts together tell of it.

    Attributes:
        newest: What is told of its newest value.
        has_newest: How many contexts know that.
        is_behind: How many know an older one.
        channels: How many channels there are on its slot.
    """

    newest: StateReport
    has_newest: int
    is_behind: int
    channels: int


class View:
    """The reports of a network.

    Args:
        own_id: The identity of the context that looks, which is left out of all that is shown.
    """

    def __init__(self, own_id: int = -1) -> None:
        self._own = f"{own_id:032x}"
        self._known: dict[str, Known] = {}
        self._reachable: dict[str, trioton.ContextInfo] = {}
        self.complaints: dict[str, int] = {}

    def learn(self, message: object, now: float) -> None:
        """A report came."""
        try:
            report = ContextReport.from_message(message)
        except ReportError as error:
            self.complain(str(error))
            return
        known = self._known.get(report.id)
        if known is None and len(self._known) >= MOST_CONTEXTS:
            self.complain(f"more than {MOST_CONTEXTS} contexts send reports")
            return
        # What is older than what is known took a longer way, or came twice.
        if known is None or report.uptime > known.report.uptime:
            self._known[report.id] = Known(report, None if known is None else known.report, now)

    def complain(self, words: str) -> None:
        """Something came that makes no sense."""
        words = shown(words, 120)
        if words in self.complaints or len(self.complaints) < 10:
            self.complaints[words] = self.complaints.get(words, 0) + 1

    def can_reach(self, contexts: list[trioton.ContextInfo], now: float) -> None:
        """Learn which contexts can be reached; those that cannot, and have not been heard of for long, are forgotten."""
        self._reachable = {f"{info.id:032x}": info for info in contexts}
        for identity, known in list(self._known.items()):
            if identity not in self._reachable and now - known.at > STALE_AFTER:
                del self._known[identity]

    @property
    def is_complete(self) -> bool:
        """Whether all contexts that can be reached, and at least one, have sent two reports."""
        heard = {identity for identity, known in self._known.items() if known.earlier is not None}
        return bool(self._reachable) and heard >= self._reachable.keys()

    def hops(self, identity: str) -> int | None:
        """Over how many links a context is reached, or None if no way leads there now."""
        info = self._reachable.get(identity)
        return None if info is None else info.hops

    @property
    def contexts(self) -> list[Known]:
        """What is known of each context, by name."""
        known = [each for identity, each in self._known.items() if identity != self._own]
        return sorted(known, key=lambda each: (each.report.name, each.report.id))

    @property
    def silent(self) -> dict[str, str]:
        """The names, by identity, of contexts that are there, but have sent no report; as neighbours and others tell of them."""
        told = {link.peer: link.name for known in self.contexts for link in known.report.links}
        found = {**told, **{identity: info.name for identity, info in self._reachable.items()}}
        silent = [identity for identity in found if identity not in self._known and identity != self._own]
        return {identity: found[identity] for identity in sorted(silent, key=lambda each: (found[each], each))}

    @property
    def edges(self) -> list[Edge]:
        """The links between contexts, each once."""
        found: dict[frozenset[str], Edge] = {}
        for known in self.contexts:
            here = known.report.id
            for link in known.report.links:
                if link.peer in (self._own, here):
                    continue
                key, end = frozenset((here, link.peer)), End(known, link)
                edge = found.get(key)
                if edge is None:
                    found[key] = Edge(here, link.peer, (end,))
                elif edge.there == here and len(edge.ends) == 1:
                    found[key] = attrs.evolve(edge, ends=(*edge.ends, end))
        return list(found.values())

    @property
    def states(self) -> list[Shared]:
        """The states, by slot."""
        told: dict[str, list[StateReport]] = {}
        for known in self.contexts:
            for state in known.report.states:
                told.setdefault(state.slot, []).append(state)
        found = []
        for _, reports in sorted(told.items()):
            newest = max(reports, key=lambda each: (each.counter, each.writer))
            count = sum((each.counter, each.writer) == (newest.counter, newest.writer) for each in reports)
            found.append(Shared(newest, count, len(reports) - count, sum(each.channels for each in reports)))
        return found

    def labels(self) -> dict[str, str]:
        """What to call each context, by identity: its name, with the identity where that is no name for one alone."""
        names = {known.report.id: known.report.name for known in self.contexts} | self.silent
        uses = Counter(map(shown, names.values()))
        return {
            identity: (f"{shown(name)} {short_id(identity)}" if uses[shown(name)] > 1 else shown(name))
            if name
            else short_id(identity)
            for identity, name in names.items()
        }

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values: the reports, with a rate beside each count that has one."""
        return {
            "contexts": [self._with_rates(known) for known in self.contexts],
            "silent": [
                {"id": identity, "name": name, "hops": self.hops(identity)} for identity, name in self.silent.items()
            ],
            "complaints": self.complaints,
        }

    def _with_rates(self, known: Known) -> dict[str, Any]:
        report = known.report
        message = {**report.to_message(), "hops": self.hops(report.id)}
        for link, found in zip(report.links, message["links"], strict=True):
            for name in ("bytes_sent", "bytes_received", "messages_sent", "messages_received"):
                found[f"{name}_rate"] = known.link_rate(link, name)
        for sending, found in zip(report.sending, message["sending"], strict=True):
            found["sent_rate"] = known.sent_rate(sending)
        for receiving, found in zip(report.receiving, message["receiving"], strict=True):
            found["received_rate"] = known.received_rate(receiving)
        for asking, found in zip(report.asking, message["asking"], strict=True):
            found["made_rate"] = known.made_rate(asking)
        for answering, found in zip(report.answering, message["answering"], strict=True):
            found["taken_rate"] = known.taken_rate(answering)
        message["links"] = [link for link in message["links"] if link["peer"] != self._own]
        return message


class Viewer:
    """Subscribes to the reports of all contexts that its own can reach.

    Args:
        context: The context that looks.
    """

    def __init__(self, context: trioton.Context) -> None:
        self.view = View(context.id)
        self._context = context
        self._arrived = trio.Event()
        self._reports = trioton.SubChannel(context, REPORTS, trioton.OBJECT, policy=trioton.DropOldest(MOST_WAITING))

    async def run(self) -> None:
        """Take in what comes; to be run in a task."""
        while True:
            try:
                self.view.learn(await self._reports.receive(), trio.current_time())
            except trioton.MessageDecodeError as error:
                self.view.complain(str(error))
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return
            self.refresh()
            self._arrived.set()

    def refresh(self) -> None:
        """Look again who can be reached."""
        self.view.can_reach(self._context.contexts, trio.current_time())

    async def wait_complete(self, connection: trioton.Connection) -> View:
        """Wait until all contexts have sent two reports, but not longer than they should need; a checkpoint.

        Raises:
            trioton.ConnectError: The connection ended before anything came.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(PATIENCE):
            while not (self.view.is_complete or connection.is_closed):
                self._arrived = trio.Event()
                await self._wait_report(connection)
        self.refresh()
        if not self.view.contexts and connection.is_closed:
            raise trioton.ConnectError(f"the connection has ended: {connection.close_reason}")
        return self.view

    async def _wait_report(self, connection: trioton.Connection) -> None:
        """Wait for the next report, or the end of the connection."""

        async def watch() -> None:
            await connection.wait_closed()
            self._arrived.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await self._arrived.wait()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_viewer(
    name: str, address: str, *, insecure: bool, wait: bool, security: MakeSecurity | None = None
) -> AsyncIterator[tuple[Viewer, trioton.Connection]]:
    """A viewer that is connected to the context at an address.

    Raises:
        trioton.AddressError: The address cannot be understood.
        trioton.ConnectError: Nobody answers there, and we do not wait.
        ValueError: It needs `insecure`, or `security` is no good.
    """
    async with trioton.open_context(name, security=None if security is None else security()) as context:
        viewer = Viewer(context)
        connection = await dial(context, address, insecure=insecure, wait=wait)
        context.start_soon(viewer.run)
        yield viewer, connection


def check_heard(view: View) -> None:
    """See to it that there is something to show, and say who has sent no report.

    Raises:
        trioton.TriotonError: No context has sent one.
    """
    silent = view.silent
    if not view.contexts:
        others = "".join(f"; {words}" for words in view.complaints)
        raise trioton.TriotonError(f"no report has come from any of {len(silent)} contexts{others}")
    if silent:
        labels = view.labels()
        named = ", ".join(labels[identity] for identity in list(silent)[:MOST_NAMED])
        more = len(silent) - MOST_NAMED
        say(f"no report has come from {named}" + (f" and {more} more" if more > 0 else ""))


def rate_words(rate: float | None) -> str:
    """Write how many in a second."""
    if rate is None:
        return "-"
    return f"{rate:,.1f}" if rate < 99.95 else f"{rate:,.0f}"


def bytes_words(size: float | None) -> str:
    """Write a number of bytes, or how many come in a second."""
    if size is None:
        return "-"
    units: Iterator[str] = iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 999.5 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"


def seconds_words(seconds: float | None) -> str:
    """Write a span of time, short or long."""
    if seconds is None:
        return "-"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{days:,} d {clock}" if days else clock


def count_words(count: int | None) -> str:
    """Write a count; nothing for what has none."""
    return "-" if count is None else f"{count:,}"
