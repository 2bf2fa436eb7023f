"""Messages that are instances of an attrs class or a dataclass; the only module that imports cattrs.

cattrs turns instances into dicts and back, but it converts rather than checks: it takes the text ``"5"`` for an int,
and any text for a list of texts. So the types that the class declares are made into checks, once, which see each
message before cattrs does: at the sender the instance, at the receiver the dict.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import cattrs
from cattrs.strategies import configure_union_passthrough
from cattrs.v import format_exception

from ..errors import MessageTypeError
from ..protocol.sendable import show_key
from .messages import MessageType

T = TypeVar("T")

_Check: TypeAlias = Callable[[Any], None]

_SCALARS: Final = (bool, int, float, str, bytes, datetime, UUID, Decimal, type(None))


class _WrongError(Exception):
    """A value that is not of the declared type; the path grows as the error comes up."""

    def __init__(self, expected: str, value: object, got: str | None = None) -> None:
        super().__init__(expected, value)
        self.path = ""
        self.expected = expected
        self.text = f"expected {expected}, got {got or type(value).__name__}"


class TypedMessages(MessageType[T]):
    """The type of messages that `trioton.typed` makes.

    Attributes:
        cls: The class of the messages.
    """

    def __init__(self, cls: type[T]) -> None:
        if not isinstance(cls, type) or not _is_record(cls):  # type: ignore[redundant-expr]
            raise TypeError(f"cls must be an attrs class or a dataclass, not {cls!r}")
        self.cls = cls
        self.name = "typed-" + re.sub(r"[^a-z0-9_-]", "_", cls.__name__.lower())[:58]
        self._check_instance = _Checks(wire=False).check(cls)
        self._check_wire = _Checks(wire=True).check(cls)
        try:
            converter = _converter()
            self._unstructure = converter.get_unstructure_hook(cls)
            self._structure = converter.get_structure_hook(cls)
        except cattrs.StructureHandlerNotFoundError as error:
            raise TypeError(f"{cls.__name__} declares a type that cannot be sent: {error}") from error

    def encode(self, message: T) -> object:
        """Return the message as a dict.

        Raises:
            MessageTypeError: It, or a value in it, is not of the declared type; the error says where.
        """
        try:
            self._check_instance(message)
        except _WrongError as error:
            raise MessageTypeError(f"{self.cls.__name__}{error.path}: {error.text}") from None
        return self._unstructure(message)

    def decode(self, value: Any) -> T:
        """Return the message for a dict.

        Raises:
            ValueError: The dict does not fit the class; the error says where.
        """
        try:
            self._check_wire(value)
        except _WrongError as error:
            raise ValueError(f"{self.cls.__name__}{error.path}: {error.text}") from None
        try:
            message: T = self._structure(value, self.cls)
        except Exception as error:
            reasons = cattrs.transform_error(error, path=self.cls.__name__, format_exception=_describe)
            raise ValueError("; ".join(reasons)) from error
        return message


def _is_record(kind: Any) -> bool:
    return attrs.has(kind) or dataclasses.is_dataclass(kind)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind in _SCALARS:
        converter.register_unstructure_hook(kind, _same)
        converter.register_structure_hook(kind, _as_is)
    converter.register_structure_hook(float, _as_float)
    converter.register_unstructure_hook_func(lambda kind: kind is Any, _same)  # a tuple in it stays one
    converter.register_structure_hook_factory(_is_abstract_sequence, _list_hook)
    union = bool | int | float | str | bytes | datetime | UUID | Decimal | None
    configure_union_passthrough(union, converter)
    return converter


def _describe(error: BaseException, kind: type | None) -> str:
    """Say why one value did not fit: in its own words if it was the class, or an enum, that refused it."""
    return str(error) if isinstance(error, ValueError) else format_exception(error, kind)


def _is_abstract_sequence(kind: Any) -> bool:
    return get_origin(kind) in (Sequence, MutableSequence)


def _list_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Make lists where just some sequence is declared, whatever cattrs would make of it."""
    concrete = types.GenericAlias(list, get_args(kind))
    hook = converter.get_structure_hook(concrete)
    return lambda value, _: hook(value, concrete)


def _same(value: Any) -> Any:
    return value


def _as_is(value: Any, _: object) -> Any:
    return value


def _as_float(value: float, _: object) -> float:
    return float(value)


class _Checks:
    """Makes checks of types: a check is called with a value and raises `_WrongError` if it is not of the type.

    Args:
        wire: Whether the values are what was received, where instances are dicts and members of enums their values.
    """

    def __init__(self, *, wire: bool) -> None:
        self._wire = wire
        self._records: dict[type, _Check] = {}

    def check(self, kind: Any) -> _Check:
        """Return the check of a type. Of types that only cattrs knows nothing is checked."""
        if isinstance(kind, NewType):
            return self.check(kind.__supertype__)
        origin = get_origin(kind) or kind
        arguments = get_args(kind)
        if origin in (Union, types.UnionType):
            return _union([self.check(argument) for argument in arguments])
        if origin is Literal:
            return _literal(arguments)
        if not isinstance(origin, type):
            return _anything
        if _is_record(origin):
            return self._record(origin)
        if origin in _SCALARS:
            return _scalar(origin)
        if issubclass(origin, Enum):
            return _anything if self._wire else _instance(origin)
        if issubclass(origin, Mapping):
            return self._mapping(origin, arguments)
        if issubclass(origin, tuple) and arguments and arguments[-1] is not ...:
            return self._fixed_tuple(arguments)
        if issubclass(origin, Sequence | AbstractSet):
            return self._collection(origin, arguments)
        return _anything

    def _record(self, cls: type) -> _Check:
        if cls in self._records:
            return self._records[cls]
        fields: list[tuple[str, _Check]] = []
        wire = self._wire

        def check(value: Any) -> None:
            if wire:
                if not isinstance(value, dict):
                    raise _WrongError("dict", value)
            elif type(value) is not cls:
                raise _WrongError(cls.__name__, value)
            for name, check_field in fields:
                try:
                    if not wire:
                        check_field(getattr(value, name))
                    elif name in value:
                        check_field(value[name])
                except _WrongError as error:
                    error.path = f".{name}{error.path}"
                    raise

        self._records[cls] = check  # before its fields, which may be of this class again
        fields += [(name, self.check(kind)) for name, kind in _fields(cls)]
        return check

    def _mapping(self, origin: type, arguments: tuple[Any, ...]) -> _Check:
        check_key, check_value = (self.check(argument) for argument in arguments or (Any, Any))
        expected: Any = dict if self._wire else origin

        def check(value: Any) -> None:
            if not isinstance(value, expected):
                raise _WrongError(expected.__name__, value)
            for key, child in value.items():
                try:
                    check_key(key)
                except _WrongError as error:
                    error.path = f" (its key {show_key(key)}){error.path}"
                    raise
                try:
                    check_value(child)
                except _WrongError as error:
                    error.path = f"[{show_key(key)}]{error.path}"
                    raise

        return check

    def _fixed_tuple(self, arguments: tuple[Any, ...]) -> _Check:
        checks = [self.check(argument) for argument in arguments]
        expected = list | tuple if self._wire else tuple

        def check(value: Any) -> None:
            if not isinstance(value, expected):
                raise _WrongError("tuple", value)
            if len(value) != len(checks):
                raise _WrongError(f"{len(checks)} items", value, f"{len(value)}")
            for index, (check_item, item) in enumerate(zip(checks, value, strict=True)):
                _check_item(check_item, index, item)

        return check

    def _collection(self, origin: type, arguments: tuple[Any, ...]) -> _Check:
        check_element = self.check(arguments[0] if arguments else Any)
        expected: Any = origin
        if self._wire:
            expected = set | frozenset if issubclass(origin, AbstractSet) else list | tuple

        def check(value: Any) -> None:
            if not isinstance(value, expected) or isinstance(value, str | bytes):
                raise _WrongError(origin.__name__, value)
            for index, item in enumerate(value):
                _check_item(check_element, index, item)

        return check


def _fields(cls: type) -> list[tuple[str, Any]]:
    """Return the names and types of the attributes that are sent: those that the class is made with."""
    try:
        hints = get_type_hints(cls)
    except NameError as error:
        raise TypeError(f"{cls.__name__} declares a type that cannot be found: {error}") from error
    if attrs.has(cls):
        return [(field.name, hints.get(field.name, field.type or Any)) for field in attrs.fields(cls) if field.init]
    return [(field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.init]


def _check_item(check: _Check, index: int, item: Any) -> None:
    try:
        check(item)
    except _WrongError as error:
        error.path = f"[{index}]{error.path}"
        raise


def _anything(_: Any) -> None:
    """Let everything pass."""


def _instance(kind: type) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, kind):
            raise _WrongError(kind.__name__, value)

    return check


def _scalar(kind: type) -> _Check:
    expected = "None" if kind is type(None) else kind.__name__
    accepted = (float, int) if kind is float else kind
    refuses_bool = kind in (int, float)

    def check(value: Any) -> None:
        if not isinstance(value, accepted) or (refuses_bool and isinstance(value, bool)):
            raise _WrongError(expected, value)

    return check


def _literal(arguments: tuple[Any, ...]) -> _Check:
    expected = " or ".join(repr(argument) for argument in arguments)

    def check(value: Any) -> None:
        if not any(type(value) is type(argument) and value == argument for argument in arguments):
            raise _WrongError(expected, value)

    return check


def _union(checks: list[_Check]) -> _Check:
    def check(value: Any) -> None:
        expected = []
        for check_one in checks:
            try:
                check_one(value)
                return
            except _WrongError as error:
                if error.path:  # it is this one, and something inside is wrong
                    raise
                expected.append(error.expected)
        raise _WrongError(" or ".join(expected), value)

    return check
