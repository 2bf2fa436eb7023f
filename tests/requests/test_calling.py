"""What one may ask, and what comes back: the whole of the interface, one thing at a time."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

import trioton
from tests.conftest import OpenPair, Pair
from tests.requests.conftest import Asking
from tests.requests.handlers import Handlers
from trioton import DeadError, NoReplierError, RemoteError, RemoteTraceback, RepChannel, ReqChannel
from trioton.testing import Network


async def test_yoton_20_values_come_back_as_they_are(asking: Asking) -> None:
    req = asking.req
    assert await req.add("foo", "bar") == "foobar"
    total = await req.add(3, 4)
    assert total == 7
    assert type(total) is int


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(1 << 70),
        1.5,
        "text \N{SNOWMAN}",
        b"bytes",
        [1, [2, (3,)]],
        (1, [2, (3,)]),
        {"a": {"b": (None, [True])}, (2, "aa", 3): "tuple"},
        {1, 2},
        [],
        (),
    ],
    ids=repr,
)
async def test_yoton_21_arguments_and_keywords_survive_both_ways(asking: Asking, value: Any) -> None:
    back = await asking.req.give(value)
    assert back == value
    assert type(back) is type(value)
    assert await asking.req.give(value, named=value, other=[value]) == (value, {"named": value, "other": [value]})


async def test_yoton_11_a_replier_is_found_over_a_relay(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("c1", network=net.host("c1")) as c1,
        trioton.open_context("c2", network=net.host("c2")) as c2,
        trioton.open_context("c3", network=net.host("c3")) as c3,
    ):
        await c2.bind("c2:1")
        await c1.connect("c2:1")
        await c3.connect("c2:1")
        RepChannel(c3, "bar")
        req = ReqChannel(c1, "bar")
        with trio.fail_after(1):
            assert await req.echo("foo") == ("foo", hex(c3.id))
            assert await req.echo("bar") == ("bar", hex(c3.id))


@pytest.mark.parametrize("relay", [False, True], ids=["yoton_12_star", "yoton_14_with_a_relay"])
async def test_yoton_12_to_14_work_is_shared_and_nobody_asks_itself(
    relay: bool, autojump_clock: trio.testing.MockClock
) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("c1", network=net.host("c1")) as c1,
        trioton.open_context("c2", network=net.host("c2")) as c2,
        trioton.open_context("c3", network=net.host("c3")) as c3,
        trioton.open_context("relay", network=net.host("relay")) as between,
    ):
        await c1.bind("c1:1")
        await c2.connect("c1:1")
        if relay:
            await between.bind("relay:1")
            await between.connect("c1:1")
        await c3.connect("relay:1" if relay else "c1:1")
        repliers = [RepChannel(each, "bar", max_running=1) for each in (c1, c2, c3)]
        requesters = {c1: ReqChannel(c1, "bar"), c2: ReqChannel(c2, "bar")}
        for each in requesters.values():
            await each.wait_repliers(2)
        told: list[tuple[int, str, str]] = []

        def tell(asker: int, future: trioton.Future[Any]) -> None:
            told.append((asker, *future._value))

        start = trio.current_time()
        futures = []
        for asker, pauses in ((c1, [1, 0.1, 1, *[0.6] * 5]), (c2, [0.4] * 5)):
            for number, pause in enumerate(pauses):
                future = requesters[asker].echo(f"msg{asker}{number}", pause)
                future.add_done_callback(lambda future, asker=asker: tell(asker.id, future))  # type: ignore[misc]
                futures.append(future)
        for future in futures:
            await future.wait()
        assert trio.current_time() - start <= 4
        assert sorted(text for _, text, _ in told) == sorted(
            [f"msgc1{n}" for n in range(8)] + [f"msgc2{n}" for n in range(5)]
        )
        names = {hex(each.id) for each in (c1, c2, c3)}
        assert {name for *_, name in told} == names
        assert all(hex(asker) != name for asker, _, name in told)
        assert sum(rep.statistics().succeeded for rep in repliers) == 13
        assert sum(rep.statistics().started for rep in repliers) == 13


async def test_yoton_23_a_failure_is_raised_and_the_replier_goes_on(asking: Asking) -> None:
    future = asking.req.fail("ValueError", "bad", 3)
    error = await future.exception()
    assert type(error) is ValueError
    assert error.args == ("bad", 3)
    assert not future.cancelled()
    with pytest.raises(ValueError, match="bad") as caught:
        await future.result()
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    assert await asking.req.add(1, 1) == 2


async def test_yoton_45_patience_ends_and_a_late_replier_still_serves(pair: Pair) -> None:
    hasty, patient = ReqChannel(pair.b, "math", patience=0.5), ReqChannel(pair.b, "math", patience=5)
    start = trio.current_time()
    waiting = patient.add(1, 2)
    with pytest.raises(NoReplierError, match=r"no replier took 'add' on 'math\.obj\.req-rep' within 0\.5 s"):
        await hasty.add(1, 2)
    assert trio.current_time() - start == pytest.approx(0.5)
    await trio.sleep(0.5)
    Handlers(pair.a, "math")
    assert await waiting == 3
    assert trio.current_time() - start == pytest.approx(1.03, abs=0.1)


async def test_yoton_46_a_request_that_nobody_waits_for_is_never_run(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    with trio.move_on_after(1):
        await req.work("never")
    future = req.work("not this either")
    assert future.cancel()
    rep = Handlers(pair.a, "math")
    await req.wait_repliers(1)
    assert await req.work("but this") == "but this"
    assert rep.order == ["but this"]


async def test_yoton_47_callbacks_come_in_order_and_at_once_if_it_is_done(asking: Asking) -> None:
    future = asking.req.add(1, 2)
    called: list[int] = []
    future.add_done_callback(lambda _: called.append(1))
    future.add_done_callback(lambda _: called.append(2))
    assert called == []
    await future
    assert called == [1, 2]
    future.add_done_callback(lambda same: called.append(3 if same is future else 0))
    assert called == [1, 2, 3]


async def test_a_callback_that_fails_is_logged_and_hurts_nobody(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("of no use")

    called: list[object] = []
    future = asking.req.add(1, 2)
    future.add_done_callback(fail)
    future.add_done_callback(called.append)
    assert await future == 3
    assert called == [future]
    assert "a callback has failed" in caplog.text
    with pytest.raises(TypeError, match="callback must be a function of the future, not 3"):
        future.add_done_callback(3)  # type: ignore[arg-type]


async def test_wrong_arguments_are_told_with_the_name_of_the_method(asking: Asking) -> None:
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'b'"):
        await asking.req.add(1)
    with pytest.raises(TypeError, match=r"add\(\) got an unexpected keyword argument 'c'"):
        await asking.req.add(1, 2, c=3)


async def test_to_asks_one_context_only(pair: Pair) -> None:
    async with trioton.open_context("c", network=pair.net.host("c")) as third:
        await third.connect("a:1")
        Handlers(pair.a, "math")
        Handlers(third, "math")
        req = ReqChannel(pair.b, "math")
        await req.wait_repliers(2)
        for context in (pair.a, third, third, third, pair.a):
            assert await req.to(context.id).who() == context.name
            assert await req.to(int(context.id)).call("who") == context.name
            async with req.to(context.id).stream("count", 3) as items:
                assert [item async for item in items] == [0, 1, 2]


async def test_to_fails_at_once_where_nobody_is(asking: Asking) -> None:
    with pytest.raises(DeadError, match="cannot be reached") as caught:
        await asking.req.to(12345).add(1, 2)
    assert caught.value.started is False
    assert caught.value.context == 12345


async def test_to_waits_where_nobody_answers_yet_and_fails_when_that_context_is_gone(asking: Asking) -> None:
    async with trioton.open_context("c", network=asking.net.host("c")) as third:
        await third.connect("a:1")
        await asking.here.wait_context("c")
        directed = asking.req.to(third.id)
        first = directed.who()
        await trio.sleep(1)
        assert not first.done()
        rep = Handlers(third, "math")
        assert await first == "c"
        await rep.aclose()
        await trio.sleep(1)
        second = directed.who()
        await trio.sleep(1)
        assert not second.done()
    with trio.fail_after(10), pytest.raises(DeadError, match="cannot be reached") as caught:
        await second
    assert caught.value.started is False


async def test_wait_repliers_counts_channels_of_all_contexts(pair: Pair) -> None:
    req = ReqChannel(pair.b, "math")
    assert req.repliers == 0
    await req.wait_repliers(0)
    waited = []

    async def wait(count: int) -> None:
        await req.wait_repliers(count)
        waited.append(count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await trio.sleep(1)
        assert waited == []
        first = Handlers(pair.a, "math")
        await trio.sleep(1)
        assert waited == [1]
        second = Handlers(pair.a, "math")
    assert waited == [1, 2]
    assert req.repliers == 2
    first.close()
    second.close()
    await trio.sleep(1)
    assert req.repliers == 0
    with pytest.raises(TypeError, match="count must be an int, not '1'"):
        await req.wait_repliers("1")  # type: ignore[arg-type]


async def test_repliers_of_the_same_context_are_asked_if_that_is_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trioton.open_context("alone", network=Network(seed=1).host("alone")) as alone:
        rep = Handlers(alone, "math")
        local = ReqChannel(alone, "math", local=True)
        await local.wait_repliers(1)
        assert await local.add(1, 2) == 3
        assert await local.to(alone.id).add(1, 2) == 3
        async with local.stream("count", 3) as items:
            assert [item async for item in items] == [0, 1, 2]
        with trio.move_on_after(1):
            await local.work("long", 10)
        assert rep.ended["long"] == 1
        rep.close()
        early = local.add(1, 2)
        await trio.sleep(1)
        assert not early.done()
        assert local.repliers == 0
        Handlers(alone, "math")
        assert await early == 3
        assert await ReqChannel(alone, "math").to(alone.id).add(1, 2) == 3
        with pytest.raises(ValueError, match="no"):
            await local.fail("ValueError", "no")


async def test_a_channel_that_wants_no_local_replier_gets_none_though_another_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trioton.open_context("alone", network=Network(seed=1).host("alone")) as alone:
        Handlers(alone, "math")
        remote = ReqChannel(alone, "math")
        early = remote.add(1, 2)
        local = ReqChannel(alone, "math", local=True)
        assert await local.add(1, 2) == 3
        assert local.repliers == 1
        assert remote.repliers == 0
        late = remote.add(1, 2)
        assert await local.add(1, 2) == 3
        await trio.sleep(1)
        assert not early.done()
        assert not late.done()
        early.cancel()
        late.cancel()


async def test_several_channels_share_a_slot_and_a_context(pair: Pair) -> None:
    reps = [Handlers(pair.a, "math", max_running=2) for _ in range(2)]
    reqs = [ReqChannel(pair.b, "MATH") for _ in range(2)]
    await reqs[0].wait_repliers(2)
    assert reqs[1].repliers == 2
    futures = [reqs[number % 2].work(number, 1) for number in range(8)]
    for number, future in enumerate(futures):
        assert await future == number
    assert [rep.most for rep in reps] == [2, 2]
    assert [req.statistics().sent for req in reqs] == [4, 4]
    reqs[0].close()
    assert await reqs[1].add(1, 2) == 3
    reps[0].close()
    assert await reqs[1].add(1, 2) == 3
    assert [rep.statistics().succeeded for rep in reps] in ([4, 6], [5, 5])


async def test_slots_do_not_mix(pair: Pair) -> None:
    Handlers(pair.a, "one")
    other = ReqChannel(pair.b, "other", patience=1)
    with pytest.raises(NoReplierError):
        await other.add(1, 2)


async def test_what_an_unknown_exception_says_comes_as_a_remote_error(pair: Pair) -> None:
    class Strange(Exception):
        pass

    class Target:
        async def break_down(self) -> None:
            raise Strange("of its own kind")

    RepChannel(pair.a, "x", target=Target(), methods=["break_down"])
    with pytest.raises(RemoteError, match="Strange: of its own kind") as caught:
        await ReqChannel(pair.b, "x").break_down()
    assert caught.value.type_name.endswith("Strange")
    assert caught.value.text == "of its own kind"


async def test_a_value_that_cannot_be_sent_fails_where_it_is_made(asking: Asking) -> None:
    with pytest.raises(trioton.MessageTypeError):
        asking.req.give(object())
    with pytest.raises(trioton.MessageTypeError):
        asking.req.stream("give", object())
    with pytest.raises(trioton.MessageTypeError):
        await asking.req.call("give", object())
    assert asking.req.statistics().pending == 0


async def test_a_result_that_cannot_be_sent_is_told_to_the_requester(pair: Pair) -> None:
    class Target:
        async def secret(self) -> object:
            return object()

    RepChannel(pair.a, "x", target=Target(), methods=["secret"])
    with pytest.raises(Exception, match="what 'secret' has returned cannot be sent"):
        await ReqChannel(pair.b, "x").secret()


async def test_what_is_too_large_either_way_fails_and_nothing_else_does(open_pair: OpenPair) -> None:
    limits = trioton.Limits(max_package=10_000)
    async with open_pair(limits=limits) as pair:
        Handlers(pair.a, "math")
        req = ReqChannel(pair.b, "math")
        assert len(await req.give("x" * 9_000)) == 9_000
        with pytest.raises(ValueError, match=r"10000|10_000"):
            await req.give("x" * 20_000)
        with pytest.raises(ValueError, match=r"what 'add' has returned takes .* bytes"):
            await req.add("x" * 6_000, "y" * 6_000)
        assert await req.add(1, 2) == 3


async def test_a_failure_that_nobody_looks_at_is_logged(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="trioton")
    future = asking.req.fail("ValueError", "unseen")
    await future.wait()
    del future
    assert "'fail'" in caplog.text
    assert "nobody looked: ValueError: unseen" in caplog.text
    caplog.clear()
    seen = asking.req.fail("ValueError", "seen")
    assert await seen.exception() is not None
    gone = asking.req.work(1, 10)
    gone.cancel()
    await gone.wait()
    del seen, gone
    assert caplog.text == ""


async def test_wrong_arguments_of_channels_are_named(pair: Pair) -> None:
    a: Any = pair.a
    for call, kind, text in [
        (lambda: ReqChannel(3, "x"), TypeError, "3"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, 3), TypeError, "3"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, "x", local=1), TypeError, "local must be True or False, not 1"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, "x", max_pending=0), ValueError, "max_pending must be from 1 to 1000000, not 0"),
        (lambda: ReqChannel(a, "x", max_pending=True), TypeError, "max_pending must be an int"),
        (lambda: ReqChannel(a, "x", patience=-1), ValueError, "patience"),
        (lambda: ReqChannel(a, "x", patience="1"), TypeError, "patience"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, "x", cancel_grace=-1), ValueError, "cancel_grace"),
        (lambda: ReqChannel(a, "x").to("x"), TypeError, "context_id must be the identity"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, "x").to(-1), ValueError, "context_id must be the identity"),
        (lambda: ReqChannel(a, "x").to(1 << 128), ValueError, "context_id must be the identity"),
        (lambda: ReqChannel(a, "x").stream(3), TypeError, "method must be a str, not 3"),  # type: ignore[arg-type]
        (lambda: ReqChannel(a, "x").stream(""), ValueError, "1 to 256 characters, not 0"),
        (lambda: ReqChannel(a, "x").stream("m" * 257), ValueError, "1 to 256 characters, not 257"),
        (lambda: RepChannel(3, "x"), TypeError, "3"),  # type: ignore[arg-type]
        (lambda: RepChannel(a, "x", max_running=0), ValueError, "max_running must be from 1 to 100000, not 0"),
        (lambda: RepChannel(a, "x", max_running=1.5), TypeError, "max_running"),  # type: ignore[arg-type]
        (lambda: RepChannel(a, "x", target=object()), TypeError, "methods must name what others may call"),
        (lambda: RepChannel(a, "x", target=[], methods="append"), TypeError, "methods must be several names"),
        (lambda: RepChannel(a, "x", target=[], methods=[3]), TypeError, "methods must be names, not 3"),  # type: ignore[list-item]
        (lambda: RepChannel(a, "x", target=[], methods=["_x"]), ValueError, "'_x'"),
        (lambda: RepChannel(a, "x", target=[], methods=["nothing"]), ValueError, "'nothing'"),
    ]:
        with pytest.raises(kind, match=text):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(TypeError, match="method must be a str"):
        await ReqChannel(a, "x").call(3)  # type: ignore[arg-type]


async def test_max_pending_is_a_bound_and_call_waits_for_room(asking: Asking) -> None:
    req = ReqChannel(asking.here, "math", max_pending=2)
    long, longer = req.work("long", 1), req.work("longer", 2)
    with pytest.raises(trio.WouldBlock):
        req.add(1, 2)
    with pytest.raises(trio.WouldBlock):
        async with req.stream("count", 3):
            raise AssertionError("there is no room")
    start = trio.current_time()
    assert await req.call("add", 1, 2) == 3
    assert trio.current_time() - start == pytest.approx(1, abs=0.1)
    assert await long == "long"
    assert await longer == "longer"
    first, second = req.work("first", 1), req.work("second", 1)
    with trio.move_on_after(0.5) as scope:
        await req.call("work", "never")
    assert scope.cancelled_caught
    await first
    await second
    assert "never" not in asking.rep.begun


async def test_a_callback_may_make_the_next_request(asking: Asking) -> None:
    req = ReqChannel(asking.here, "math", max_pending=1)
    results: list[Any] = []
    done = trio.Event()

    def go_on(future: trioton.Future[Any]) -> None:
        results.append(future._value)
        if len(results) == 20:
            done.set()
        else:
            req.add(len(results), 0).add_done_callback(go_on)

    req.add(0, 0).add_done_callback(go_on)
    await done.wait()
    assert results == list(range(20))


async def test_channels_tell_what_they_have_done(asking: Asking) -> None:
    req, rep = asking.req, asking.rep
    await req.add(1, 2)
    await req.fail("KeyError", 1).exception()
    with trio.move_on_after(0.2):
        await req.work(1, 5)
    running = req.work(2, 5)
    await trio.sleep(0.1)
    assert req.statistics() == (4, 1, 1, 1)
    assert rep.statistics() == (4, 1, 1, 1, 1, 0)
    assert repr(req) == "<ReqChannel 'math.obj.req-rep' of b, 1 pending>"
    assert repr(rep) == "<Handlers 'math.obj.req-rep' of a, 1 running>"
    assert "running" in repr(running)
    assert running.replier == asking.there.id
    assert repr(req.add) == f"<method 'add' of {req!r}>"
    assert "to" in repr(req.to(5))
    await running
    assert "done" in repr(running)
    assert req.slot == rep.slot == "math.obj.req-rep"
    assert rep.context is asking.there
