"""One-to-one channels: a pair at home, a sending end that travels, and how either side hears of the other's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, DeadError, PubChannel, Receiver, Sender, SubChannel, open_channel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair


async def travel(pair: Pair, value: Any) -> Any:
    """Send something from `a` to `b` inside an OBJECT."""
    pub, sub = PubChannel(pair.a, "travel", OBJECT), SubChannel(pair.b, "travel", OBJECT)
    await pub.wait_subscribers()
    await pub.send(value)
    with trio.fail_after(10):
        return await sub.receive()


async def open_remote(pair: Pair, message_type: Any = OBJECT, **options: Any) -> tuple[Sender[Any], Receiver[Any]]:
    """A pair whose sending end is at `b` and whose receiving end is at `a`."""
    sender, receiver = open_channel(pair.a, message_type, **options)
    arrived = await travel(pair, sender)
    sender.close()
    return arrived, receiver


# ---------------------------------------------------------------------------------------------------- at home


@pytest.mark.parametrize(
    ("message_type", "messages"), [(TEXT, ["", "a"]), (BINARY, [b"", b"a"]), (OBJECT, [None, [1]])]
)
async def test_a_pair_at_home(autojump_clock: object, pair: Pair, message_type: Any, messages: list[Any]) -> None:
    sender, receiver = open_channel(pair.a, message_type)
    for message in messages:
        await sender.send(message)
    sender.send_nowait(messages[0])
    await sender.send_many(messages)
    await sender.aclose()
    assert [message async for message in receiver] == [*messages, messages[0], *messages]
    with pytest.raises(trio.EndOfChannel):
        await receiver.receive()
    with pytest.raises(trio.EndOfChannel):
        receiver.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await sender.send(messages[0])


@pytest.mark.parametrize("size", [1, 2, 3, 256])
async def test_at_home_exactly_so_many_fit(autojump_clock: object, pair: Pair, size: int) -> None:
    sender, receiver = open_channel(pair.a, size=size)
    for number in range(size):
        sender.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        sender.send_nowait(size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, size)
        await trio.testing.wait_all_tasks_blocked()
        assert sender.statistics().waiting == 1
        assert await receiver.receive() == 0
    assert [await receiver.receive() for _ in range(size)] == list(range(1, size + 1))


async def test_a_pair_needs_no_connection(autojump_clock: object) -> None:
    async with trioton.open_context("a", network=Network().host("a")) as context:
        sender, receiver = open_channel(context, TEXT)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_many, [str(number) for number in range(1000)])
                assert [await receiver.receive() for _ in range(1000)] == [str(number) for number in range(1000)]


async def test_at_home_a_closed_receiver_breaks_the_sender(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = open_channel(pair.a, size=1)
    sender.send_nowait(0)

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await sender.send(1)
        assert isinstance(caught.value.__cause__, DeadError)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            receiver.close()
    with pytest.raises(trio.BrokenResourceError):
        sender.send_nowait(2)
    with pytest.raises(trio.ClosedResourceError):
        await receiver.receive()


async def test_pairs_do_not_mix(autojump_clock: object, pair: Pair) -> None:
    pairs = [open_channel(pair.a) for _ in range(50)]
    for number, (sender, _) in enumerate(pairs):
        await sender.send(number)
    assert [await receiver.receive() for _, receiver in pairs] == list(range(50))


async def test_reprs(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = open_channel(pair.a, TEXT)
    assert repr(sender).startswith("<Sender '~")
    assert repr(sender).endswith(".txt.one' of a>")
    assert repr(receiver).endswith(".txt.one' of a, 0 pending>")
    await sender.aclose()
    assert repr(sender).endswith(", closed>")
    assert repr(receiver).endswith(", ended>")
    receiver.close()
    assert repr(receiver).endswith(", closed>")


# ---------------------------------------------------------------------------------------------------- far away


@pytest.mark.parametrize(
    ("message_type", "messages"), [(TEXT, ["", "a"]), (BINARY, [b"", b"a"]), (OBJECT, [None, [1]])]
)
async def test_a_sender_that_has_travelled_works_there(
    autojump_clock: object, pair: Pair, message_type: Any, messages: list[Any]
) -> None:
    sender, receiver = await open_remote(pair, message_type)
    assert isinstance(sender, Sender)
    assert repr(sender).endswith(" of b>")
    for message in messages:
        await sender.send(message)
    sender.send_nowait(messages[0])
    await sender.send_many(messages)
    await sender.aclose()
    with trio.fail_after(10):
        assert [message async for message in receiver] == [*messages, messages[0], *messages]
        with pytest.raises(trio.EndOfChannel):
            await receiver.receive()


async def test_a_sender_travels_anywhere_in_a_message(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = open_channel(pair.a)
    arrived = await travel(pair, {"jobs": [1, ("answer here", sender)], sender.__class__.__name__: None})
    await arrived["jobs"][1][1].send("hello")
    assert await receiver.receive() == "hello"


@pytest.mark.parametrize("size", [1, 2, 3, 64, 256])
async def test_far_away_exactly_so_many_fit(autojump_clock: object, pair: Pair, size: int) -> None:
    """The sending end that stayed behind holds nothing of the room."""
    sender, receiver = await open_remote(pair, size=size)
    await trio.sleep(1)
    sent = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            sender.send_nowait(sent)
            sent += 1
    assert sent == size
    await trio.sleep(1)
    assert receiver.pending == size
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_many, range(size, 1000))
            for number in range(1000):
                assert await receiver.receive() == number
                assert receiver.pending <= size


async def test_the_sender_that_stayed_behind_need_not_be_closed(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = open_channel(pair.a, size=100)
    arrived = await travel(pair, sender)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrived.send_many, range(1000))
            assert [await receiver.receive() for _ in range(1000)] == list(range(1000))


async def test_what_is_sent_at_once_on_arrival_keeps_its_order(autojump_clock: object, pair: Pair) -> None:
    """Before the receiver has said how much room it has."""
    sender, receiver = await open_remote(pair, size=10)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_many, range(200))
            assert [await receiver.receive() for _ in range(200)] == list(range(200))
        sender.close()
        with pytest.raises(trio.EndOfChannel):
            await receiver.receive()


async def test_a_sender_may_travel_back(autojump_clock: object, pair: Pair) -> None:
    arrived, receiver = await open_remote(pair)
    pub, sub = PubChannel(pair.b, "back", OBJECT), SubChannel(pair.a, "back", OBJECT)
    await pub.wait_subscribers()
    await pub.send([arrived])
    (back,) = await sub.receive()
    with trio.fail_after(10):
        await back.send("home again")
        assert await receiver.receive() == "home again"
        await back.aclose()
        with pytest.raises(trio.EndOfChannel):
            await receiver.receive()


async def test_a_question_carries_the_way_to_answer(autojump_clock: object, pair: Pair) -> None:
    questions, asked = PubChannel(pair.a, "ask", OBJECT), SubChannel(pair.b, "ask", OBJECT)
    await questions.wait_subscribers()

    async def answer() -> None:
        for _ in range(10):
            number, sender = await asked.receive()
            async with sender:
                await sender.send(number * number)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            for number in range(10):
                sender, receiver = open_channel(pair.a)
                async with sender, receiver:
                    await questions.send((number, sender))
                    assert [message async for message in receiver] == [number * number]


async def test_a_type_of_ones_own_cannot_travel(autojump_clock: object, pair: Pair) -> None:
    class Own(trioton.MessageType[int]):
        name = "own"

        def encode(self, message: int) -> object:
            return message

        def decode(self, value: Any) -> int:
            return int(value)

    sender, receiver = open_channel(pair.a, Own)
    pub = PubChannel(pair.a, "chat", OBJECT)
    with pytest.raises(trioton.MessageTypeError, match="cannot travel"):
        await pub.send(sender)
    await sender.send(5)
    assert await receiver.receive() == 5


async def test_a_receiver_cannot_travel(autojump_clock: object, pair: Pair) -> None:
    _, receiver = open_channel(pair.a)
    with pytest.raises(trioton.MessageTypeError):
        await PubChannel(pair.a, "chat", OBJECT).send(receiver)


async def test_a_sender_that_could_not_leave_still_ends_its_channel(autojump_clock: object, pair: Pair) -> None:
    """There was no room for the message that it was in, so it never travelled."""
    pub, sub = PubChannel(pair.a, "chat", OBJECT), SubChannel(pair.b, "chat", OBJECT, policy=trioton.Block(1))
    await pub.wait_subscribers()
    await pub.send(0)
    sender, receiver = open_channel(pair.a)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(sender)
    with trio.move_on_after(1):
        await pub.send(sender)
    sender.close()
    with trio.fail_after(1), pytest.raises(trio.EndOfChannel):
        await receiver.receive()
    sub.close()


@pytest.mark.parametrize("depth", [0, 2])
async def test_a_closed_sender_cannot_leave(autojump_clock: object, pair: Pair, depth: int) -> None:
    pub, sub = PubChannel(pair.a, "chat", OBJECT), SubChannel(pair.b, "chat", OBJECT)
    await pub.wait_subscribers()
    sender, receiver = open_channel(pair.a)
    sender.close()
    message: Any = sender
    for _ in range(depth):
        message = [message]
    with pytest.raises(trioton.MessageTypeError, match=f"{sender!r} cannot be sent"):
        await pub.send(message)
    with pytest.raises(trioton.MessageTypeError, match="cannot be sent"):
        pub.send_nowait(message)
    with pytest.raises(trioton.MessageTypeError, match="cannot be sent"):
        await pub.send_many([message])
    with pytest.raises(trio.EndOfChannel):
        await receiver.receive()
    await pub.send("next")
    assert await sub.receive() == "next"
    assert pub.statistics().sent == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_sender_that_nobody_heard_of_still_ends_its_channel(
    autojump_clock: object, pair: Pair, at_once: bool
) -> None:
    """The message that it was in had no subscriber, so it never travelled."""
    pub = PubChannel(pair.a, "nobody listens", OBJECT, backlog=0)
    sender, receiver = open_channel(pair.a)
    if at_once:
        pub.send_nowait([sender])
    else:
        await pub.send([sender])
    assert pub.statistics().unheard == 1
    await sender.send("still works")
    await sender.aclose()
    with trio.fail_after(1):
        assert [message async for message in receiver] == ["still works"]


async def test_a_sender_that_waits_for_the_first_subscriber_has_left(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "chat", OBJECT, backlog=1)
    sender, receiver = open_channel(pair.a)
    await pub.send(sender)
    await sender.aclose()
    sub = SubChannel(pair.b, "chat", OBJECT)
    with trio.fail_after(10):
        arrived = await sub.receive()
        await arrived.send("made it")
        await arrived.aclose()
        assert [message async for message in receiver] == ["made it"]


# ---------------------------------------------------------------------------------------------------- the other's end


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_closed_receiver_breaks_the_sender(autojump_clock: object, pair: Pair, waiting: bool) -> None:
    sender, receiver = await open_remote(pair, size=1)
    await sender.send(0)
    await trio.sleep(1)

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError, match="nobody receives on this channel any more") as caught:
            if waiting:
                await sender.send(1)
            while True:
                await trio.sleep(1)
                await sender.send(2)
        assert isinstance(caught.value.__cause__, DeadError)
        assert caught.value.__cause__.reason

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            receiver.close()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await sender.send(3)
        with pytest.raises(trio.BrokenResourceError):
            await sender.send_many([3])
        with pytest.raises(trio.BrokenResourceError):
            sender.send_nowait(3)
    await sender.aclose()


async def test_a_receiver_closed_before_the_sender_arrives(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = open_channel(pair.a)
    receiver.close()
    arrived = await travel(pair, sender)
    with trio.fail_after(20), pytest.raises(trio.BrokenResourceError) as caught:
        while True:
            await arrived.send(0)
            await trio.sleep(0.1)
    assert isinstance(caught.value.__cause__, DeadError)


@pytest.mark.parametrize("how", ["closes", "dies"])
async def test_the_end_of_the_receivers_context_breaks_the_sender(
    autojump_clock: object, open_pair: OpenPair, how: str
) -> None:
    async with open_pair(reconnect=None) as pair:
        sender, _receiver = await open_remote(pair, size=1)
        await sender.send(0)

        async def send() -> None:
            with pytest.raises(trio.BrokenResourceError) as caught:
                while True:
                    await sender.send(1)
            assert isinstance(caught.value.__cause__, DeadError)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.testing.wait_all_tasks_blocked()
                if how == "closes":
                    await pair.a.aclose()
                else:
                    pair.net.cut("a", "b")
        with pytest.raises(trio.BrokenResourceError):
            sender.send_nowait(2)


@pytest.mark.parametrize("how", ["closes", "dies"])
async def test_the_end_of_the_senders_context_breaks_the_receiver(
    autojump_clock: object, open_pair: OpenPair, how: str
) -> None:
    async with open_pair(reconnect=None) as pair:
        sender, receiver = await open_remote(pair)
        await sender.send(0)
        await trio.sleep(1)
        if how == "closes":
            await pair.b.aclose()
        else:
            pair.net.cut("a", "b")
        with trio.fail_after(60):
            assert await receiver.receive() == 0  # what came before may still be taken
            with pytest.raises(trio.BrokenResourceError) as caught:
                await receiver.receive()
        assert isinstance(caught.value.__cause__, DeadError)


async def test_an_end_that_was_sent_before_the_context_closed_is_clean(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        sender, receiver = await open_remote(pair)
        await sender.send(0)
        sender.close()
        await pair.b.aclose()
        with trio.fail_after(60):
            assert [message async for message in receiver] == [0]


async def test_the_receivers_own_context_closes(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        sender, receiver = open_channel(pair.a)
        await sender.send(0)
        await pair.a.aclose()
        assert [message async for message in receiver] == [0]
        with pytest.raises(trio.ClosedResourceError):
            await sender.send(1)


async def test_it_survives_links_that_drop(autojump_clock: object, open_pair: OpenPair) -> None:
    net = Network(seed=9, latency=0.01)
    async with open_pair(net, reconnect=trioton.Reconnect(first=0.01, maximum=0.1)) as pair:
        sender, receiver = await open_remote(pair, size=16)

        async def send() -> None:
            async with sender:
                for number in range(500):
                    await sender.send(number)
                    await trio.sleep(0.002)

        async def cut() -> None:
            for _ in range(20):
                await trio.sleep(0.05)
                net.cut("a", "b")

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(cut)
                assert [number async for number in receiver] == list(range(500))


@pytest.mark.parametrize("how", ["clean", "receiver first", "never read", "receiver gone before", "at home"])
async def test_nothing_stays_behind(autojump_clock: object, pair: Pair, how: str) -> None:
    """When both ends are closed, in whatever order, neither context remembers the channel."""
    pub, sub = PubChannel(pair.a, "travel", OBJECT), SubChannel(pair.b, "travel", OBJECT)
    await pub.wait_subscribers()
    for _ in range(5):
        sender, receiver = open_channel(pair.a, size=2)
        if how == "receiver gone before":
            receiver.close()
        if how == "at home":
            await sender.send(0)
            receiver.close()
            sender.close()
        else:
            await pub.send(sender)
            sender.close()
            far = await sub.receive()
            if how != "receiver gone before":
                await far.send(0)
                await far.send(1)
            await trio.sleep(1)
            if how == "clean":
                far.close()
                with trio.fail_after(10):
                    assert [number async for number in receiver] == [0, 1]
            elif how == "receiver first":
                receiver.close()
                await trio.sleep(1)
            far.close()
            await trio.sleep(1)
            receiver.close()
        await trio.sleep(1)
    outlets = [outlet.flow.slot for each in (pair.a, pair.b) for outlet in each._traffic.outlets.all()]
    assert outlets == [pub.slot]
    assert pair.a.statistics().slots_received == 0
    assert pair.a._traffic.incoming.by_slot == {}
    assert list(pair.b._traffic.incoming.by_slot) == [pub.slot]


async def test_who_sends_hears_of_a_death_after_a_cut(pair: Pair) -> None:
    """Over its second link the receiver has told that it listens there. That must not hide that it is gone."""
    net, (sender, _) = pair.net, open_channel(pair.b)
    pub, sub = PubChannel(pair.b, "travel", OBJECT), SubChannel(pair.a, "travel", OBJECT)
    await pub.wait_subscribers()
    await pub.send(sender)
    arrived = await sub.receive()
    await arrived.send(1)
    await trio.sleep(1)
    net.cut("a", "b")
    await trio.sleep(10)
    await arrived.send(2)
    net.kill("b")
    await trio.sleep(1000)
    with trio.fail_after(100), pytest.raises(trio.BrokenResourceError):
        await arrived.send(3)
