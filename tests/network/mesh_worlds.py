"""Networks of any shape, in which each context sends numbers to some others, whatever happens to the ways between them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import attrs
import trio

import trioton
from trioton import Block, ContextDied, ContextJoined, PubChannel, StateChannel, SubChannel
from trioton.network.events import Event
from trioton.testing import Host, Network
from trioton.transports.base import Security

SIZES = (1, 3, 100)


def hosts_of(count: int) -> list[str]:
    """The names of so many hosts."""
    return [f"n{number}" for number in range(count)]


@attrs.define(eq=False)
class Life:
    """One life of a context: what happened to it, in order.

    Attributes:
        context: The context.
        sent: How many numbers it has sent.
        pub: On what it sends them, if anybody listens.
        numbers: The numbers that came, in order, by the identity of the sender.
        events: What the context told, in order.
        state: What all contexts write now and then, and must agree on.
    """

    context: trioton.Context
    state: StateChannel[list[int]]
    sent: int = 0
    pub: PubChannel[tuple[int, int]] | None = None
    numbers: dict[int, list[int]] = attrs.field(factory=dict)
    events: list[Event] = attrs.field(factory=list)

    def deaths_of(self, other: int) -> int:
        return sum(isinstance(each, ContextDied) and each.id == other for each in self.events)


class World:
    """A connected graph drawn by chance, and a program for each of its hosts.

    Args:
        net: The network; its seed decides.
        names: The hosts.
        extra: How many links there are beyond those of a tree, at most.
        listening: The probability that a context listens to another.
        pause: Seconds between two numbers, at most.
    """

    def __init__(
        self, net: Network, names: Sequence[str], *, extra: int = 4, listening: float = 0.6, pause: float = 0.5
    ) -> None:
        self.net = net
        self.names = list(names)
        self.pause = pause
        self.limit = 0
        self.lives: list[Life] = []
        self._random = random.Random(f"world {net.seed}")
        self.stubs: set[str] = set()
        self.links = self._draw_links(extra)
        self.sources = {
            name: [other for other in self.names if other != name and self._random.random() < listening]
            for name in self.names
        }
        self.changed = trio.lowlevel.ParkingLot()

    def _draw_links(self, extra: int) -> list[tuple[str, str]]:
        names, draw = self.names, self._random
        links = {(names[draw.randrange(number)], names[number]): None for number in range(1, len(names))}
        for _ in range(draw.randint(0, extra)):
            first, second = draw.sample(names, 2)
            if (second, first) not in links:
                links[first, second] = None
        return list(links)

    def start(self) -> None:
        """Start the program on each host."""
        for name in self.names:
            self.net.start_soon(name, self._run)

    def listeners(self, name: str) -> int:
        """How many others listen to a host."""
        return sum(name in sources for sources in self.sources.values())

    async def _run(self, host: Host) -> None:
        opened = trioton.open_context(host.name, network=host, security=self.security_of(host.name))
        async with opened as context, trio.open_nursery() as nursery:
            life = Life(context, StateChannel(context, "shared", trioton.OBJECT))
            self.lives.append(life)
            nursery.start_soon(self._watch, life)
            nursery.start_soon(self._watch_state, life)
            await context.bind(f"{host.name}:1")
            for source in self.sources[host.name]:
                sub = SubChannel(context, f"from {source}", trioton.OBJECT, policy=Block(self._random.choice(SIZES)))
                nursery.start_soon(self._listen, life, sub)
            for first, second in self.links:
                if first == host.name:
                    nursery.start_soon(self._connect, context, f"{second}:1")
            if self.listeners(host.name):
                nursery.start_soon(self._send, life)

    def security_of(self, _name: str) -> Security | None:
        """How the context of a host proves who it is, if it does."""
        return None

    async def _connect(self, context: trioton.Context, address: str) -> None:
        await context.connect(address, wait=True, stub=context.name in self.stubs)

    async def _watch(self, life: Life) -> None:
        async with life.context.events() as events:
            async for event in events:
                life.events.append(event)
                self.changed.unpark_all()

    async def _watch_state(self, life: Life) -> None:
        async for _ in life.state:
            self.changed.unpark_all()

    async def _listen(self, life: Life, sub: SubChannel[tuple[int, int]]) -> None:
        async for source, number in sub:
            life.numbers.setdefault(source, []).append(number)
            self.changed.unpark_all()
            if self._random.random() < 0.2:
                await trio.sleep(self._random.random() * 0.2)

    async def _send(self, life: Life) -> None:
        pub = life.pub = PubChannel(life.context, f"from {life.context.name}", trioton.OBJECT)
        await pub.wait_subscribers(self.listeners(life.context.name))
        while True:
            while life.sent >= self.limit:
                await self.changed.park()
            await pub.send((int(life.context.id), life.sent))
            life.sent += 1
            if self._random.random() < 0.3:
                await life.state.send([int(life.context.id), life.sent])
                await trio.sleep(self._random.random() * self.pause)

    def send_up_to(self, limit: int) -> None:
        """Let each context send the numbers up to a limit."""
        self.limit = limit
        self.changed.unpark_all()

    def current(self) -> dict[str, Life]:
        """The present life of each context."""
        return {life.context.name: life for life in self.lives}

    # ---------------------------------------------------------------- what should come true

    async def wait_all_see_all(self) -> None:
        """Wait until each context that is no stub can reach all others, and those that are know who listens to them."""
        count, stubs = len(self.names) - 1, self.stubs
        while not all(
            len(life.context.contexts) == count for name, life in self.current().items() if name not in stubs
        ):
            await self.changed.park()
        for name in stubs:
            pub = self.current()[name].pub
            if pub is not None:
                await pub.wait_subscribers(self.listeners(name))

    async def wait_all_have_come(self) -> None:
        """Wait until the last number of each context has come to all that listen to it."""
        while any(self._missing()):
            await self.changed.park()

    async def wait_states_agree(self) -> None:
        """Wait until all contexts have the same value of the state."""
        while len({repr(life.state.value) for life in self.current().values()}) > 1:
            await self.changed.park()

    def _missing(self) -> Iterator[str]:
        """Who lacks numbers of whom; asked after each message, so whoever asks takes no more of this than must be."""
        current = self.current()
        for name in self.names:
            for source in self.sources[name]:
                is_there = name in current and source in current
                numbers = current[name].numbers.get(int(current[source].context.id)) if is_there else None
                if not numbers or numbers[-1] < self.limit - 1:
                    yield f"{name} has {len(numbers or [])} of {self.limit} numbers of {source}"

    def check_nothing_lost(self) -> None:
        """All has come, once, in order, and nobody was told of anything worse than a suspended link."""
        assert list(self._missing()) == []
        for life in self.lives:
            for numbers in life.numbers.values():
                assert numbers == list(range(self.limit))
            bad = [each for each in life.events if isinstance(each, (trioton.Gap, trioton.SessionLost, ContextDied))]
            assert bad == []

    def check_orders(self) -> None:
        """Nothing has come twice or out of order; a number is missing only where one of both has counted as dead for the other."""
        by_id = {int(life.context.id): life for life in self.lives}
        for life in self.lives:
            assert not [each for each in life.events if isinstance(each, trioton.BadMessage)]
            for source, numbers in life.numbers.items():
                assert numbers == sorted(set(numbers)), f"{life.context.name} got {numbers}"
                holes = sum(after - before > 1 for before, after in itertools.pairwise(numbers))
                partings = life.deaths_of(source) + by_id[source].deaths_of(int(life.context.id))
                assert holes <= partings, f"{life.context.name} got {numbers}, and {partings} partings were told"

    def check_deaths(self) -> None:
        """Who watches hears of each join and each death once, in turn."""
        for life in self.lives:
            here: set[int] = set()
            for each in life.events:
                if isinstance(each, ContextJoined):
                    assert each.id not in here, f"{life.context.name} heard twice that {each.name} has joined"
                    here.add(each.id)
                elif isinstance(each, ContextDied):
                    assert each.id in here, f"{life.context.name} heard twice that {each.name} has died"
                    here.remove(each.id)


class StubWorld(World):
    """The same, with some contexts that are stubs: of others, or of stubs."""

    def _draw_links(self, extra: int) -> list[tuple[str, str]]:
        names, draw = self.names, self._random
        above = {names[number]: names[draw.randrange(number)] for number in range(1, len(names))}
        for name, parent in above.items():
            if parent in self.stubs or draw.random() < 0.5:
                self.stubs.add(name)
        links = {(name, parent) if name in self.stubs else (parent, name): None for name, parent in above.items()}
        others = [name for name in names if name not in self.stubs]
        for _ in range(draw.randint(0, extra) if len(others) > 1 else 0):
            first, second = draw.sample(others, 2)
            if (second, first) not in links:
                links[first, second] = None
        return list(links)
