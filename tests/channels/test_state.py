"""What a StateChannel does where it is used: values, changes, waits, closing, and what makes no sense."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, UNSET, MessageType, StateChannel
from trioton.network.pace import always_yield

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# --------------------------------------------------------------------------------------------------------------- values


async def test_before_any_value_it_is_unset(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "status")
    assert state.value is UNSET
    assert state.writer is None
    assert not UNSET
    assert repr(UNSET) == str(UNSET) == "trioton.UNSET"
    assert copy.deepcopy(UNSET) is pickle.loads(pickle.dumps(UNSET)) is UNSET
    with pytest.raises(trio.WouldBlock):
        state.receive_nowait()


async def test_all_channels_on_the_slot_see_what_one_sends(autojump_clock: object, pair: Pair) -> None:
    here, beside, there = (StateChannel(ctx, "Status ") for ctx in (pair.a, pair.a, pair.b))
    assert here.slot == "status.txt.state"
    await here.send("busy")
    assert here.value == beside.value == "busy"
    assert await there.wait_value("busy") == "busy"
    assert there.value == there.value == "busy", "looking at it takes nothing away"
    assert there.writer == beside.writer == pair.a.id


@pytest.mark.parametrize("value", [None, False, 0, "", b"", [], {}, 0.0], ids=repr)
async def test_values_that_are_false_are_values(autojump_clock: object, pair: Pair, value: object) -> None:
    """D5 and D7 of what Yoton could not do: an empty value is none less than others."""
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    await there.send("something")
    await here.wait_value("something")
    await here.send(value)
    received = await there.wait_value(predicate=lambda found: found != "something")
    assert received == value
    assert type(received) is type(value)
    assert await there.receive() == value


async def test_what_is_encoded_alike_is_no_change(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x", OBJECT)
    values: list[object] = [1, 1, True, 1.0, 1.0, {"a": [1]}, {"a": [1]}]
    for value in values:
        await state.send(value)
    assert state.statistics().sent == 4
    assert state.statistics().unchanged == 3
    text = StateChannel(pair.a, "empty", TEXT)
    await text.send("")
    assert text.value == ""
    assert text.statistics().sent == 1


async def test_one_and_true_are_two_values(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    for value in (1, True, 1.0):
        await here.send(value)
        with trio.fail_after(1):
            assert type(await there.receive()) is type(value)


async def test_what_becomes_of_an_object_after_it_was_sent_changes_nothing(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    value = {"list": [1, 2]}
    await here.send(value)
    value["list"].append(3)
    assert here.value == {"list": [1, 2]}
    assert await there.receive() == {"list": [1, 2]}
    await here.send(value)
    assert await there.receive() == {"list": [1, 2, 3]}
    there_value = there.value
    assert isinstance(there_value, dict)
    there_value["list"].append(4)
    await there.send(there_value)
    assert await here.wait_value({"list": [1, 2, 3, 4]}), "changed in place and sent, it is another value"


async def test_bytes_like_objects_are_copied(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x", BINARY)
    data = bytearray(b"abc")
    await state.send(data)
    data[0] = 0
    assert state.value == b"abc"


# -------------------------------------------------------------------------------------------------------------- changes


async def test_each_channel_gets_each_change_once(autojump_clock: object, pair: Pair) -> None:
    a, b, c = (StateChannel(pair.a, "x") for _ in range(3))
    await a.send("one")
    assert await a.receive() == "one", "what it has sent itself, too"
    assert await b.receive() == "one"
    with pytest.raises(trio.WouldBlock):
        b.receive_nowait()
    await a.send("two")
    assert b.receive_nowait() == "two"
    assert c.receive_nowait() == "two", "and never what has been replaced"
    late = StateChannel(pair.a, "x")
    assert late.receive_nowait() == "two", "what is there is news to a new channel"


async def test_iterating_gives_what_is_there_and_each_change(autojump_clock: object, pair: Pair) -> None:
    """Case 27: each value is seen, if they come half a second apart, and then the loop is told to stop."""
    here, there = StateChannel(pair.a, "x"), StateChannel(pair.b, "x")
    await here.send("READY")
    seen = []

    async def watch() -> None:
        async for value in there:
            seen.append(value)
            if value == "stop":
                break

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for value in ("hello", "there", "now", "stop"):
            await trio.sleep(0.5)
            await here.send(value)
    assert seen == ["READY", "hello", "there", "now", "stop"]


async def test_bursts_are_joined_and_the_last_is_never_lost(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    seen = []

    async def watch() -> None:
        while True:
            seen.append(await there.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for number in range(10_000):
            await here.send(number)
        await there.wait_value(9999)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == sorted(seen)
    assert seen[-1] == 9999
    assert len(seen) < 100


async def test_a_change_is_given_to_one_of_several_tasks(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x")
    got = []

    async def take() -> None:
        got.append(await state.receive())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert state.statistics().waiting == 3
        for value in "abc":
            await state.send(value)
            await trio.testing.wait_all_tasks_blocked()
    assert got == ["a", "b", "c"]
    assert state.statistics().taken == 3


async def test_a_cancelled_receive_has_taken_nothing(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x")
    await state.send("x")
    with trio.CancelScope() as scope:
        scope.cancel()
        await state.receive()
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await state.send("y")
    assert scope.cancelled_caught
    assert state.receive_nowait() == "x"


async def test_sending_and_receiving_let_others_have_their_turn(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x", OBJECT)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for number in range(1000):
            await state.send(number)
            await state.receive()
        nursery.cancel_scope.cancel()
    assert turns > 5


async def test_where_all_yield_each_call_does(autojump_clock: object, open_pair: OpenPair) -> None:
    with always_yield():
        async with open_pair() as pair:
            state = StateChannel(pair.a, "x")
            with trio.testing.assert_checkpoints():
                await state.send("x")
            with trio.testing.assert_checkpoints():
                await state.receive()


# ---------------------------------------------------------------------------------------------------------------- waits


async def test_waiting_for_a_value(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def count() -> None:
            for number in range(5):
                await trio.sleep(1)
                await here.send(number)

        asked: list[int] = []

        def is_right(number: int) -> bool:
            asked.append(number)
            return number > 2

        assert await there.wait_value(predicate=is_right) == 3
        assert asked == [0, 1, 2, 3]
        assert await there.wait_value(4) == 4
    with trio.testing.assert_checkpoints():
        assert await there.wait_value(4) == 4, "what is there already"
    assert await there.receive() == 4, "that has taken nothing away"
    await here.send(None)
    assert await there.wait_value(None) is None


async def test_an_error_of_the_predicate_is_raised_where_it_was_given(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x", OBJECT)
    await state.send(0)
    with pytest.raises(ZeroDivisionError):
        await state.wait_value(predicate=lambda number: 1 / number > 1)


async def test_synced_means_that_both_know(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x"), StateChannel(pair.b, "x")
    await here.wait_synced()
    for value in ("one", "two"):
        await here.send(value)
        assert there.value != value
        await here.wait_synced()
        assert there.value == value
        await there.send(f"{value} from there")
        await here.wait_synced()
        assert here.value == f"{value} from there", "and also the other way round"


async def test_several_tasks_may_wait_until_it_is_synced(autojump_clock: object, pair: Pair) -> None:
    here = StateChannel(pair.a, "x")
    await here.send("x")
    for cancelled in range(3):
        scopes = [trio.CancelScope() for _ in range(3)]
        async with trio.open_nursery() as nursery:

            async def wait(scope: trio.CancelScope) -> None:
                with scope, trio.fail_after(10):
                    await here.wait_synced()

            for scope in scopes:
                nursery.start_soon(wait, scope)
            await trio.testing.wait_all_tasks_blocked()
            scopes[cancelled].cancel()
        assert [scope.cancelled_caught for scope in scopes] == [number == cancelled for number in range(3)]


@pytest.mark.parametrize("value", [f"other {number}" for number in range(5)])
async def test_what_is_sent_while_it_is_waited_for_holds_nobody_up(
    autojump_clock: object, pair: Pair, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both had the same counter, chance would make some of these older than what is waited for."""
    here, there = StateChannel(pair.a, "x"), StateChannel(pair.b, "x")
    retaining = pair.a._mesh.retaining
    flush = retaining.flush

    def flush_and_send() -> None:
        flush()
        monkeypatch.undo()
        here.send_nowait(value)

    await here.send("first")
    monkeypatch.setattr(retaining, "flush", flush_and_send)
    with trio.fail_after(10):
        await here.wait_synced()
    await here.wait_synced()
    assert there.value == here.value == value


async def test_alone_it_is_synced_at_once(autojump_clock: object) -> None:
    async with trioton.open_context() as ctx:
        state = StateChannel(ctx, "x")
        await state.send("x")
        with trio.testing.assert_checkpoints():
            await state.wait_synced()


async def test_synced_waits_for_a_context_until_it_is_gone(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    here = StateChannel(pair.a, "x")
    pair.net.pause("b")
    await here.send("x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.wait_synced)
        await trio.sleep(5)
        assert len(nursery.child_tasks) == 1
        pair.net.kill("b")
    assert pair.a.contexts == []


# -------------------------------------------------------------------------------------------------------------- closing


Wait = Callable[[StateChannel[str]], Awaitable[object]]
WAITS: dict[str, Wait] = {
    "receive": lambda state: state.receive(),
    "wait_value": lambda state: state.wait_value("never"),
    "wait_synced": lambda state: state.wait_synced(),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_closing_wakes_who_waits(autojump_clock: object, pair: Pair, wait: Wait) -> None:
    state = StateChannel(pair.a, "x")
    pair.net.pause("b")

    async def expect_closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait(state)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed)
        await trio.testing.wait_all_tasks_blocked()
        state.close()
        await state.aclose()
        with trio.fail_after(1):
            await expect_closed()
    pair.net.resume("b")


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_the_end_of_the_context_is_the_end_for_who_waits(autojump_clock: object, pair: Pair, wait: Wait) -> None:
    state = StateChannel(pair.a, "x")
    pair.net.pause("b")

    async def expect_end() -> None:
        with pytest.raises(trio.EndOfChannel):
            await wait(state)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_end)
        await trio.testing.wait_all_tasks_blocked()
        await pair.a.aclose()
    with trio.fail_after(1):
        await expect_end()
    pair.net.resume("b")


async def test_the_last_value_is_given_out_before_the_end(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x")
    await state.send("last")
    await pair.a.aclose()
    assert [value async for value in state] == ["last"]
    assert state.value == "last"
    with pytest.raises(trio.EndOfChannel):
        state.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await state.send("more")
    with pytest.raises(trio.ClosedResourceError):
        StateChannel(pair.a, "x")


async def test_a_closed_channel_keeps_its_value_and_refuses_the_rest(autojump_clock: object, pair: Pair) -> None:
    other = StateChannel(pair.a, "x")
    async with StateChannel(pair.a, "x") as state:
        await state.send("x")
        assert not state.closed
    assert state.closed
    await other.send("y")
    assert state.value == "x"
    assert other.value == "y"
    for call in (state.send, state.wait_value):
        with pytest.raises(trio.ClosedResourceError):
            await call("x")
    for call_now in (lambda: state.send_nowait("x"), state.receive_nowait):
        with pytest.raises(trio.ClosedResourceError):
            call_now()


async def test_what_was_sent_before_closing_arrives(autojump_clock: object, pair: Pair) -> None:
    there = StateChannel(pair.b, "x")
    async with StateChannel(pair.a, "x") as here:
        for number in range(10):
            await here.send(str(number))
    await pair.a.aclose()
    await there.wait_value("9")
    assert pair.b.contexts == []


async def test_a_value_stays_where_no_channel_is(autojump_clock: object, pair: Pair) -> None:
    async with StateChannel(pair.a, "x") as state:
        await state.send("x")
        await state.wait_synced()
    assert StateChannel(pair.b, "x").value == "x"
    assert StateChannel(pair.a, "x").value == "x"
    assert pair.b.statistics().states == 1


async def test_texts_that_stand_for_it(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x")
    assert repr(state) == "<StateChannel 'x.txt.state' of a, unset>"
    await state.send("secret")
    assert repr(state) == "<StateChannel 'x.txt.state' of a, set>"
    state.close()
    assert repr(state) == "<StateChannel 'x.txt.state' of a, closed>"


# ------------------------------------------------------------------------------------------------------ what is refused


class Even(MessageType[int]):
    """Even numbers; odd ones make no sense to it."""

    name = "even"

    def encode(self, message: int) -> object:
        return message

    def decode(self, value: Any) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return int(value)


async def test_a_value_of_the_wrong_type_is_refused_where_it_is_sent(autojump_clock: object, pair: Pair) -> None:
    state = StateChannel(pair.a, "x")
    await state.send("good")
    with pytest.raises(trioton.MessageTypeError):
        await state.send(5)  # type: ignore[arg-type]
    with pytest.raises(trioton.MessageTypeError):
        StateChannel(pair.a, "x", OBJECT).send_nowait(object())
    assert state.value == "good"
    assert state.statistics().sent == 1


async def test_a_value_that_makes_no_sense_does_not_spoil_the_channel(autojump_clock: object, pair: Pair) -> None:
    here, there = StateChannel(pair.a, "x", Even), StateChannel(pair.b, "x", Even)
    await here.send(2)
    assert await there.receive() == 2
    await here.send(3)
    with pytest.raises(trioton.MessageDecodeError, match="3 is odd"):
        await there.receive()
    assert there.value == 2, "the last one that made sense"
    with pytest.raises(trio.WouldBlock):
        there.receive_nowait()
    await here.send(4)
    assert await there.receive() == there.value == 4


async def test_bytes_that_are_no_value_are_told_and_passed_over(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    events = watch(pair.b)
    here, there = StateChannel(pair.a, "x", OBJECT), StateChannel(pair.b, "x", OBJECT)
    await here.send("good")
    assert await there.receive() == "good"
    pair.a._mesh.retaining.put(here.slot, b"\xff\x00nonsense")
    with trio.move_on_after(1):
        await there.receive()
    assert there.value == "good"
    event = await events.wait_for(trioton.BadMessage)
    assert (event.source, event.slot) == (pair.a.id, here.slot)
    assert pair.b.contexts, "nobody loses a link by that"
    await here.send("better")
    assert await there.receive() == "better"


async def test_a_value_must_not_be_larger_than_all_take(autojump_clock: object, open_pair: OpenPair) -> None:
    small, large = trioton.Limits(max_package=100_000), trioton.Limits(max_package=200_000)
    async with open_pair(a_options={"limits": large}, b_options={"limits": small}) as pair:
        here, there = StateChannel(pair.a, "x", BINARY), StateChannel(pair.b, "x", BINARY)
        with pytest.raises(ValueError, match=r"200005 bytes; limits\.max_package is 200000"):
            await here.send(bytes(200_000))
        with pytest.raises(ValueError, match="b takes 100000"):
            await here.send(bytes(100_000))
        assert here.value is UNSET
        await here.send(bytes(99_995))
        await there.wait_value(bytes(99_995))


WRONG: dict[str, Callable[[trioton.Context], object]] = {
    "ctx": lambda ctx: StateChannel(None, "x"),  # type: ignore[call-overload]
    "slot": lambda ctx: StateChannel(ctx, 5),  # type: ignore[call-overload]
    "message_type": lambda ctx: StateChannel(ctx, "x", str),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("argument", WRONG)
async def test_wrong_arguments_are_named(autojump_clock: object, pair: Pair, argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        WRONG[argument](pair.a)
    for slot in (" ", "~x", "trioton.reports"):
        with pytest.raises(ValueError, match="slot"):
            StateChannel(pair.a, slot)


async def test_waiting_takes_one_of_two_arguments(autojump_clock: object, pair: Pair) -> None:
    state: Any = StateChannel(pair.a, "x")
    with pytest.raises(TypeError, match="either a value or predicate="):
        await state.wait_value()
    with pytest.raises(TypeError, match="either a value or predicate="):
        await state.wait_value("x", predicate=bool)
    with pytest.raises(TypeError, match="predicate must be a function, not 5"):
        await state.wait_value(predicate=5)


async def is_never(value: object) -> bool:
    raise AssertionError("nobody awaits it")


async def test_what_no_value_can_be_is_not_waited_for(autojump_clock: object, pair: Pair) -> None:
    text: Any = StateChannel(pair.a, "x")
    with pytest.raises(trioton.MessageTypeError, match="txt: expected str, got int"):
        await text.wait_value(5)
    anything = StateChannel(pair.a, "x", OBJECT)
    with pytest.raises(trioton.MessageTypeError, match="Unset"):
        await anything.wait_value(trioton.UNSET)


class NeverTrue:
    async def __call__(self, value: object) -> bool:
        raise AssertionError("nobody awaits it")


@pytest.mark.parametrize(
    "predicate", [is_never, NeverTrue(), functools.partial(is_never), lambda value: is_never(value)]
)
async def test_a_predicate_answers_at_once(autojump_clock: object, pair: Pair, predicate: Any) -> None:
    """A coroutine is true, whatever it would come to; and it must not be left unawaited, which Python would complain of."""
    state = StateChannel(pair.a, "x")
    await state.send("busy")
    with pytest.raises(TypeError, match=r"predicate must .* async"):
        await state.wait_value(predicate=predicate)
