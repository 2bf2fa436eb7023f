"""What a target raises when something is not as promised."""

from __future__ import annotations


class Violation(AssertionError):
    """A promise that was broken."""


def require(is_kept: object, promise: str) -> None:
    """See that a promise is kept.

    Raises:
        Violation: It is not; the message is the promise.
    """
    if not is_kept:
        raise Violation(f"broken: {promise}")
