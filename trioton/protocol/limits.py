"""Every bound that protects a context, in one place, with the reason for each number."""

from __future__ import annotations

from typing import Any, Final

import attrs

KIB: Final = 1024
MIB: Final = 1024 * 1024

MAX_RUN_MESSAGES: Final = 512
"""Messages in one package: enough that the cost of a package no longer shows in that of a message."""

MAX_RUN_BYTES: Final = 64 * KIB
"""Bytes of messages that gather in one package; a single larger message makes a package of its own."""

SMALL_FRAGMENT: Final = 64 * KIB
"""Bytes of a large package that are written at once while something else waits for the link."""

LARGE_FRAGMENT: Final = MIB + 4 * KIB
"""Bytes of a package that are written at once when nothing else waits: a message of 1 MiB travels in one piece."""

MIN_FRAGMENT: Final = 4 * KIB
"""Bytes that each part of a large package but the last must have: many tiny parts would take far more memory than they bring."""

MAX_OPEN_FRAGMENTED: Final = 16
"""Large packages that may be under way at once on one link, each of another flow."""


MAX_EVENTS: Final = 64
"""Frames of one link that are dealt with before all other tasks have had their turn."""

MOST_MEMORY: Final = 512 * MIB
"""Bytes that `Limits.memory` is at most, however large the machine is."""


def _positive(kind: type) -> Any:
    def check(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        good_type = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        if not good_type:
            raise TypeError(f"{attribute.name} must be {'a number' if kind is float else 'an int'}, not {value!r}")
        if not value > 0:  # type: ignore[operator]  # the type was checked in the line above
            raise ValueError(f"{attribute.name} must be positive, not {value!r}")

    return check


def _integer(default: int) -> int:
    return attrs.field(default=default, validator=_positive(int))


def _seconds(default: float) -> float:
    return attrs.field(default=default, validator=_positive(float))


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a context, for `open_context(limits=...)`. All must be positive.

    The memory that one context can be made to hold is at most::

        memory                                                     # all that others have sent and nobody has taken yet
          + links x (queue_bytes + 4 MiB)                        # what waits to be written
          + flows x (window_bytes + max_package)                 # of what we send to blocking subscribers
          + retained + state_slots x max_package                 # values of states; state_slots have a StateChannel here

    Raises:
        TypeError: A limit is not a number.
        ValueError: A limit is not positive.
    """

    max_package: int = _integer(16 * MIB)
    """Bytes of one message, encoded. NATS takes 1 MiB, gRPC 4 MiB, Mitogen 128 MiB."""

    max_header: int = _integer(8 * KIB)
    """Bytes of a frame's header."""

    max_handshake: int = _integer(4 * KIB)
    """Bytes of a frame before the peer is known."""

    hello_deadline: float = _seconds(5.0)
    """Seconds in which whoever connects must have proved who it is and said its greeting, however slowly the bytes come. An
    honest one takes three round trips."""

    handshake_deadline: float = _seconds(10.0)
    """Seconds from the connection to a finished handshake, in all. ZeroMQ: 30, Zenoh: 10, NATS: 2."""

    pending_handshakes: int = _integer(100)
    """Connections in the handshake at once, over all listeners. Then those from addresses with many others, and the slow ones, make room
    for new ones, and if there are none such, the new ones are closed. Zenoh: 100."""

    pending_handshakes_per_address: int = _integer(20)
    """The same from one address of the network; more are closed at once. It is not used for Unix sockets, nor for 127.0.0.1 and ::1,
    since a thousand processes of one machine may start together."""

    connections: int = _integer(1024)
    """Connections that listeners accept. Zenoh: 1000."""

    window_bytes: int = _integer(8 * MIB)
    """Bytes that a flow to blocking subscribers may be ahead of the slowest; one package of any legal size always may."""

    memory: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive(int)))
    """Bytes of all that others have sent and nobody has taken yet, over all links; None stands for a quarter of the machine's
    memory, and at most 512 MiB. The link over which it would become more is closed, with a reason. libp2p: 1 GiB."""

    link_memory: int = _integer(128 * MIB)
    """The same over one link: large packages under way, messages that wait to be received, what waits to be passed on to others,
    and what the peer listens to. Enough for a dozen flows that are a whole window ahead."""

    queue_bytes: int = _integer(8 * MIB)
    """Bytes that wait for one link on behalf of subscribers that do not block; beyond it their policy drops."""

    reassembly_bytes: int = _integer(32 * MIB)
    """Bytes of unfinished large packages that one link may hold."""

    reassembly_deadline: float = _seconds(10.0)
    """Seconds in which an unfinished large package must grow; more where other packages come slowly meanwhile, a second for each KiB.
    An honest sender goes on with each in turn."""

    retained: int = _integer(64 * MIB)
    """Bytes of the values of states that are kept for all others: a quarter of a million small ones, or four of the largest. What has not
    changed for longest gives way, but never what a `StateChannel` here is about."""

    subscriptions: int = _integer(10_000)
    """Slots that one peer may subscribe to."""

    interest_changes: int = _integer(1000)
    """Slots a second that a peer may subscribe to or leave, and five times as many at once. Whoever is faster is not read faster."""

    record_changes: int = _integer(10)
    """Times a second that a peer which is not trusted may say anew what it is connected to. Whoever is faster is not read faster."""

    pings: int = _integer(4)
    """Pings a second that a peer may send when it says nothing else, or twice as many as its heartbeat needs if those are more; faster
    ones are strikes. gRPC allows one in five minutes."""

    strikes: int = _integer(10)
    """Times within a minute that a peer may do what no honest one does, before its link is closed. gRPC: 2."""

    running_handlers: int = _integer(256)
    """Requests of one requester that may run here at once, over all slots; more where the channels of a slot have a larger
    ``max_running``. A request that was cancelled counts until its handler has ended. Beyond it, a requester is told that there is no room."""

    cancels: int = _integer(200)
    """Requests a second that one requester may cancel and have their places again at once, and as many at once. A request takes far longer
    to start and stop than to send."""

    slot_length: int = _integer(512)
    """Bytes of a slot's name."""

    resume_window: float = _seconds(30.0)
    """Seconds that a suspended connection is kept before its peer counts as dead."""
