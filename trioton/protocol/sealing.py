"""The sealed link: two ends that know one secret prove it to each other, and mark every byte that follows.

The dialling end sends a greeting, the listening one an answer with its proof, the dialling one its own proof: one round trip. Then each
direction is a sequence of records, each of which carries a mark that only who knows the secret can make, over its place in the sequence
and its bytes. So nothing can be changed, left out, repeated, put in another order or cut off without being noticed, and what was
recorded is worth nothing on another connection, since both ends have drawn new numbers there. Nothing is hidden: others can read along.

What is refused here says nothing of the secret, and proofs and marks are compared in a time that does not depend on them.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..errors import ProtocolError
from .frames import MAGIC, SEALED_PREFACE

NONCE_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
PROOF_BYTES: Final = 32
MARK_BYTES: Final = 16

MOST_KEYS: Final = 8
"""Secrets that a greeting may offer: the present one, and those that it takes the place of."""

MAX_RECORD: Final = 128 * 1024
"""Bytes of the longest record, without its length and its mark."""

_LENGTH: Final = struct.Struct(">I")
_COUNTED: Final = struct.Struct(">QI")
_OVERHEAD: Final = _LENGTH.size + MARK_BYTES
_GREETING_HEAD: Final = len(SEALED_PREFACE) + 1
_ANSWER_HEAD: Final = len(SEALED_PREFACE) + 1
_REFUSED: Final = 0xFF

_KEY_ID: Final = b"trioton sealed 1: name of the secret"
_DIALLER_PROOF: Final = b"trioton sealed 1: proof of the dialling end"
_LISTENER_PROOF: Final = b"trioton sealed 1: proof of the listening end"
_DIALLER_RECORDS: Final = b"trioton sealed 1: records of the dialling end"
_LISTENER_RECORDS: Final = b"trioton sealed 1: records of the listening end"

REFUSAL: Final = SEALED_PREFACE + bytes([_REFUSED])
"""What the listening end answers if it knows none of the secrets that are offered."""


class NoSecretError(ProtocolError):
    """The other end speaks Trioton, but plainly: it has no secret."""


class WrongSecretError(ProtocolError):
    """The other end has another secret, or has not proved that it has this one."""


# ---------------------------------------------------------------------------------------------------------------- keys


def extract(salt: bytes, material: bytes) -> bytes:
    """The first half of HKDF (RFC 5869) with SHA-256: a key of whatever holds enough chance."""
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """The second half of HKDF: as many bytes as are wanted, of a key and for a purpose."""
    output, block, number = b"", b"", 1
    while len(output) < size:
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output, number = output + block, number + 1
    return output[:size]


def key_id(secret: bytes) -> bytes:
    """The name by which the two ends find out which secret they have in common; it tells nothing about it to who cannot guess it."""
    return expand(extract(b"", secret), _KEY_ID, KEY_ID_BYTES)


class _Keys:
    """What follows from a secret and from what both ends have said."""

    __slots__ = ("dialler_proof", "dialler_records", "listener_proof", "listener_records")

    def __init__(self, secret: bytes, said: bytes) -> None:
        key = extract(hashlib.sha256(said).digest(), secret)
        self.dialler_proof = hmac.digest(expand(key, _DIALLER_PROOF, 32), said, "sha256")
        self.listener_proof = hmac.digest(expand(key, _LISTENER_PROOF, 32), said, "sha256")
        self.dialler_records = expand(key, _DIALLER_RECORDS, 32)
        self.listener_records = expand(key, _LISTENER_RECORDS, 32)


# ------------------------------------------------------------------------------------------------------------- records


class Sealer:
    """Makes records of the bytes of one direction.

    Args:
        key: The key of the direction.
    """

    __slots__ = ("_count", "_has_ended", "_mac")

    def __init__(self, key: bytes) -> None:
        self._mac = hmac.new(key, digestmod="sha256")
        self._count = 0
        self._has_ended = False

    def seal(self, parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
        """One record with all the parts, at most `MAX_RECORD` bytes; one without any is the end of the direction, and the last."""
        data = b"".join(parts)
        size = len(data)
        assert size <= MAX_RECORD
        assert not self._has_ended, "nothing follows the end"
        self._has_ended = not size
        mac = self._mac.copy()
        mac.update(_COUNTED.pack(self._count, size))
        mac.update(data)
        self._count += 1
        return b"".join((_LENGTH.pack(size), data, mac.digest()[:MARK_BYTES]))

    def take_back(self) -> None:
        """The last record, of which nothing has left, will not be sent: the next one takes its place."""
        self._count -= 1
        self._has_ended = False


class Opener:
    """Makes bytes again of the records of one direction, and gives none that does not bear the right mark.

    Args:
        key: The key of the direction.

    Attributes:
        has_ended: Whether the end of the direction has come, marked as all the rest is.
    """

    __slots__ = ("_buffer", "_count", "_mac", "has_ended")

    def __init__(self, key: bytes) -> None:
        self._mac = hmac.new(key, digestmod="sha256")
        self._count = 0
        self._buffer = bytearray()
        self.has_ended = False

    @property
    def is_mid_record(self) -> bool:
        """Whether a record has begun and not ended."""
        return bool(self._buffer)

    def receive_data(self, data: bytes | bytearray) -> bytes:
        """Take bytes as they came; give what was in the records that they complete.

        Raises:
            ProtocolError: A record was changed, left out, repeated or put in another place, is too long, or comes after the end.
                The direction is over; nothing more must be given to this object.
        """
        buffer = self._buffer
        buffer += data
        opened: list[bytes] = []
        position, size = 0, len(buffer)
        with memoryview(buffer) as view:
            while size - position >= _LENGTH.size:
                if self.has_ended:
                    raise ProtocolError("something follows the end of a sealed link")
                (length,) = _LENGTH.unpack_from(view, position)
                if length > MAX_RECORD:
                    raise ProtocolError(f"a sealed record of {length} bytes is over the limit of {MAX_RECORD}")
                if size - position < _OVERHEAD + length:
                    break
                opened.append(self._open(view, position + _LENGTH.size, length))
                position += _OVERHEAD + length
        if self.has_ended and position < size:
            raise ProtocolError("something follows the end of a sealed link")
        del buffer[:position]
        return b"".join(opened)

    def _open(self, view: memoryview, start: int, length: int) -> bytes:
        data = bytes(view[start : start + length])
        mac = self._mac.copy()
        mac.update(_COUNTED.pack(self._count, length))
        mac.update(data)
        if not hmac.compare_digest(mac.digest()[:MARK_BYTES], view[start + length : start + length + MARK_BYTES]):
            raise ProtocolError("a sealed record does not bear the right mark: it was changed, or is not in its place")
        self._count += 1
        self.has_ended = not length
        return data


# ----------------------------------------------------------------------------------------------------------- handshake


class DiallingHandshake:
    """The dialling end's part.

    Args:
        secrets: Those that it may prove to know, the best one first.
        nonce: 32 bytes of chance that were never used before.

    Attributes:
        greeting: What is to be sent first.
        sealer: Makes records of what this end sends; there when `receive_data` has given the proof.
        opener: Opens those of the other end.
        rest: What has come behind the answer: the first bytes of the other end's records.
    """

    def __init__(self, secrets: Sequence[bytes], nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"nonce must have {NONCE_BYTES} bytes, not {len(nonce)}")
        self._secrets = list(secrets)[:MOST_KEYS]
        names = b"".join(map(key_id, self._secrets))
        self.greeting = SEALED_PREFACE + bytes([len(self._secrets)]) + nonce + names
        self.sealer: Sealer
        self.opener: Opener
        self.rest = b""
        self._buffer = b""

    def receive_data(self, data: bytes | bytearray) -> bytes | None:
        """Take bytes as they came; give the proof, which is to be sent, when the answer is complete, else None.

        Raises:
            NoSecretError: The other end speaks plainly.
            WrongSecretError: It knows none of the secrets, or has not proved that it does.
            ProtocolError: It speaks something else.
        """
        self._buffer += data
        answer = self._buffer
        _check_answer_start(answer)
        if len(answer) < _ANSWER_HEAD:
            return None
        chosen = answer[_ANSWER_HEAD - 1]
        if chosen == _REFUSED:
            raise WrongSecretError("it does not know our secret")
        if chosen >= len(self._secrets):
            raise ProtocolError(f"it has chosen the secret {chosen} of {len(self._secrets)}")
        proof_at = _ANSWER_HEAD + NONCE_BYTES
        end = proof_at + PROOF_BYTES
        if len(answer) < end:
            return None
        keys = _Keys(self._secrets[chosen], self.greeting + answer[:proof_at])
        if not hmac.compare_digest(keys.listener_proof, answer[proof_at:end]):
            raise WrongSecretError("it has not proved that it knows our secret")
        self.sealer, self.opener = Sealer(keys.dialler_records), Opener(keys.listener_records)
        self.rest = answer[end:]
        return keys.dialler_proof


class ListeningHandshake:
    """The listening end's part.

    Args:
        secrets: Those that it takes, by their names (`key_id`).
        nonce: 32 bytes of chance that were never used before.

    Attributes:
        is_over: Whether the other end has proved what it must.
        sealer: Makes records of what this end sends; there when it is over.
        opener: Opens those of the other end.
        rest: What has come behind the proof: the first bytes of the other end's records.
    """

    def __init__(self, secrets: Mapping[bytes, bytes], nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"nonce must have {NONCE_BYTES} bytes, not {len(nonce)}")
        self._secrets = secrets
        self._nonce = nonce
        self.is_over = False
        self.sealer: Sealer
        self.opener: Opener
        self.rest = b""
        self._buffer = b""
        self._keys: _Keys | None = None

    def receive_data(self, data: bytes | bytearray) -> bytes:
        """Take bytes as they came; give what is to be sent now, which may be nothing.

        Raises:
            NoSecretError: The other end speaks plainly.
            WrongSecretError: It knows none of the secrets (then `REFUSAL` is to be sent), or has not proved that it does.
            ProtocolError: It speaks something else.
        """
        self._buffer += data
        if self._keys is None:
            return self._answer()
        self._check_proof(self._keys)
        return b""

    def _answer(self) -> bytes:
        greeting = self._buffer
        _check_greeting_start(greeting)
        if len(greeting) < _GREETING_HEAD:
            return b""
        count = greeting[_GREETING_HEAD - 1]
        if not 1 <= count <= MOST_KEYS:
            raise ProtocolError(f"the greeting of a sealed link offers {count} secrets")
        names_at = _GREETING_HEAD + NONCE_BYTES
        end = names_at + count * KEY_ID_BYTES
        if len(greeting) < end:
            return b""
        offered = [greeting[at : at + KEY_ID_BYTES] for at in range(names_at, end, KEY_ID_BYTES)]
        chosen = next((index for index, name in enumerate(offered) if name in self._secrets), None)
        if chosen is None:
            raise WrongSecretError("the client does not know our secret")
        answer = SEALED_PREFACE + bytes([chosen]) + self._nonce
        self._keys = _Keys(self._secrets[offered[chosen]], greeting[:end] + answer)
        self._buffer = greeting[end:]
        if self._buffer:
            raise ProtocolError("the client of a sealed link does not wait for the answer")
        return answer + self._keys.listener_proof

    def _check_proof(self, keys: _Keys) -> None:
        proof = self._buffer[:PROOF_BYTES]
        if len(proof) < PROOF_BYTES:
            return
        if not hmac.compare_digest(keys.dialler_proof, proof):
            raise WrongSecretError("the client has not proved that it knows our secret")
        self.sealer, self.opener = Sealer(keys.listener_records), Opener(keys.dialler_records)
        self.rest = self._buffer[PROOF_BYTES:]
        self.is_over = True


def _check_greeting_start(data: bytes) -> None:
    start = data[: len(SEALED_PREFACE)]
    if SEALED_PREFACE.startswith(start):
        return
    if len(start) >= len(MAGIC) and start.startswith(MAGIC):
        raise NoSecretError("this context takes in only who knows its secret")
    if len(start) < len(MAGIC) and MAGIC.startswith(start):
        return
    raise ProtocolError(f"the client seems to speak no Trioton: its first bytes are {start!r}")


def _check_answer_start(data: bytes) -> None:
    start = data[: len(SEALED_PREFACE)]
    if SEALED_PREFACE.startswith(start):
        return
    if len(start) >= len(MAGIC) and start.startswith(MAGIC):
        raise NoSecretError("the context there knows no secret: give both a trioton.Secret, or neither")
    if len(start) < len(MAGIC) and MAGIC.startswith(start):
        return
    raise ProtocolError(f"what answers there seems to be no Trioton: its first bytes are {start!r}")
