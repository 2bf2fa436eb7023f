"""What Yoton's tests and examples show of channels, held here: cases 4 to 8, 28, 29, 31, 33, 36, 48, 49. `tests/test_yoton_cases.py` has all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.network.mesh_shapes import open_mesh
from trioton import OBJECT, TEXT, Block, DropNewest, DropOldest, MessageType, PubChannel, SubChannel, merge

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair


def nothing_there(sub: SubChannel[Any]) -> bool:
    """Whether a subscription has nothing to give."""
    with pytest.raises(trio.WouldBlock):
        sub.receive_nowait()
    return True


async def test_case_4_nothing_there_is_no_message(autojump_clock: object, pair: Pair) -> None:
    """Yoton gave an empty text; here an empty text is a message."""
    pub, sub = PubChannel(pair.a, "foo"), SubChannel(pair.b, "foo")
    await pub.send("hello")
    assert await sub.receive() == "hello"
    assert nothing_there(sub)
    await pub.send("")
    assert await sub.receive() == ""


async def test_case_5_who_waits_hears_that_the_channel_was_closed(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "foo"), SubChannel(pair.b, "foo")
    ended = []

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sub.receive()
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        before = trio.current_time()
        sub.close()
    assert ended == [before]
    assert sub.closed
    with pytest.raises(trio.ClosedResourceError):
        await sub.receive()
    pub.close()
    with pytest.raises(trio.ClosedResourceError):
        await pub.send("hello")


async def test_cases_6_and_7_a_relay_has_channels_too_and_nobody_hears_itself(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        subs = {name: mesh.sub(name, "foo") for name in "abc"}
        pubs = {name: mesh.pub(name, "foo") for name in "abc"}
        for pub in pubs.values():
            await pub.wait_subscribers(2)
        await pubs["a"].send("msg1")
        assert await subs["b"].receive() == "msg1"
        await pubs["b"].send("msg2")
        assert [await subs["c"].receive() for _ in range(2)] == ["msg1", "msg2"]
        assert await subs["a"].receive() == "msg2"
        await trio.sleep(10)
        assert all(nothing_there(sub) for sub in subs.values())


async def test_case_8_several_channels_in_the_order_of_arrival(autojump_clock: object) -> None:
    """What Yoton did with select_sub_channel and recv_selected: in batches of one channel after the other, over a relay."""
    sent = ["a0", "a1", "b2", "b3", "a4", "c5", "c6", "b7", "a8"]
    async with open_mesh("xy yz") as mesh:
        pubs = {name: mesh.pub("x", name) for name in "abc"}
        subs: dict[Any, str] = {mesh.sub("z", name): name for name in "abc"}
        for pub in pubs.values():
            await pub.wait_subscribers()
        for text in sent:
            await pubs[text[0]].send(text)
        batches: list[list[str]] = []
        last = ""
        async for sub, text in merge(*subs):
            if subs[sub] != last:
                batches.append([])
            last = subs[sub]
            assert text.startswith(last)
            batches[-1].append(text)
            if sum(map(len, batches)) == len(sent):
                break
        assert batches == [["a0", "a1"], ["b2", "b3"], ["a4"], ["c5", "c6"], ["b7"], ["a8"]]


class Numbers(MessageType[float]):
    """Floats that travel as text, as in Yoton's example."""

    name = "num"

    def encode(self, message: float) -> Any:
        return str(message)

    def decode(self, value: Any) -> float:
        return float(value)


@pytest.mark.parametrize("kind", [Numbers, Numbers()], ids=["class", "instance"])
async def test_case_28_a_message_type_of_ones_own(autojump_clock: object, pair: Pair, kind: Any) -> None:
    pub = PubChannel(pair.a, "spam", kind)
    await pub.send(42.9)  # before anybody listens
    sub = SubChannel(pair.b, "spam", kind)
    assert pub.slot == "spam.num.pub-sub"
    received = await sub.receive()
    assert received == 42.9
    assert type(received) is float


async def test_case_29_the_type_is_part_of_the_address(autojump_clock: object, pair: Pair) -> None:
    numbers = PubChannel(pair.a, "spam", Numbers)
    texts, right = SubChannel(pair.b, "spam", TEXT), SubChannel(pair.b, "spam", Numbers)
    await numbers.send(42.9)
    assert await right.receive() == 42.9
    await trio.sleep(10)
    assert nothing_there(texts)
    assert numbers.subscribers == 1


async def test_case_31_a_queue_blocks_and_never_drops_in_silence(autojump_clock: object, pair: Pair) -> None:
    """Yoton's waited a second at most, and then appended; this one waits for room."""
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(64))
    await pub.wait_subscribers()
    for number in range(64):
        pub.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(64)
    with trio.move_on_after(100) as scope:
        await pub.send(64)
    assert scope.cancelled_caught
    assert [await sub.receive() for _ in range(64)] == list(range(64))
    assert nothing_there(sub)
    await pub.send(64)
    assert await sub.receive() == 64
    assert sub.statistics().dropped == 0


def sizes() -> list[int]:
    """Sizes of texts as in Yoton's test of speed, up to what a package takes by default."""
    found = []
    size = 2.0
    while size < 16e6:
        found.append(int(size))
        size *= 1.9
    return found


async def test_case_33_texts_of_all_sizes_arrive_whole_and_in_order(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "big"), SubChannel(pair.b, "big")
    await pub.wait_subscribers()
    for size in sizes():
        count = max(1, min(200, 2_000_000 // size))
        texts = [f"{number} ".ljust(size, "x")[:size] for number in range(count)]
        received: list[str] = []

        async def receive(count: int = count, received: list[str] = received) -> None:
            while len(received) < count:
                received.append(await sub.receive())

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                for text in texts:
                    await pub.send(text)
                await pair.a.flush()
        assert received == texts


async def test_case_36_an_object_is_equal_on_the_other_side(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "x", OBJECT), SubChannel(pair.b, "x", OBJECT)
    message = {"foo": 3, "bar": 9, "empty": [], (2, "aa", 3): ["pretty", ("nice", "eh"), 4]}
    await pub.send(message)
    received = await sub.receive()
    assert received == message
    assert [type(key) for key in received] == [str, str, str, tuple]
    assert type(received[2, "aa", 3][1]) is tuple


@pytest.mark.parametrize(
    ("policy", "kept"),
    [(DropNewest(10), range(10)), (DropOldest(10), range(90, 100))],
    ids=["new", "old"],
)
async def test_case_48_what_overflows_is_dropped_at_one_end(
    autojump_clock: object, pair: Pair, policy: Any, kept: range
) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=policy)
    await pub.wait_subscribers()
    for number in range(100):
        await pub.send(number)
    await pair.a.flush()
    await trio.sleep(1)
    assert sub.receive_all_nowait() == list(kept)
    assert sub.statistics().dropped == 90


async def test_case_49_taking_all_that_waits(autojump_clock: object, pair: Pair) -> None:
    """Yoton's iteration ended at the first false message."""
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    messages: list[object] = [1, 0, None, "", False, [], 2]
    await pub.send_many(messages)
    await trio.sleep(1)
    assert sub.pending == len(messages)
    assert sub.receive_all_nowait() == messages
    assert sub.receive_all_nowait() == []
    assert sub.pending == 0


async def test_case_48_what_waits_for_the_first_who_listens_may_overflow_too(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "n", OBJECT, backlog=10)
        for number in range(100):
            await pub.send(number)
        assert pub.statistics().unheard == 90
        sub = SubChannel(pair.b, "n", OBJECT)
        assert [await sub.receive() for _ in range(10)] == list(range(90, 100))
