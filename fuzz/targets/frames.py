"""Targets for what lies on a link: frames, the handshake, headers, control messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trioton.errors import ProtocolError
from trioton.protocol.control import CONTROL_KINDS, Close, Unreachable, encode_control, parse_control
from trioton.protocol.frames import PREFACE, PREFIX, FrameKind, FrameReader
from trioton.protocol.handshake import Hello, encode_refusal, parse_refusal
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import Limits
from trioton.protocol.packages import (
    PackageHeader,
    PackageHeaderReader,
    parse_fragment,
    parse_opening,
    parse_package_header,
)
from trioton.protocol.routed import RoutedReceived, encode_routed, parse_routed
from trioton.protocol.session import Event, PackageReceived, RecordsReceived, RetainedReceived, Role, Session

from ..chooser import Chooser
from ..speech import Speech
from ..violation import require

LIMITS: Final = Limits(max_package=200 * 1024, reassembly_bytes=300 * 1024)
HELLO: Final = Hello(
    id=ContextId(7),
    name="fuzz",
    pid=1,
    host=bytes(16),
    max_package=1 << 24,
    window_bytes=1 << 23,
    reassembly_bytes=1 << 25,
    lease=10.0,
    session=bytes(range(16)),
)
PEER, FAR, FARTHER, OWN, HONEST = (bytes([number]) * 16 for number in range(1, 6))
SLOTS: Final = ("chat.txt.pub-sub", "chat.obj.pub-sub", "math.obj.req-rep", "~0123456789abcdef01234567.obj.one")

_FIRST: Final = {Role.SERVER: FrameKind.HELLO, Role.CLIENT: FrameKind.WELCOME}


def frames(data: bytes) -> None:
    """Any bytes into a FrameReader, behind the handshake or in it, cut anywhere: the same frames, or the same refusal."""
    how, stream = data[:2].ljust(2, b"\0"), data[2:]
    whole = _read_frames(stream, is_accepted=how[0] & 1, cut=0)
    _compare(whole, _read_frames(stream, is_accepted=how[0] & 1, cut=1 + how[1]))


def _read_frames(data: bytes, *, is_accepted: int, cut: int) -> list[object]:
    reader = FrameReader(LIMITS)
    found: list[object] = []
    try:
        if is_accepted:
            reader.receive_data(PREFACE)
            reader.accept_all_kinds()
        for piece in _pieces(data, cut):
            found += [_as_sent(*frame) for frame in reader.receive_data(piece)]
            if found and not is_accepted:
                return found  # what follows waits until the owner has accepted the peer
    except ProtocolError:
        found.append("refused")
    else:
        found.append(reader.is_mid_frame)
    return found


def _compare(whole: list[object], pieces: list[object]) -> None:
    """What came in pieces is the same; only what came together with damage is lost with that, if it came at once."""
    require(whole[-1:] == pieces[-1:], "a refusal does not depend on the cut")
    start = pieces if whole[-1:] != ["refused"] else [*pieces[: len(whole) - 1], "refused"]
    require(
        repr(whole) == repr(start), "what comes does not depend on the cut"
    )  # as texts, since no NaN equals another


def _pieces(data: bytes, cut: int) -> Iterator[bytes]:
    step = cut or max(1, len(data))
    return (data[at : at + step] for at in range(0, len(data), step))


def _as_sent(kind: FrameKind, flags: int, header: bytes, body: bytes, is_lone_bytes: bool) -> tuple[object, ...]:
    """A frame with its whole body, whether or not the reader took a lone byte string out of it."""
    if is_lone_bytes:
        body = b"\x81\x5a" + len(body).to_bytes(4, "big") + body
    return kind, flags, header, body


def session(data: bytes) -> None:
    """Any bytes into a Session of either end, in the handshake or behind it, cut anywhere: the same events, or a refusal."""
    how, stream = data[:2].ljust(2, b"\0"), data[2:]
    _compare(_read_events(stream, how[0], cut=0), _read_events(stream, how[0], cut=1 + how[1]))


def _read_events(data: bytes, how: int, *, cut: int) -> list[object]:
    role = Role.SERVER if how & 1 else Role.CLIENT
    session = Session(role, LIMITS)
    events: list[object] = []
    try:
        if how & 2:
            session.receive_data(HELLO.to_frame(_FIRST[role]))
            session.accept_peer()
        for piece in _pieces(data, cut):
            _feed(session, piece, events, fills=bool(how & 4))
            if session.in_handshake and events:
                return events  # it was refused
    except ProtocolError as error:
        require("\n" not in str(error), "a refusal is one line")
        events.append("refused")
    else:
        events.append(session.is_mid_frame)
    return events


def _feed(session: Session, data: bytes, events: list[object], *, fills: bool) -> None:
    """Give bytes to a session, large bodies by way of its buffer if that is wanted."""
    while data:
        buffer = session.wanted_buffer() if fills else None
        if buffer is None:
            found, data = session.receive_data(data), b""
        else:
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            buffer.release()
            found, data = session.buffer_filled(count), data[count:]
        _note(found, events)
        if session.in_handshake and found and isinstance(found[0], Hello):
            _note(session.accept_peer(), events)


def _note(found: list[Event], events: list[object]) -> None:
    for event in found:
        if isinstance(event, PackageReceived) and event.is_lone_bytes:
            body = b"\x81\x5a" + len(event.body).to_bytes(4, "big") + event.body
            events.append(event._replace(body=body, is_lone_bytes=False))
        else:
            events.append(event)


def speech(data: bytes) -> None:
    """Frames that a chooser makes into a Session behind the handshake: events, and for the whole stream the same as for its pieces."""
    choose = Chooser(data)
    how, cut = 2 | choose.below(2) | 4 * choose.below(2), 1 + choose.below(256)
    talk = Speech(choose, (PEER, FAR, FARTHER), (OWN, HONEST), SLOTS)
    frames: list[bytes] = []
    while choose and len(frames) < 100:
        frames.append(talk.frame())
    stream = b"".join(frames)
    pieces = _read_events(stream, how, cut=cut)
    _compare(_read_events(stream, how, cut=0), pieces)
    for event in pieces:
        if isinstance(event, RoutedReceived):
            _route(event)
        elif isinstance(event, (RecordsReceived, RetainedReceived)):
            require(len(event[0]) <= len(stream), "nothing is made up")


def handshake(data: bytes) -> None:
    """Headers of HELLO, WELCOME and REFUSE: what is taken can be written again, and is the same then."""
    for kind in (FrameKind.HELLO, FrameKind.WELCOME):
        try:
            hello = Hello.from_header(kind, data)
        except ProtocolError:
            continue
        again = hello.to_frame(kind)[len(PREFACE) + PREFIX.size :]
        require(Hello.from_header(kind, again) == hello, "a greeting stays the same")
        require(str(hello.session or "none") not in repr(hello), "no token is shown")
    try:
        reason, source, unproved = parse_refusal(data)
    except ProtocolError:
        return
    again = encode_refusal(reason, source, unproved=unproved)[len(PREFACE) + PREFIX.size :]
    require(parse_refusal(again) == (reason, source, unproved), "a refusal stays the same")


def headers(data: bytes) -> None:
    """Headers of packages one after the other: the reader that remembers flows says of each what the one that does not says."""
    choose = Chooser(data)
    reader = PackageHeaderReader()
    talk = Speech(choose, (PEER, FAR), (OWN,), SLOTS)
    kept: list[bytes] = []
    for _ in range(40):
        if not choose:
            break
        how = choose.byte()
        if how < 100:
            header = talk.header(how % 3)
        elif how < 150 and kept:
            header = _damage(choose, choose.one_of(kept))
        else:
            header = choose.piece()
        kept.append(header)
        # As a session reads them: alone, or behind the prefix of a frame and before its body.
        before, behind = (b"", b"") if choose.flag() else (bytes(PREFIX.size), choose.one_of((b"\x80", *kept)))
        expected, found = _parsed(header), _read(reader, before, header, behind)
        require(found == expected, "all readers of headers agree")
    for parse in (parse_opening, parse_fragment):
        try:
            parse(data)
        except ProtocolError:
            pass


def _damage(choose: Chooser, header: bytes) -> bytes:
    at = choose.below(len(header) + 1)
    how = choose.below(4)
    if how == 0:
        return header[:at]
    if how == 1:
        return header[:at] + choose.take(1) + header[at + 1 :]
    return header[:at] + choose.take(2) + header[at:] if how == 2 else header[:at] + header[at + 1 :]


def _parsed(header: bytes) -> PackageHeader | None:
    try:
        return parse_package_header(header)
    except ProtocolError:
        return None


def _read(reader: PackageHeaderReader, before: bytes, header: bytes, behind: bytes) -> PackageHeader | None:
    try:
        return reader.read(before + header + behind, len(before), len(before) + len(header))
    except ProtocolError:
        return None


def control(data: bytes) -> None:
    """Headers of control messages and routed ones: what is taken can be written again, and is the same then."""
    kind = tuple(CONTROL_KINDS)[data[0] % len(CONTROL_KINDS)] if data else FrameKind.PING
    header = data[1:]
    try:
        message = parse_control(kind, header)
    except ProtocolError as error:
        require(len(str(error)) < 1000, "a refusal is short")
    else:
        again = parse_control(kind, encode_control(message)[PREFIX.size :])
        require(again == message, "a control message stays the same")
        if isinstance(message, (Close, Unreachable)):
            require("\n" not in message.reason, "a reason is one line")
    try:
        routed = parse_routed(header, data[0] if data else 0)
    except ProtocolError:
        return
    _route(routed)


def _route(event: RoutedReceived) -> None:
    try:
        message = event.message()
    except ProtocolError:
        return
    again = parse_routed(encode_routed(event.source, event.destination, event.round, message)[PREFIX.size :], 0)
    require(again.message() == message, "a routed message stays the same")
