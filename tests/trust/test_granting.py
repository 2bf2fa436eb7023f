"""Who says what a neighbour may do: one rule for all, or a function that is asked once for each link."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, warnings_of
from tests.trust.guests import GUEST_UID, NOTHING, SHORT, Adder, Badges, House, open_house, publish, subscribe
from trioton import ConnectError, NotPermittedError, Peer, Permissions, Refused
from trioton.network.trust import GrantError, Kind, Standing, grant
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

EVERYTHING = Permissions(inspect=True)


class Asked:
    """A function of a user: gives one answer after the other, the last one again and again.

    Attributes:
        peers: Whom it was asked about.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.peers: list[Peer] = []

    def __call__(self, peer: Peer) -> Permissions:
        self.peers.append(peer)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


async def cut(house: House) -> None:
    """Reset the link to the guest, and wait until it is up again."""
    house.net.cut("host", "guest")
    await trio.sleep(SHORT)
    with trio.fail_after(10):
        while not (house.to_guest.is_connected and house.guest.connections[0].is_connected):  # noqa: ASYNC110
            await trio.sleep(0.05)


# -------------------------------------------------------------------------------------------------------- the function


async def test_a_function_is_asked_once_for_each_link_that_is_not_trusted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = Asked(EVERYTHING)
    async with open_house(permissions=asked) as house:
        assert [(peer.identity, peer.uid, peer.name) for peer in asked.peers] == [("guest", GUEST_UID, "guest")]
        assert asked.peers[0].id == house.guest.id
        assert house.to_guest.permissions is EVERYTHING
        assert house.host.connection("far").permissions is None
        await cut(house)
        assert len(asked.peers) == 2
    asked = Asked(NOTHING)
    async with open_house("trusted", asked) as house:
        assert house.to_guest.permissions is None
        assert not asked.peers


async def test_permissions_go_by_who_it_is(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=7, latency=0.01)
    badges = Badges("host")
    grants = {"alice": Permissions(publish=("chat",)), "bob": Permissions(publish=())}
    async with (
        trioton.open_context(
            "host", network=net.host("host"), security=badges, permissions=lambda peer: grants[peer.identity or ""]
        ) as host,
        trioton.open_context("bob", network=net.host("alice", uid=GUEST_UID), security=badges) as alice,  # so she says
        trioton.open_context("alice", network=net.host("bob", uid=GUEST_UID), security=badges) as bob,
    ):
        await host.bind("host:1")
        sub = subscribe(host, "chat")
        for context in (alice, bob):
            await context.connect("host:1")
            await publish(context, "chat").send(context.name)
        await trio.sleep(SHORT)
        assert sub.receive_all_nowait() == ["bob"]


FAILURES = [
    (ZeroDivisionError("why"), "has raised ZeroDivisionError: why"),
    (None, "must give a trioton.Permissions, not None"),
    (True, "must give a trioton.Permissions, not True"),
    ({"publish": ("*",)}, "must give a trioton.Permissions, not {"),
]


@pytest.mark.parametrize(("answer", "text"), FAILURES, ids=[text[:25] for _, text in FAILURES])
async def test_where_the_function_fails_the_link_is_refused(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, answer: object, text: str
) -> None:
    net = Network(seed=7, latency=0.01)
    asked = Asked(answer, EVERYTHING)
    async with (
        trioton.open_context("host", network=net.host("host"), permissions=asked) as host,
        trioton.open_context("guest", network=net.host("guest", uid=GUEST_UID)) as guest,
    ):
        await host.bind("host:1")
        with pytest.raises(ConnectError, match="could not tell what this peer may do"):
            await guest.connect("host:1")
        (logged,) = warnings_of(caplog)
        assert logged.startswith("tcp://guest:")
        assert "refused 'guest' (" in logged
        assert logged.endswith(text) or text.endswith("{")
        assert text in logged
        assert not host.connections
        connection = await guest.connect("host:1")  # the context lives on
        assert connection.is_connected


async def test_one_that_dials_asks_its_function_too(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(seed=7, latency=0.01)
    asked = Asked(KeyError("nobody"), EVERYTHING)
    async with (
        trioton.open_context("host", network=net.host("host")) as host,
        trioton.open_context("guest", network=net.host("guest", uid=GUEST_UID), permissions=asked) as guest,
    ):
        await host.bind("host:1")
        with pytest.raises(ConnectError, match="host:1: the context could not tell what this peer may do"):
            await guest.connect("host:1")
        assert "has raised KeyError: 'nobody'" in caplog.text
        connection = await guest.connect("host:1")
        assert connection.permissions == attrs.evolve(EVERYTHING, block=False)


async def test_a_function_that_fails_later_ends_the_connection(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(permissions=Asked(EVERYTHING, RuntimeError("the list is gone"))) as house:
        events = watch(house.host)
        house.net.cut("host", "guest")
        ended = await events.wait_for(trioton.Disconnected)
        assert ended.connection.peer.name == "guest"
        assert "the list is gone" in caplog.text
        assert house.host.connection("far").is_connected


# -------------------------------------------------------------------------------------------------------- another link


async def test_what_a_new_link_permits_begins_by_itself(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_house(permissions=Asked(NOTHING, EVERYTHING)) as house:
        at_guest = watch(house.guest)
        subs = {name: subscribe(getattr(house, name), "chat") for name in ("host", "far")}
        pub, back, back_pub = publish(house.guest, "chat"), subscribe(house.guest, "back"), publish(house.host, "back")
        Adder(house.host, "adder")
        async with trioton.ReqChannel(house.guest, "adder") as req:
            await req.wait_repliers(1)
            await trio.sleep(SHORT)
            await pub.send("too early")
            with pytest.raises(NotPermittedError):
                await req.add(1, 2)
            state = trioton.StateChannel(house.guest, "state")
            await state.send("too early")
            with pytest.raises(NotPermittedError):
                await state.wait_synced()
            told = len(at_guest.all(Refused))
            await cut(house)
            await trio.sleep(SHORT)
            assert await req.add(1, 2) == 3
            await pub.send("now")
            await back_pub.send("now")
            with trio.fail_after(SHORT):
                for sub in (*subs.values(), back):
                    assert await sub.receive() == "now"
            with trio.fail_after(SHORT):
                await state.wait_synced()
        assert pub.statistics().refused == 1
        assert len(at_guest.all(Refused)) == told == 5


async def test_what_a_new_link_does_not_permit_any_more_ends(
    autojump_clock: trio.testing.MockClock, watch: MakeWatch
) -> None:
    async with open_house(permissions=Asked(EVERYTHING, NOTHING)) as house:
        at_guest = watch(house.guest)
        subs = {name: subscribe(getattr(house, name), "chat", 10) for name in ("host", "far")}
        subscribe(house.guest, "back")
        pub, back_pub = publish(house.guest, "chat"), publish(house.host, "back")
        Adder(house.host, "adder")
        async with trioton.ReqChannel(house.guest, "adder") as req:
            await pub.wait_subscribers(2)
            await back_pub.wait_subscribers()
            await pub.send("before")
            assert await req.add(1, 2) == 3
            assert [await sub.receive() for sub in subs.values()] == ["before", "before"]
            running = req.echo("unknown", 1000.0)
            await trio.sleep(SHORT)
            await cut(house)
            await trio.sleep(SHORT)
            with trio.fail_after(SHORT):
                with pytest.raises(trioton.DeadError):
                    await running  # it had begun
                with pytest.raises(NotPermittedError):
                    await req.add(1, 2)
                await pub.send_many(range(100))
        await trio.sleep(SHORT)
        assert back_pub.subscribers == 0
        assert [sub.pending for sub in subs.values()] == [0, 0]
        assert not house.host._traffic.incoming.get(house.guest._wire_id, "chat.obj.pub-sub")
        assert {event.what for event in at_guest.all(Refused)} == {"publish", "subscribe", "call"}
        # The room that it had is for others.
        other = publish(house.far, "chat")
        await other.wait_subscribers()
        await other.send_many(range(10))
        assert [await subs["host"].receive() for _ in range(10)] == list(range(10))


# -------------------------------------------------------------------------------------------------------- what is granted


@attrs.define
class FakeTransport:
    is_loopback: bool
    peer_uid: int | None = None


KINDS = [
    (Kind.TRUSTED, True, None),
    (Kind.TRUSTED, False, None),
    (Kind.PEER, True, EVERYTHING),
    (Kind.PEER, False, EVERYTHING),
    (Kind.UNAUTHENTICATED, True, EVERYTHING),
    (Kind.UNAUTHENTICATED, False, attrs.evolve(EVERYTHING, block=False)),
]


@pytest.mark.parametrize(("kind", "is_loopback", "granted"), KINDS)
async def test_the_loopback(
    autojump_clock: trio.testing.MockClock, kind: Kind, is_loopback: bool, granted: Permissions | None
) -> None:
    """Who has proved nothing may hold up publishers only from the same machine."""
    transport: Any = FakeTransport(is_loopback)
    async with open_house() as house:
        peer = house.to_guest.peer
        for granting in (EVERYTHING, Asked(EVERYTHING)):
            assert grant(granting, peer, transport, Standing(kind)) == granted
        with pytest.raises(GrantError) if granted else trio.CancelScope():
            grant(Asked("everything"), peer, transport, Standing(kind))


async def test_plain_tcp_over_the_loopback(caplog: pytest.LogCaptureFixture) -> None:
    """In earnest: nothing is proved, and still publishers wait."""
    caplog.set_level(logging.WARNING)
    async with (
        trioton.open_context("host", permissions=Permissions(publish=())) as host,
        trioton.open_context("guest") as guest,
    ):
        listener = await host.bind("localhost:0")
        await guest.connect(listener.address, local_shortcut=False, reconnect=FAST)
        assert host.connection("guest").kind == "unauthenticated"
        assert host.connection("guest").permissions == Permissions(publish=())
        subscribe(guest, "chat", 3)
        pub = publish(host, "chat")
        await pub.wait_subscribers()
        for number in range(3):
            await pub.send(number)
        with pytest.raises(trio.WouldBlock):
            for number in range(3):
                pub.send_nowait(number)
        assert not warnings_of(caplog)
        subscribe(host, "back")
        async with guest.events() as events:
            publish(guest, "back")
            with trio.fail_after(10):
                async for event in events:
                    if isinstance(event, Refused):
                        assert event.what == "publish"
                        break


@pytest.mark.parametrize("wrong", [None, "everything", {"publish": ()}, ("*",), True])
async def test_wrong_permissions_are_named(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"permissions must be a trioton.Permissions, or a function that gives one, not"
    ):
        async with trioton.open_context(permissions=wrong):
            raise AssertionError
