"""Pipelines: jobs go to whoever has room, each is done once, and those who push know when all are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioton
from tests.channels.pipeline_world import Workshop, open_pushers
from tests.common import warnings_of
from trioton import BINARY, OBJECT, MessageDecodeError, MessageType, PullChannel, PushChannel, open_channel
from trioton.errors import JobFailed, MessageTypeError
from trioton.network.sending.addressed import AddressedEnd
from trioton.protocol.turns import Turns
from trioton.protocol.values import encode_value
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, Pair


# ------------------------------------------------------------------------------------------------------- who gets what


async def test_each_gets_as_much_as_it_can_do(autojump_clock: object) -> None:
    async with Network(seed=1, latency=0.001) as net, open_pushers(net) as (context,):
        speeds = {"slow": 1.0, "fast": 0.1}
        shop = Workshop(net, seconds=lambda worker, _: speeds[worker])
        shop.hire(*speeds)
        async with PushChannel(context, "jobs", OBJECT) as push:
            await push.wait_pullers(2)
            began = trio.current_time()
            await push.send_many(range(110))
            await push.wait_done()
            assert trio.current_time() - began < 11.1
            assert push.statistics() == (110, 110, 0, 0, 0, 0, 0)
        shop.check_once(list(range(110)))
        assert 8 <= len(shop.begun_by("slow")) <= 12


@pytest.mark.parametrize("pushers", [1, 2])
async def test_nobody_is_idle_while_jobs_wait(autojump_clock: object, pushers: int) -> None:
    """Between two jobs a worker waits for little more than a round trip."""
    async with Network(seed=2, latency=0.01) as net, open_pushers(net, pushers) as contexts:
        shop = Workshop(net, pushers=pushers, tasks=2, seconds=lambda _, job: 0.2 + 0.1 * (job % 7))
        shop.hire("x", "y", "z")
        pushes = [PushChannel(context, "jobs", OBJECT) for context in contexts]
        for push in pushes:
            await push.wait_pullers(3)
        await trio.sleep(1)
        began = trio.current_time()
        for number, push in enumerate(pushes):
            await push.send_many(range(number, 240, pushers))
        for push in pushes:
            await push.wait_done()
        needed = sum(0.2 + 0.1 * (job % 7) for job in range(240)) / 6
        assert trio.current_time() - began < needed + 240 / 6 * 0.05 + 1.0
        shop.check_once(list(range(240)))


async def test_two_who_push_get_equal_shares_of_a_worker(autojump_clock: object) -> None:
    async with Network(seed=3, latency=0.01) as net, open_pushers(net, 2) as contexts:
        shop = Workshop(net, pushers=2)
        shop.hire("only")
        for number, context in enumerate(contexts):
            push = PushChannel(context, "jobs", OBJECT)
            await push.wait_pullers(1)
            await push.send_many(range(number, 200, 2))
        await trio.sleep(7)
        counts = [sum(job % 2 == number for job in shop.begun_by("only")) for number in range(2)]
        assert min(counts) > 20
        assert abs(counts[0] - counts[1]) <= 2
        shop.net.kill("only")


async def test_in_steady_state_no_job_travels_in_vain(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    turned_away = []
    enter = Turns.enter

    def count(turns: Turns[bytes], pusher: bytes, now: float) -> bool:
        may = enter(turns, pusher, now)
        turned_away.append(not may)
        return may

    monkeypatch.setattr(Turns, "enter", count)
    async with Network(seed=4, latency=0.01) as net, open_pushers(net, 2) as contexts:
        shop = Workshop(net, pushers=2, tasks=2)
        shop.hire("x", "y")
        async with trio.open_nursery() as nursery:
            for context in contexts:
                push = PushChannel(context, "jobs", OBJECT)
                await push.wait_pullers(2)
                nursery.start_soon(push.send_many, range(100))
        for _ in range(1000):
            if len(shop.ended) == 200:
                break
            await trio.sleep(0.1)
        assert len(shop.ended) == 200
        assert sum(turned_away) <= 12


async def test_a_worker_that_comes_later_gets_its_share(autojump_clock: object) -> None:
    async with Network(seed=5, latency=0.01) as net, open_pushers(net) as (context,):
        shop = Workshop(net)
        push = PushChannel(context, "jobs", OBJECT)
        await push.send_many(range(60))
        assert push.statistics().waiting == 60
        shop.hire("early")
        await trio.sleep(2)
        shop.hire("late")
        await push.wait_done()
        shop.check_once(list(range(60)))
        assert len(shop.begun_by("late")) > 15


async def test_the_order_at_a_single_puller_is_kept(autojump_clock: object) -> None:
    for prefetch in (0, 3):
        async with Network(seed=6, latency=0.01) as net, open_pushers(net) as (context,):
            shop = Workshop(net, prefetch=prefetch, seconds=lambda _, job: 0.01 * (job % 3))
            shop.hire("only")
            async with PushChannel(context, "jobs", OBJECT) as push:
                await push.send_many(range(200))
                await push.wait_done()
            assert shop.begun_by("only") == list(range(200))
            shop.check_once(list(range(200)))


async def test_what_may_wait_at_the_worker_spares_the_way(autojump_clock: object) -> None:
    took = {}
    for prefetch in (0, 8):
        async with Network(seed=7, latency=0.1) as net, open_pushers(net) as (context,):
            shop = Workshop(net, prefetch=prefetch, seconds=lambda *_: 0.02)
            shop.hire("only")
            async with PushChannel(context, "jobs", OBJECT) as push:
                await push.wait_pullers(1)
                began = trio.current_time()
                await push.send_many(range(50))
                await push.wait_done()
                took[prefetch] = trio.current_time() - began
            shop.check_once(list(range(50)))
    assert took[8] < took[0] / 3


async def test_pullers_of_the_same_context_get_jobs_only_if_asked_to(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs", local=True), PullChannel(pair.a, "jobs")
    with pytest.raises(ValueError, match=r"another channel on 'jobs.txt.push-pull' has local=True"):
        PushChannel(pair.a, "jobs")
    await push.send("here")
    assert await pull.receive() == "here"
    await push.wait_done()
    distant, own = PushChannel(pair.b, "jobs"), PullChannel(pair.b, "jobs")
    await distant.send("there")
    with trio.move_on_after(1):
        await own.receive()
    assert await pull.receive() == "there"


# -------------------------------------------------------------------------------------------------- taking, giving back


async def test_a_job_is_done_when_the_next_is_asked_for(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs"), PullChannel(pair.b, "jobs")
    await push.send_many(["one", "two"])
    got = []
    async for job in pull:
        got.append((job, push.statistics().done))
        await trio.sleep(0.1)
        if job == "two":
            break
    assert got == [("one", 0), ("two", 1)]
    await trio.sleep(0.1)
    assert push.statistics()[:5] == (2, 1, 1, 0, 1)
    assert await pull.receive() == "two"
    assert pull.redelivered
    await push.wait_done()
    assert pull.statistics() == (2, 0, 1, 0)


async def test_what_fails_gives_its_job_back(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs"), PullChannel(pair.b, "jobs")
    await push.send("job")

    async def fail() -> None:
        async for _ in pull:
            raise KeyError("no")

    for _ in range(5):
        with pytest.raises(KeyError):
            await fail()
    for _ in range(5):
        with pytest.raises(KeyError):
            async with pull.take():
                raise KeyError("no")
    with trio.move_on_after(1):
        async with pull.take():
            await trio.sleep_forever()
    async with pull.take() as job:
        assert (job, pull.redelivered) == ("job", True)
    await push.wait_done()
    assert push.statistics() == (1, 1, 0, 0, 11, 0, 0)


async def test_who_is_cancelled_while_he_asks_takes_nothing(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs"), PullChannel(pair.b, "jobs")
    for _ in range(3):
        with trio.move_on_after(0.5) as scope:
            await pull.receive()
        assert scope.cancelled_caught
    await push.send("job")
    await trio.sleep(1)
    assert push.statistics().waiting == 1
    assert await pull.receive() == "job"
    assert not pull.redelivered
    await push.wait_done()


async def test_closing_gives_back_what_runs_and_what_waits(pair: Pair) -> None:
    push = PushChannel(pair.a, "jobs", OBJECT)
    pull = PullChannel(pair.b, "jobs", OBJECT, prefetch=3)
    await push.send_many(range(6))
    loop = aiter(pull)
    assert await anext(loop) == 0
    await trio.sleep(0.1)
    assert push.statistics()[2:4] == (2, 4)
    pull.close()
    pull.close()
    assert pull.closed
    with pytest.raises(trio.ClosedResourceError):
        await anext(loop)
    await trio.sleep(0.1)
    assert push.statistics()[2:5] == (6, 0, 1)
    other = PullChannel(pair.b, "jobs", OBJECT)
    got = []
    for _ in range(6):
        async with other.take() as job:
            got.append((job, other.redelivered))
    assert got == [(0, True), *((number, False) for number in range(1, 6))]
    await push.wait_done()


async def test_jobs_on_their_way_to_who_closes_go_elsewhere(pair: Pair) -> None:
    push = PushChannel(pair.a, "jobs", OBJECT)
    first = PullChannel(pair.b, "jobs", OBJECT, prefetch=100)
    await push.send("one")
    assert await first.receive() == "one"
    await push.send_many(range(50))
    first.close()
    second = PullChannel(pair.b, "jobs", OBJECT)
    got = []
    for _ in range(50):
        got.append(await second.receive())
        assert not second.redelivered
    assert got == list(range(50))
    await push.wait_done()


async def test_tasks_that_ask_hear_of_the_end(pair: Pair) -> None:
    pull = PullChannel(pair.b, "jobs")
    heard = []

    async def ask() -> None:
        try:
            await pull.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel) as error:
            heard.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        await pull.aclose()
    other = pull
    pull = PullChannel(pair.b, "jobs")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        await pair.b.aclose()
    assert heard == [trio.ClosedResourceError, trio.EndOfChannel]
    with pytest.raises(trio.ClosedResourceError):
        await other.receive()
    assert [job async for job in pull] == []


async def test_a_context_that_closes_gives_its_jobs_back_and_that_is_no_death(pair: Pair) -> None:
    push = PushChannel(pair.a, "jobs", OBJECT)
    async with trioton.open_context("w", network=pair.net.host("w")) as worker:
        await worker.connect("a:1")
        pull = PullChannel(worker, "jobs", OBJECT, prefetch=2)
        await push.send_many(range(5))
        loop = aiter(pull)
        assert await anext(loop) == 0
        await trio.sleep(0.5)
    other = PullChannel(pair.b, "jobs", OBJECT)
    got = []
    for _ in range(5):
        job = await other.receive()
        got.append((job, other.redelivered))
    assert sorted(got) == [(0, True), *((number, False) for number in range(1, 5))]
    await push.wait_done()


async def test_several_channels_of_a_context_share_what_comes(pair: Pair) -> None:
    push = PushChannel(pair.a, "jobs", OBJECT)
    got: dict[int, list[int]] = {0: [], 1: [], 2: []}

    async def work(number: int) -> None:
        async for job in PullChannel(pair.b, "jobs", OBJECT):
            await trio.sleep(0.1)
            got[number].append(job)

    async with trio.open_nursery() as nursery:
        for number in got:
            nursery.start_soon(work, number)
        await push.wait_pullers(3)
        await push.send_many(range(30))
        await push.wait_done()
        nursery.cancel_scope.cancel()
    assert sorted(job for jobs in got.values() for job in jobs) == list(range(30))
    assert [len(jobs) for jobs in got.values()] == [10, 10, 10]


# ----------------------------------------------------------------------------------------------------------- who pushes


async def test_who_pushes_waits_while_too_much_is_not_done(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs", OBJECT, max_pending=3), PullChannel(pair.b, "jobs", OBJECT)
    for number in range(3):
        push.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        push.send_nowait(3)
    with trio.move_on_after(1) as scope:
        await push.send(3)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push.send_many, range(3, 10))
        assert [await pull.receive() for _ in range(10)] == list(range(10))
    assert push.statistics().sent == 10


async def test_wait_done_waits_for_what_is_pushed_meanwhile(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs", OBJECT), PullChannel(pair.b, "jobs", OBJECT)
    await push.wait_done()
    await push.send(0)

    async def work() -> None:
        for number in range(5):
            async with pull.take():
                if number < 4:
                    await push.send(number)
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await push.wait_done()
        assert push.statistics().done == 5


async def test_closing_waits_for_what_is_not_done_and_says_what_is_left(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    shop_pull = PullChannel(pair.b, "jobs", OBJECT)
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            async for _ in shop_pull:
                await trio.sleep(1)

        nursery.start_soon(work)
        began = trio.current_time()
        async with PushChannel(pair.a, "jobs", OBJECT) as push:
            await push.send_many(range(3))
        assert push.statistics()[:2] == (3, 3)
        assert trio.current_time() - began < 3.2
        assert not warnings_of(caplog)
        async with PushChannel(pair.a, "jobs", OBJECT) as push:
            await push.send_many(range(20))
        assert push.statistics().dropped in range(14, 18)
        assert warnings_of(caplog) == [f"{push!r} was closed with {push.statistics().dropped} jobs that are not done"]
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await push.send(1)
    with pytest.raises(trio.ClosedResourceError):
        push.send_nowait(1)
    with pytest.raises(trio.ClosedResourceError):
        await push.wait_done()
    with pytest.raises(trio.ClosedResourceError):
        await push.wait_pullers()


@pytest.mark.parametrize("how", ["channel", "context"])
async def test_tasks_that_wait_hear_of_the_end(pair: Pair, how: str, caplog: pytest.LogCaptureFixture) -> None:
    push = PushChannel(pair.a, "jobs", OBJECT, max_pending=1)
    push.send_nowait(1)
    heard = []

    async def expect(*wait: Any) -> None:
        try:
            await wait[0](*wait[1:])
        except trio.ClosedResourceError:
            heard.append(wait[0].__name__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, push.send, 2)
        nursery.start_soon(expect, push.wait_done)
        nursery.start_soon(expect, push.wait_pullers, 5)
        await trio.sleep(1)
        if how == "channel":
            push.close()
        else:
            await pair.a.aclose()
    assert sorted(heard) == ["send", "wait_done", "wait_pullers"]
    assert len(warnings_of(caplog)) == 1


class Picky(MessageType[str]):
    name = "picky"

    def encode(self, message: str) -> str:
        return message

    def decode(self, value: str) -> str:
        if value == "bad":
            raise ValueError("I do not like that")
        return value


async def test_a_job_that_makes_no_sense_has_failed(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs", Picky), PullChannel(pair.b, "jobs", Picky)
    await push.send_many(["good", "bad", "bad", "better"])
    assert await pull.receive() == "good"
    for _ in range(2):
        with pytest.raises(MessageDecodeError, match="I do not like that"):
            await pull.receive()
    assert await pull.receive() == "better"
    with pytest.raises(JobFailed, match="I do not like that") as caught:
        await push.wait_done()
    assert caught.value.job == "bad"
    assert caught.value.deaths == ()
    assert [other.job for other in caught.value.others] == ["bad"]
    await push.wait_done()
    assert push.statistics()[:6] == (4, 2, 0, 0, 0, 2)
    assert pull.statistics() == (2, 0, 0, 2)


async def test_large_jobs_arrive_whole(pair: Pair) -> None:
    push, pull = PushChannel(pair.a, "jobs", BINARY), PullChannel(pair.b, "jobs", BINARY)
    data = [bytes([number]) * 3_000_000 for number in range(4)]
    await push.send_many(data)
    for each in data:
        assert await pull.receive() == each
    await push.wait_done()
    with pytest.raises(ValueError, match=r"limits.max_package leaves room for"):
        await push.send(bytes(pair.a._limits.max_package))
    with pytest.raises(MessageTypeError):
        await push.send("no bytes")  # type: ignore[arg-type]
    assert push.statistics().sent == 4


async def test_a_sending_end_in_a_job_works_where_that_is_done(pair: Pair) -> None:
    """Also if it had been somewhere else before, where there was no room."""
    push = PushChannel(pair.a, "jobs", OBJECT)
    first, second = PullChannel(pair.b, "jobs", OBJECT, prefetch=1), PullChannel(pair.b, "jobs", OBJECT)
    ends = [open_channel(pair.a) for _ in range(3)]
    for number, (sender, _) in enumerate(ends):
        await push.send([number, sender])
    loop = aiter(first)
    assert (await anext(loop))[0] == 0
    await trio.sleep(0.1)
    first.close()
    for _ in range(3):
        async with second.take() as (number, sender):
            await sender.send(f"of {number}")
            await sender.aclose()
    assert [[message async for message in receiver] for _, receiver in ends] == [["of 0"], ["of 1"], ["of 2"]]


async def test_wrong_arguments_are_named(pair: Pair) -> None:
    wrong: Any
    for wrong, error in ((0, ValueError), (1.0, TypeError), (True, TypeError), (10_000_000, ValueError)):
        with pytest.raises(error, match=r"max_pending must be .*not"):
            PushChannel(pair.a, "jobs", max_pending=wrong)
    for wrong, error in ((-1, ValueError), (1.0, TypeError), (True, TypeError), (10_000_000, ValueError)):
        with pytest.raises(error, match=r"prefetch must be .*not"):
            PullChannel(pair.a, "jobs", prefetch=wrong)
    with pytest.raises(TypeError, match="local must be"):
        PushChannel(pair.a, "jobs", local=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="ctx must be"):
        PullChannel(None, "jobs")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="count must be an int"):
        await PushChannel(pair.a, "jobs").wait_pullers(1.5)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- what is left of it


async def test_nothing_is_left_when_all_is_over(pair: Pair) -> None:
    for _ in range(3):
        async with PushChannel(pair.a, "jobs") as push, PullChannel(pair.b, "jobs", prefetch=2) as pull:
            await push.send_many(["a", "b", "c"])
            async with pull.take() as job:
                assert job == "a"
            assert await pull.receive() == "b"
            assert await pull.receive() == "c"
    await trio.sleep(100)
    for context in (pair.a, pair.b):
        assert not context._shared.get("pushes")
        assert not context._shared.get("intakes")
        assert not context._before_closing
        assert context.statistics().slots_received == 0
        assert context.statistics().slots_sent == 0


async def test_nonsense_is_told_and_hurts_nobody(pair: Pair, watch: MakeWatch) -> None:
    events, back = watch(pair.b), watch(pair.a)
    push, pull = PushChannel(pair.a, "jobs"), PullChannel(pair.b, "jobs")
    await push.send("good")
    assert await pull.receive() == "good"
    await push.wait_done()
    end = AddressedEnd(pair.a, push.slot, pair.b._wire_id, lambda _: None)
    answers = AddressedEnd(pair.b, "jobs.txt.pull-push", pair.a._wire_id, lambda _: None)
    jobs: list[Any] = [
        None,
        5,
        [],
        [9],
        [0],
        [0, 1],
        [0, -1, 0, False, "x"],
        [0, 5, 0, 1, "x"],
        [0, 1 << 62, 0, False, "x"],
        [1, 1],
        ["0"],
        [True],
    ]
    told: list[Any] = [
        None,
        [],
        [0],
        [0, 1],
        [0, 1, 1],
        [0, 99, 1, 1],
        [3, 1, 99],
        [1, 1, 1, 1, 1],
        [6, 1, 1, 1, None],
        [8, 1],
        [-1],
        [4, -1],
        [7, "1"],
    ]
    for message in jobs:
        data = encode_value(message)
        end.send_soon(((data,), len(data)))
    for message in told:
        data = encode_value(message)
        answers.send_soon(((data,), len(data)))
    await trio.sleep(1)
    assert events.names.count("BadMessage") == len(jobs)
    assert back.names.count("BadMessage") == len(told)
    await push.send("better")
    assert await pull.receive() == "better"
    await push.wait_done()
