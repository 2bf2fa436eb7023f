"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import attrs

from .._arguments import check_seconds


def _not_negative(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(attribute.name, value)


def _growth(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not 1 <= value < math.inf:
        raise ValueError(f"{attribute.name} must be finite and at least 1, not {value!r}")


@attrs.frozen(kw_only=True)
class Reconnect:
    """When a dropped connection is dialled again: after full-jitter exponential backoff.

    The wait before attempt n is drawn evenly from 0 to ``min(maximum, first * factor**n)``, so that many clients of a server that
    restarts do not return at once (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015). It starts anew when a
    connection has held for `stable` seconds.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is negative, infinite or not a number, `factor` is below 1, or `first` is above `maximum`.
    """

    first: float = attrs.field(default=0.1, validator=_not_negative)
    """The largest wait before the first attempt, in seconds."""

    factor: float = attrs.field(default=2.0, validator=_growth)
    """What the largest wait grows by with each attempt."""

    maximum: float = attrs.field(default=30.0, validator=_not_negative)
    """The largest wait of all, in seconds. While a session can be resumed no wait is over a tenth of `Limits.resume_window`."""

    stable: float = attrs.field(default=60.0, validator=_not_negative)
    """Seconds that a connection must hold before the waits start anew."""

    def __attrs_post_init__(self) -> None:
        if self.first > self.maximum:
            raise ValueError(f"first must be at most maximum, not {self.first!r} > {self.maximum!r}")

    def delays(self, random: Callable[[], float]) -> Iterator[float]:
        """Give the waits in seconds, without end.

        Args:
            random: Gives an even draw from [0, 1) at each call.
        """
        ceiling = self.first
        while True:
            yield random() * min(ceiling, self.maximum)
            ceiling = min(ceiling * self.factor, self.maximum)
