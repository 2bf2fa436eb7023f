"""The handshake: what two contexts tell each other before anything else.

The client sends the preface and a `Hello`; the server answers with the preface and a `Welcome`, or with a `Refuse` that says why
not. A client releases nothing before the `Welcome`. Each travels as an array of one map with text keys, so that a later version
can add a key; keys that are not known are ignored, those that are known are checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import attrs

from ..errors import ProtocolError
from . import codec
from .control import shorten_reason
from .frames import PREFACE, FrameKind, encode_frame
from .identity import ID_BYTES, ContextId
from .shown import shown

TOKEN_BYTES: Final = 16
MAX_NAME: Final = 256


def _bytes_of(size: int) -> Callable[[object], bool]:
    return lambda value: type(value) is bytes and len(value) == size


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _seconds(value: object) -> bool:
    return type(value) in {int, float} and 0 < value < math.inf  # type: ignore[operator]


def _name(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_NAME


def _path(value: object) -> bool:
    return type(value) is str and 0 < len(value) < 4096 and "\0" not in value


def _flag(value: object) -> bool:
    return type(value) is bool


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_FIELD_CHECKS: Final[Mapping[str, Callable[[object], bool]]] = {
    "id": _bytes_of(ID_BYTES),
    "name": _name,
    "pid": _number,
    "uid": _or_none(_number),
    "host": _bytes_of(16),
    "max_package": _number,
    "window_bytes": _number,
    "reassembly_bytes": _number,
    "lease": _seconds,
    "session": _or_none(_bytes_of(TOKEN_BYTES)),
    "resume": _or_none(_bytes_of(TOKEN_BYTES)),
    "move": _or_none(_bytes_of(TOKEN_BYTES)),
    "offer_path": _or_none(_path),
    "offer_token": _or_none(_bytes_of(TOKEN_BYTES)),
    "resumed": _flag,
    "returns": _flag,
    "retains": _flag,
    "stub": _flag,
    "leaf": _flag,
    "interval": _or_none(_seconds),
}


@attrs.frozen(kw_only=True)
class Hello:
    """What a context says of itself, in either direction.

    Attributes:
        id: Its identity.
        name: Its name; may be empty.
        pid: Its process, as its host counts it.
        uid: The user it runs as, or None.
        host: 16 bytes that are equal for contexts which can see each other's processes and Unix sockets.
        max_package: Bytes of the largest package that it takes.
        window_bytes: Bytes that a flow may be ahead of it.
        reassembly_bytes: Bytes of unfinished large packages that it holds.
        lease: Seconds of silence after which it gives up a link.
        session: From a server: the session's token, with which a client may resume it once.
        resume: From a client: the session that it had, or None for a new one.
        move: From a client: the token of the offer that it accepts, on the offered transport.
        offer_path: From a server: a Unix socket that serves better than the transport in use, or None.
        offer_token: What the client must show there.
        resumed: From a server: whether the session in `resume` goes on.
        returns: From a client: whether it will dial again if the transport is lost; if not, a loss is final for both.
        retains: Whether it keeps the values of states, and begins each link with telling them.
        stub: From a client: whether the server is to be its parent, and to tell it only of those contexts that it has to do with.
        leaf: True if the other is believed only what it says of itself (and, a stub, of those below it), since it has not proved to be
            one who may speak for others; absent if it has.
        interval: Seconds between two of its heartbeats, if they are more frequent than most; else None.
    """

    id: ContextId
    name: str
    pid: int
    uid: int | None = None
    host: bytes = attrs.field(repr=False)
    max_package: int
    window_bytes: int
    reassembly_bytes: int
    lease: float
    session: bytes | None = attrs.field(default=None, repr=False)
    resume: bytes | None = attrs.field(default=None, repr=False)
    move: bytes | None = attrs.field(default=None, repr=False)
    offer_path: str | None = attrs.field(default=None, repr=False)
    offer_token: bytes | None = attrs.field(default=None, repr=False)
    resumed: bool = False
    returns: bool = True
    retains: bool = False
    stub: bool = False
    leaf: bool | None = None
    interval: float | None = None

    @classmethod
    def from_header(cls, kind: FrameKind, header: bytes) -> Self:
        """Read and check the header of a `Hello` or `Welcome` frame.

        Raises:
            ProtocolError: It is no map, or a key is missing or of the wrong type or size.
        """
        fields = codec.decode_header(header)
        if len(fields) != 1 or type(fields[0]) is not dict:
            raise ProtocolError(f"a {kind.name} must be an array of one map")
        values: dict[str, Any] = {}
        for name, check in _FIELD_CHECKS.items():
            if name in fields[0]:
                if not check(fields[0][name]):
                    raise ProtocolError(f"the field {name} of a {kind.name} is wrong: {shown(fields[0][name], 60)}")
                values[name] = fields[0][name]
        missing = [
            field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING and field.name not in values
        ]
        if missing:
            raise ProtocolError(f"a {kind.name} lacks the field {missing[0]}")
        if kind is FrameKind.WELCOME and values.get("session") is None:
            raise ProtocolError("a WELCOME lacks the field session")
        values["id"] = ContextId.from_wire(values["id"])
        return cls(**values)

    def to_frame(self, kind: FrameKind) -> bytes:
        """Give the preface and the frame, ready to be written as the first bytes of a connection."""
        fields = {name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None}
        fields["id"] = self.id.to_wire()
        return PREFACE + encode_frame(kind, codec.encode_header([fields]))


def encode_refusal(reason: str, source: bytes, *, unproved: bool = False) -> bytes:
    """Give the preface and the frame with which a server of an identity turns a client away.

    Args:
        reason: Why.
        source: The 16 bytes of the identity.
        unproved: Whether it is for want of a proof who the client is, so that coming again does not help.
    """
    fields = [shorten_reason(reason), source, *([True] if unproved else [])]
    return PREFACE + encode_frame(FrameKind.REFUSE, codec.encode_header(fields))


def parse_refusal(header: bytes) -> tuple[str, bytes, bool]:
    """Read why the server turned us away, which context it is, and whether it is for want of a proof who we are.

    Raises:
        ProtocolError: The header is no array of a text and an identity, and perhaps true or false.
    """
    fields = codec.decode_header(header)
    if len(fields) == 2:
        fields = [*fields, False]
    if len(fields) != 3 or [type(field) for field in fields] != [str, bytes, bool] or len(fields[1]) != ID_BYTES:
        raise ProtocolError("a REFUSE must be an array of a text and an identity")
    return shorten_reason(fields[0]), fields[1], fields[2]


STRANGER_REPLY: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 32\r\n\r\nERROR: this is a Trioton port.\r\n"
)
"""What a peer gets that does not speak our protocol: one readable line, in a form that HTTP clients show."""
