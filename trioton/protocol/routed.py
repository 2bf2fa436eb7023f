"""What one context says to another that is not its neighbour: a control message, and for whom and from whom it is.

The header of a ROUTED frame is the CBOR array ``[source, destination, round, kind, field, ...]``: the fields are those of the control
message of that kind. Contexts on the way pass the frame on as it is, and count the hop in its flags.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..errors import ProtocolError
from . import codec
from .control import Control, check_control, control_kind
from .frames import FrameKind, encode_frame
from .identity import ID_BYTES
from .packages import MAX_SEQUENCE
from .shown import shown

HOP_SHIFT: Final = 4
"""The upper half of a frame's flags counts the contexts that have passed it on."""

MOST_HOPS: Final = 15
"""A frame that so many contexts have passed on goes no further: the longest way has 16 hops."""

LAST_ROUND: Final = MAX_SEQUENCE - (1 << 32)
"""Rounds from this one on are not heard: who answered with larger numbers would soon say what its neighbours must refuse."""

ROUTED_KINDS: Final = frozenset(
    {
        FrameKind.SYNC,
        FrameKind.SYNCED,
        FrameKind.OFFER,
        FrameKind.CREDIT,
        FrameKind.STARTED,
        FrameKind.KEPT,
        FrameKind.FLUSH,
        FrameKind.UNREACHABLE,
        FrameKind.POSITION,
        FrameKind.ASK_STATE,
        FrameKind.STATE_KNOWN,
        FrameKind.DENIED,
    }
)
"""What may be said to others than neighbours."""


class RoutedReceived(NamedTuple):
    """A routed frame came.

    Attributes:
        source: Who says it.
        destination: To whom.
        round: Which round of the association of both it belongs to.
        hops: How many contexts have passed it on.
        header: The header as it came.
        fields: What it says: the kind, and the fields of the control message, not checked yet.
    """

    source: bytes
    destination: bytes
    round: int
    hops: int
    header: bytes
    fields: list[object]

    def message(self) -> Control:
        """Check and give what is said.

        Raises:
            ProtocolError: It is no control message that may be routed.
        """
        number, *fields = self.fields
        kind = next((kind for kind in ROUTED_KINDS if kind == number), None) if type(number) is int else None
        if kind is None:
            raise ProtocolError(f"a frame of kind {shown(number, 20)} cannot be routed")
        return check_control(kind, fields)


def encode_routed(source: bytes, destination: bytes, round_number: int, message: Control) -> bytes:
    """Give the frame that says something to a context which is not a neighbour."""
    header = [source, destination, round_number, int(control_kind(message)), *message]
    return encode_frame(FrameKind.ROUTED, codec.encode_header(header))


def pass_on(header: bytes, hops: int) -> bytes:
    """Give the frame with which a context passes on what has made so many hops before it."""
    return encode_frame(FrameKind.ROUTED, header, flags=(hops + 1) << HOP_SHIFT)


def parse_routed(header: bytes, flags: int) -> RoutedReceived:
    """Read whose a routed frame is and for whom.

    Raises:
        ProtocolError: The header is not the array that the module's text describes.
    """
    fields = codec.decode_header(header)
    if len(fields) >= 4:
        source, destination, number = fields[:3]
        good = all(type(each) is bytes and len(each) == ID_BYTES for each in (source, destination))
        if good and type(number) is int and 0 <= number < MAX_SEQUENCE:
            return RoutedReceived(source, destination, number, flags >> HOP_SHIFT, header, fields[3:])
    raise ProtocolError(f"the header of a ROUTED is wrong: {shown(fields, 200)}")
