"""Makes choices of bytes: so that a fuzzer, which knows nothing but bytes, can decide about frames, numbers and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.routed import LAST_ROUND

T = TypeVar("T")

NUMBERS: Final = (
    *(0, 1, 2, 3, 4, 5, 8, 16, 23, 24, 100, 255, 256, 511, 512, 513, 1000, 1024, 4095, 4096, 10_000),
    *(65_535, 65_536, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, (1 << 40) + 1, LAST_ROUND - 1, LAST_ROUND),
    *(MAX_SEQUENCE - 2, MAX_SEQUENCE - 1, MAX_SEQUENCE, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
"""Numbers at which something may change, none negative."""


class Chooser:
    """Gives what the bytes say, one after the other; when they are used up, always the first choice.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        """Whether there are bytes left."""
        return self._position < len(self._data)

    def take(self, count: int) -> bytes:
        """The next bytes, or those that are left."""
        taken = self._data[self._position : self._position + count]
        self._position += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def byte(self) -> int:
        """A number below 256."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def flag(self) -> bool:
        """Yes or no; more often no."""
        return self.byte() % 4 == 1

    def below(self, most: int) -> int:
        """A number below `most`, which is at most 65536."""
        if most <= 256:
            return self.byte() % most
        return int.from_bytes(self.take(2), "big") % most

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.below(len(choices))]

    def number(self) -> int:
        """A number of up to 64 bits, most often small or one of `NUMBERS`."""
        first = self.byte()
        if first < 2 * len(NUMBERS):
            return NUMBERS[first // 2]
        if first < 200:
            return first - 2 * len(NUMBERS)
        return int.from_bytes(self.take(1 + first % 8), "big")

    def legal(self) -> int:
        """The same, but below `MAX_SEQUENCE`, as far as a peer may say it."""
        return self.number() % MAX_SEQUENCE

    def piece(self) -> bytes:
        """Some bytes, most often few."""
        return self.take(self.byte() if not self.flag() else self.below(4096))
