"""What happened in a run, as a test writes it down, and whether that was right."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

_MOST_SHOWN: Final = 10
"""Records that an error names of each kind."""

_MOST_TEXT: Final = 80

Kind: TypeAlias = Literal["listens", "sent", "received", "dropped", "died"]
Story: TypeAlias = dict[str, dict[str, Any]]


@attrs.frozen
class HistoryRecord:
    """One thing that happened.

    Attributes:
        kind: ``"sent"``, ``"received"``, ``"dropped"``, ``"died"`` or ``"listens"``.
        who: The sender, receiver or watcher whose record it is.
        other: The sender of what was received or dropped, or the context that died; None where there is none.
        item: The message, or how many were dropped.
        time: What `trio.current_time` said, or None outside of `trio.run`.
    """

    kind: Kind
    who: str
    other: str | None
    item: Any
    time: float | None

    def __str__(self) -> str:
        when = "" if self.time is None else f"{self.time:10.4f}  "
        return f"{when}{_WORDS[self.kind](self)}"


_WORDS: Final[Mapping[Kind, Callable[[HistoryRecord], str]]] = {
    "listens": lambda each: f"{each.who} listens to {', '.join(each.item) or 'all'}",
    "sent": lambda each: f"{each.who} sent {_show(each.item)}",
    "received": lambda each: f"{each.who} received {_show(each.item)} from {each.other}",
    "dropped": lambda each: f"{each.who} was told that {each.item} of {each.other or 'somebody'} were dropped",
    "died": lambda each: f"{each.who} was told that {each.other} died",
}


class HistoryError(AssertionError):
    """What happened was not right.

    Attributes:
        problems: One line for each kind of wrong and receiver, such as ``b lost 2 of a: 3 (sent at 0.5), 4 (sent at 0.6)``.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(("this should not have happened:", *problems)))
        self.problems = problems


class History:
    """A record of what was sent, received, lost and told in a run, which can say whether that was right.

    ::

        history = History()
        history.listens("b", "a")
        ...
        await pub.send(number)
        history.sent("a", number)
        ...
        history.received("b", await sub.receive(), sender="a")
        ...
        history.check()

    A receiver is expected to receive all that each sender sends; `listens` can say it more exactly. The same message may be sent
    several times, and must then be received as often. Each sender's messages are expected in the order in which they were sent.
    Messages are compared by their value; of those that cannot be hashed, lists are the same as tuples.

    Attributes:
        records: All that happened, in the order in which it was written down.
    """

    def __init__(self) -> None:
        self.records: list[HistoryRecord] = []
        self._matches: dict[str, list[_Match]] = {}

    def __repr__(self) -> str:
        return f"<History of {len(self.records)} records>"

    # ---------------------------------------------------------------- what happens

    def listens(self, receiver: str, *senders: str) -> None:
        """From now on, `receiver` is to receive what these senders send, or all do if none is named.

        Without this call, it is to receive all that was ever sent, if it is mentioned at all.
        """
        self._add("listens", receiver, None, senders)

    def sent(self, sender: str, item: object) -> None:
        """`sender` has sent something: `send` has returned."""
        self._add("sent", sender, None, item)

    def received(self, receiver: str, item: object, *, sender: str) -> None:
        """`receiver` has received something that `sender` had sent."""
        self._add("received", receiver, sender, item)

    def dropped(self, receiver: str, count: int, *, sender: str | None = None) -> None:
        """`receiver` was told that so many messages are lost to it, as `trioton.Gap` does.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count must not be negative, not {count!r}")
        self._add("dropped", receiver, sender, count)

    def died(self, watcher: str, context: str) -> None:
        """`watcher` was told that a context has died."""
        self._add("died", watcher, context, None)

    def _add(self, kind: Kind, who: str, other: str | None, item: object) -> None:
        time = trio.current_time() if trio.lowlevel.in_trio_run() else None
        self.records.append(HistoryRecord(kind, who, other, item, time))
        self._matches.clear()

    # ---------------------------------------------------------------- what was not right

    @property
    def receivers(self) -> list[str]:
        """All that listen, or were mentioned as receivers, in the order of their names."""
        return sorted({each.who for each in self.records if each.kind in ("listens", "received", "dropped")})

    def lost(self, receiver: str) -> list[HistoryRecord]:
        """What was sent and `receiver` has not received, told of or not; by sender, in the order in which it was sent."""
        return [record for match in self._match(receiver) for record in match.lost]

    def duplicated(self, receiver: str) -> list[HistoryRecord]:
        """What `receiver` has received more often than it was sent."""
        return [record for match in self._match(receiver) for record in match.duplicated]

    def unexpected(self, receiver: str) -> list[HistoryRecord]:
        """What `receiver` has received and its sender never sent."""
        return [record for match in self._match(receiver) for record in match.unexpected]

    def out_of_order(self, receiver: str) -> list[HistoryRecord]:
        """What `receiver` has received after something that the same sender sent later."""
        return [record for match in self._match(receiver) for record in match.out_of_order]

    def told(self, receiver: str, sender: str | None = None) -> int:
        """Of how many losses `receiver` was told; of those of one sender, if it is named."""
        drops = [each for each in self.records if each.kind == "dropped" and each.who == receiver]
        return sum(each.item for each in drops if sender is None or each.other == sender)

    def deaths(self, watcher: str) -> list[str]:
        """The contexts of whose death `watcher` was told, in that order, and as often."""
        return [str(each.other) for each in self.records if each.kind == "died" and each.who == watcher]

    def _match(self, receiver: str) -> list[_Match]:
        """Compare what a receiver got from each sender with what that has sent."""
        known = self._matches.get(receiver)
        if known is None:
            senders = sorted(
                {each.who for each in self.records if each.kind == "sent"}
                | {str(each.other) for each in self.records if each.kind == "received" and each.who == receiver}
            )
            known = self._matches[receiver] = [_Match(self.records, receiver, sender) for sender in senders]
        return known

    def check(
        self,
        *,
        lossless: bool = True,
        no_silent_loss: bool = True,
        no_duplicates: bool = True,
        in_order: bool = True,
        one_death_per_watcher: bool = True,
    ) -> None:
        """Check that all was right; what was received without having been sent is never right.

        Args:
            lossless: Nothing may be lost, even if it was told.
            no_silent_loss: As many messages must be lost as was told, no more and no fewer.
            no_duplicates: Nothing may be received more often than it was sent.
            in_order: What one sender has sent must be received in that order.
            one_death_per_watcher: A watcher may be told only once that a context has died.

        Raises:
            HistoryError: It was not; it says what, of whom, to whom and when.
        """
        __tracebackhide__ = True
        problems: list[str] = []
        for receiver in self.receivers:
            for match in self._match(receiver):
                problems += match.problems(lossless=lossless, no_duplicates=no_duplicates, in_order=in_order)
            if no_silent_loss:
                problems += self._silent_losses(receiver, is_said=lossless)
        if one_death_per_watcher:
            problems += self._repeated_deaths()
        if problems:
            raise HistoryError(tuple(problems))

    def _silent_losses(self, receiver: str, *, is_said: bool) -> Iterator[str]:
        lost, told = len(self.lost(receiver)), self.told(receiver)
        if lost != told and (told or not is_said):  # where each loss is wrong, all were said before
            yield f"{receiver} lost {lost} message{'' if lost == 1 else 's'}, and was told of {told}"
        for match in self._match(receiver):
            told_of_sender = self.told(receiver, match.sender)
            if told_of_sender > len(match.lost):
                yield f"{receiver} lost {len(match.lost)} of {match.sender}, and was told of {told_of_sender}"

    def _repeated_deaths(self) -> Iterator[str]:
        deaths = [each for each in self.records if each.kind == "died"]
        for watcher in sorted({each.who for each in deaths}):
            for context in sorted(set(self.deaths(watcher))):
                told = [each for each in deaths if each.who == watcher and each.other == context]
                if len(told) > 1:
                    times = ", ".join(_when("", each) or "some time" for each in told[:_MOST_SHOWN])
                    yield f"{watcher} was told {len(told)} times that {context} died: {times}"

    # ---------------------------------------------------------------- to be read and compared

    def lines(self) -> list[str]:
        """The records as lines of text, in the order in which they were made."""
        return [str(record) for record in self.records]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_json(self) -> str:
        """All records as JSON, one object for each; what JSON does not know is shown as text."""
        return json.dumps([{**attrs.asdict(each), "item": _plain(each.item)} for each in self.records], indent=1)

    def story(self) -> Story:
        """What happened, without when, and without the order of things that happened at different places.

        So the stories of two runs of a program can be compared, in simulated time or over real sockets: what each sender sent, in its
        order; what each receiver received from each sender, in its order; of how many losses it was told; and of whose deaths each
        watcher was told, in the order of their names.
        """
        story: Story = {"sent": {}, "received": {}, "dropped": {}, "died": {}}
        for each in self.records:
            item = _plain(each.item)
            if each.kind == "sent":
                story["sent"].setdefault(each.who, []).append(item)
            elif each.kind == "received":
                story["received"].setdefault(each.who, {}).setdefault(str(each.other), []).append(item)
            elif each.kind == "dropped":
                story["dropped"][each.who] = story["dropped"].get(each.who, 0) + each.item
            elif each.kind == "died":
                insort(story["died"].setdefault(each.who, []), str(each.other))
        story["received"] = {who: dict(sorted(senders.items())) for who, senders in story["received"].items()}
        return {kind: dict(sorted(told.items())) for kind, told in story.items()}


class _Match:
    """What one receiver got of what one sender has sent.

    Each message that was received is one of those that were sent: the first of that value which is behind the one before it, and
    otherwise the first that is left.
    """

    def __init__(self, records: Iterable[HistoryRecord], receiver: str, sender: str) -> None:
        self.receiver = receiver
        self.sender = sender
        self.duplicated: list[HistoryRecord] = []
        self.unexpected: list[HistoryRecord] = []
        self.out_of_order: list[HistoryRecord] = []
        sent: list[HistoryRecord] = []
        received: list[HistoryRecord] = []
        begins: int | None = None
        has_said = False
        for each in records:
            if each.kind == "sent" and each.who == sender:
                sent.append(each)
            elif each.kind == "received" and each.who == receiver and each.other == sender:
                received.append(each)
            elif each.kind == "listens" and each.who == receiver:
                has_said = True
                if begins is None and (not each.item or sender in each.item):
                    begins = len(sent)
        if begins is None:
            begins = len(sent) if has_said else 0
        found = self._find(sent, received, begins)
        self.lost = [record for place, record in enumerate(sent) if place >= begins and place not in found]

    def _find(self, sent: list[HistoryRecord], received: list[HistoryRecord], begins: int) -> set[int]:
        """Find for each message that was received its place among those that were sent; gives all those places."""
        free: dict[object, list[int]] = {}
        for place, record in enumerate(sent):
            free.setdefault(_key(record.item), []).append(place)
        found: set[int] = set()
        last = -1
        for record in received:
            places = free.get(_key(record.item))
            if not places:
                (self.unexpected if places is None else self.duplicated).append(record)
                continue
            index = bisect_left(places, max(last + 1, begins))
            place = places.pop(index if index < len(places) else 0)
            found.add(place)
            if place < last:
                self.out_of_order.append(record)
            last = max(last, place)
        return found

    def problems(self, *, lossless: bool, no_duplicates: bool, in_order: bool) -> Iterator[str]:
        """What was not right, one line for each kind."""
        if lossless and self.lost:
            yield self._line("lost", "of", self.lost, "sent ")
        if no_duplicates and self.duplicated:
            yield self._line("received", "too often of", self.duplicated)
        if in_order and self.out_of_order:
            yield self._line("received", "out of order of", self.out_of_order)
        if self.unexpected:
            yield self._line("received", "that were never sent by", self.unexpected)

    def _line(self, verb: str, relation: str, records: list[HistoryRecord], at: str = "") -> str:
        named = ", ".join(f"{_show(each.item)}{_when(f' ({at}', each, ')')}" for each in records[:_MOST_SHOWN])
        more = f", and {len(records) - _MOST_SHOWN} more" if len(records) > _MOST_SHOWN else ""
        return f"{self.receiver} {verb} {len(records)} {relation} {self.sender}: {named}{more}"


def _when(before: str, record: HistoryRecord, after: str = "") -> str:
    return "" if record.time is None else f"{before}at {record.time:.4f}{after}"


def _key(item: object) -> object:
    """What stands for a message where messages are compared: equal ones have equal keys."""
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    try:
        hash(item)
    except TypeError:
        return list, json.dumps(_plain(item), sort_keys=True)
    return item if item == item else (type(item), repr(item))  # a NaN is not even itself


def _show(item: object) -> str:
    text = repr(_plain(item) if isinstance(item, AbstractSet) else item)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def _plain(item: object) -> Any:
    """The item as what JSON knows; sets in an order which is always the same, and what is unknown as text."""
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    if isinstance(item, Mapping):
        return {key if isinstance(key, str) else repr(key): _plain(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain(each) for each in item]
    if isinstance(item, AbstractSet):
        return sorted((_plain(each) for each in item), key=repr)
    return repr(item)
