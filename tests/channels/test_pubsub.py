"""Publishing and subscribing: all forms of sending and receiving, who hears whom, and what cannot be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, PubChannel, SubChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import OpenPair, Pair


# ---------------------------------------------------------------------------------------------------------------- forms


async def test_each_form_of_sending_reaches_each_form_of_receiving(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pub.send("one")
    pub.send_nowait("two")
    await pub.send_many(["three", "four"])
    await pub.send_many(text for text in ("five", "six"))
    await pub.send_many([])
    assert await sub.receive() == "one"
    await trio.sleep(1)
    assert sub.pending == 5
    assert sub.receive_nowait() == "two"
    assert await sub.receive_many(1) == ["three"]
    async for message in sub:
        assert message == "four"
        break
    assert sub.receive_all_nowait() == ["five", "six"]
    assert sub.receive_all_nowait() == []
    with pytest.raises(trio.WouldBlock):
        sub.receive_nowait()


async def test_receive_many_gives_what_came_in_one_package(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    await pub.send_many(range(11))
    assert await sub.receive() == 0  # the first one may leave at once, and alone
    assert await sub.receive_many(4) == [1, 2, 3, 4]
    assert await sub.receive_many(100) == [5, 6, 7, 8, 9, 10]
    with trio.move_on_after(1) as scope:
        await sub.receive_many()
    assert scope.cancelled_caught


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 128, 129, 511, 512, 513, 1024, 5000])
async def test_send_many_loses_nothing_at_any_length(autojump_clock: object, pair: Pair, count: int) -> None:
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    texts = [str(number) for number in range(count)]
    received: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send_many, texts)
        while len(received) < count:
            received += await sub.receive_many()
    assert received == texts
    assert pub.statistics().sent == sub.statistics().taken == sub.statistics().received == count


async def test_texts_of_all_kinds_keep_their_order(autojump_clock: object, pair: Pair) -> None:
    """The short paths for ASCII, and the long ones for the rest and for large texts, give one order."""
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=Block(10_000))
    await pub.wait_subscribers()
    kinds = ["ascii", "", "ü", "x" * 100_000, "\N{GRINNING FACE}" * 9]
    texts = [f"{number}{kinds[number % len(kinds)]}" for number in range(200)]
    for number, text in enumerate(texts):
        if number % 3 == 0:
            await pub.send(text)
        elif number % 3 == 1:
            pub.send_nowait(text)
        else:
            await pub.send_many([text])
    with trio.fail_after(60):
        assert [await sub.receive() for _ in texts] == texts


async def test_each_message_goes_to_one_of_the_tasks_that_receive(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    received: list[int] = []

    async def receive() -> None:
        for _ in range(10):
            received.append(await sub.receive())  # noqa: PERF401  # tasks take turns

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert sub.statistics().waiting == 5
        await pub.send_many(range(50))
    assert sorted(received) == list(range(50))


async def test_send_nowait_would_block_without_room(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(2))
    await pub.wait_subscribers()
    pub.send_nowait(0)
    pub.send_nowait(1)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(2)
    assert pub.statistics().sent == 2
    assert [await sub.receive() for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("message_type", [trioton.TEXT, OBJECT])
async def test_send_nowait_never_overtakes_a_task_that_waits(
    autojump_clock: object, pair: Pair, message_type: trioton.MessageType[str]
) -> None:
    pub = PubChannel(pair.a, "n", message_type)
    other = PubChannel(pair.a, "n", message_type)
    sub = SubChannel(pair.b, "n", message_type, policy=Block(1))
    await pub.wait_subscribers()
    sent: list[str] = []

    async def send(text: str) -> None:
        await pub.send(text)
        sent.append(text)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(send, str(number))
            await trio.testing.wait_all_tasks_blocked()
        assert sent == ["0"]
        received: list[str] = []
        while len(received) < 4:
            assert other.statistics().waiting == 3 - len(received)
            if len(received) < 3:
                with pytest.raises(trio.WouldBlock):
                    other.send_nowait("overtaking")
            received.append(await sub.receive())
            await trio.sleep(1)
        other.send_nowait("last")
    assert received == sent == ["0", "1", "2", "3"]
    assert await sub.receive() == "last"


# ------------------------------------------------------------------------------------------------------- who hears whom


async def test_several_channels_of_a_slot(autojump_clock: object, pair: Pair) -> None:
    """Every subscription gets everything, and one order holds over all channels of one context."""
    pubs = [PubChannel(pair.a, "chat", OBJECT) for _ in range(3)]
    subs = [SubChannel(pair.b, "chat", OBJECT, policy=Block(100)) for _ in range(3)]
    await pubs[0].wait_subscribers(3)
    for number in range(30):
        await pubs[number % 3].send(number)
    for sub in subs:
        assert [await sub.receive() for _ in range(30)] == list(range(30))
    assert [pub.statistics().sent for pub in pubs] == [10, 10, 10]
    pubs[0].close()
    pubs[1].close()
    await pubs[2].send("still")
    subs[0].close()
    assert [await sub.receive() for sub in subs[1:]] == ["still", "still"]
    await trio.sleep(1)
    assert pubs[2].subscribers == 2


async def test_publishers_of_several_contexts_meet(autojump_clock: object, pair: Pair) -> None:
    here, there = PubChannel(pair.a, "chat", OBJECT), PubChannel(pair.b, "chat", OBJECT)
    at_a, at_b = SubChannel(pair.a, "chat", OBJECT), SubChannel(pair.b, "chat", OBJECT)
    await here.wait_subscribers()
    await there.wait_subscribers()
    await here.send("from a")
    await there.send("from b")
    assert await at_a.receive() == "from b"
    assert await at_b.receive() == "from a"
    await trio.sleep(1)
    assert at_a.pending == at_b.pending == 0  # neither hears itself


@pytest.mark.parametrize(("one", "other"), [("Chat", "cHAT"), (" chat ", "chat"), ("a.b/c d", "A.B/C D"), ("Ü", "ü")])
async def test_slots_that_are_the_same(autojump_clock: object, pair: Pair, one: str, other: str) -> None:
    pub, sub = PubChannel(pair.a, one), SubChannel(pair.b, other)
    await pub.wait_subscribers()
    await pub.send("hello")
    assert await sub.receive() == "hello"
    assert pub.slot == sub.slot == f"{one.strip().lower()}.txt.pub-sub"


async def test_other_slots_and_other_types_do_not_meet(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "chat", backlog=0)
    others = [
        SubChannel(pair.b, "chats"),
        SubChannel(pair.b, "chat", OBJECT),
        SubChannel(pair.b, "chat", trioton.BINARY),
    ]
    await trio.sleep(1)
    assert pub.subscribers == 0
    await pub.send("hello")
    await trio.sleep(1)
    assert [other.pending for other in others] == [0, 0, 0]


# ----------------------------------------------------------------------------------------------------------- what fails


async def test_a_message_that_cannot_be_sent_leaves_no_trace(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    wrong: list[object] = [5, None, b"bytes", "\ud800"]
    for value in wrong:
        with pytest.raises(trioton.MessageTypeError):
            await pub.send(value)  # type: ignore[arg-type]
        with pytest.raises(trioton.MessageTypeError):
            pub.send_nowait(value)  # type: ignore[arg-type]
        with pytest.raises(trioton.MessageTypeError):
            await pub.send_many(["good", value])  # type: ignore[list-item]
    assert pub.statistics().sent == len(wrong)
    await trio.sleep(1)
    assert sub.receive_all_nowait() == ["good"] * len(wrong)


async def test_an_iterable_that_fails_has_sent_what_came_before(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()

    def numbers() -> Iterator[int]:
        yield from range(200)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await pub.send_many(numbers())
    sent = pub.statistics().sent
    await trio.sleep(1)
    assert sub.receive_all_nowait() == list(range(sent))
    assert sent == 200


async def test_a_message_that_is_too_large_is_refused(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair(limits=trioton.Limits(max_package=1000)) as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        await pub.send("opens the short path")
        for text in ("x" * 1001, "ü" * 501, "x" * 100_000):
            with pytest.raises(ValueError, match=r"takes \d+ bytes; limits.max_package is 1000"):
                await pub.send(text)
            with pytest.raises(ValueError, match=r"limits.max_package is 1000"):
                pub.send_nowait(text)
            with pytest.raises(ValueError, match=r"limits.max_package is 1000"):
                await pub.send_many([text])
        await pub.send("x" * 900)
        assert [len(await sub.receive()) for _ in range(2)] == [20, 900]


async def test_many_small_messages_never_make_a_package_that_is_too_large(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    """What gathers in one pass must not grow beyond what the peer takes."""
    async with open_pair(limits=trioton.Limits(max_package=1000)) as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        texts = [f"{number:0100}" for number in range(500)]
        with trio.fail_after(30):
            await pub.send_many(texts)
            assert [await sub.receive() for _ in texts] == texts
        assert pair.to_a.is_connected
        assert pair.to_a.statistics().transports == 1
