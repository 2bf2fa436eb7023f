"""Channels of plain threads do what those of tasks do."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

import trioton
from trioton import BINARY, OBJECT, Block, Disconnect, DropOldest, Latest, blocking

from .conftest import DEADLINE, Pair


class Small(trioton.MessageType[int]):
    """Numbers below ten."""

    name = "small"

    def encode(self, message: int) -> int:
        if message > 9:
            raise ValueError("too large")
        return message

    def decode(self, value: Any) -> int:
        if value == 7:
            raise ValueError("seven")
        return int(value)


def test_messages_go_from_thread_to_thread(pair: Pair) -> None:
    with blocking.SubChannel(pair.b, "chat") as sub, blocking.PubChannel(pair.a, "Chat") as pub:
        pub.wait_subscribers(1, timeout=DEADLINE)
        assert (pub.subscribers, pub.slot, sub.slot) == (1, "chat.txt.pub-sub", "chat.txt.pub-sub")
        pub.send("one")
        pub.send_nowait("two")
        pub.send_many(str(number) for number in range(1000))
        assert sub.receive(timeout=DEADLINE) == "one"
        assert next(sub) == "two"
        got: list[str] = []
        while len(got) < 1000:
            got += sub.receive_many(300, timeout=DEADLINE)
        assert got == [str(number) for number in range(1000)]
        assert pub.statistics().sent == sub.statistics().taken == 1002
        assert (sub.pending, sub.receive_all_nowait()) == (0, [])
        assert "closed" not in repr(sub) + repr(pub)
    assert sub.closed
    assert pub.closed
    with pytest.raises(trio.ClosedResourceError):
        sub.receive()
    with pytest.raises(trio.ClosedResourceError):
        pub.send("three")


def test_a_timeout_has_done_nothing(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", policy=Block(2))
    pub = blocking.PubChannel(pair.a, "slot")
    pub.wait_subscribers(timeout=DEADLINE)
    with pytest.raises(TimeoutError, match="nothing came from <blocking SubChannel"):
        sub.receive(timeout=0.01)
    with pytest.raises(trio.WouldBlock):
        sub.receive_nowait()
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            pub.send(str(sent), timeout=0.05)
            sent += 1
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait("no room")
    assert pub.statistics().sent == sent == 2
    assert [sub.receive(timeout=DEADLINE) for _ in range(2)] == ["0", "1"]
    pub.send("last", timeout=DEADLINE)
    assert sub.receive(timeout=DEADLINE) == "last"
    with pytest.raises(TimeoutError):
        pub.wait_subscribers(2, timeout=0.01)
    with pytest.raises(TimeoutError):
        pair.a.wait_context("nobody", timeout=0.01)


def test_a_thread_that_waits_is_woken_by_a_message_and_by_the_end(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot")
    pub = blocking.PubChannel(pair.a, "slot")
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.extend(sub)) for _ in range(4)]
    for thread in threads:
        thread.start()
    pub.wait_subscribers(timeout=DEADLINE)
    for number in range(500):
        pub.send(str(number))
    pair.a.flush(timeout=DEADLINE)
    pair.b.close()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert sorted(got, key=int) == [str(number) for number in range(500)]


def test_closing_wakes_a_thread_that_waits(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            sub.receive()
        except BaseException as error:  # noqa: ASYNC103, BLE001
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not sub.statistics().waiting:
        pass
    sub.close()
    thread.join(DEADLINE)
    assert [type(error) for error in errors] == [trio.ClosedResourceError]


def test_many_threads_send_and_keep_their_order(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", OBJECT)
    pub = blocking.PubChannel(pair.a, "slot", OBJECT)
    ahead = blocking.PubChannel(pair.a, "slot", OBJECT, ahead=10)
    pub.wait_subscribers(timeout=DEADLINE)

    def send(who: int) -> None:
        channel = ahead if who % 2 else pub
        for number in range(300):
            channel.send((who, number))

    threads = [threading.Thread(target=send, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    got = [sub.receive(timeout=DEADLINE) for _ in range(1800)]
    for thread in threads:
        thread.join(DEADLINE)
    for who in range(6):
        assert [number for sender, number in got if sender == who] == list(range(300))


def test_what_is_latest_is_decided_when_it_is_received(pair: Pair) -> None:
    latest = blocking.SubChannel(pair.b, "slot", policy=Latest())
    oldest_go = blocking.SubChannel(pair.b, "slot", policy=DropOldest(3))
    pub = blocking.PubChannel(pair.a, "slot")
    pub.wait_subscribers(2, timeout=DEADLINE)
    pub.send("0")
    assert (latest.receive(timeout=DEADLINE), oldest_go.receive(timeout=DEADLINE)) == ("0", "0")
    for number in range(1, 10):
        pub.send(str(number))
    while latest.statistics().received < 10 or oldest_go.statistics().received < 10:
        pass
    assert latest.receive(timeout=DEADLINE) == "9"
    assert oldest_go.receive_many(2) == ["7", "8"]
    assert oldest_go.receive_all_nowait() == ["9"]
    assert oldest_go.statistics().dropped == 6


def test_a_subscription_that_is_too_slow_ends(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", policy=Disconnect(2))
    pub = blocking.PubChannel(pair.a, "slot")
    pub.wait_subscribers(timeout=DEADLINE)
    pub.send_many(["0", "1", "2", "3"])
    while sub.statistics().received < 3:
        pass
    assert [sub.receive(timeout=DEADLINE) for _ in range(2)] == ["0", "1"]
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            sub.receive(timeout=DEADLINE)


def test_wrong_messages_are_told_to_who_sends_and_who_receives(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", Small)
    pub = blocking.PubChannel(pair.a, "slot", Small)
    pub.wait_subscribers(timeout=DEADLINE)
    with pytest.raises(trioton.MessageTypeError, match="too large"):
        pub.send(10)
    pub.send_many([1, 2, 7, 7, 3])
    assert sub.receive(timeout=DEADLINE) == 1
    while sub.statistics().received < 5:
        pass
    assert sub.receive_all_nowait() == [2]
    with pytest.raises(trioton.MessageDecodeError, match="seven"):
        sub.receive(timeout=DEADLINE)
    with pytest.raises(trioton.MessageDecodeError, match="seven"):
        sub.receive_many(timeout=DEADLINE)
    assert sub.receive(timeout=DEADLINE) == 3

    def numbers() -> Any:
        yield 4
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        pub.send_many(numbers())
    assert sub.receive(timeout=DEADLINE) == 4


def test_merge_gives_the_order_of_arrival(pair: Pair) -> None:
    subs = {name: blocking.SubChannel(pair.b, name, OBJECT) for name in ("out", "err")}
    pubs = {name: blocking.PubChannel(pair.a, name, OBJECT) for name in subs}
    for pub in pubs.values():
        pub.wait_subscribers(timeout=DEADLINE)
    merged = blocking.merge(*subs.values())
    with pytest.raises(TimeoutError):
        merged.receive(timeout=0.01)
    names = ["out", "out", "err", "out", "err", "err"]
    for number, name in enumerate(names):
        pubs[name].send(number)
    got = [merged.receive(timeout=DEADLINE) for _ in names]
    assert got == [(subs[name], number) for number, name in enumerate(names)]
    for sub in subs.values():
        sub.close()
    assert list(merged) == []
    with pytest.raises(ValueError, match="at least one"):
        blocking.merge()
    with pytest.raises(TypeError, match="receiving channels"):
        blocking.merge(pubs["out"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each channel once"):
        blocking.merge(subs["out"], subs["out"])


def test_what_a_merge_has_at_hand_stays_with_its_channel(pair: Pair) -> None:
    subs = [blocking.SubChannel(pair.b, name, OBJECT) for name in ("one", "two")]
    pubs = [blocking.PubChannel(pair.a, name, OBJECT) for name in ("one", "two")]
    for pub in pubs:
        pub.wait_subscribers(timeout=DEADLINE)
    for number in range(20):
        pubs[number % 2].send(number)
    while sum(sub.pending for sub in subs) < 20:
        pass
    for sub, message in blocking.merge(*subs):
        assert (sub, message) == (subs[0], 0)
        break
    assert [sub.pending for sub in subs] == [9, 10]
    assert subs[1].statistics().taken == 0
    assert [subs[1].receive(timeout=DEADLINE) for _ in range(10)] == list(range(1, 20, 2))
    merged = blocking.merge(*subs)
    assert [merged.receive(timeout=DEADLINE) for _ in range(3)] == [(subs[0], number) for number in (2, 4, 6)]
    assert subs[0].receive_many(timeout=DEADLINE) == list(range(8, 20, 2))
    with pytest.raises(TimeoutError):
        merged.receive(timeout=0.01)


def test_a_sending_end_travels(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.a, "tasks", OBJECT)
    pub = blocking.PubChannel(pair.b, "tasks", OBJECT, ahead=5)
    pub.wait_subscribers(timeout=DEADLINE)
    for wrapped in (False, True):
        sender, receiver = blocking.open_channel(pair.b, OBJECT)
        pub.send("first")
        if wrapped:
            pub.send_many([{"reply to": [(sender,)], "number": 1}])
        else:
            pub.send(sender)
        assert sub.receive(timeout=DEADLINE) == "first"
        message = sub.receive(timeout=DEADLINE)
        reply = message["reply to"][0][0] if wrapped else message
        assert isinstance(reply, blocking.Sender)
        with reply:
            reply.send("answer")
        assert list(receiver) == ["answer"]
        assert "Receiver" in repr(receiver)
        assert "Sender" in repr(sender)


def test_a_queue_lets_a_thread_be_ahead(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", OBJECT, policy=Block(4))
    pub = blocking.PubChannel(pair.a, "slot", OBJECT, ahead=20)
    pub.wait_subscribers(timeout=DEADLINE)
    message: list[int] = []
    sent = 0
    with pytest.raises(TimeoutError, match="had no room within"):
        while True:
            pub.send(message, timeout=0.1)
            message.append(sent)  # it has been encoded already
            sent += 1
    assert 20 <= sent <= 24
    with pytest.raises(TimeoutError):
        pair.a.flush(timeout=0.01)
    with pytest.raises(trioton.MessageTypeError):
        pub.send(object())
    got = [sub.receive(timeout=DEADLINE) for _ in range(sent)]
    assert got == [list(range(number)) for number in range(sent)]
    pair.a.flush(timeout=DEADLINE)
    assert pub.statistics().sent == sent


def test_what_fails_behind_the_queue_is_told_later(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", BINARY)
    pub = blocking.PubChannel(pair.a, "slot", BINARY, ahead=5)
    pub.wait_subscribers(timeout=DEADLINE)
    pub.send(bytes(trioton.Limits().max_package + 1))
    with pytest.raises(ValueError, match="max_package"):
        pair.a.flush(timeout=DEADLINE)
    pub.send(b"fits")
    assert sub.receive(timeout=DEADLINE) == b"fits"


@pytest.mark.parametrize("ahead", [0, 1000])
def test_closing_delivers_what_was_sent(pair: Pair, ahead: int) -> None:
    sub = blocking.SubChannel(pair.b, "slot", policy=Block(2000))
    pub = blocking.PubChannel(pair.a, "slot", ahead=ahead)
    pub.wait_subscribers(timeout=DEADLINE)
    for number in range(500):
        pub.send(str(number))
    pair.a.close()
    assert [sub.receive(timeout=DEADLINE) for _ in range(500)] == [str(number) for number in range(500)]


def test_wrong_arguments_are_named(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot")
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout must not be negative"):
            sub.receive(timeout=wrong)
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not 'soon'"):
        sub.receive(timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max must be"):
        sub.receive_many("all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max must be at least 1"):
        sub.receive_many(0)
    with pytest.raises(ValueError, match="ahead must be from 0 to"):
        blocking.PubChannel(pair.a, "slot", ahead=-1)
    with pytest.raises(TypeError, match="ahead must be an int"):
        blocking.PubChannel(pair.a, "slot", ahead=True)
    with pytest.raises(ValueError, match="slot must name something"):
        blocking.SubChannel(pair.a, " ")
    with pytest.raises(TypeError, match="policy must be"):
        blocking.SubChannel(pair.a, "slot", policy=3)  # type: ignore[call-overload]
