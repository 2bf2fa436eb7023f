"""Who a context is: a realm drawn by chance and a number inside it."""

from __future__ import annotations

from typing import Final, Self

NUMBER_BITS: Final = 32
REALM_BITS: Final = 96
ID_BYTES: Final = (NUMBER_BITS + REALM_BITS) // 8


class ContextId(int):
    """The identity of one life of a context: an int whose repr shows the number inside its realm.

    The root of a tree of spawned contexts draws a random realm and is number 0; ids below it are handed out inside the realm.
    A process that starts again is a new identity: names tie lives together, ids never do.
    """

    @classmethod
    def from_parts(cls, realm: int, number: int) -> Self:
        """Make an id of its two parts.

        Raises:
            ValueError: A part is negative or has too many bits.
        """
        if not 0 <= realm < 1 << REALM_BITS:
            raise ValueError(f"realm must have at most {REALM_BITS} bits, not {realm!r}")
        if not 0 <= number < 1 << NUMBER_BITS:
            raise ValueError(f"number must have at most {NUMBER_BITS} bits, not {number!r}")
        return cls(realm << NUMBER_BITS | number)

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """Read the 16 bytes that travel.

        Raises:
            ValueError: There are not exactly 16 bytes.
        """
        if len(data) != ID_BYTES:
            raise ValueError(f"an identity has {ID_BYTES} bytes, not {len(data)}")
        return cls(int.from_bytes(data, "big"))

    @property
    def realm(self) -> int:
        """The 96 random bits that all contexts of one tree share."""
        return self >> NUMBER_BITS

    @property
    def number(self) -> int:
        """The number inside the realm: 0 for the root."""
        return self & (1 << NUMBER_BITS) - 1

    def to_wire(self) -> bytes:
        """The 16 bytes that travel."""
        return self.to_bytes(ID_BYTES, "big")

    def __repr__(self) -> str:
        return f"<context {self.number} of realm {self.realm:024x}>"

    def __str__(self) -> str:
        return f"{self.number}@{self.realm:024x}"[:14]
