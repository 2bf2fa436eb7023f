"""What each kind of neighbour may do: the table of the design, with permissions that grant everything, and with such that grant nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

import trioton
from tests.trust.guests import NOTHING, SHORT, Adder, House, open_house, publish, subscribe
from trioton import OBJECT, NotPermittedError, Permissions, PullChannel, PushChannel, ReqChannel, StateChannel

ALL = Permissions(inspect=True)

Deed = Callable[[House], Awaitable[bool]]


async def publishes(house: House) -> bool:
    """Whether what the guest publishes comes to the host."""
    sub, pub = subscribe(house.host, "chat"), publish(house.guest, "chat")
    await trio.sleep(SHORT)
    with trio.fail_after(1):
        await pub.send_many(range(1000))
    await trio.sleep(SHORT)
    return sub.receive_all_nowait() == list(range(1000))


async def listens(house: House) -> bool:
    """Whether what the host publishes comes to the guest."""
    sub, pub = subscribe(house.guest, "chat"), publish(house.host, "chat")
    await trio.sleep(SHORT)
    await pub.send("hello")
    await trio.sleep(SHORT)
    return sub.receive_all_nowait() == ["hello"]


async def holds_up(house: House) -> bool:
    """Whether publishers wait for a subscription of the guest that has no room; it counts what it loses otherwise."""
    sub, pub = subscribe(house.guest, "chat", size=3), publish(house.host, "chat")
    await trio.sleep(SHORT)
    with trio.move_on_after(SHORT) as scope:
        await pub.send_many(range(100))
    await trio.sleep(SHORT)
    if not scope.cancelled_caught and pub.subscribers:
        assert sub.receive_all_nowait() == [0, 1, 2]
        assert sub.statistics().dropped == 97
    return scope.cancelled_caught


async def calls(house: House) -> bool:
    """Whether the host runs the guest's requests."""
    adder = Adder(house.host, "adder")
    async with ReqChannel(house.guest, "adder") as req:
        await req.wait_repliers(1)
        with trio.fail_after(SHORT):
            try:
                result = await req.add(1, 2)
            except NotPermittedError:
                assert adder.statistics().started == 0
                return False
        return bool(result == 3)


async def serves(house: House) -> bool:
    """Whether the host's requests may go to the guest."""
    Adder(house.guest, "adder")
    req = ReqChannel(house.host, "adder")
    await trio.sleep(SHORT)
    return req.repliers == 1 and await req.add(1, 2) == 3


async def pushes(house: House) -> bool:
    """Whether the host gets jobs of the guest."""
    pull, push = PullChannel(house.host, "jobs", OBJECT), PushChannel(house.guest, "jobs", OBJECT)
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            async for _ in pull:
                pass

        nursery.start_soon(work)
        await push.send("a job")
        await push.wait_pullers(1)
        with trio.fail_after(SHORT):
            try:
                await push.wait_done()
            except trioton.JobFailed as failure:
                assert failure.job == "a job"
                assert "does not let this context publish on 'jobs.obj.push-pull'" in str(failure)
        nursery.cancel_scope.cancel()
    return push.statistics().done == 1


async def pulls(house: House) -> bool:
    """Whether the guest gets jobs of the host."""
    pull, push = PullChannel(house.guest, "jobs", OBJECT), PushChannel(house.host, "jobs", OBJECT)
    await push.send("a job")
    with trio.move_on_after(SHORT):
        return bool(await pull.receive() == "a job")
    push.close()
    return False


async def writes(house: House) -> bool:
    """Whether the host takes the guest's value of a state."""
    at_host, at_guest = StateChannel(house.host, "state"), StateChannel(house.guest, "state")
    await at_guest.send("of the guest")
    await trio.sleep(SHORT)
    return at_host.value == "of the guest"


async def reads(house: House) -> bool:
    """Whether the guest gets the host's value of a state, from before it asked and from later."""
    at_host = StateChannel(house.host, "state")
    await at_host.send("first")
    await trio.sleep(SHORT)
    at_guest = StateChannel(house.guest, "state")
    found = at_guest.value == "first"
    await at_host.send("second")
    await trio.sleep(SHORT)
    assert (at_guest.value == "second") == found
    return found


async def looks(house: House) -> bool:
    """Whether the guest sees what the host is and does, as `trioton top` does."""
    sub = subscribe(house.guest, "trioton.reports")
    await trio.sleep(5)
    return bool(sub.receive_all_nowait())


async def uses_what_it_was_given(house: House) -> bool:
    """Whether the guest may use a one-to-one channel that the host has given it."""
    sender, receiver = trioton.open_channel(house.host)
    given: trioton.Sender[object] = trioton.Sender(house.guest, receiver._slot, OBJECT, house.host._wire_id)
    sender._has_left()
    await given.send("thanks")
    with trio.move_on_after(SHORT):
        return bool(await receiver.receive() == "thanks")
    return False


DEEDS: list[Deed] = [
    publishes,
    listens,
    holds_up,
    calls,
    serves,
    pushes,
    pulls,
    writes,
    reads,
    looks,
    uses_what_it_was_given,
]
ALWAYS: set[Deed] = {uses_what_it_was_given}
NEVER: dict[str, set[Deed]] = {
    "trusted": set(),
    "peer": set(),
    # Over a real network nobody waits for whom nobody knows. Over the loopback it may: see `test_the_loopback`.
    "unauthenticated": {holds_up},
}


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("permissions", [ALL, NOTHING], ids=["everything", "nothing"])
@pytest.mark.parametrize("kind", ["trusted", "peer", "unauthenticated"])
async def test_what_each_kind_may(
    autojump_clock: trio.testing.MockClock, kind: str, permissions: Permissions, deed: Deed
) -> None:
    may = kind == "trusted" or permissions is ALL or deed in ALWAYS
    async with open_house(kind, permissions) as house:
        assert await deed(house) is (may and deed not in NEVER[kind])


LACKING: list[tuple[str, Permissions, set[Deed]]] = [
    ("publish", Permissions(publish=(), inspect=True), {publishes, pushes, writes}),
    ("subscribe", Permissions(subscribe=(), serve=("*",), inspect=True), {listens, holds_up, reads}),
    ("call", Permissions(call=(), inspect=True), {calls}),
    ("serve", Permissions(serve=(), inspect=True), {serves, pulls}),
    ("subscribe and serve", Permissions(subscribe=(), inspect=True), {listens, holds_up, reads, serves, pulls}),
    ("block", Permissions(block=False, inspect=True), {holds_up}),
    ("inspect", Permissions(), {looks}),
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize(
    ("permissions", "lacks"),
    [(permissions, lacks) for _, permissions, lacks in LACKING],
    ids=[row[0] for row in LACKING],
)
async def test_what_each_right_is_needed_for(
    autojump_clock: trio.testing.MockClock, permissions: Permissions, lacks: set[Deed], deed: Deed
) -> None:
    async with open_house("peer", permissions) as house:
        assert await deed(house) is (deed not in lacks)


NAMED = Permissions(
    publish=("Chat", "job*", "state"),
    subscribe=("chat", "st*"),
    call=("adder",),
    serve=("ADDER", "jobs"),
    inspect=True,
)
OTHERS = Permissions(publish=("chat.", "cha"), subscribe=("chat-*", "tate"), call=("subtracter",), serve=("adde",))


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("permissions", [NAMED, OTHERS], ids=["named", "others"])
async def test_slots_are_named_one_by_one(
    autojump_clock: trio.testing.MockClock, permissions: Permissions, deed: Deed
) -> None:
    async with open_house("peer", permissions) as house:
        assert await deed(house) is (permissions is NAMED or deed in ALWAYS)
