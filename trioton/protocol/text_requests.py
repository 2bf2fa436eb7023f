r"""How single text requests and their replies lie on a stream: one request on a connection, then one reply.

Each is a line that says what comes and how many bytes it has, and then the text as UTF-8::

    trioton-text/1 request 5\n
    hello

A reply is called ``reply`` if all went well, ``failed`` if the handler raised, and ``refused`` if the request never reached it; the text
of the latter two says why. Nothing comes behind the text. So any text fits, an empty one and one with many lines, too.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

from ..errors import ProtocolError

MAGIC: Final = b"trioton-text/1 "
"""How the first line begins."""

MAX_HEAD: Final = 64
"""The most bytes that the first line may have."""

_HEAD: Final = re.compile(rb"trioton-text/1 ([a-z]+) (0|[1-9][0-9]{0,18})\n")
_SHOWN: Final = 60


class TextKind(StrEnum):
    """What a text is."""

    REQUEST = "request"
    REPLY = "reply"
    FAILED = "failed"
    REFUSED = "refused"


class TextMessage(NamedTuple):
    """A request or a reply."""

    kind: TextKind
    text: str


def encode_text(kind: TextKind, text: str) -> bytes:
    """The bytes of a request or reply.

    Raises:
        UnicodeEncodeError: There are lone surrogates in the text.
    """
    body = text.encode()
    return b"%b%b %d\n%b" % (MAGIC, kind.value.encode(), len(body), body)


class TextReader:
    """Makes one request, or one reply, of the bytes that come.

    Args:
        kinds: What may come.
        max_size: The most bytes that the text may have.
    """

    def __init__(self, kinds: frozenset[TextKind], max_size: int) -> None:
        self._kinds = kinds
        self._max_size = max_size
        self._data = bytearray()
        self._kind: TextKind | None = None
        self._size = 0

    def receive_data(self, data: bytes | bytearray) -> TextMessage | None:
        """Take the next bytes; gives the message when it is whole.

        Raises:
            ProtocolError: This is no such message, or too large a one.
        """
        self._data += data
        if self._kind is None and not self._read_head():
            return None
        assert self._kind is not None
        if len(self._data) < self._size:
            return None
        if len(self._data) > self._size:
            raise ProtocolError(f"{len(self._data) - self._size} bytes came behind the {self._kind}")
        try:
            return TextMessage(self._kind, self._data.decode())
        except UnicodeDecodeError as error:
            raise ProtocolError(f"the {self._kind} is not UTF-8: {error.reason} at byte {error.start}") from None

    def _read_head(self) -> bool:
        """Read the first line, and forget it; whether it was there."""
        start = bytes(self._data[:MAX_HEAD])
        if not start.startswith(MAGIC[: len(start)]):
            raise ProtocolError(f"this is no text request or reply of Trioton: {start[:_SHOWN]!r}")
        end = start.find(b"\n") + 1
        if not end:
            if len(start) == MAX_HEAD:
                raise ProtocolError(f"the first line is longer than {MAX_HEAD} bytes")
            return False
        match = _HEAD.fullmatch(start[:end])
        kind = match[1].decode() if match else ""
        if match is None or kind not in self._kinds:
            expected = " or ".join(sorted(self._kinds))
            raise ProtocolError(f"the first line is {start[:end]!r}, and not that of a {expected}")
        self._size = int(match[2])
        if self._size > self._max_size:
            raise ProtocolError(f"the {kind} has {self._size} bytes; at most {self._max_size} are taken")
        self._kind = TextKind(kind)
        del self._data[:end]
        return True
