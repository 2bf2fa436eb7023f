"""What others have made this context hold, counted in bytes, so that nobody can make it hold too much.

All that comes from a neighbour and stays for a while is charged before it is kept: to the link that it came over, and so to the
context. What would go over a bound is not kept: whoever asks for it gets `OverMemoryError`, and the link is closed with that reason.
Nothing is charged for what passes through at once, nor for what the program itself has taken or sends.
"""

from __future__ import annotations

from typing import Final

from ..errors import ProtocolError
from .limits import MIB

RUN_OVERHEAD: Final = 300
"""Bytes that a package takes here beside its own: the objects that hold it."""

INTEREST_BYTES: Final = 1000
"""Bytes that each slot takes which a neighbour listens to: its name and what is known of it, generously."""


class OverMemoryError(ProtocolError):
    """A neighbour has sent more than may be held."""


class MemoryBudget:
    """All that a context holds for others.

    Args:
        limit: Bytes that it may hold.

    Attributes:
        limit: The same.
        used: Bytes that it holds.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def scope(self, limit: int) -> MemoryScope:
        """A part of it, which may hold at most `limit` bytes."""
        return MemoryScope(self, limit)

    def __repr__(self) -> str:
        return f"<MemoryBudget, {self.used} of {self.limit} bytes used>"


class MemoryScope:
    """What came over one link. Made by `MemoryBudget.scope`; it needs no end, as what was charged must be released in any case.

    Attributes:
        limit: Bytes that it may hold.
        used: Bytes that it holds.
    """

    __slots__ = ("_budget", "limit", "used")

    def __init__(self, budget: MemoryBudget, limit: int) -> None:
        self._budget = budget
        self.limit = limit
        self.used = 0

    def charge(self, size: int) -> None:
        """Count bytes that are about to be kept.

        Raises:
            OverMemoryError: They are too many; nothing was counted.
        """
        # Each package that waits passes here, and so does its release.
        budget = self._budget
        used, total = self.used + size, budget.used + size
        if used > self.limit or total > budget.limit:
            self._refuse(size)
        self.used, budget.used = used, total

    def _refuse(self, size: int) -> None:
        if self.used + size > self.limit:
            held, limit, where = self.used, self.limit, "for one link"
        else:
            held, limit, where = self._budget.used, self._budget.limit, "for all links"
        raise OverMemoryError(
            f"calm down: {held} bytes wait here already, and {size} more would be over the {_text(limit)} {where}"
        )

    def release(self, size: int) -> None:
        """Bytes that were counted are held no longer."""
        self.used -= size
        self._budget.used -= size

    def __repr__(self) -> str:
        return f"<MemoryScope, {self.used} of {self.limit} bytes used>"


class Held:
    """Something that several hold, each for a while: it is charged for each of them.

    Args:
        scope: What it is charged to.
        size: Bytes for each.
    """

    __slots__ = ("_scope", "size")

    def __init__(self, scope: MemoryScope, size: int) -> None:
        self._scope = scope
        self.size = size

    def keep(self) -> None:
        """One more is about to hold it.

        Raises:
            OverMemoryError: That would be too much.
        """
        self._scope.charge(self.size)

    def left(self) -> None:
        """One of those who hold it does no longer."""
        self._scope.release(self.size)


class MemoryUse:
    """One thing that a link holds and whose size changes.

    Args:
        scope: What it is charged to.

    Attributes:
        size: Bytes that it takes now.
    """

    __slots__ = ("_scope", "size")

    def __init__(self, scope: MemoryScope) -> None:
        self._scope = scope
        self.size = 0

    def set(self, size: int) -> None:
        """It takes so many bytes from now on.

        Raises:
            OverMemoryError: They are too many; it is counted as before.
        """
        if size > self.size:
            self._scope.charge(size - self.size)
        else:
            self._scope.release(self.size - size)
        self.size = size


def _text(size: int) -> str:
    return f"{size // MIB} MiB" if size % MIB == 0 else f"{size} bytes"
