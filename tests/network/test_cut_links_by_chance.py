"""Whatever happens to links, channels and subscriptions, in any order: nothing is doubled, and all that is missing is counted.

Two ways to try histories: hypothesis draws some and shrinks what fails; and a generator plays a thousand by number, which is
twenty times as fast. For a long search: ``TRIOTON_HISTORIES=100000 pytest tests/network/test_cut_links_by_chance.py``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.policies import Block, DropNewest, DropOldest, Latest, Policy

from .cut_links import Channel, End, Link, Mesh, standing_clock

HISTORIES: Final = int(os.environ.get("TRIOTON_HISTORIES", "1000"))

MOST_STEPS: Final = 100

POLICIES: Final[list[Policy]] = [
    *(Block(size) for size in (1, 2, 4, 6)),
    *(DropOldest(size) for size in (1, 3, 6)),
    *(DropNewest(size) for size in (1, 3, 6)),
    Latest(),
    Block(100),
]

Step = tuple[Any, ...]
"""The name of a method of `History`, and its arguments."""


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[None]:
    with standing_clock():
        yield


class History:
    """What can happen to a `Mesh`. Who it happens to is said by a number, of which the remainder counts."""

    def __init__(self, publishers: int, policies: Sequence[Policy]) -> None:
        self.mesh = Mesh(publishers, *policies)

    def play(self, steps: Sequence[Step]) -> None:
        for name, *arguments in steps:
            getattr(self, name)(*arguments)
            self.check()
        self.rest()

    def check(self) -> None:
        for channel in self.mesh.channels:
            for number in self.mesh.sent:
                numbers = channel.numbers_of(number)
                assert numbers == sorted(set(numbers)), "everything comes in order and once"
            inbox = channel.subscription.inbox
            assert channel.blocks or inbox.pending <= inbox.policy.size, "an inbox stays within its size"

    def number(self, who: int) -> int:
        numbers = sorted(self.mesh.sent)
        return numbers[who % len(numbers)]

    def link(self, who: int) -> Link:
        return self.mesh.links[who % len(self.mesh.links)]

    def ends(self, who: int) -> tuple[End, End]:
        return self.link(who // 2).ends[who % 2]

    def channel(self, who: int) -> Channel | None:
        channels = self.mesh.channels
        return channels[who % len(channels)] if channels else None

    def send(self, who: int, count: int, size: int) -> None:
        self.mesh.send(self.number(who), count, size)

    def run_tasks(self, who: int) -> None:
        """The flusher of a context has its turn."""
        self.mesh.sides[who % len(self.mesh.sides)].run_flusher()

    def travel(self, who: int, share: float) -> None:
        """What one side of a link has written arrives, in part at least."""
        self.mesh.travel(*self.ends(who), share)

    def speak(self, who: int) -> None:
        """One side of a link says all that it has to say."""
        sender, receiver = self.ends(who)
        sender.side.run_flusher()
        self.mesh.travel(sender, receiver)

    def cut_or_come_back(self, who: int, share: float, more: int) -> None:
        link = self.link(who)
        if link.there.is_up:
            self.mesh.cut(link, share, more)
        else:
            self.mesh.come_back(link)

    def take(self, who: int, count: int) -> None:
        channel = self.channel(who)
        if channel is not None:
            channel.take(count)

    def subscribe(self, policy: Policy) -> None:
        if len(self.mesh.channels) < 3:
            self.mesh.subscribe(policy)

    def close(self, who: int) -> None:
        channel = self.channel(who)
        if channel is not None:
            self.mesh.close(channel)

    def send_on_a_new_channel(self, who: int) -> None:
        self.mesh.reopen_outlet(self.number(who))

    def rest(self) -> None:
        self.mesh.come_to_rest()


WHO: Final = range(12)
SHARES: Final = [share / 20 for share in range(21)]

STEPS: Final[dict[str, tuple[Sequence[Any], ...]]] = {
    "send": (WHO, range(1, 13), [1, 1, 50, 700]),
    "run_tasks": (WHO,),
    "travel": (WHO, [1.0, 1.0, 0.5, 0.1]),
    "speak": (WHO,),
    "cut_or_come_back": (WHO, SHARES, range(4)),
    "take": (WHO, range(1, 21)),
    "subscribe": (POLICIES,),
    "close": (WHO,),
    "send_on_a_new_channel": (WHO,),
    "rest": (),
}
"""What each kind of step chooses from."""


def drawn_steps() -> st.SearchStrategy[list[Step]]:
    kinds = [
        st.tuples(st.just(name), *[st.sampled_from(choices) for choices in arguments])
        for name, arguments in STEPS.items()
    ]
    return st.lists(st.one_of(*kinds), max_size=MOST_STEPS)


@given(st.integers(1, 3), st.lists(st.sampled_from(POLICIES), min_size=1, max_size=2), drawn_steps())
def test_any_history(publishers: int, policies: list[Policy], steps: list[Step]) -> None:
    History(publishers, policies).play(steps)


FOUND: Final[dict[str, tuple[int, list[Policy], list[Step]]]] = {
    "room that was agreed with one who has gone": (
        1,
        [Block(6)],
        [
            ("subscribe", Latest()),
            ("send", 0, 1, 1),
            ("cut_or_come_back", 0, 0.87, 2),
            ("cut_or_come_back", 0, 0.45, 2),
            ("close", 0),
            ("subscribe", Block(6)),
        ],
    ),
    "room of one who has gone, where two others drop": (
        1,
        [Block(2)],
        [
            ("subscribe", DropOldest(3)),
            ("send", 0, 1, 1),
            ("subscribe", DropNewest(1)),
            ("cut_or_come_back", 0, 0.4, 2),
            ("cut_or_come_back", 0, 0.48, 2),
            ("close", 0),
            ("subscribe", Block(3)),
        ],
    ),
    "who replaces a blocking one keeps the count of another": (
        1,
        [Block(100), Latest()],
        [
            ("cut_or_come_back", 0, 0.02, 1),
            ("close", 0),
            ("subscribe", Block(100)),
            ("cut_or_come_back", 0, 0.97, 3),
            ("speak", 1),
            ("send", 0, 1, 1),
        ],
    ),
    "two go while the link is new": (
        3,
        [Block(5), DropOldest(6)],
        [
            ("cut_or_come_back", 1, 0.83, 2),
            ("cut_or_come_back", 1, 0.88, 3),
            ("send", 1, 1, 1),
            ("close", 0),
            ("close", 0),
            ("subscribe", Block(100)),
        ],
    ),
    "the next channel's offer overtakes the first message": (
        1,
        [DropOldest(1)],
        [
            ("send_on_a_new_channel", 0),
            ("run_tasks", 1),
            ("send", 0, 2, 1),
            ("subscribe", Block(1)),
            ("send_on_a_new_channel", 0),
            ("speak", 1),
        ],
    ),
    "the first message is lost with its marker": (
        1,
        [Latest()],
        [
            ("subscribe", DropNewest(3)),
            ("send_on_a_new_channel", 0),
            ("send", 0, 1, 1),
            ("subscribe", Block(3)),
            ("speak", 1),
            ("cut_or_come_back", 0, 0.68, 2),
        ],
    ),
    "sent while one who never got room was there": (
        3,
        [Block(1), DropOldest(4)],
        [
            ("cut_or_come_back", 1, 0.13, 3),
            ("subscribe", Latest()),
            ("close", 0),
            ("subscribe", Block(5)),
            ("cut_or_come_back", 1, 0.06, 2),
            ("send", 1, 1, 1),
            ("travel", 3, 1.0),
        ],
    ),
    "the start is lost, and a later message comes": (
        1,
        [Latest(), DropOldest(6)],
        [
            ("send_on_a_new_channel", 0),
            ("cut_or_come_back", 0, 0.19, 0),
            ("cut_or_come_back", 0, 0.76, 3),
            ("run_tasks", 1),
            ("send", 0, 7, 1),
            ("speak", 0),
            ("cut_or_come_back", 0, 0.52, 2),
        ],
    ),
    "two offers, and more room at the second": (
        2,
        [Block(100)],
        [
            ("close", 0),
            ("cut_or_come_back", 0, 0.09, 3),
            ("cut_or_come_back", 0, 0.17, 3),
            ("subscribe", Block(4)),
            ("travel", 1, 1.0),
            ("travel", 0, 1.0),
            ("cut_or_come_back", 1, 0.64, 0),
            ("speak", 1),
            ("send_on_a_new_channel", 0),
            ("cut_or_come_back", 0, 0.85, 0),
            ("cut_or_come_back", 1, 0.34, 2),
            ("cut_or_come_back", 1, 0.93, 0),
            ("rest",),
            ("send", 1, 1, 1),
        ],
    ),
    "no room at first": (
        1,
        [DropOldest(1), DropOldest(4)],
        [
            ("close", 1),
            ("subscribe", Block(5)),
            ("send", 0, 6, 1),
            ("speak", 0),
            ("speak", 1),
            ("cut_or_come_back", 0, 0.95, 1),
            ("cut_or_come_back", 0, 0.31, 2),
            ("send_on_a_new_channel", 0),
            ("speak", 0),
            ("take", 1, 10),
        ],
    ),
    "ended before it started, after a message": (
        1,
        [Block(1), DropNewest(1)],
        [
            ("subscribe", Block(100)),
            ("cut_or_come_back", 0, 0.05, 1),
            ("close", 2),
            ("close", 0),
            ("subscribe", Block(100)),
            ("cut_or_come_back", 0, 0.22, 3),
            ("travel", 1, 1.0),
            ("send", 0, 1, 1),
        ],
    ),
    "no room at first, on the second channel": (
        1,
        [Block(4), Block(3)],
        [
            ("subscribe", DropNewest(2)),
            ("close", 0),
            ("close", 0),
            ("subscribe", Block(5)),
            ("travel", 1, 1.0),
            ("close", 0),
            ("send", 0, 5, 1),
            ("speak", 0),
            ("send_on_a_new_channel", 0),
            ("speak", 1),
            ("travel", 0, 0.5),
            ("take", 0, 18),
        ],
    ),
    "the answer to a request of one who has gone": (
        3,
        [Latest(), Block(4)],
        [
            ("send_on_a_new_channel", 2),
            ("send", 0, 2, 1),
            ("send", 1, 1, 1),
            ("speak", 4),
            ("subscribe", Block(6)),
            ("speak", 2),
            ("speak", 1),
            ("close", 1),
            ("run_tasks", 0),
            ("cut_or_come_back", 0, 0.81, 2),
            ("send", 0, 1, 1),
        ],
    ),
    "begun under another agreement": (
        1,
        [Latest(), DropNewest(5)],
        [
            ("subscribe", Block(5)),
            ("speak", 1),
            ("send_on_a_new_channel", 0),
            ("travel", 0, 1.0),
            ("close", 2),
            ("cut_or_come_back", 0, 0.76, 0),
            ("send", 0, 1, 1),
            ("subscribe", Block(2)),
        ],
    ),
    "dropped before it was known that nobody blocks": (
        1,
        [DropNewest(3), DropOldest(2)],
        [
            ("subscribe", Block(2)),
            ("speak", 1),
            ("speak", 0),
            ("close", 2),
            ("send", 0, 3, 1),
            ("send_on_a_new_channel", 0),
            ("speak", 1),
        ],
    ),
    "two requests for room back": (
        3,
        [Block(2)],
        [
            ("send", 2, 1, 1),
            ("subscribe", Block(6)),
            ("close", 0),
            ("speak", 4),
            ("send", 0, 2, 1),
            ("speak", 5),
            ("subscribe", Block(100)),
            ("send", 1, 1, 1),
            ("close", 0),
            ("speak", 1),
            ("subscribe", Block(6)),
            ("speak", 2),
            ("send", 0, 1, 1),
        ],
    ),
}
"""What has once gone wrong, in the fewest steps: publishers, policies at first, and what happened."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name: str) -> None:
    publishers, policies, steps = FOUND[name]
    History(publishers, policies).play(steps)


class Chance:
    """The history with a number."""

    def __init__(self, number: int) -> None:
        source = random.Random(number)
        # To come to rest clears up most of what could go wrong later.
        names = [name for name in STEPS for _ in range(1 if name == "rest" else 5)]
        self.publishers = source.randint(1, 3)
        self.policies = source.choices(POLICIES, k=source.randint(1, 2))
        self.steps: list[Step] = [
            (name, *[source.choice(choices) for choices in STEPS[name]])
            for name in source.choices(names, k=source.randint(5, MOST_STEPS))
        ]

    def error(self) -> Exception | None:
        try:
            History(self.publishers, self.policies).play(self.steps)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for
            return error
        return None

    def shorten(self) -> None:
        """Leave out all steps without which it fails as well, as many at once as can be."""
        size = len(self.steps)
        while size := size // 2:
            start = 0
            while start < len(self.steps):
                steps = self.steps
                self.steps = steps[:start] + steps[start + size :]
                if self.error() is None:
                    self.steps = steps
                    start += size


@pytest.mark.long
def test_a_thousand_histories() -> None:
    for number in range(HISTORIES):
        history = Chance(number)
        if history.error() is not None:
            history.shorten()
            error = history.error()
            assert error is not None
            error.add_note(f"history {number}: {history.publishers} publishers, {history.policies}, {history.steps}")
            raise error


def test_a_history_that_fails_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(History, "rest", lambda self: None)
    monkeypatch.setattr(History, "close", lambda self, who: 1 // 0)
    history = Chance(next(number for number in range(100) if "close" in [step[0] for step in Chance(number).steps]))
    history.shorten()
    assert [step[0] for step in history.steps] == ["close"]
