"""What all channels share: how a slot gets its name, and how wrong arguments are named."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from ..network.context import Context
from ..network.inspector import OWN_PREFIX
from .messages import MessageType

if TYPE_CHECKING:
    from typing import Any

MAX_BASE: Final = 400


def slot_name(slot: str, message_type: MessageType[Any], pattern: str) -> str:
    """Give the full name of a slot: ``base.type.pattern``, in lower case.

    The type and the pattern are part of the name, so channels that do not fit together never meet.

    Raises:
        TypeError: `slot` is not a text.
        ValueError: It is empty, too long, or holds control characters.
    """
    if not isinstance(slot, str):
        raise TypeError(f"slot must be a str, not {slot!r}")
    base = slot.strip().lower()
    if not base:
        raise ValueError(f"slot must name something, not {slot!r}")
    try:
        size = len(base.encode())
    except UnicodeEncodeError:
        raise ValueError(f"slot must be valid text, not {slot!r}") from None
    if size > MAX_BASE:
        raise ValueError(f"slot must have at most {MAX_BASE} bytes, not {size}: {slot[:40]!r}...")
    if base.startswith("~") or any(unicodedata.category(character) == "Cc" for character in base):
        raise ValueError(f"slot must not start with '~' nor hold control characters, not {slot!r}")
    return f"{base}.{message_type.name}.{pattern}"


def check_not_own(slot: str) -> None:
    """Refuse to publish where only the library itself does.

    Raises:
        ValueError: `slot`, the full name, is one of its own.
    """
    if slot.startswith(OWN_PREFIX) and slot.count(".") > OWN_PREFIX.count(".") + 1:
        raise ValueError(
            f"slot must not begin with {OWN_PREFIX!r}: what is sent there comes from the library itself, not {slot!r}"
        )


def check_context(context: object) -> Context:
    """Give the context back, if it is one.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(context, Context):
        raise TypeError(f"ctx must be a context, as open_context gives it, not {context!r}")
    return context
