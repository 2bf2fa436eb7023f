"""What is measured, and of whom."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from .control import LARGE

Kind = Literal["latency", "rate", "plain"]


@attrs.frozen
class Group:
    """Cases that stand in one table and one panel of the picture.

    Attributes:
        key: How results name it.
        title: The heading.
        unit: Of the value shown.
        value: Which of the values of a case is shown and compared.
        higher: Whether more is better.
        reference: The library that the others are compared with, on the same transport where it has that.
        log: Whether the picture needs a logarithmic scale.
        plotted: Whether it is in the picture.
    """

    key: str
    title: str
    unit: str
    value: str
    higher: bool
    reference: str | None = None
    log: bool = False
    plotted: bool = True


@attrs.frozen
class Case:
    """One thing to measure.

    Attributes:
        key: How workers and results name it.
        group: Where it is shown.
        kind: Whether workers answer with latencies, with start and end of `count` messages, or with values as they are.
        label: Put behind the name of the library, where one library has several cases in a group.
        warmup: How many messages are sent before, unmeasured but for choosing a count that fills the time.
        most: The largest count.
        factor: What one message counts in the unit of the group.
        fixed: The count, instead of one that fills the time.
    """

    key: str
    group: str
    kind: Kind
    label: str = ""
    warmup: int = 200
    most: int = 1_000_000
    factor: float = 1.0
    fixed: int | None = None


@attrs.frozen
class Peer:
    """One library, and how it is measured.

    Attributes:
        name: As shown.
        module: In ``benchmarks/peers/``.
        package: What must be importable.
        transports: What it is measured on.
        cases: What is measured.
        says: What it does in a few words, for the notes under the table.
        roles: The functions of the module, one process each; the first listens, the rest gets its address.
        options: Handed to the workers.
        rounds: In how many rounds it takes part at most.
        start_limit: Seconds for its processes to start and to find each other.
    """

    name: str
    module: str
    package: str
    transports: tuple[str, ...]
    cases: tuple[str, ...]
    says: str
    roles: tuple[str, ...] = ("receiver", "sender")
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rounds: int = 1_000
    start_limit: float = 20.0

    @property
    def missing(self) -> bool:
        """Whether its package is not installed here."""
        return importlib.util.find_spec(self.package) is None


GROUPS = {
    group.key: group
    for group in (
        Group("round_trip", "Round trip of a 100-byte message", "µs", "median", False, "raw Trio streams", log=True),
        Group("one_way", "One-way latency of a 100-byte message", "µs", "median", False, "raw Trio streams"),
        Group("small", "100-byte messages, one way", "messages/s", "rate", True, "pyzmq blocking", log=True),
        Group("objects", "Records of five fields, one way", "messages/s", "rate", True, "execnet", log=True),
        Group("large", "1 MiB messages, one way", "GB/s", "rate", True, "raw sockets"),
        Group("requests", "Requests and their replies, many in flight", "requests/s", "rate", True),
        Group("pending", "Memory of a request in flight, at its requester", "KiB", "memory", False, plotted=False),
        Group("fan_out", "One sender, 100 receivers", "deliveries/s", "rate", True),
        Group(
            "idle",
            "An idle network: processor time of both ends, per 1000 links",
            "% of a core",
            "cpu_per_1000",
            False,
            plotted=False,
        ),
        Group("memory", "An idle network: memory of one end of a link", "KiB", "memory", False, plotted=False),
        Group("imports", "Import in a fresh interpreter, from byte code", "ms", "time", False, "trio, attrs, cbor2"),
    )
}

CASES = {
    case.key: case
    for case in (
        Case("round_trip", "round_trip", "latency", warmup=100, most=20_000),
        Case("request", "round_trip", "latency", "request", warmup=100, most=20_000),
        Case("requests", "requests", "rate", warmup=1_000),
        Case("pending", "pending", "plain", fixed=10_000),
        Case("one_way", "one_way", "latency", warmup=100, most=20_000),
        Case("small", "small", "rate", warmup=1_000),
        Case("small_many", "small", "rate", "send_many", warmup=1_000),
        Case("objects", "objects", "rate", warmup=1_000),
        Case("typed", "objects", "rate", "typed(cls)", warmup=1_000),
        Case("large", "large", "rate", warmup=10, most=5_000, factor=LARGE / 1e9),
        Case("fan_out", "fan_out", "rate", warmup=100, most=50_000, factor=100),
        Case("fan_out_stalled", "fan_out", "rate", "one more is stalled", warmup=100, most=50_000, factor=100),
        Case("encoded_once", "fan_out", "plain", fixed=100),
        Case("idle", "idle", "plain", fixed=10),
        Case("memory", "memory", "plain", fixed=1),
    )
}

_TRIOTON_CASES = (
    "round_trip",
    "request",
    "requests",
    "pending",
    "one_way",
    "small",
    "small_many",
    "objects",
    "typed",
    "large",
)

PEERS = (
    Peer(
        "trioton",
        "trioton_pubsub",
        "trioton",
        ("tcp", "unix"),
        _TRIOTON_CASES,
        "two slots, `ping` and `pong`; TEXT, OBJECT, `typed` and BINARY messages, encoded and decoded; "
        "`await send` and `async for`, or `send_many` and `receive_many`; a `ReqChannel` and a `RepChannel`, whose requests "
        "carry the message, and reply with it",
    ),
    Peer(
        "trioton",
        "trioton_pubsub",
        "trioton",
        ("secret",),
        ("round_trip", "small"),
        "over TCP, where every record bears a mark that only who knows the secret can make",
    ),
    Peer(
        "trioton",
        "trioton_pubsub",
        "cryptography",
        ("tls",),
        ("round_trip", "small"),
        "over TLS 1.3 with certificates on both sides",
    ),
    Peer("raw sockets", "raw_sockets", "socket", ("tcp", "unix"), ("round_trip", "large"), "blocking, no messages"),
    Peer(
        "raw Trio streams",
        "raw_trio",
        "trio",
        ("tcp", "unix"),
        ("round_trip", "one_way", "large"),
        "`send_all` and `receive_some`, no messages",
    ),
    Peer(
        "pyzmq blocking",
        "zmq_blocking",
        "zmq",
        ("tcp", "unix"),
        ("round_trip", "small", "objects", "large"),
        "REQ/REP and PUB/SUB, raw bytes; records as pickles (`send_pyobj`); C++ threads do the work",
        roles=("sender", "receiver"),
    ),
    Peer(
        "pyzmq asyncio",
        "zmq_asyncio",
        "zmq",
        ("tcp", "unix"),
        ("round_trip", "small", "large"),
        "REQ/REP and PUB/SUB, raw bytes",
        roles=("sender", "receiver"),
    ),
    Peer(
        "zenoh",
        "zenoh_peer",
        "zenoh",
        ("tcp", "unix"),
        ("round_trip", "small", "large"),
        "two publishers, raw bytes to callbacks; Rust threads do the work, through shared memory for large messages",
    ),
    Peer(
        "pynng Trio", "pynng_trio", "pynng", ("tcp",), ("round_trip", "small", "large"), "Req/Rep, Push/Pull; raw bytes"
    ),
    Peer(
        "execnet",
        "execnet_peer",
        "execnet",
        ("pipe",),
        ("round_trip", "small", "objects", "large"),
        "builtin types in its own format, to a process of its own",
        roles=("sender",),
    ),
    Peer(
        "trioton relayed",
        "trioton_pubsub",
        "trioton",
        ("unix", "secret"),  # only who is trusted passes on what is for others
        ("round_trip", "request", "small", "small_many", "large"),
        "the same through a third process, to which both connect",
        roles=("relay", "receiver", "sender"),
    ),
    Peer(
        "trioton fan-out",
        "trioton_scale",
        "trioton",
        ("tcp",),
        ("fan_out", "fan_out_stalled", "encoded_once"),
        "100 contexts in one receiving process",
        roles=("sender", "receivers"),
        options={"links": 100},
        rounds=2,
    ),
    Peer(
        "trioton idle",
        "trioton_idle",
        "trioton",
        ("tcp",),
        ("memory", "idle"),
        "default heartbeat",
        roles=("sender", "leaves"),
        rounds=1,
        start_limit=200.0,
    ),
)

IMPORTS: Mapping[str, str] = {
    "trio, attrs, cbor2": "trio, attrs, cbor2",
    "trioton": "trioton",
    "trio": "trio",
    "pyzmq": "zmq",
    "pyzmq asyncio": "zmq.asyncio",
    "zenoh": "zenoh",
    "pynng": "pynng",
    "execnet": "execnet",
}
"""What is imported, by the name shown."""
