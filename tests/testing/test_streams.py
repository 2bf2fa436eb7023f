from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, check_half_closeable_stream, wait_all_tasks_blocked

from trioton.testing import simulated_pair
from trioton.testing.paths import Path
from trioton.testing.quality import Chunk, Latency, LinkQuality

from .simulated_ends import make_makers


@pytest.mark.parametrize("latency", [0.0, 0.05, (0.001, 0.2)])
@pytest.mark.parametrize(("chunk", "buffer_size"), [(None, 1000), ((1, 1500), 256 * 1024)])
async def test_passes_the_checks_of_trio(
    autojump_clock: MockClock, latency: Latency, chunk: Chunk | None, buffer_size: int
) -> None:
    make, make_clogged = make_makers(latency, chunk, buffer_size)
    await check_half_closeable_stream(make, make_clogged)


async def test_bytes_arrive_after_the_latency(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=0.25)
    await a.send_all(b"one")
    await trio.sleep(0.1)
    await a.send_all(b"two")
    assert await b.receive_some() == b"one"
    assert trio.current_time() == pytest.approx(0.25)
    assert await b.receive_some() == b"two"
    assert trio.current_time() == pytest.approx(0.35)


async def test_drawn_latencies_keep_the_order(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(seed=3, latency=(0.0, 1.0))
    arrivals: list[float] = []
    for i in range(50):
        a.try_send([bytes([i])])
    got = b""
    while len(got) < 50:
        got += await b.receive_some()
        arrivals.append(trio.current_time())
    assert got == bytes(range(50))
    assert arrivals == sorted(arrivals)
    assert 1 < len(arrivals) < 50
    assert arrivals[-1] <= 1.0


async def test_reads_take_all_that_has_arrived_and_no_more_than_asked(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    for piece in (b"abc", b"def", b"ghi"):
        await a.send_all(piece)
    assert await b.receive_some(4) == b"abcd"
    assert await b.receive_some() == b"efghi"


async def test_receive_into_fills_the_buffer_it_is_given(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    for piece in (b"abc", b"def", b"ghi"):
        await a.send_all(piece)
    buffer = bytearray(5)
    with assert_checkpoints():
        assert await b.receive_into(memoryview(buffer)) == 5
    assert buffer == b"abcde"
    assert await b.receive_into(memoryview(buffer)) == 4
    assert buffer == b"fghie"
    with pytest.raises(ValueError, match="buffer must have room"):
        await b.receive_into(memoryview(b""))
    a.close()
    assert await b.receive_into(memoryview(buffer)) == 0


@pytest.mark.parametrize("latency", [0.0, (0.0, 0.01)])
async def test_chunks_cut_reads_within_their_bounds_and_lose_nothing(
    autojump_clock: MockClock, latency: Latency
) -> None:
    a, b = simulated_pair(seed="cuts", latency=latency, chunk=(10, 20))
    data = random.Random(1).randbytes(5000)
    await a.send_all(data)
    await a.send_eof()
    sizes: list[int] = []
    got = b""
    while piece := await b.receive_some():
        sizes.append(len(piece))
        got += piece
    assert got == data
    assert all(10 <= size <= 20 for size in sizes[:-1])
    assert len(set(sizes)) > 5


def test_cuts_do_not_depend_on_how_the_writes_were_gathered() -> None:
    def cuts(*writes: int) -> set[int]:
        path = Path(random.Random("seed"), LinkQuality(chunk=(5, 50)))
        for size in writes:
            path.push(bytes(size), 0.0)
        found: set[int] = set()
        while path.size:
            path.take(10_000, 0.0)
            found.add(path.taken)
        return found

    once = cuts(1000)
    assert once <= cuts(300, 700) <= once | {300}
    assert once <= cuts(*[100] * 10) <= once | set(range(0, 1001, 100))


async def test_try_send_takes_what_there_is_room_for_and_never_waits(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(buffer_size=10)
    assert a.can_try_send
    assert a.try_send([]) == 0
    assert a.try_send([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
    assert a.try_send([memoryview(b"ghijklmno")[::1], b"z"]) == 4
    assert a.try_send([b"p"]) == 0
    assert await b.receive_some() == b"abcdefghij"
    assert a.try_send([b"kl"] * 600) == 10
    assert a.try_send([b"kl"]) == 0


async def test_try_send_looks_at_512_buffers(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    assert a.try_send([b"x"] * 600) == 512
    assert await b.receive_some() == b"x" * 512


async def test_buffers_are_copied_when_they_are_sent(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=1.0)
    data = bytearray(b"before")
    await a.send_all(data)
    a.try_send([data, memoryview(data)])
    data[:] = b"AFTER!"
    assert await b.receive_some() == b"before" * 3


async def test_items_of_several_bytes_are_sent_as_bytes(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    words = memoryview(bytes(range(8))).cast("H")
    await a.send_all(words)
    assert a.try_send([words]) == 8
    assert await b.receive_some() == bytes(range(8)) * 2


async def test_a_sender_waits_for_the_reader(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(buffer_size=1000, latency=0.1)
    sent = trio.Event()

    async def send() -> None:
        await a.send_all(bytes(2500))
        sent.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(100)
        assert not sent.is_set()
        assert a.connection.forth.size == 1000
        with pytest.raises(trio.BusyResourceError):
            a.try_send([b"x"])
        assert len(await b.receive_some()) == 1000
        await trio.sleep(100)
        assert not sent.is_set()
        assert len(await b.receive_some()) == 1000
        await trio.sleep(100)
        assert sent.is_set()
        assert len(await b.receive_some()) == 500


async def test_try_send_is_allowed_while_a_task_waits_for_room(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(buffer_size=100)
    a.try_send([bytes(100)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        assert a.try_send([b"x"]) == 0
        await b.receive_some(10)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks  # some room is not much room: it does not wake for every little read
        assert a.try_send([b"x"]) == 1
        await b.receive_some()


async def test_cancelled_receives_take_nothing(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=1.0)
    await a.send_all(b"abc")
    for _ in range(3):
        with trio.move_on_after(0.2) as scope:
            await b.receive_some()
        assert scope.cancelled_caught
    assert await b.receive_some() == b"abc"
    await a.send_all(b"def")
    await trio.sleep(2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await b.receive_some()
    assert scope.cancelled_caught
    assert await b.receive_some() == b"def"


@pytest.mark.parametrize("latency", [0.0, 0.5])
async def test_a_close_is_heard_behind_the_bytes(autojump_clock: MockClock, latency: float) -> None:
    a, b = simulated_pair(latency=latency)
    await a.send_all(b"last words")
    await a.aclose()
    assert await b.receive_some() == b"last words"
    assert trio.current_time() == latency
    assert await b.receive_some() == b""
    assert await b.receive_some() == b""


async def test_a_sender_hears_of_a_close_when_it_has_travelled(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=0.5, buffer_size=100)
    b.close()
    assert a.try_send([b"into the void"]) == 13
    await trio.sleep(0.4)
    assert a.try_send([bytes(100)]) == 87  # nobody made room
    with pytest.raises(trio.BrokenResourceError, match="closed"):
        await a.send_all(b"x")
    assert trio.current_time() == pytest.approx(0.5)
    with pytest.raises(trio.BrokenResourceError):
        a.try_send([b"x"])
    with pytest.raises(trio.BrokenResourceError):
        await a.send_eof()
    assert await a.receive_some() == b""


async def test_closing_wakes_who_waits_at_this_end(autojump_clock: MockClock) -> None:
    a, _b = simulated_pair(buffer_size=1)
    a.try_send([b"x"])

    async def expect_closed(wait: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, a.receive_some)
        nursery.start_soon(expect_closed, a.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        a.close()
    with pytest.raises(trio.ClosedResourceError):
        a.try_send([b"x"])
    with pytest.raises(trio.ClosedResourceError):
        await a.send_eof()


async def test_after_send_eof_nothing_can_be_sent_but_received(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=0.1)
    await a.send_eof()
    await a.send_eof()
    with pytest.raises(trio.ClosedResourceError, match="send_eof"):
        a.try_send([b"x"])
    assert await b.receive_some() == b""
    await b.send_all(b"answer")
    assert await a.receive_some() == b"answer"
    assert a.state == b.state == "eof"


async def test_a_reset_breaks_both_ends_at_once(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=10.0, buffer_size=10)
    ended: list[str] = []
    a.connection.on_end = lambda: ended.append("end")
    a.try_send([bytes(10)])

    async def expect_broken(wait: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.BrokenResourceError, match="pulled"):
            await wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_broken, a.receive_some)
        nursery.start_soon(expect_broken, a.wait_send_all_might_not_block)
        nursery.start_soon(expect_broken, b.receive_some)
        await trio.sleep(1)
        a.connection.reset("the plug was pulled")
        a.connection.reset("and again")
    assert trio.current_time() == 1
    for end in (a, b):
        with pytest.raises(trio.BrokenResourceError, match="pulled"):
            await end.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="pulled"):
            await end.send_eof()
        assert end.state == "reset"
        end.close()
        with pytest.raises(trio.ClosedResourceError):
            await end.receive_some()
    assert ended == ["end"]


async def test_while_held_bytes_wait_and_then_all_arrive(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=1.0)
    await a.send_all(b"arrived ")
    await trio.sleep(0.5)
    await a.send_all(b"on its way ")
    await trio.sleep(0.5)
    a.connection.set_held(forth=True, back=False)
    assert a.state == b.state == "partitioned"
    await a.send_all(b"sent meanwhile")
    await b.send_all(b"the other way")
    await b.send_eof()
    assert await b.receive_some() == b"arrived "
    assert await a.receive_some() == b"the other way"
    assert await a.receive_some() == b""

    with trio.move_on_after(1000) as scope:
        await b.receive_some()
    assert scope.cancelled_caught
    a.close()
    a.connection.set_held(forth=False, back=False)
    healed = trio.current_time()
    assert await b.receive_some() == b"on its way sent meanwhile"
    assert trio.current_time() == healed + 1.0
    assert await b.receive_some() == b""


async def test_with_no_latency_nothing_slips_through_while_held(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    a.connection.set_held(forth=True, back=True)
    await a.send_all(b"abc")
    a.close()
    with trio.move_on_after(5) as scope:
        await b.receive_some()
    assert scope.cancelled_caught
    assert b.try_send([b"x"]) == 1  # it does not know
    a.connection.set_held(forth=False, back=False)
    assert await b.receive_some() == b"abc"
    with pytest.raises(trio.BrokenResourceError):
        b.try_send([b"x"])


async def test_a_waiting_reader_and_writer_follow_a_partition(autojump_clock: MockClock) -> None:
    a, b = simulated_pair(latency=1.0, buffer_size=10)
    times: dict[str, float] = {}

    async def write() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await a.send_all(bytes(25))
        times["writer"] = trio.current_time()

    async def read() -> None:
        assert len(await b.receive_some()) == 10
        times["reader"] = trio.current_time()
        b.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(read)
        await trio.sleep(0.5)
        a.connection.set_held(forth=True, back=True)
        await trio.sleep(9.5)
        a.connection.set_held(forth=False, back=False)
        await trio.sleep(1.5)  # the close is on its way
        a.connection.set_held(forth=False, back=True)
        await trio.sleep(8.5)
        assert set(times) == {"reader"}
        a.connection.set_held(forth=False, back=False)
    assert times == {"reader": 11.0, "writer": 21.0}


async def test_closing_both_ends_ends_the_connection_once(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    ended: list[str] = []
    a.connection.on_end = lambda: ended.append("end")
    await a.aclose()
    assert (a.state, b.state, a.connection.state) == ("closed", "eof", "eof")
    b.close()
    b.close()
    a.connection.reset()
    assert a.connection.state == "closed"
    assert ended == ["end"]


async def test_reprs_say_where_and_how(autojump_clock: MockClock) -> None:
    a, b = simulated_pair()
    assert repr(a) == "<SimulatedTransport client -> server, open>"
    assert repr(b) == "<SimulatedTransport server -> client, open>"
    assert repr(a.connection) == "<SimulatedConnection client -> server, open>"
    await a.aclose()
    assert repr(a) == "<SimulatedTransport client -> server, closed>"
    assert repr(b) == "<SimulatedTransport server -> client, eof>"


async def test_one_task_at_a_time(autojump_clock: MockClock) -> None:
    a, _b = simulated_pair(buffer_size=1)
    a.try_send([b"x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.send_all, b"y")
        nursery.start_soon(a.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            await a.receive_some()
        with pytest.raises(trio.BusyResourceError, match="send_all"):
            await a.send_eof()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"latency": -1}, ValueError, "latency must be finite and not negative, not -1"),
        ({"latency": float("inf")}, ValueError, "latency.*inf"),
        ({"latency": float("nan")}, ValueError, "latency.*nan"),
        ({"latency": "fast"}, TypeError, "latency.*'fast'"),
        ({"latency": True}, TypeError, "latency.*True"),
        ({"latency": (2, 1)}, ValueError, r"latency.*low <= high, not \(2, 1\)"),
        ({"latency": (1, 2, 3)}, ValueError, r"latency.*\(1, 2, 3\)"),
        ({"latency": (0, None)}, TypeError, r"latency.*\(0, None\)"),
        ({"chunk": (0, 1)}, ValueError, r"chunk.*\(0, 1\)"),
        ({"chunk": (2, 1)}, ValueError, r"chunk.*\(2, 1\)"),
        ({"chunk": (1,)}, ValueError, r"chunk.*\(1,\)"),
        ({"chunk": 5}, TypeError, "chunk.*5"),
        ({"chunk": (1.0, 2.0)}, TypeError, "chunk.*1.0"),
        ({"buffer_size": 0}, ValueError, "buffer_size.*0"),
        ({"buffer_size": 1.5}, TypeError, "buffer_size.*1.5"),
    ],
)
def test_wrong_qualities_are_named(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        simulated_pair(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_the_bytes_arrive_in_order(autojump_clock: MockClock, seed: int) -> None:
    rng = random.Random(seed)
    chunk = rng.choice([None, (1, 300)])
    latencies: list[Latency] = [0.0, 0.1, (0.0, 0.5)]
    a, b = simulated_pair(seed=seed, latency=rng.choice(latencies), chunk=chunk, buffer_size=5000)
    sent, got = bytearray(), bytearray()

    async def write() -> None:
        for _ in range(100):
            data = rng.randbytes(rng.randrange(2000))
            if rng.random() < 0.5:
                await a.send_all(data)
            else:
                data = data[: a.try_send([data[:100], data[100:]])]
            sent.extend(data)
            await trio.sleep(rng.random() * 0.1)
        await a.aclose()

    async def read() -> None:
        while data := await b.receive_some(rng.randrange(1, 3000)):
            got.extend(data)
            assert a.connection.forth.size <= 5000
            if rng.random() < 0.1:
                await trio.sleep(rng.random())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(read)
        for _ in range(20):
            await trio.sleep(rng.random())
            a.connection.set_held(forth=rng.random() < 0.5, back=rng.random() < 0.5)
        a.connection.set_held(forth=False, back=False)
    assert got == sent
