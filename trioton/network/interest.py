"""Which neighbours listen to which slots, and how: what they have said about it last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol import control
    from .association import Association


class Interests:
    """The interest of all neighbours. It only remembers; what follows from a change is the affair of others.

    Neighbours number what they say about their interest, since it may arrive in another order than it was said in: over a link that
    is lost, and over the next one.
    """

    def __init__(self) -> None:
        self._by_slot: dict[str, dict[Association, control.Subscribe]] = {}
        self._slots_of: dict[Association, dict[str, None]] = {}

    def on(self, slot: str) -> Iterable[tuple[Association, control.Subscribe]]:
        """The neighbours that listen to a slot, and what they have said about it."""
        return self._by_slot.get(slot, {}).items()

    def of(self, association: Association, slot: str) -> control.Subscribe | None:
        """What a neighbour has said about a slot, or None if it does not listen there."""
        return self._by_slot.get(slot, {}).get(association)

    def slots_of(self, association: Association) -> list[str]:
        """The slots that a neighbour listens to."""
        return list(self._slots_of.get(association, ()))

    def count_of(self, association: Association) -> int:
        """How many slots a neighbour listens to."""
        return len(self._slots_of.get(association, ()))

    def learn(self, association: Association, message: control.Subscribe) -> bool:
        """A neighbour says that it listens, and how; gives whether that is news, and not older than what is known."""
        interests = self._by_slot.setdefault(message.slot, {})
        known = interests.get(association)
        if known is not None and known.record > message.record:
            return False
        interests[association] = message
        self._slots_of.setdefault(association, {})[message.slot] = None
        return True

    def forget(self, association: Association, slot: str) -> None:
        """A neighbour that has listened to a slot does so no longer."""
        interests = self._by_slot[slot]
        if interests.pop(association, None) is not None:
            slots = self._slots_of[association]
            del slots[slot]
            if not slots:
                del self._slots_of[association]
        if not interests:
            del self._by_slot[slot]
