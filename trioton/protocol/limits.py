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

        links x (queue_bytes + reassembly_bytes + 6 MiB)
          + flows x (window_bytes + max_package)                 # of what we send to blocking subscribers
          + subscriptions x sources x (window_bytes + max_package)   # of what we have not received yet
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

    handshake_deadline: float = _seconds(10.0)
    """Seconds from the first byte to a finished handshake, in all. ZeroMQ: 30, Zenoh: 10, NATS: 2."""

    pending_handshakes: int = _integer(100)
    """Connections in the handshake at once, over all listeners; more are closed at once. Zenoh: 100."""

    pending_handshakes_per_address: int = _integer(20)
    """The same from one address of the network; not used for Unix sockets and the loopback."""

    connections: int = _integer(1024)
    """Connections that listeners accept. Zenoh: 1000."""

    window_bytes: int = _integer(8 * MIB)
    """Bytes that a flow to blocking subscribers may be ahead of the slowest; one package of any legal size always may."""

    queue_bytes: int = _integer(8 * MIB)
    """Bytes that wait for one link on behalf of subscribers that do not block; beyond it their policy drops."""

    reassembly_bytes: int = _integer(32 * MIB)
    """Bytes of unfinished large packages that one link may hold."""

    retained: int = _integer(64 * MIB)
    """Bytes of the values of states that are kept for all others: a quarter of a million small ones, or four of the largest. What has not
    changed for longest gives way, but never what a `StateChannel` here is about."""

    subscriptions: int = _integer(10_000)
    """Slots that one peer may subscribe to."""

    slot_length: int = _integer(512)
    """Bytes of a slot's name."""

    resume_window: float = _seconds(30.0)
    """Seconds that a suspended connection is kept before its peer counts as dead."""
