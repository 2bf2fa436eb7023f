"""What a peer says about flows: each message is checked against who may say it, and handed to the side of the context that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProtocolError
from ..protocol import control

if TYPE_CHECKING:
    from .connection import Connection


def _subscribe_came(connection: Connection, message: control.Subscribe) -> None:
    limits = connection._context._limits
    if not 1 <= len(message.slot.encode()) <= limits.slot_length:
        raise ProtocolError(f"the peer subscribed to a slot of {len(message.slot)} characters")
    if message.mode > 2 or message.size < 1:
        raise ProtocolError(f"the peer subscribed with mode {message.mode} and size {message.size}")
    connection.talk.announced[message.slot] = None
    connection._context._traffic.audience.subscribe(connection, message)
    if connection._context._traffic.interests.count_of(connection) > limits.subscriptions:
        raise ProtocolError(f"the peer subscribed to more than {limits.subscriptions} slots")


def _unsubscribe_came(connection: Connection, message: control.Unsubscribe) -> None:
    connection._context._traffic.audience.unsubscribe(connection, message)


def _credit_came(connection: Connection, message: control.Credit) -> None:
    if message.source != connection._context._wire_id:
        raise ProtocolError("the peer sent credit for a flow that is not ours")
    connection._context._traffic.audience.credit(connection, message)


def _offer_came(connection: Connection, message: control.Offer) -> None:
    _check_source(connection, message.source)
    connection._context._traffic.grants.offer(connection, message)


def _started_came(connection: Connection, message: control.Started) -> None:
    _check_source(connection, message.source)
    connection._context._traffic.grants.started(*message)


def _kept_came(connection: Connection, message: control.Kept) -> None:
    _check_source(connection, message.source)
    connection._context._traffic.grants.kept(message)


def _flush_came(connection: Connection, message: control.Flush) -> None:
    _check_source(connection, message.source)
    connection._context._traffic.grants.flush(message)


def _unreachable_came(connection: Connection, message: control.Unreachable) -> None:
    if message.source != connection._context._wire_id:
        raise ProtocolError("the peer spoke of a flow that is not ours")
    connection._context._traffic.audience.unreachable(connection, message)


def _check_source(connection: Connection, source: bytes) -> None:
    if source != connection.peer.wire_id:
        raise ProtocolError("the peer spoke of a flow in the name of another context")


FLOW_HANDLERS: Final[dict[type, Callable[[Connection, Any], None]]] = {
    control.Subscribe: _subscribe_came,
    control.Unsubscribe: _unsubscribe_came,
    control.Credit: _credit_came,
    control.Offer: _offer_came,
    control.Started: _started_came,
    control.Kept: _kept_came,
    control.Flush: _flush_came,
    control.Unreachable: _unreachable_came,
}
"""What to do with each kind of message about flows."""
