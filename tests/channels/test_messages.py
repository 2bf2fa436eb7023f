"""The message types: what they take, what they make of it, and what they refuse."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import datetime as dt
import enum
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.channels.messages import (
    BINARY,
    OBJECT,
    TEXT,
    DecodeFailure,
    MessageType,
    TextMessages,
    as_message_type,
    typed,
)
from trioton.errors import MessageDecodeError, MessageTypeError
from trioton.protocol.codec import bytes_head, text_head
from trioton.protocol.values import EncodeExtra, decode_value, encode_value


def there_and_back(message_type: MessageType[Any], message: Any) -> Any:
    """What a receiver gets; and all ways to encode give the same bytes."""
    data = message_type.encode_message(message)
    assert b"".join(message_type.encode_buffers(message)) == data
    assert message_type.encode_many([message, message]) == [data, data]
    (arrived,) = message_type.decode_many([decode_value(data)])
    return arrived


def failure_of(message_type: MessageType[Any], value: object) -> str:
    """The text of the error with which a receiver hears of a value."""
    before, failure, after = message_type.decode_many([*_good(message_type), value, *_good(message_type)])
    assert type(failure) is DecodeFailure
    assert DecodeFailure not in (type(before), type(after))
    assert type(failure.error) is MessageDecodeError
    assert failure.error.__cause__ is not None
    return str(failure.error)


def _good(message_type: MessageType[Any]) -> list[Any]:
    return [decode_value(message_type.encode_message(GOOD[message_type.name]))]


# ----------------------------------------------------------------------------------------------------- TEXT, BINARY, OBJECT


class Word(enum.StrEnum):
    HI = "hi"


GOOD: dict[str, Any] = {"txt": "text", "bin": b"bytes"}


@pytest.mark.parametrize("message", ["", "a", "x" * 23, "x" * 24, "ü" * 200, "\N{GRINNING FACE}" * 70_000])
def test_text_arrives_as_it_is(message: str) -> None:
    assert there_and_back(TEXT, message) == message
    assert TEXT.encode_message(message) == encode_value(message)


def test_a_subclass_of_str_arrives_as_str() -> None:
    assert type(there_and_back(TEXT, Word.HI)) is str


@pytest.mark.parametrize("message", [b"a", 5, None, ["a"]])
def test_text_refuses_what_is_no_str(message: Any) -> None:
    expected = f"txt: expected str, got {type(message).__name__}"
    for encode in (TEXT.encode_message, TEXT.encode_buffers, TEXT.encode):
        with pytest.raises(MessageTypeError, match=expected):
            encode(message)
    with pytest.raises(TypeError, match=f"message 2 of 3: {expected}"):
        TEXT.encode_many(["a", "b", message])


def test_text_refuses_lone_surrogates() -> None:
    with pytest.raises(MessageTypeError, match="lone surrogate"):
        TEXT.encode_message("\ud800")


def test_a_run_of_texts_is_not_copied() -> None:
    values: list[Any] = ["a", "b"]
    assert TEXT.decode_many(values) is values
    assert TEXT.decode_many([]) == []


@pytest.mark.parametrize("value", [5, b"a", None, ["a"], 1.5])
def test_only_the_value_that_is_no_text_fails(value: object) -> None:
    assert failure_of(TEXT, value) == f"txt: expected str, got {type(value).__name__}"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 70_000])
def test_binary_arrives_as_bytes(make: type[Any], size: int) -> None:
    payload = bytes(range(256)) * 300
    arrived = there_and_back(BINARY, make(payload[:size]))
    assert type(arrived) is bytes
    assert arrived == payload[:size]


@pytest.mark.parametrize("message", ["a", 5, None, [1]])
def test_binary_refuses_what_is_not_bytes(message: Any) -> None:
    for encode in (BINARY.encode_message, BINARY.encode_buffers):
        with pytest.raises(
            MessageTypeError, match=f"bin: expected bytes, bytearray or memoryview, got {type(message).__name__}"
        ):
            encode(message)


@pytest.mark.parametrize("value", [5, "a", None, [b"a"]])
def test_only_the_value_that_is_not_bytes_fails(value: object) -> None:
    assert failure_of(BINARY, value) == f"bin: expected bytes, got {type(value).__name__}"
    values: list[Any] = [b"a"]
    assert BINARY.decode_many(values) is values


def test_large_bytes_are_not_copied() -> None:
    payload = bytes(1 << 20)
    for message in (payload, memoryview(payload)[5:], memoryview(payload).cast("I")):
        head, body = BINARY.encode_buffers(message)
        size = memoryview(message).nbytes
        assert head == bytes_head(size)
        assert memoryview(body).nbytes == len(body) == size
        assert body is payload or (isinstance(body, memoryview) and body.obj is payload)
    assert OBJECT.encode_buffers(payload)[1] is payload
    text = "x" * (1 << 20)
    assert TEXT.encode_buffers(text) == (text_head(1 << 20), text.encode())


def test_bytes_that_may_change_are_copied() -> None:
    payload = bytearray(b"abcdef")
    buffers = [
        BINARY.encode_buffers(message)
        for message in (payload, memoryview(payload), memoryview(payload).toreadonly(), memoryview(b"abcdef")[::2])
    ]
    payload[:] = b"......"
    assert [bytes(body) for _, body in buffers] == [b"abcdef", b"abcdef", b"abcdef", b"ace"]


@pytest.mark.parametrize(
    "message", [None, 0, "", b"", [], (), {}, {1, 2}, {"a": (1, [2])}, b"x" * 300, Decimal("1.50")]
)
def test_an_object_arrives_as_it_is(message: Any) -> None:
    arrived = there_and_back(OBJECT, message)
    assert arrived == message
    assert type(arrived) is type(message)


def test_an_object_that_cannot_be_sent_is_refused_with_its_place() -> None:
    with pytest.raises(MessageTypeError, match=r"""^message\["a"\]\[1\]: cannot send a value of type 'object'$"""):
        OBJECT.encode_message({"a": [1, object()]})
    with pytest.raises(MessageTypeError, match=r"^message 1 of 2: message\[0\]: cannot send a value of type 'object'$"):
        OBJECT.encode_many([1, [object()]])
    with pytest.raises(MessageTypeError):
        OBJECT.encode_buffers(object())


def test_the_plain_types_leave_values_as_they_are() -> None:
    for message_type, value in ((TEXT, "a"), (BINARY, b"a"), (OBJECT, [1])):
        assert message_type.encode(value) is value  # type: ignore[arg-type]
        assert message_type.decode(value) is value


def test_types_of_a_higher_layer_are_passed_on() -> None:
    class Thing:
        pass

    extra: EncodeExtra = {Thing: lambda _: (60_000, "thing")}
    for data in (
        OBJECT.encode_message([Thing()], extra),
        b"".join(OBJECT.encode_buffers([Thing()], extra)),
        OBJECT.encode_many([[Thing()]], extra)[0],
    ):
        assert decode_value(data, {60_000: lambda content: content}) == ["thing"]


@given(st.lists(st.one_of(st.text(), st.binary(), st.integers(), st.none())))
def test_each_value_of_a_run_is_judged_alone(values: list[Any]) -> None:
    for message_type, kind in ((TEXT, str), (BINARY, bytes)):
        messages = message_type.decode_many(values)
        assert len(messages) == len(values)
        for value, message in zip(values, messages, strict=True):
            assert message is value if type(value) is kind else type(message) is DecodeFailure


# ------------------------------------------------------------------------------------------------------------- one's own


class Number(MessageType[float]):
    name = "num"

    def encode(self, message: float) -> str:
        return repr(float(message))

    def decode(self, value: str) -> float:
        return float(value)


GOOD["num"] = 1.5


def test_a_type_of_ones_own() -> None:
    assert there_and_back(Number(), 1.5) == 1.5
    assert decode_value(Number().encode_message(1.5)) == "1.5"
    assert repr(Number()) == "<Number 'num'>"
    with pytest.raises(MessageTypeError, match=r"num: cannot encode a str \(ValueError: could not convert") as caught:
        Number().encode_message("one")  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, ValueError)
    assert "could not convert string to float" in failure_of(Number(), "one")
    assert "num: " in failure_of(Number(), None)


def test_an_encode_may_raise_the_error_itself() -> None:
    class Never(MessageType[object]):
        name = "never"

        def encode(self, message: object) -> object:
            raise MessageTypeError("not today")

        def decode(self, value: Any) -> object:
            raise LookupError

    with pytest.raises(MessageTypeError, match=r"^not today$"):
        Never().encode_message(1)
    (failure,) = Never().decode_many([1])
    assert isinstance(failure, DecodeFailure)
    assert str(failure.error) == "never: LookupError"


def test_what_encode_returns_must_be_sendable() -> None:
    class Wrong(MessageType[object]):
        name = "wrong"

        def encode(self, message: object) -> object:
            return [message]

        def decode(self, value: Any) -> object:
            return value

    with pytest.raises(MessageTypeError, match=r"message\[0\]: cannot send a value of type 'object'"):
        Wrong().encode_message(object())


@pytest.mark.parametrize("name", ["", "Num", "a.b", "a b", "ü", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_part_of_a_slot(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters, digits"):
        type("Bad", (Number,), {"name": name})


def test_names_that_can() -> None:
    for name in ("a", "0", "_", "-", "my-type_2", "x" * 64):
        made = type("Good", (Number,), {"name": name})
        assert as_message_type(made).name == name


def test_a_class_stands_for_its_instance() -> None:
    assert type(as_message_type(Number)) is Number
    assert type(as_message_type(TextMessages)) is TextMessages
    assert as_message_type(TEXT) is TEXT


@pytest.mark.parametrize("value", [str, "txt", None, int, object()])
def test_what_is_no_message_type(value: Any) -> None:
    with pytest.raises(TypeError, match="message_type must be a MessageType"):
        as_message_type(value)
    with pytest.raises(TypeError, match="requests must be a MessageType"):
        as_message_type(value, "requests")


def test_a_type_without_a_name() -> None:
    class Nameless(MessageType[int]):
        def encode(self, message: int) -> object:
            return message

        def decode(self, value: Any) -> int:
            return int(value)

    with pytest.raises(TypeError, match="name of <Nameless ''> must be a str, not None"):
        as_message_type(Nameless)
    with pytest.raises(TypeError, match="must be a str, not 5"):
        type("Bad", (Number,), {"name": 5})
    with pytest.raises(TypeError, match="abstract"):
        as_message_type(MessageType)


# ----------------------------------------------------------------------------------------------------------------- typed


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
GOOD["typed-order"] = FULL


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
    assert failure_of(ORDER, {**value, **changes}) == f"typed-order: {text}"
    with pytest.raises(ValueError, match="Order"):
        ORDER.decode({**value, **changes})


def test_a_value_of_another_shape_is_refused_at_the_receiver() -> None:
    assert failure_of(ORDER, 5) == "typed-order: Order: expected dict, got int"
    assert "required field missing @ Order.id" in failure_of(ORDER, {})


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


# ------------------------------------------------------------------------------------------------- what is imported when

SLOW_MODULES = ["datetime", "decimal", "uuid", "trioton.protocol.sendable", "trioton.protocol.values"]
LOADED_BY = """
import sys, trio, attrs, cbor2
before = set(sys.modules)
import trioton
async def main():
    async with trioton.open_context() as ctx:
        {code}
trio.run(main)
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    ("code", "loads"),
    [
        ("", False),
        ("trioton.PubChannel(ctx, 'x').send_nowait('text')", False),
        ("trioton.SubChannel(ctx, 'x', trioton.BINARY)", False),
        ("trioton.PubChannel(ctx, 'x', trioton.OBJECT)", True),
        ("trioton.SubChannel(ctx, 'x', trioton.OBJECT)", True),
    ],
)
def test_only_a_channel_of_richer_values_loads_what_they_need(code: str, loads: bool) -> None:
    """They would slow down `import trioton`; and the first message need not wait for them."""
    program = LOADED_BY.format(code=code or "pass")
    # What measures the coverage would load some of them itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True).stdout
    loaded = output.split()
    assert "trioton.protocol.codec" in loaded
    assert [module for module in SLOW_MODULES if module in loaded] == (SLOW_MODULES if loads else [])
