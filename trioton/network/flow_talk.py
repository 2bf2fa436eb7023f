"""What a peer says about flows: each message is checked against who may say it, and handed to the side of the context that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProtocolError
from ..protocol import control

if TYPE_CHECKING:
    from .association import Association


def _credit_came(association: Association, message: control.Credit) -> None:
    if message.source != association.context._wire_id:
        raise ProtocolError("the peer sent credit for a flow that is not ours")
    association.context._traffic.audience.credit(association, message)


def _offer_came(association: Association, message: control.Offer) -> None:
    _check_source(association, message.source)
    association.context._traffic.grants.offer(association, message)


def _started_came(association: Association, message: control.Started) -> None:
    _check_source(association, message.source)
    association.context._traffic.grants.started(*message)


def _kept_came(association: Association, message: control.Kept) -> None:
    _check_source(association, message.source)
    association.context._traffic.grants.kept(message)


def _flush_came(association: Association, message: control.Flush) -> None:
    _check_source(association, message.source)
    association.context._traffic.grants.flush(message)


def _unreachable_came(association: Association, message: control.Unreachable) -> None:
    if message.source != association.context._wire_id:
        raise ProtocolError("the peer spoke of a flow that is not ours")
    association.context._traffic.audience.unreachable(association, message)


def _denied_came(association: Association, message: control.Denied) -> None:
    association.context._denials.heard(association, message)


def _state_asked(association: Association, message: control.AskState) -> None:
    association.context._mesh.retaining.asked(association, message)


def _state_known(association: Association, message: control.StateKnown) -> None:
    association.context._mesh.retaining.answered(association, message)


def _check_source(association: Association, source: bytes) -> None:
    if source != association.peer.wire_id:
        raise ProtocolError("the peer spoke of a flow in the name of another context")


FLOW_HANDLERS: Final[dict[type, Callable[[Association, Any], None]]] = {
    control.Credit: _credit_came,
    control.Offer: _offer_came,
    control.Started: _started_came,
    control.Kept: _kept_came,
    control.Flush: _flush_came,
    control.Unreachable: _unreachable_came,
    control.Denied: _denied_came,
    control.AskState: _state_asked,
    control.StateKnown: _state_known,
}
"""What to do with each kind of message about flows."""
