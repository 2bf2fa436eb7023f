"""`typed`: instances of a class arrive whole, and what does not fit is refused at both ends with its path."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import datetime as dt
import enum
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import attrs
import pytest

from trioton.channels.messages import DecodeFailure, MessageType, typed
from trioton.errors import MessageTypeError
from trioton.protocol.values import decode_value

from .message_types import failure_of, there_and_back


class Color(enum.Enum):
    RED = "r"
    BLUE = 2


UserId = NewType("UserId", int)
V = TypeVar("V")


@attrs.frozen
class Line:
    price: float
    tags: list[str] = attrs.field(factory=list)


@dataclasses.dataclass
class Order:
    id: UserId
    lines: Sequence[Line]
    when: dt.datetime | None = None
    color: Color = Color.RED
    table: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    numbers: set[int] = dataclasses.field(default_factory=set)
    key: int | str = 0
    factor: float | None = None
    kind: Literal["a", 1] = "a"
    before: Order | None = None
    many: tuple[int, ...] = ()
    either: Line | str = ""
    anything: Any = None
    price: Decimal = Decimal(1)
    ok: bool = True
    data: bytes = b""
    uuid: UUID | None = None
    names: frozenset[str] = frozenset()
    plain: list = dataclasses.field(default_factory=list)  # type: ignore[type-arg]
    mapping: Mapping[int, Line] = dataclasses.field(default_factory=dict)
    hidden: int = dataclasses.field(default=3, init=False)


ORDER = typed(Order)
FULL = Order(
    UserId(1),
    [Line(2.5, ["a"]), Line(1)],
    when=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    color=Color.BLUE,
    table={"k": (1, "z")},
    numbers={1, 2},
    key="k",
    factor=3,
    kind=1,
    before=Order(UserId(0), []),
    many=(1, 2),
    either=Line(3),
    anything=[1, (2, {3})],
    price=Decimal("1.10"),
    data=b"x",
    uuid=UUID(int=5),
    names=frozenset({"n"}),
    plain=[1, "a"],
    mapping={5: Line(5)},
)


def test_instances_arrive_whole() -> None:
    assert ORDER.name == "typed-order"
    arrived = there_and_back(ORDER, FULL)
    assert arrived == FULL
    assert type(arrived.factor) is float
    assert type(arrived.lines[1].price) is float
    assert arrived.anything == [1, (2, {3})]
    assert there_and_back(typed(Line), Line(1.5)) == Line(1.5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lines": [Line(1), Line("x")]}, "Order.lines[1].price: expected float, got str"),  # type: ignore[arg-type]
        ({"lines": [Line(1, ["a", 5])]}, "Order.lines[0].tags[1]: expected str, got int"),  # type: ignore[list-item]
        ({"lines": [Line(1, "abc")]}, "Order.lines[0].tags: expected list, got str"),  # type: ignore[arg-type]
        ({"lines": "abc"}, "Order.lines: expected Sequence, got str"),
        ({"lines": [1]}, "Order.lines[0]: expected Line, got int"),
        ({"id": "1"}, "Order.id: expected int, got str"),
        ({"id": True}, "Order.id: expected int, got bool"),
        ({"ok": 1}, "Order.ok: expected bool, got int"),
        ({"factor": "x"}, "Order.factor: expected float or None, got str"),
        ({"factor": True}, "Order.factor: expected float or None, got bool"),
        ({"when": "now"}, "Order.when: expected datetime or None, got str"),
        ({"table": {"k": (1,)}}, """Order.table["k"]: expected 2 items, got 1"""),
        ({"table": {"k": [1, "a"]}}, """Order.table["k"]: expected tuple, got list"""),
        ({"table": {"k": (1, 2)}}, """Order.table["k"][1]: expected str, got int"""),
        ({"table": {1: (1, "z")}}, "Order.table (its key 1): expected str, got int"),
        ({"table": []}, "Order.table: expected dict, got list"),
        ({"numbers": [1]}, "Order.numbers: expected set, got list"),
        ({"numbers": {"a"}}, "Order.numbers[0]: expected int, got str"),
        ({"names": {"a"}}, "Order.names: expected frozenset, got set"),
        ({"key": 1.5}, "Order.key: expected int or str, got float"),
        ({"kind": "c"}, "Order.kind: expected 'a' or 1, got str"),
        ({"kind": True}, "Order.kind: expected 'a' or 1, got bool"),
        ({"before": Order("q", [])}, "Order.before.id: expected int, got str"),  # type: ignore[arg-type]
        ({"many": [1]}, "Order.many: expected tuple, got list"),
        ({"many": (1, "a")}, "Order.many[1]: expected int, got str"),
        ({"either": Line("x")}, "Order.either.price: expected float, got str"),  # type: ignore[arg-type]
        ({"either": 3}, "Order.either: expected Line or str, got int"),
        ({"color": "r"}, "Order.color: expected Color, got str"),
        ({"price": 1.5}, "Order.price: expected Decimal, got float"),
        ({"data": bytearray()}, "Order.data: expected bytes, got bytearray"),
        ({"mapping": {5: 5}}, "Order.mapping[5]: expected Line, got int"),
        ({"anything": object()}, """message["anything"]: cannot send a value of type 'object'"""),
        ({"anything": Line(1)}, """message["anything"]: cannot send a value of type 'Line'"""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_at_the_sender_with_its_path(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(MessageTypeError) as caught:
        ORDER.encode_message(dataclasses.replace(FULL, **changes))
    assert str(caught.value) == text


def test_only_instances_of_the_class_itself_are_taken() -> None:
    class Better(Order):
        pass

    for message in (5, Better(UserId(1), []), Order):
        with pytest.raises(MessageTypeError, match=r"^Order: expected Order, got "):
            ORDER.encode_message(message)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "5"}, "Order.id: expected int, got str"),
        ({"lines": [{"price": "x"}]}, "Order.lines[0].price: expected float, got str"),
        ({"lines": [{"price": 1, "tags": "abc"}]}, "Order.lines[0].tags: expected list, got str"),
        ({"lines": [[]]}, "Order.lines[0]: expected dict, got list"),
        ({"numbers": [1]}, "Order.numbers: expected set, got list"),
        ({"table": {"k": (1, "z", 2)}}, """Order.table["k"]: expected 2 items, got 3"""),
        ({"either": {"price": "x"}}, "Order.either.price: expected float, got str"),
        ({"key": None}, "Order.key: expected int or str, got NoneType"),
        ({"color": "zz"}, "'zz' is not a valid Color @ Order.color"),
        ({"lines": [{}]}, "required field missing @ Order.lines[0].price"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_does_not_fit_is_refused_at_the_receiver(changes: dict[str, Any], text: str) -> None:
    value = decode_value(ORDER.encode_message(FULL))
    assert failure_of(ORDER, {**value, **changes}, good=FULL) == f"typed-order: {text}"
    with pytest.raises(ValueError, match="Order"):
        ORDER.decode({**value, **changes})


def test_a_value_of_another_shape_is_refused_at_the_receiver() -> None:
    assert failure_of(ORDER, 5, good=FULL) == "typed-order: Order: expected dict, got int"
    assert "required field missing @ Order.id" in failure_of(ORDER, {}, good=FULL)


def test_attributes_may_come_and_go() -> None:
    assert ORDER.decode({"id": 1, "lines": [], "of a later version": 5}) == Order(UserId(1), [])


def test_a_class_may_check_its_own_values() -> None:
    @attrs.define
    class Positive:
        value: int = attrs.field(validator=attrs.validators.gt(0))

    (failure,) = typed(Positive).decode_many([{"value": -1}])
    assert isinstance(failure, DecodeFailure)
    assert "must be > 0" in str(failure.error)


def test_less_common_types() -> None:
    @dataclasses.dataclass
    class Box:
        content: Any
        fixed: tuple[()] = ()
        queue: collections.deque[int] | None = None
        pair: tuple = ()  # type: ignore[type-arg]

    message_type: MessageType[Any] = typed(Box)
    assert message_type.name == "typed-box"
    assert there_and_back(message_type, Box([1, (2,)], pair=(1, "a"))) == Box([1, (2,)], pair=(1, "a"))
    assert there_and_back(message_type, Box(1, queue=collections.deque([1]))).queue == collections.deque([1])


def test_attrs_may_declare_types_without_annotations() -> None:
    made = attrs.make_class("Größe_2", {"x": attrs.field(type=int), "y": attrs.field(default=None)})
    message_type: MessageType[Any] = typed(made)
    assert message_type.name == "typed-gr__e_2"
    assert there_and_back(message_type, made(1, [2])) == made(1, [2])
    with pytest.raises(MessageTypeError, match="x: expected int, got str"):
        message_type.encode_message(made("1"))


@pytest.mark.parametrize("cls", [int, 5, "Order", dict, FULL, list[int]])
def test_typed_refuses_what_is_no_such_class(cls: Any) -> None:
    with pytest.raises(TypeError, match="cls must be an attrs class or a dataclass, not"):
        typed(cls)


def test_typed_refuses_declarations_that_it_cannot_follow() -> None:
    @dataclasses.dataclass
    class Lost:
        where: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match="Lost declares a type that cannot be found: name 'Nowhere'"):
        typed(Lost)


def test_typed_refuses_types_that_cannot_be_sent() -> None:
    @dataclasses.dataclass
    class Odd(Generic[V]):
        x: V

    with pytest.raises(TypeError, match="Odd declares a type that cannot be sent"):
        typed(Odd)


def test_typed_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_cattrs(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "cattrs":
            raise ImportError("no cattrs here")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cattrs)
    monkeypatch.delitem(sys.modules, "trioton.channels.typed_messages")
    with pytest.raises(ImportError, match=r"trioton\[typed\]"):
        typed(Order)
