"""Inputs to start from, made by the protocol's own encoders: ``python -m fuzz --make-seeds`` puts them into the corpus."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from trioton.protocol import failures, jobs, requests, values
from trioton.protocol.codec import array_head, encode_header
from trioton.protocol.control import (
    AskState,
    Beat,
    Close,
    Control,
    Credit,
    Flush,
    Kept,
    Offer,
    Ping,
    Pong,
    Position,
    Started,
    StateKnown,
    Subscribe,
    Sync,
    Synced,
    Unreachable,
    Unsubscribe,
    encode_control,
)
from trioton.protocol.frames import PREFACE, PREFIX, FrameKind, encode_prefix
from trioton.protocol.handshake import encode_refusal
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.records import (
    Digest,
    InterestRecord,
    InterestSnapshot,
    LinkRecord,
    NodeChange,
    NodeRecord,
    NoRoute,
    Route,
    Want,
    encode_batch,
    encode_record,
)
from trioton.protocol.retained import RowKind, Version, encode_known, encode_mark, encode_value_head
from trioton.protocol.routed import encode_routed
from trioton.protocol.text_requests import TextKind, encode_text

from .targets.frames import FAR, HELLO, OWN, PEER

_SLOT: Final = "chat.obj.pub-sub"
_BY_CHOICE: Final = (
    "speech",
    "headers",
    "words",
    "topology",
    "stub",
    "sending",
    "receiving",
    "retained",
    "context",
    "sealed",
)
_LINK: Final = LinkRecord(False, 1)


def messages() -> list[object]:
    """Values of all kinds."""
    return [
        None,
        [True, 1, -1, 1 << 80, -(1 << 80), 1.5, "text", b"bytes"],
        {"a": {1: [()], (1, "b"): {1, 2}}, b"c": frozenset({(1,), (2,)})},
        [datetime(2026, 1, 2, 3, 4, 5, 678, UTC), UUID(int=7), Decimal("1.50"), Decimal("-0"), Decimal("NaN12"), Decimal("-Infinity")],
        [[[[[[]]]]]],
    ]  # fmt: skip


def controls() -> list[Control]:
    """A control message of each kind."""
    flow = OWN, _SLOT, 1
    return [
        *(Ping(1), Pong(1), Beat(100), Close("goodbye"), Sync(1, 1, 1), Synced()),
        *(Subscribe(_SLOT, 1, 0, 4, 1, None, None, 1), Unsubscribe(_SLOT, 2)),
        *(
            Offer(*flow),
            Credit(*flow, 1, 5),
            Started(*flow, 0, 1),
            Kept(*flow, 3),
            Flush(*flow, 4),
            Unreachable(*flow, "why"),
        ),
        *(Position(_SLOT, 1, 2), AskState(_SLOT), StateKnown(_SLOT, 1, OWN, bytes(8))),
    ]


def records() -> list[bytes]:
    """A record of each kind."""
    interest = InterestRecord(PEER, _SLOT, 1, 0, 4, 1, 1)
    return [
        encode_record(record)
        for record in (
            NodeRecord(PEER, 2, "name", 7, 1 << 20, 1 << 20, {OWN: _LINK, FAR: _LINK}, {OWN: 1}),
            NodeChange(PEER, 2, 3, {OWN: _LINK}, (FAR,), {FAR: 1}),
            interest,
            InterestSnapshot(PEER, 1, (interest,)),
            Digest({PEER: (2, 1)}),
            Route(PEER, "name", 7, 1 << 20, 1 << 20, 1, 1, {OWN: 1}, (interest,)),
            NoRoute(PEER),
            Want(0, _SLOT, True),
            Want(2, PEER, False),
        )
    ]


def rows() -> bytes:
    """Rows of retained values."""
    version = Version(1, PEER, bytes(8))
    parts = [encode_value_head(_SLOT, version, 2) + b"\x61a", encode_known(_SLOT, version)]
    parts += [encode_mark(kind) for kind in RowKind if kind >= RowKind.ALL_NAMED]
    return array_head(len(parts)) + b"".join(parts)


def _package(body: bytes, count: int) -> bytes:
    header = PackageTemplate(PEER, _SLOT, 1).header(0, count)
    return encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body


def _with_body(kind: FrameKind, header: bytes, body: bytes) -> bytes:
    return encode_prefix(kind, 0, len(header), len(body)) + header + body


def stream() -> list[bytes]:
    """Frames of all kinds that come behind a handshake."""
    large = b"\x81\x59\x20\x00" + bytes(8192)
    opening = encode_header([1, len(large), PackageTemplate(PEER, _SLOT, 1).header(1, 1)])
    bodies = [array_head(len(messages())) + b"".join(map(values.encode_value, messages()))]
    return [
        *map(encode_control, controls()),
        _package(bodies[0], len(messages())),
        _package(b"\x81\x61a", 1),
        encode_routed(PEER, OWN, 1, controls()[9]),
        *(_with_body(FrameKind.RECORDS, b"\x80", body) for body in encode_batch(records())),
        _with_body(FrameKind.RETAINED, b"\x80", rows()),
        _with_body(FrameKind.OPENING, opening, large[:4096]),
        _with_body(FrameKind.FRAGMENT, encode_header([1]), large[4096:]),
    ]


def _headers() -> Iterator[bytes]:
    """The header of each control message and of a routed one, behind a byte that says which kind it is."""
    for number, message in enumerate(controls()):
        yield bytes([number]) + encode_control(message)[PREFIX.size :]
    yield b"\0" + encode_routed(PEER, OWN, 1, controls()[9])[PREFIX.size :]


def _said() -> list[bytes]:
    """Messages of requesters, repliers, pushers and pullers."""
    error = ExceptionGroup(
        "some", [ValueError(1), OSError(2, "no")]
    )  # it was never raised: tracebacks name places of a machine
    error.__cause__ = KeyError("cause")
    failure = failures.encode_failure(error)
    return [
        requests.encode_call(1, 2.0, None, values.encode_value(["give", [1], {}])),
        requests.encode_cancel(1),
        requests.encode_done(1, b"\1"),
        requests.encode_failed(1, failure),
        requests.encode_gone(1, "why"),
        jobs.job_head(1, 0, again=False) + b"\1",
        *(jobs.encode_answer(jobs.Answer(kind)) for kind in jobs.Pull),
    ]


_ADDRESSES: Final = (
    *("localhost:9000", "127.0.0.1:0", "[::1]:9000", "tls://host.example:9000", "localhost:test+3", "publichost1:1"),
    *("unix:///run/x.sock", "mem://name", "[fe80::1%eth0]:1", "host"),
)
_SETTINGS: Final = b"""
[broker]
name = "hub"
listen = ["localhost:9000", "unix:///run/x.sock"]
connect = ["localhost:test"]
insecure = true
grace = 1.5
[limits]
max_package = 1000
resume_window = 10
[heartbeat]
interval = 1
timeout = 2.0
lease = 4
"""


def seeds() -> Mapping[str, list[bytes]]:
    """What each target starts from."""
    said = list(map(values.encode_value, messages())) + _said()
    hello = HELLO.to_frame(FrameKind.HELLO)
    refusal = encode_refusal("full", OWN)
    rng = random.Random(1)
    start = len(PREFACE) + PREFIX.size
    return {
        **{name: [rng.randbytes(size) for size in (3, 20, 100, 400)] for name in _BY_CHOICE},
        "frames": [b"\0\0" + hello, *(b"\1\7" + frame for frame in stream())],
        "session": [b"\1\3" + hello + b"".join(stream()[:3]), b"\0\1" + refusal, *(b"\7\7" + frame for frame in stream())],
        "stranger": [b"\5" + hello, b"\1" + hello + b"".join(stream()[:9]), b"\3GET / HTTP/1.1\r\n\r\n", b"\xff\x16\x03\1"],
        "handshake": [hello[start:], refusal[start:]],
        "control": list(_headers()),
        "scan": said,
        "strict": said,
        "run": [b"\x81" + each for each in said] + [array_head(len(said)) + b"".join(said)],
        "reports": [values.encode_value({"id": "0" * 32, "name": "n", "links": [], "sending": [], "receiving": []})],
        "batch": [next(encode_batch(records()))],
        "records": records(),
        "rows": [rows()],
        "texts": [b"\0\3" + encode_text(TextKind.REQUEST, "a\nb"), b"\1\0" + encode_text(TextKind.FAILED, "")],
        "address": [address.encode() for address in _ADDRESSES],
        "settings": [_SETTINGS, b'[broker]\nlisten = ["nowhere"]', b"[tls]\nkey = 1"],
    }  # fmt: skip
