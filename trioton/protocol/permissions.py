"""What a neighbour that is not trusted may do, by the names of slots."""

from __future__ import annotations

import enum
from typing import Any, Final

import attrs

REPORTS_SLOT: Final = "trioton.reports.obj.pub-sub"
"""The full name of the slot on which contexts tell what they are and do."""

SERVED: Final = (".req-rep", ".push-pull")
"""How the full names of slots end whose listeners do something for those who send."""

MOST_KNOWN: Final = 1024
"""Slots whose answer is remembered: who makes up names must not fill the memory."""


class Right(enum.IntEnum):
    """What somebody may do, or may not; its number is what travels."""

    PUBLISH = 0
    SUBSCRIBE = 1
    CALL = 2
    SERVE = 3
    BLOCK = 4
    INSPECT = 5

    @property
    def word(self) -> str:
        """Its name, as users read it."""
        return self.name.lower()

    @property
    def deed(self) -> str:
        """What somebody may not who lacks it; to be followed by the slot."""
        return _DEEDS[self]

    @property
    def loses_something(self) -> bool:
        """Whether something is lost at once for lack of it: who may not hold up publishers loses nothing before it has no room."""
        return self is not Right.BLOCK


_DEEDS: Final = {
    Right.PUBLISH: "publish on",
    Right.SUBSCRIBE: "subscribe to",
    Right.CALL: "make requests on",
    Right.SERVE: "answer on",
    Right.BLOCK: "hold up those who publish on",
    Right.INSPECT: "look at what contexts tell on",
}


def _names(_permissions: Permissions, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None and attribute.name == "serve":
        return
    what = f"{attribute.name} must be a tuple of names of slots"
    if isinstance(value, str):
        raise TypeError(f"{what}, as in ({value!r},), not the text {value!r} alone")
    if not isinstance(value, tuple):
        raise TypeError(f"{what}, not {value!r}")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"{what}, which are texts, not {name!r}")
        _check_name(attribute.name, name)


_PATTERNS: Final = frozenset({"pub-sub", "req-rep", "push-pull", "state"})
"""With what the full names of slots end, as ``trioton top`` shows them."""


def _check_name(attribute: str, name: str) -> None:
    base = name.strip()
    if not base:
        raise ValueError(f"{attribute} must name slots, not {name!r}")
    if base.startswith("~"):
        raise ValueError(f"{attribute} must not hold {name!r}: one-to-one channels have no names")
    if base.count(".") >= 2 and base.rpartition(".")[2].lower() in _PATTERNS:
        raise ValueError(
            f"{attribute} must name slots as where channels are made: {base.rsplit('.', 2)[0]!r}, not {name!r}"
        )
    if "*" in base[:-1]:
        raise ValueError(f"{attribute} must have '*' at the end of a name only, where it is any ending, not {name!r}")


def _flag(_permissions: Permissions, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be True or False, not {value!r}")


class _Matcher(dict[str, bool]):
    """Whether slots have one of some names, by their full names; each is looked at once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        bases = [name.strip().lower() for name in names]
        self._whole = frozenset(base for base in bases if not base.endswith("*"))
        self._beginnings = tuple(base[:-1] for base in bases if base.endswith("*"))

    def __missing__(self, slot: str) -> bool:
        base = slot.rsplit(".", 2)[0]
        found = base in self._whole or base.startswith(self._beginnings)
        if len(self) >= MOST_KNOWN:
            self.clear()
        self[slot] = found
        return found


@attrs.frozen(kw_only=True)
class Permissions:
    """What a neighbour may do that is not trusted, and all who speak through it; for `open_context(permissions=...)`.

    Slots are named as where a channel is made: the name alone, and case does not matter. A ``*`` at the end stands for any
    ending, so ``("*",)`` means all slots; ``()`` means none. Slots of the library itself, such as ``trioton.log``, are named alike.

    The default lets a neighbour do all with slots that a trusted one may, and hides from it what the context is and does.

    Raises:
        TypeError: An argument is of the wrong type, as a text where a tuple of texts is needed.
        ValueError: A name is empty, or has a ``*`` before its end.
    """

    publish: tuple[str, ...] = attrs.field(default=("*",), validator=_names)
    """Where it may send: with `PubChannel`, `StateChannel` and `PushChannel`."""

    subscribe: tuple[str, ...] = attrs.field(default=("*",), validator=_names)
    """Where it may listen: with `SubChannel`, and `StateChannel` for the values that others send."""

    call: tuple[str, ...] = attrs.field(default=("*",), validator=_names)
    """Where it may make requests, with `ReqChannel`."""

    serve: tuple[str, ...] | None = attrs.field(default=None, validator=_names)
    """Where it may take what others ask for: answer requests with `RepChannel`, and do jobs with `PullChannel`. None, the default,
    means where it may listen."""

    block: bool = attrs.field(default=True, validator=_flag)
    """Whether publishers wait for it, as for any subscriber with the policy `Block`. If not, it loses what it has no room for, and counts
    that; and nobody waits for its news of states."""

    inspect: bool = attrs.field(default=False, validator=_flag)
    """Whether it may see what contexts are and do, as ``trioton top`` and ``trioton graph`` show it."""

    _publishes: _Matcher = attrs.field(init=False, repr=False, eq=False)
    _subscribes: _Matcher = attrs.field(init=False, repr=False, eq=False)
    _calls: _Matcher = attrs.field(init=False, repr=False, eq=False)
    _serves: _Matcher = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        serve = self.subscribe if self.serve is None else self.serve
        named = {"publish": self.publish, "subscribe": self.subscribe, "call": self.call, "serve": serve}
        for name, slots in named.items():
            object.__setattr__(self, f"_{name}es" if name == "publish" else f"_{name}s", _Matcher(slots))

    def may_publish(self, slot: str) -> bool:
        """Whether it may send on a slot, given by its full name, ``base.type.pattern``."""
        return self._publishes[slot]

    def may_subscribe(self, slot: str) -> bool:
        """Whether it may listen on a slot, given by its full name: to messages, to values, or to requests and jobs in order to serve them."""
        return self.listening_right(slot) is None

    def may_call(self, slot: str) -> bool:
        """Whether it may make requests on a slot, given by its full name."""
        return self._calls[slot]

    def listening_right(self, slot: str) -> Right | None:
        """The right that it lacks to listen on a slot, or None if it may."""
        if slot == REPORTS_SLOT:
            return None if self.inspect else Right.INSPECT
        if slot.endswith(SERVED):
            return None if self._serves[slot] else Right.SERVE
        return None if self._subscribes[slot] else Right.SUBSCRIBE
