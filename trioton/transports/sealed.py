"""The sealed transport: any other one, with a mark on every record that only who knows the secret can make.

What is sent and what it proves is told in `trioton.protocol.sealing`; here it is given a stream. Nothing is hidden from who reads along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..errors import ProtocolError
from .base import RECEIVE_SIZE, Buffer, Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.sealing import Opener, Sealer

_RECORD: Final = 128 * 1024
"""Bytes that one record holds at most: as many as `sealing.MAX_RECORD`."""

_MOST_RECORDS: Final = 8
"""Records that are made at once, before anything is handed on."""


class SealedTransport(Transport):
    """A transport whose both ends have proved to know a secret, over another one, which it owns.

    A record that was sent in part must be finished before anything else is sent. Where the transport below has `try_send`, the rest is
    held back for that; else a `send_all` that is cancelled while it waits breaks the connection. The end of the stream without the mark
    for it is a `trio.BrokenResourceError`, for it may be an attacker's work; so is a record that was changed.
    """

    def __init__(self, transport: Transport, sealer: Sealer, opener: Opener, rest: bytes) -> None:
        """Go on over `transport` after the handshake; `rest` is what has come behind it.

        Raises:
            ProtocolError: There is something wrong with the rest already.
        """
        self.kind = transport.kind
        self.local_address = transport.local_address
        self.remote_address = transport.remote_address
        self.is_loopback = transport.is_loopback
        self.peer_uid = transport.peer_uid
        self.can_try_send = transport.can_try_send
        self._transport = transport
        self._sealer = sealer
        self._opener = opener
        self._received = memoryview(opener.receive_data(rest) if rest else b"")
        self._held = memoryview(b"")
        self._sending = False
        self._awaiting_room = False
        self._receiving = False
        self._broken_by: ProtocolError | None = None
        self._is_cut = False
        self._send_ended = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<SealedTransport over {self._transport!r}{' closed' if self._closed else ''}>"

    # Sending

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Mark and write what the transport below takes at once; see `Transport.try_send`.

        A record that it has taken in part counts as taken; the rest is held back (`holds_back`).
        """
        if not self.can_try_send:
            return super().try_send(buffers)
        self._check_can_send()
        if self.holds_back and not self._let_go():
            return 0
        parts: list[Buffer] = []
        size = 0
        for buffer in buffers:
            parts.append(buffer if size + len(buffer) <= _RECORD else memoryview(buffer)[: _RECORD - size])
            size += len(parts[-1])
            if size == _RECORD:
                break
        if not size:
            return 0
        record = self._sealer.seal(parts)
        sent = self._transport.try_send((record,))
        if not sent:
            self._sealer.take_back()
            return 0
        self._hold_back(memoryview(record)[sent:])
        return size

    def _let_go(self) -> bool:
        """Write what is held back; whether nothing of it is left."""
        if self._held:
            self._hold_back(self._held[self._transport.try_send((self._held,)) :])
        return not self.holds_back

    def _hold_back(self, data: memoryview) -> None:
        self._held = data
        self.holds_back = bool(data)

    async def send_all(self, data: Buffer) -> None:
        """Mark and send all of `data`; a checkpoint. If it is cancelled, any part of `data` may have been sent, or be held back.

        Raises:
            trio.BrokenResourceError: The other end is gone, or an earlier `send_all` over TLS was cancelled.
            trio.ClosedResourceError: This end was closed, now or meanwhile, or `send_eof` was called.
            trio.BusyResourceError: Another task is sending.
        """
        self._check_can_send(waiting_is_busy=True)
        self._sending = True
        try:
            with memoryview(data) as whole, whole.cast("B") as view:
                await trio.lowlevel.checkpoint()
                step = _RECORD * _MOST_RECORDS
                for start in range(0, len(view), step):
                    with view[start : start + step] as part:
                        await self._send_whole(self._seal(part))
        finally:
            self._sending = False

    def _seal(self, data: memoryview) -> bytes:
        if len(data) <= _RECORD:
            return self._sealer.seal((data,))
        return b"".join(self._sealer.seal((data[at : at + _RECORD],)) for at in range(0, len(data), _RECORD))

    async def _send_whole(self, records: bytes) -> None:
        """Send records, behind what is held back; cancelled, it leaves a rest that is held back, or nothing may follow."""
        if self.can_try_send:
            self._hold_back(memoryview(b"".join((self._held, records))))
            while not self._let_go():
                await self._transport.wait_send_all_might_not_block()
        else:
            self._is_cut = True
            await self._transport.send_all(records)
            self._is_cut = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` or `try_send` may find room; errors as `send_all`."""
        self._check_can_send(waiting_is_busy=True)
        self._awaiting_room = True
        try:
            await self._transport.wait_send_all_might_not_block()
        finally:
            self._awaiting_room = False

    async def send_eof(self) -> None:
        """Tell the other end, with a mark, that nothing more will come; a checkpoint. It may be called again, to no effect.

        Raises:
            NotImplementedError: The transport below cannot end one direction alone.
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: A task is sending.
        """
        if self._send_ended and not self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._check_can_send(waiting_is_busy=True)
        self._sending = True
        try:
            await self._end()
            await self._transport.send_eof()
        finally:
            self._sending = False

    async def _end(self) -> None:
        self._send_ended = True
        await self._send_whole(self._sealer.seal(()))

    # Receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least 1 and at most `max_bytes` bytes, all of which bore the right mark; a checkpoint. Cancelled, nothing was received.

        Returns:
            The bytes; ``b""`` when the other end has said that no more will come.

        Raises:
            trio.BrokenResourceError: The connection failed, ended without the mark for it, or what came was not what was sent.
            trio.ClosedResourceError: This end was closed, now or meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if max_bytes is not None and not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be an int or None, not {max_bytes!r}")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this sealed transport")
        self._check_open()
        if self._broken_by is not None and not self._received:
            raise self._failure(self._broken_by) from self._broken_by
        self._receiving = True
        try:
            if self._received or self._opener.has_ended:
                await trio.lowlevel.checkpoint()
            while not self._received and not self._opener.has_ended:
                await self._receive_more()
        finally:
            self._receiving = False
        size = RECEIVE_SIZE if max_bytes is None else max_bytes
        data, self._received = bytes(self._received[:size]), self._received[size:]
        return data

    async def _receive_more(self) -> None:
        data = await self._transport.receive_some()
        try:
            if not data:
                raise ProtocolError("it ended without the mark of an end")
            self._received = memoryview(self._opener.receive_data(data))
        except ProtocolError as error:
            self._broken_by = error
            raise self._failure(error) from error

    def _failure(self, error: ProtocolError) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"the sealed link to {self.remote_address} broke: {error}")

    # Closing

    def close(self) -> None:
        """Close at once, without the mark of an end: the other end gets a `trio.BrokenResourceError`. May be called twice."""
        self._closed = True
        self._transport.close()

    async def aclose(self) -> None:
        """Say with a mark that no more will come, and close; a checkpoint. It may wait for room; cancelled, it closes at once."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            await trio.lowlevel.checkpoint()
            if not (self._send_ended or self._is_cut or self._sending or self._awaiting_room):
                await self._end()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is closed there, too
        finally:
            self._transport.close()

    # What can be wrong

    def _check_can_send(self, *, waiting_is_busy: bool = False) -> None:
        if self._sending or (waiting_is_busy and self._awaiting_room):
            raise trio.BusyResourceError("another task is sending on this sealed transport")
        self._check_open()
        if self._send_ended:
            raise trio.ClosedResourceError("the end of the stream was already sent on this sealed transport")
        if self._is_cut:
            raise trio.BrokenResourceError(f"what was sent last to {self.remote_address} was cut off")

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this sealed transport was closed")


async def seal_dialled(transport: Transport, secrets: Sequence[bytes], nonce: bytes) -> SealedTransport:
    """Shake hands over a transport that was dialled; a checkpoint. The caller closes it if this raises or is cancelled.

    Raises:
        WrongSecretError: The other end has another secret.
        NoSecretError: It has none.
        ProtocolError: It speaks something else.
        trio.BrokenResourceError: The connection failed.
    """
    from ..protocol.sealing import DiallingHandshake  # hmac, which most programs do not need

    handshake = DiallingHandshake(secrets, nonce)
    await transport.send_all(handshake.greeting)
    proof = None
    while proof is None:
        proof = handshake.receive_data(await _receive(transport))
    await transport.send_all(proof)
    return SealedTransport(transport, handshake.sealer, handshake.opener, handshake.rest)


async def seal_accepted(transport: Transport, secrets: Sequence[bytes], nonce: bytes) -> SealedTransport:
    """The same for a transport that was accepted."""
    from ..protocol.sealing import ListeningHandshake, key_id

    handshake = ListeningHandshake({key_id(secret): secret for secret in secrets}, nonce)
    while not handshake.is_over:
        answer = handshake.receive_data(await _receive(transport))
        if answer:
            await transport.send_all(answer)
    return SealedTransport(transport, handshake.sealer, handshake.opener, handshake.rest)


async def _receive(transport: Transport) -> bytes | bytearray:
    data = await transport.receive_some(4096)
    if not data:
        raise trio.BrokenResourceError("the other end closed the connection without a word")
    return data
