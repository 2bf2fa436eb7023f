"""What the reference says of the wire and of the public names must be what the code does."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing

import trioton
from trioton.errors import ProtocolError
from trioton.network.receiving.reception import CONTEXT_TAG, MESSAGE_TAGS, PUSHER_TAG, SENDER_TAG
from trioton.protocol import (
    codec,
    control,
    frames,
    handshake,
    limits,
    packages,
    records,
    retained,
    routed,
    scan,
)
from trioton.protocol.frames import HANDSHAKE_KINDS, PREFACE, FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.records import InterestRecord, LinkRecord, RecordKind
from trioton.protocol.session import PackageReceived, RecordsReceived, Refused, RetainedReceived, Role, Session
from trioton.protocol.values import EncodeExtra, decode_run, decode_value, encode_value
from trioton.testing import Host, Network
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

from .reference_pages import REFERENCE, VECTORS

SHOWN = {
    name: json.loads((REFERENCE / "wire_vectors" / name).read_text(encoding="utf-8"))
    for name in re.findall(r"^\.\. literalinclude:: wire_vectors/(.+)$", VECTORS, re.MULTILINE)
}
"""The vectors, of the files that the page shows."""

Json = dict[str, Any]

FRAME_VECTORS: dict[str, list[Json]] = {
    each["name"]: each["frames"] for each in (*SHOWN["frames.json"], *SHOWN["sessions.json"])
}
SESSIONS: dict[str, list[Json]] = {each["name"]: each["frames"] for each in SHOWN["sessions.json"]}
MESSAGES: dict[str, Json] = {each["name"]: each for each in SHOWN["messages.json"]}
REFUSED: dict[str, dict[str, Json]] = {
    kind: {each["name"]: each for each in vectors} for kind, vectors in SHOWN["refused.json"].items()
}
ROLES = {"client": Role.SERVER, "server": Role.CLIENT}
"""As what one reads a frame, by who has sent it."""


@attrs.frozen
class Reference:
    """What a tag from 54022 on stands for, where no context is at hand to make something of it."""

    tag: int
    content: Any


def data_of(part: Any) -> bytes:
    """The bytes of a prefix, header, body or the like."""
    parts = part if isinstance(part, list) else [part]
    return b"".join(
        bytes.fromhex(each["repeat"]) * each["times"] if isinstance(each, dict) else bytes.fromhex(each)
        for each in parts
    )


def frame_data(frame: Json) -> bytes:
    """All bytes of a frame, or of a preface."""
    return b"".join(data_of(frame.get(name, [])) for name in ("preface", "prefix", "header", "body"))


MAKERS: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "bytes": bytes.fromhex,
    "map": lambda pairs: {value_of(key): value_of(value) for key, value in pairs},
    "tuple": lambda items: tuple(value_of(items)),
    "set": lambda items: set(value_of(items)),
    "datetime": datetime.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
    "sender": lambda content: Reference(SENDER_TAG, value_of(content)),
    "pusher": lambda content: Reference(PUSHER_TAG, content),
    "context": lambda content: Reference(CONTEXT_TAG, value_of(content)),
}


def value_of(noted: Any) -> Any:
    """The value that a note of the vectors means."""
    if isinstance(noted, dict):
        ((kind, content),) = noted.items()
        return MAKERS[kind](content)
    return [value_of(item) for item in noted] if isinstance(noted, list) else noted


def fields_of(frame: Json) -> Json:
    return {name: value_of(value) for name, value in frame["fields"].items()}


def frames_of(vector: list[Json]) -> Iterator[Json]:
    return (frame for frame in vector if "kind" in frame)


def other_flags(frame: Json) -> int:
    """The flags of a package but for that of the end."""
    skipped = frames.FLAG_SKIPPED if frame.get("skipped") else 0
    hops: int = frame.get("hops", 0)
    return skipped | hops << routed.HOP_SHIFT


def encode_package(frame: Json) -> packages.Package:
    fields = fields_of(frame)
    body = codec.array_head(fields["count"]) + b"".join(encode_value(value_of(each)) for each in frame["messages"])
    kind, destination = packages.PackageKind(fields["kind"]), fields.get("destination")
    template = packages.PackageTemplate(fields["source"], fields["slot"], fields["stream"], destination, kind)
    first, count, flags = fields["first"], fields["count"], other_flags(frame)
    header = template.header(first, count)
    return packages.Package(header, (body,), len(body), first, count, is_last=frame["end"], flags=flags)


def record_of(noted: Json) -> records.Record | records.Digest | records.Guidance:
    """The record that a note of the vectors means."""
    ((kind, content),) = noted.items()
    fields = {name: value_of(value) for name, value in content.items()}
    if kind == RecordKind.NODE.name:
        bounds = dict(fields.pop("bounds"))
        links = {a: LinkRecord(suspended, way, bounds.get(a, 0)) for a, suspended, way in fields.pop("links")}
        partings = fields.pop("partings")
        return records.NodeRecord(**fields, links=links, partings=dict(partings))
    if kind == RecordKind.CHANGE.name:
        bounds = dict(fields.pop("bounds"))
        links = {a: LinkRecord(suspended, way, bounds.get(a, 0)) for a, suspended, way in fields.pop("links")}
        gone = tuple(neighbour for (neighbour,) in fields.pop("gone"))
        return records.NodeChange(**{**fields, "links": links, "gone": gone, "partings": dict(fields["partings"])})
    if kind == RecordKind.INTEREST.name:
        return InterestRecord(**fields)
    if kind == RecordKind.SNAPSHOT.name:
        origin, number, rows = fields.values()
        return records.InterestSnapshot(origin, number, tuple(InterestRecord(origin, *row) for row in rows))
    if kind == RecordKind.ROUTE.name:
        interests = tuple(InterestRecord(fields["origin"], *row) for row in fields.pop("interests"))
        return records.Route(**{**fields, "partings": dict(fields["partings"]), "interests": interests})
    if kind == RecordKind.NO_ROUTE.name:
        return records.NoRoute(**fields)
    if kind == RecordKind.WANT.name:
        return records.Want(**fields)
    return records.Digest({origin: (number, record) for origin, number, record in fields["known"]})


def encode_records(frame: Json) -> bytes:
    (body,) = records.encode_batch([records.encode_record(record_of(each)) for each in frame["records"]])
    return frames.encode_prefix(FrameKind.RECORDS, 0, 1, len(body)) + codec.array_head(0) + body


def row_of(noted: Json) -> retained.Row:
    """The row of a RETAINED that a note of the vectors means."""
    ((kind, content),) = noted.items()
    fields = {name: value_of(value) for name, value in content.items()}
    if kind == retained.RowKind.VALUE.name:
        return retained.Value(**fields)
    if kind == retained.RowKind.KNOWN.name:
        return retained.Known(fields.pop("slot"), retained.Version(**fields))
    assert not fields
    return retained.Mark(retained.RowKind[kind])


def encode_row(row: retained.Row) -> bytes:
    if isinstance(row, retained.Value):
        return retained.encode_value_head(row.slot, row.version, len(row.data)) + row.data
    if isinstance(row, retained.Known):
        return retained.encode_known(row.slot, row.version)
    return retained.encode_mark(row.kind)


def encode_retained(frame: Json) -> bytes:
    rows = [encode_row(row_of(each)) for each in frame["rows"]]
    return retained.RetainedPackage(rows, len(rows)).frame()


def said_in(frame: Json) -> control.Control:
    """What a ROUTED says."""
    ((kind, fields),) = frame["says"].items()
    message: control.Control = control.CONTROL_KINDS[FrameKind[kind]](*map(value_of, fields.values()))
    assert message._asdict().keys() == fields.keys()
    return message


def encode_routed(frame: Json) -> bytes:
    fields = fields_of(frame)
    data = routed.encode_routed(fields["source"], fields["destination"], fields["round"], said_in(frame))
    hops = frame.get("hops", 0)
    return routed.pass_on(data[frames.PREFIX_SIZE :], hops - 1) if hops else data


def encode_documented(frame: Json) -> bytes:
    """What the library sends for the fields of a frame."""
    kind, fields = FrameKind[frame["kind"]], fields_of(frame)
    if kind is FrameKind.REFUSE:
        unproved = fields.get("unproved", False)
        return handshake.encode_refusal(fields["reason"], fields["id"], unproved=unproved)[len(PREFACE) :]
    if kind in HANDSHAKE_KINDS:
        return Hello(**{**fields, "id": ContextId.from_wire(fields["id"])}).to_frame(kind)[len(PREFACE) :]
    if kind is FrameKind.PACKAGE:
        return encode_package(frame).frame()
    if kind is FrameKind.RECORDS:
        return encode_records(frame)
    if kind is FrameKind.RETAINED:
        return encode_retained(frame)
    if kind is FrameKind.ROUTED:
        return encode_routed(frame)
    return control.encode_control(control.CONTROL_KINDS[kind](**fields))


def greeting(sender: str) -> bytes:
    """A handshake of the vectors by one side."""
    return b"".join(map(frame_data, FRAME_VECTORS["hello" if sender == "client" else "welcome"]))


def read_documented(frame: Json) -> object:
    """What the library makes of the bytes of a frame."""
    session = Session(ROLES[frame["from"]], trioton.Limits())
    if FrameKind[frame["kind"]] in HANDSHAKE_KINDS:
        (event,) = session.receive_data(PREFACE + frame_data(frame))
        return event
    session.receive_data(greeting(frame["from"]))
    session.accept_peer()
    (event,) = session.receive_data(frame_data(frame))
    return event


# ---------------------------------------------------------------- vectors of frames


def test_every_file_of_vectors_is_shown() -> None:
    elsewhere = {"sealed.json"}  # on the page of sealed links
    assert SHOWN.keys() | elsewhere == {path.name for path in (REFERENCE / "wire_vectors").iterdir()}


def test_there_is_a_vector_for_every_kind_of_frame() -> None:
    shown = [frame for vector in FRAME_VECTORS.values() for frame in frames_of(vector)]
    kinds = {name for frame in shown for name in (frame["kind"], *frame.get("says", ()))}
    assert kinds == {kind.name for kind in FrameKind}
    recorded = {name for frame in shown for record in frame.get("records", ()) for name in record}
    assert recorded == {kind.name for kind in RecordKind}
    rows = {name for frame in shown for row in frame.get("rows", ()) for name in row}
    assert rows == {kind.name for kind in retained.RowKind}
    assert {frame["fields"]["kind"] for frame in shown if frame["kind"] == "PACKAGE"} == set(packages.PackageKind)


@pytest.mark.parametrize("name", sorted(FRAME_VECTORS.keys() - {"fragments"}))
def test_frame_is_what_is_sent(name: str) -> None:
    for frame in frames_of(FRAME_VECTORS[name]):
        assert frame.get("other_form") or encode_documented(frame).hex(" ") == frame_data(frame).hex(" ")


@pytest.mark.parametrize("name", sorted(FRAME_VECTORS.keys() - {"fragments"}))
def test_frame_is_read_as_documented(name: str) -> None:
    for frame in frames_of(FRAME_VECTORS[name]):
        fields, event = fields_of(frame), read_documented(frame)
        if isinstance(event, Hello):
            told = {**attrs.asdict(event, recurse=False), "id": event.id.to_wire()}
            assert told == {**{field.name: field.default for field in attrs.fields(Hello)}, **fields}
        elif isinstance(event, Refused):
            told = {"reason": fields["reason"], "source": fields["id"], "unproved": fields.get("unproved", False)}
            assert event._asdict() == told
        elif isinstance(event, PackageReceived):
            assert event.header._asdict() == {"destination": None, **fields}
            assert event.is_last == frame["end"]
            assert event.flags == event.is_last * frames.FLAG_END | other_flags(frame)
            scan.scan_run(event.body, event.header.count, tags=MESSAGE_TAGS)
            assert decode_run(event.body) == value_of(frame["messages"])
        elif isinstance(event, RecordsReceived):
            assert [records.parse_record(data) for data in event.records] == [*map(record_of, frame["records"])]
        elif isinstance(event, RetainedReceived):
            assert retained.parse_rows(event.body) == [*map(row_of, frame["rows"])]
        elif isinstance(event, routed.RoutedReceived):
            assert (event.source, event.destination, event.round) == tuple(fields.values())
            assert event.hops == frame.get("hops", 0)
            assert event.message() == said_in(frame)
        else:
            assert event == control.CONTROL_KINDS[FrameKind[frame["kind"]]](**fields)


def test_fragments_are_what_is_sent_and_read() -> None:
    vector = FRAME_VECTORS["fragments"]
    opening, *others = vector
    fragments = [frame for frame in others if frame["kind"] == "FRAGMENT"]
    fields = fields_of(opening)
    body = b"".join(data_of(frame["body"]) for frame in (opening, *fragments))
    assert len(body) == fields["size"]
    header = packages.parse_package_header(fields["header"])
    package = packages.Package(fields["header"], (body,), len(body), header.first, header.count)
    parts = packages.Fragments(package, fields["tag"])
    for frame in (opening, *fragments):
        assert b"".join(parts.next_buffers(limits.MIN_FRAGMENT)) == frame_data(frame)
        assert fields_of(frame)["tag"] == fields["tag"]
    assert not parts.remaining
    session = Session(Role.CLIENT, trioton.Limits())
    session.receive_data(greeting("server"))
    session.accept_peer()
    events = session.receive_data(b"".join(map(frame_data, vector)))
    assert events == [control.Ping(8), PackageReceived(header, is_last=False, body=body)]
    assert decode_run(body) == [b"a" * 9000]


# ---------------------------------------------------------------- vectors of sessions


class FixedChance(random.Random):
    """Draws the identity and the tokens that the vectors have, and dials again at once."""

    def __init__(self, realm: bytes, tokens: list[bytes]) -> None:
        super().__init__(0)
        self._realm = int.from_bytes(realm, "big")
        self._tokens = iter(tokens)

    def getrandbits(self, _bits: int, /) -> int:
        return self._realm

    def randbytes(self, _size: int) -> bytes:
        return next(self._tokens)

    def random(self) -> float:
        return 0.0


class Tap:
    """Stands between client and server, and writes down what each of them sends.

    Attributes:
        heard: What came from each side over each transport.
        swallows: Whether what the server sends gets lost from now on.
        swallowed: Whether something has.
    """

    def __init__(self) -> None:
        self.heard: dict[tuple[int, str], bytes] = {}
        self.swallows = False
        self.swallowed = trio.Event()
        self._ends: list[Transport] = []

    async def run(self, host: Host) -> None:
        listener = await host.listen(parse_address("tap:1"))
        async with trio.open_nursery() as nursery:
            for number in range(1, 3):
                to_client = await listener.accept()
                to_server = await host.dial(parse_address("server:1"))
                self._ends += [to_client, to_server]
                nursery.start_soon(self._copy, (number, "client"), to_client, to_server)
                nursery.start_soon(self._copy, (number, "server"), to_server, to_client)

    async def _copy(self, key: tuple[int, str], source: Transport, target: Transport) -> None:
        try:
            async for data in source:
                self.heard[key] = self.heard.get(key, b"") + bytes(data)
                if self.swallows and key[1] == "server":
                    self.swallowed.set()
                else:
                    await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it was cut, or has been closed

    def cut(self) -> None:
        self.swallows = False
        for end in self._ends:
            end.close()


Scenario = Callable[[trioton.Context, trioton.Context, Tap], Awaitable[None]]

PAUSE = 1.0
"""Long enough for all that is under way on the simulated network, and too short for a heartbeat."""


async def minimal(client: trioton.Context, server: trioton.Context, tap: Tap) -> None:
    pub = trioton.PubChannel(server, "chat")
    sub = trioton.SubChannel(client, "chat", policy=trioton.Block(4))
    connection = await client.connect("tap:1")
    await pub.wait_subscribers()
    await pub.send_many(["hello", "world", "again"])
    await trio.sleep(PAUSE)
    assert await sub.receive_many() == ["hello", "world", "again"]
    await trio.sleep(PAUSE)
    pub.close()
    await trio.sleep(PAUSE)
    await connection.aclose("bye")


async def resumed(client: trioton.Context, server: trioton.Context, tap: Tap) -> None:
    pub = trioton.PubChannel(server, "chat")
    sub = trioton.SubChannel(client, "chat", policy=trioton.Block(4))
    connection = await client.connect("tap:1")
    await pub.wait_subscribers()
    await pub.send("hello")
    assert await sub.receive() == "hello"
    await trio.sleep(PAUSE)
    tap.swallows = True
    await pub.send("world")
    await tap.swallowed.wait()
    tap.cut()
    assert await sub.receive() == "world"
    await trio.sleep(PAUSE)
    await pub.send("again")
    assert await sub.receive() == "again"
    await trio.sleep(PAUSE)
    await connection.aclose("bye")


SCENARIOS: dict[str, Scenario] = {"minimal": minimal, "resumed": resumed}


def documented_streams(name: str) -> dict[tuple[int, str], bytes]:
    streams: dict[tuple[int, str], bytes] = {}
    for frame in SESSIONS[name]:
        key = frame.get("transport", 1), frame["from"]
        streams[key] = streams.get(key, b"") + frame_data(frame)
    return streams


@pytest.mark.parametrize("name", SESSIONS)
async def test_session_is_what_two_contexts_say(name: str, autojump_clock: trio.testing.MockClock) -> None:
    network, tap = Network(seed=1, latency=0.001), Tap()
    tokens = [fields_of(frame)["session"] for frame in frames_of(SESSIONS[name]) if frame["kind"] == "WELCOME"]
    hosts: dict[str, Host] = {}
    for greeter in ("client", "server"):
        kind = "HELLO" if greeter == "client" else "WELCOME"
        hello = fields_of(next(frame for frame in frames_of(SESSIONS[name]) if frame["kind"] == kind))
        host = hosts[greeter] = network.host(greeter)
        host.pid, host.uid, host.host_id = hello["pid"], hello["uid"], hello["host"]
        host.random = FixedChance(hello["id"][:12], tokens if greeter == "server" else [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap.run, network.host("tap"))
        async with (
            trioton.open_context("server", network=hosts["server"]) as server,
            trioton.open_context("client", network=hosts["client"]) as client,
        ):
            await server.bind("server:1")
            await SCENARIOS[name](client, server, tap)
        nursery.cancel_scope.cancel()
    documented = documented_streams(name)
    assert tap.heard.keys() == documented.keys()
    for key, data in documented.items():
        assert tap.heard[key].hex(" ") == data.hex(" "), key


# ---------------------------------------------------------------- vectors of messages

ENCODE_EXTRA: EncodeExtra = {Reference: lambda reference: (reference.tag, reference.content)}
DECODE_EXTRA = {tag: functools.partial(Reference, tag) for tag in (SENDER_TAG, PUSHER_TAG, CONTEXT_TAG)}


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, of the same types and with the same signs and digits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return is_same(list(one.items()), list(other.items()))
    return str(one) == str(other) if isinstance(one, float | Decimal | datetime) else bool(one == other)


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_what_is_sent_and_read(name: str) -> None:
    vector = MESSAGES[name]
    value, data = value_of(vector["value"]), bytes.fromhex(vector["cbor"])
    if not vector.get("other_form"):
        assert encode_value(value, ENCODE_EXTRA).hex(" ") == data.hex(" ")
    assert is_same(decode_value(data, DECODE_EXTRA), value)


def test_there_is_a_message_for_every_tag() -> None:
    tags = {
        scan.head(bytes.fromhex(each["cbor"]), 0)[1]
        for each in MESSAGES.values()
        if each["cbor"][0] in "cd" and not each.get("other_form")
    }
    assert tags == MESSAGE_TAGS


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", REFUSED["handshake"])
def test_refused_handshake(name: str) -> None:
    vector = REFUSED["handshake"][name]
    session = Session(Role.SERVER if vector["to"] == "server" else Role.CLIENT, trioton.Limits())
    with pytest.raises(ProtocolError, match=re.escape(vector["error"])):
        session.receive_data(bytes.fromhex(vector["bytes"]))


@pytest.mark.parametrize("name", REFUSED["body"])
def test_refused_body(name: str) -> None:
    vector = REFUSED["body"][name]
    body, error = bytes.fromhex(vector["body"]), re.escape(vector["error"])
    if vector["costs"] == "link":
        with pytest.raises(ProtocolError, match=error):
            scan.scan_run(body, vector["count"], tags=MESSAGE_TAGS)
    else:
        scan.scan_run(body, vector["count"], tags=MESSAGE_TAGS)
        with pytest.raises(ProtocolError, match=error):
            decode_run(body)


@pytest.mark.parametrize("name", REFUSED["link"])
async def test_refused_behind_the_handshake(name: str, autojump_clock: trio.testing.MockClock) -> None:
    vector = REFUSED["link"][name]
    network = Network(seed=1)
    async with trioton.open_context("server", network=network.host("server")) as server:
        await server.bind("server:1")
        trioton.SubChannel(server, "chat", policy=trioton.Block(4))
        transport = await network.host("client").dial(parse_address("server:1"))
        session = Session(Role.CLIENT, trioton.Limits())
        await transport.send_all(greeting("client"))
        events = session.receive_data(await transport.receive_some())
        events += session.accept_peer()
        await transport.send_all(control.encode_control(control.Sync()))
        while control.Synced() not in events:
            events += session.receive_data(await transport.receive_some())
        await transport.send_all(bytes.fromhex(vector["bytes"]))
        async for data in transport:
            events += session.receive_data(bytes(data))
        transport.close()
        assert isinstance(events[-1], control.Close)
        assert vector["error"] in events[-1].reason
