"""Zenoh between two peers without discovery: publishers that block when congested, callbacks on its own threads."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

import zenoh

from ..control import LARGE_BYTES, SMALL_BYTES, Answer, Control, clock, latencies, sending

WAIT = 20.0
"""Seconds until a lost message is taken for lost."""


def open_session(**settings: object) -> zenoh.Session:
    """A session that knows only the endpoints that we name."""
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    for key, value in {"listen": [], **settings}.items():
        config.insert_json5(f"{key}/endpoints", json.dumps(value))
    return zenoh.open(config)


def free_endpoint(control: Control) -> str:
    """Zenoh does not tell which port it was given, so look for a free one first."""
    if control.transport == "unix":
        return f"unixsock-stream/{control.folder}/zenoh"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"tcp/127.0.0.1:{probe.getsockname()[1]}"


def publisher(session: zenoh.Session, key: str, *, express: bool = False) -> zenoh.Publisher:
    """A publisher that loses nothing; `express` sends each message at once instead of gathering."""
    return session.declare_publisher(key, congestion_control=zenoh.CongestionControl.BLOCK, express=express)


def wait_matching(pub: zenoh.Publisher) -> None:
    """Wait until a subscriber is known."""
    deadline = clock() + WAIT
    while not pub.matching_status.matching:
        if clock() > deadline:
            raise TimeoutError("no subscriber appeared")
        time.sleep(0.01)


class Counter:
    """Reads each message and waits for the n-th."""

    def __init__(self) -> None:
        self.seen = 0
        self.wanted = -1
        self.end = 0.0
        self.done = threading.Event()

    def __call__(self, sample: zenoh.Sample) -> None:
        """Called by Zenoh on a thread of its own."""
        sample.payload.to_bytes()
        self.seen += 1
        if self.seen == self.wanted:
            self.finish()

    def finish(self) -> None:
        """Note the moment."""
        self.end = clock()
        self.done.set()

    def wait(self, count: int) -> Answer:
        """Wait for `count` messages since the last time."""
        self.wanted = count
        if self.seen >= count:
            self.finish()
        if not self.done.wait(WAIT):
            raise TimeoutError(f"{self.seen} of {count} messages came")
        self.seen, self.wanted = 0, -1
        self.done.clear()
        return {"end": self.end}


def receiver(control: Control) -> None:
    """The far side."""
    endpoint = free_endpoint(control)
    with open_session(listen=[endpoint]) as session:
        pong = publisher(session, "pong", express=True)
        small, large = Counter(), Counter()
        handlers: dict[str, Callable[[zenoh.Sample], object]] = {
            "ping": lambda sample: pong.put(sample.payload.to_bytes()),
            "small": small,
            "large": large,
        }
        subscribers = [session.declare_subscriber(key, handler) for key, handler in handlers.items()]
        control.listening(endpoint)
        wait_matching(pong)
        control.serve({"round_trip": lambda _: {}, "small": small.wait, "large": large.wait})
        for subscriber in subscribers:
            subscriber.undeclare()


def sender(control: Control, address: str) -> None:
    """The near side."""
    with open_session(connect=[address]) as session:
        ping = publisher(session, "ping", express=True)
        small, large = publisher(session, "small"), publisher(session, "large")
        arrived = threading.Event()

        def on_pong(sample: zenoh.Sample) -> None:
            sample.payload.to_bytes()
            arrived.set()

        subscriber = session.declare_subscriber("pong", on_pong)
        for pub in (ping, small, large):
            wait_matching(pub)

        def round_trip(count: int) -> Answer:
            taken = []
            for _ in range(count):
                start = clock()
                ping.put(SMALL_BYTES)
                if not arrived.wait(WAIT):
                    raise TimeoutError("no pong")
                taken.append(clock() - start)
                arrived.clear()
            return latencies(taken)

        control.serve(
            {
                "round_trip": round_trip,
                "small": sending(small.put, SMALL_BYTES),
                "large": sending(large.put, LARGE_BYTES),
            }
        )
        subscriber.undeclare()
