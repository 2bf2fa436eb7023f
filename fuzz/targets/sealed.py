"""A target for sealed links: whoever changes anything on the way is noticed, and nothing that he says comes through."""

from __future__ import annotations

from typing import Final

from trioton.errors import ProtocolError
from trioton.protocol.sealing import NONCE_BYTES, DiallingHandshake, ListeningHandshake, Opener, Sealer, key_id

from ..chooser import Chooser
from ..violation import require

SECRET: Final = b"a secret of the fuzzer that is long enough"
_NONCES: Final = bytes([1]) * NONCE_BYTES, bytes([2]) * NONCE_BYTES


def sealed(data: bytes) -> None:
    """A sealed link on which bytes are changed, cut out, put in, repeated and swapped, in the handshake or behind it."""
    choose = Chooser(data)
    dialler = DiallingHandshake([SECRET], _NONCES[0])
    listener = ListeningHandshake({key_id(SECRET): SECRET}, _NONCES[1])
    try:
        answer = listener.receive_data(_damage(choose, dialler.greeting))
        proof = dialler.receive_data(_damage(choose, answer))
        if proof is None:
            return
        listener.receive_data(_damage(choose, proof))
    except ProtocolError as error:
        require(SECRET.decode() not in str(error), "no secret is told")
        return
    if listener.is_over:
        _records(choose, dialler.sealer, listener.opener, listener.rest)


def _records(choose: Chooser, sealer: Sealer, opener: Opener, rest: bytes) -> None:
    payloads = [choose.take(choose.below(40)) for _ in range(choose.below(5))]
    payloads = [payload for payload in payloads if payload]
    records = [sealer.seal([payload]) for payload in [*payloads, b""]]
    order = [records[choose.below(len(records))] if choose.byte() > 250 else record for record in records]
    stream = rest + _damage(choose, b"".join(order))
    step = 1 + choose.below(200)
    opened, whole = b"", b"".join(payloads)
    try:
        for at in range(0, len(stream), step):
            opened += opener.receive_data(stream[at : at + step])
    except ProtocolError:
        pass
    require(whole.startswith(opened), "only what was sealed comes through, in its order")
    require(not opener.has_ended or opened == whole, "the end comes behind all the rest")


def _damage(choose: Chooser, data: bytes) -> bytes:
    """Most often the same bytes; else with something changed."""
    if choose.byte() < 200:
        return data
    at, how, new = choose.below(len(data) + 1), choose.below(4), choose.take(4)
    if how == 0:
        return data[:at] + data[at + 1 :]
    if how == 1:
        return data[:at] + new + data[at + len(new) :]
    return data[:at] + new + data[at:] if how == 2 else data[:at]
