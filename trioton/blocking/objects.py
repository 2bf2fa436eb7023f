"""Sending ends inside messages: between the form that threads use and the one that travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trioton

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context

_CONTAINERS = (list, tuple, dict)


def holds_senders(message: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether there is an object of a class in a message, or in a list, tuple or dict inside it, however deep."""
    if isinstance(message, kind):
        return True
    if not isinstance(message, _CONTAINERS):
        return False
    items = message.values() if isinstance(message, dict) else message
    return any(
        isinstance(item, kind) or (isinstance(item, _CONTAINERS) and holds_senders(item, kind)) for item in items
    )


def wrap_senders(context: Context, message: Any) -> Any:
    """The message that came, with sending ends as threads can use them."""
    from .sending import Sender

    if not holds_senders(message, trioton.Sender):
        return message
    return _replace(message, trioton.Sender, lambda sender: Sender(context, sender))


def unwrap_senders(message: Any) -> Any:
    """The message to send, with sending ends as they can travel."""
    from .sending import Sender

    if not holds_senders(message, Sender):
        return message
    return _replace(message, Sender, lambda sender: sender._sender)


def _replace(message: Any, kind: type, make: Callable[[Any], Any]) -> Any:
    if isinstance(message, kind):
        return make(message)
    if isinstance(message, dict):
        return {key: _replace(value, kind, make) for key, value in message.items()}
    if isinstance(message, list):
        return [_replace(item, kind, make) for item in message]
    if type(message) is tuple:
        return tuple([_replace(item, kind, make) for item in message])
    return message
