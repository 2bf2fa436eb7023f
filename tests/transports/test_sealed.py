"""The sealed transport: Trio's contract, and what it makes of what was changed, cut off or cancelled."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trioton.errors import ProtocolError
from trioton.protocol.sealing import MAX_RECORD, NoSecretError, Sealer, WrongSecretError
from trioton.testing import check_transport
from trioton.transports import sealed
from trioton.transports.address import parse_address
from trioton.transports.base import Transport
from trioton.transports.memory import MemoryTransport, memory_transport_pair
from trioton.transports.sealed import SealedTransport, seal_accepted, seal_dialled
from trioton.transports.system import SystemNetwork
from trioton.transports.tls import TlsTransport

from .conftest import Pair, accept_and_dial

SECRET = b"what both ends know, and no other"
OVERHEAD = 20
CAPACITY = 8192


async def seal(dialled: Transport, accepted: Transport) -> tuple[SealedTransport, SealedTransport]:
    """Shake hands over a pair."""
    ends: dict[str, SealedTransport] = {}

    async def run(name: str, how: Callable[..., Awaitable[SealedTransport]], transport: Transport) -> None:
        ends[name] = await how(transport, [SECRET], name.encode() * 16)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "di", seal_dialled, dialled)
        nursery.start_soon(run, "ac", seal_accepted, accepted)
    return ends["di"], ends["ac"]


async def over_memory() -> tuple[SealedTransport, SealedTransport]:
    return await seal(*memory_transport_pair(CAPACITY))


def below(transport: SealedTransport) -> MemoryTransport:
    memory = transport._transport
    assert isinstance(memory, MemoryTransport)
    return memory


async def clogged() -> Pair:
    pair = await over_memory()
    for end in pair:
        pipe = below(end)._outgoing
        assert not pipe.data
        await end.send_all(bytes(pipe.capacity - OVERHEAD))
        assert len(pipe.data) == pipe.capacity
    return pair


async def test_the_contract_over_memory() -> None:
    await check_transport(over_memory, clogged)


@pytest.mark.net
async def test_the_contract_over_tcp(network: SystemNetwork) -> None:
    async def over_tcp() -> Pair:
        async with await network.listen(parse_address("localhost:0")) as listener:
            return await seal(*await accept_and_dial(network, listener))

    await check_transport(over_tcp, None)


async def test_what_it_tells_of_itself() -> None:
    left, right = memory_transport_pair()
    dialled, accepted = await seal(left, right)
    for end, inner in ((dialled, left), (accepted, right)):
        assert end.kind == inner.kind
        assert (end.local_address, end.remote_address) == (inner.local_address, inner.remote_address)
        assert repr(inner) in repr(end)
        assert end.is_loopback
        assert SECRET.decode() not in repr(vars(end))
        end.close()
        assert "closed" in repr(end)


async def test_what_try_send_has_taken_in_part_leaves_first() -> None:
    for how in ("try_send", "send_all", "send_eof", "aclose"):
        left, right = await over_memory()
        assert left.try_send([bytes(5000)]) == 5000
        assert not left.holds_back
        assert left.try_send([b"a" * 2000, b"b" * 3000]) == 5000
        assert left.holds_back
        assert left.try_send([b"more"]) == 0
        received = bytearray()

        async def receive(received: bytearray = received, right: SealedTransport = right) -> None:
            while data := await right.receive_some():
                received += data

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            if how == "try_send":
                await left.wait_send_all_might_not_block()
                while left.holds_back:
                    assert left.try_send([]) == 0
                    await trio.testing.wait_all_tasks_blocked()
                assert left.try_send([b"more"]) == 4
                await left.aclose()
            elif how == "send_all":
                await left.send_all(b"more")
                await left.aclose()
            else:
                await getattr(left, how)()
        more = b"more" if how in {"try_send", "send_all"} else b""
        assert received == bytes(5000) + b"a" * 2000 + b"b" * 3000 + more
        left.close()
        right.close()


async def test_what_found_no_room_at_all_was_not_taken() -> None:
    left, right = await clogged()
    assert left.try_send([b"nothing of this"]) == 0
    assert not left.holds_back
    assert len(await right.receive_some()) == CAPACITY - OVERHEAD
    assert left.try_send([b"but of this"]) == 11
    assert await right.receive_some() == b"but of this"
    left.close()
    right.close()


async def test_much_travels_in_many_records() -> None:
    left, right = await over_memory()
    data = bytes(range(256)) * (MAX_RECORD // 256) * 9 + b"rest"
    async with left, right, trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, data)
        received = bytearray()
        while len(received) < len(data):
            received += await right.receive_some()
        assert received == data
    assert sealed._RECORD == MAX_RECORD


async def test_wrong_sizes_to_receive() -> None:
    left, right = await over_memory()
    async with left, right:
        with pytest.raises(ValueError, match="max_bytes must be 1 or more, not 0"):
            await left.receive_some(0)
        with pytest.raises(TypeError, match=r"max_bytes must be an int or None, not 1\.5"):
            await left.receive_some(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [False, True])
async def test_an_end_without_its_mark_is_a_break(cut: bool) -> None:
    left, right = await over_memory()
    async with right:
        await left.send_all(b"first")
        if cut:
            await below(left).send_all(Sealer(bytes(32)).seal([b"second"])[:9])
        await below(left).send_eof()
        assert await right.receive_some() == b"first"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="without the mark of an end") as caught:
                await right.receive_some()
        assert isinstance(caught.value.__cause__, ProtocolError)
    left.close()


async def test_what_was_put_in_between_is_a_break() -> None:
    left, right = await over_memory()
    async with left, right:
        await left.send_all(b"first")
        assert await right.receive_some() == b"first"
        await below(left).send_all(Sealer(bytes(32)).seal([b"second"]))
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="right mark"):
                await right.receive_some()


async def test_what_was_sent_in_part_must_not_be_followed() -> None:
    """But by its rest; where that is not known, as it is not over TLS, by nothing."""
    left, right = await clogged()
    with trio.move_on_after(0.01):
        await left.send_all(b"cancelled")
    assert left.holds_back
    assert len(await right.receive_some()) == CAPACITY - OVERHEAD
    await left.send_all(b" and more")
    assert await right.receive_some() == b"cancelled and more"
    left.close()
    right.close()
    left, right = await clogged()
    left.can_try_send = False
    with trio.move_on_after(0.01):
        await left.send_all(b"cut off")
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await left.send_all(b"more")
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await left.send_eof()
    await left.aclose()  # and does not wait for room
    right.close()


@pytest.mark.net
async def test_the_contract_over_tls(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> None:
    async def over_tls() -> Pair:
        left, right = memory_transport_pair(CAPACITY)
        return await seal(
            TlsTransport(left, client_context, server_side=False, server_hostname="localhost"),
            TlsTransport(right, server_context, server_side=True),
        )

    await check_transport(over_tls, None, half_closeable=False)


async def test_a_cancelled_handshake_leaves_nothing_behind() -> None:
    left, right = memory_transport_pair()
    with trio.move_on_after(0.01) as scope:
        await seal_dialled(left, [SECRET], bytes(32))
    assert scope.cancelled_caught
    left.close()
    right.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", trio.BrokenResourceError),
        (b"trioton\1", NoSecretError),
        (b"triseal\1\xff", WrongSecretError),
        (b"HTTP/1.1 400", ProtocolError),
        (b"triseal\1\0" + bytes(64), WrongSecretError),
    ],
)
async def test_what_else_may_answer(answer: bytes, error: type[Exception]) -> None:
    left, right = memory_transport_pair()
    async with left, right:
        await right.send_all(answer)
        await right.send_eof()
        with pytest.raises(error):
            await seal_dialled(left, [SECRET], bytes(32))


async def test_wrong_bytes_right_behind_the_handshake() -> None:
    left, right = memory_transport_pair()

    async def accept() -> None:
        with pytest.raises(ProtocolError, match="right mark"):
            await seal_accepted(right, [SECRET], b"a" * 32)

    async with left, right, trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        original = left.send_all

        async def send_more(data: bytes) -> None:
            is_proof = len(data) == 32
            await original(data + Sealer(bytes(32)).seal([b"made up"]) if is_proof else data)

        left.send_all = send_more  # type: ignore[method-assign, assignment]
        await seal_dialled(left, [SECRET], b"d" * 32)
