"""Exceptions travel as data, and nothing that a peer names is looked up but among those that may be raised."""

from __future__ import annotations

import builtins
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trioton
from trioton.errors import ProtocolError, RemoteError, RemoteTraceback
from trioton.protocol import failures
from trioton.protocol.failures import (
    MAX_DEPTH,
    MAX_EXCEPTIONS,
    MAX_NOTES,
    MAX_TEXT,
    decode_failure,
    encode_failure,
    name_of,
)
from trioton.protocol.values import decode_value, encode_value


def travel(error: BaseException) -> Exception:
    return decode_failure(decode_value(encode_failure(error)))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The error with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:  # noqa: ASYNC103, BLE001  # whatever it is
        return caught  # noqa: ASYNC104


@trioton.register_exception
class Known(Exception):
    """One that both sides know."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@trioton.register_exception
class Picky(Exception):
    """Its arguments are not those that it was made of."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} {second}")


class Unknown(Exception):
    """One that nobody knows elsewhere."""


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text", 3, (None, [1])),
        ValueError(),
        KeyError("key"),
        KeyError(("a", 1)),
        IndexError("index"),
        FileNotFoundError(2, "No such file", "/there"),
        FileNotFoundError(2, "No such file"),
        PermissionError(13, "Permission denied"),
        OSError("only a text"),
        OSError(9999, "no kind of its own"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        UnicodeEncodeError("ascii", "\xff", 0, 1, "ordinal"),
        SyntaxError("bad", ("file", 1, 2, "line")),
        NotImplementedError("later"),
        ZeroDivisionError("division by zero"),
        AttributeError("no such"),
        Known(7),
    ],
    ids=repr,
)
def test_known_ones_arrive_as_themselves(error: Exception) -> None:
    back = travel(raised(error))
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)


@pytest.mark.parametrize("attribute", ["errno", "strerror", "filename"])
def test_errors_of_the_system_keep_what_they_know(attribute: str) -> None:
    error = FileNotFoundError(2, "No such file", "/there")
    assert getattr(travel(error), attribute) == getattr(error, attribute)


@pytest.mark.parametrize(
    "error",
    [
        Unknown("why", 3),
        KeyboardInterrupt("now"),
        SystemExit(3),
        GeneratorExit(),
        StopIteration(1),
        RecursionError("deep"),
    ],
)
def test_others_arrive_as_what_they_say(error: BaseException) -> None:
    back = travel(raised(error))
    assert type(back) is RemoteError
    assert back.type_name == name_of(type(error))
    assert back.text == str(error)
    assert type(error).__name__ in str(back)


def test_a_constructor_that_does_not_fit_is_survived() -> None:
    back = travel(Picky(1, 2))
    assert type(back) is RemoteError
    assert str(back).endswith("Picky: 1 2")


def test_a_constructor_that_makes_something_else_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changeling(Exception):
        def __new__(cls, *_args: object) -> Any:
            return 3

    monkeypatch.setitem(failures._registered, "changeling", Changeling)
    back = decode_failure(["changeling", [], "text", [], "", None, None])
    assert type(back) is RemoteError


def test_an_exception_without_a_text_is_survived() -> None:
    back = travel(raised(Mute()))
    assert type(back) is RemoteError
    assert "ZeroDivisionError" in back.text


def test_the_traceback_comes_as_text_and_the_cause_behind_it() -> None:
    back = travel(raised(ValueError("outer"), raised(KeyError("inner"), raised(OSError(5, "innermost")))))
    remote = back.__cause__
    assert type(remote) is RemoteTraceback
    assert "in raised" in str(remote)
    assert "ValueError: outer" in str(remote)
    inner = remote.__cause__
    assert type(inner) is KeyError
    assert type(inner.__cause__) is OSError
    assert inner.__cause__.__cause__ is None


def test_one_that_travels_on_does_not_gather_tracebacks() -> None:
    once = travel(raised(ValueError("x"), KeyError("inner")))
    twice = travel(raised(once, once.__cause__))
    assert type(twice.__cause__) is RemoteTraceback
    assert twice.__cause__.__cause__ is None


def test_notes_come_along_and_not_too_many() -> None:
    error = ValueError("x")
    for number in range(100):
        error.add_note(f"note {number}")
    back = travel(error)
    assert back.__notes__ == [f"note {number}" for number in range(MAX_NOTES)]


def test_notes_that_are_none_are_survived() -> None:
    error = ValueError("x")
    error.__notes__ = 3  # type: ignore[assignment]  # anybody may do that
    assert travel(error).args == ("x",)
    error.__notes__ = [3, None]  # type: ignore[list-item]
    assert travel(error).args == ("x",)


def test_groups_arrive_as_groups() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), Unknown("u")])
    back = travel(raised(ExceptionGroup("outer", [ValueError("v"), inner])))
    assert type(back) is ExceptionGroup
    assert back.message == "outer"
    first, second = back.exceptions
    assert type(first) is ValueError
    assert type(second) is ExceptionGroup
    assert [type(each) for each in second.exceptions] == [KeyError, RemoteError]


def test_members_of_groups_keep_their_causes_and_notes() -> None:
    member = raised(ValueError("v"), KeyError("k"))
    member.add_note("note")
    back = travel(ExceptionGroup("g", [member]))  # type: ignore[type-var]
    assert isinstance(back, ExceptionGroup)
    assert type(back.exceptions[0].__cause__) is KeyError
    assert back.exceptions[0].__notes__ == ["note"]


def test_a_group_that_would_end_the_program_does_so_only_there() -> None:
    back = travel(raised(BaseExceptionGroup("all", [SystemExit(3), KeyboardInterrupt(), ValueError("v")])))
    assert type(back) is ExceptionGroup
    assert [type(each) for each in back.exceptions] == [RemoteError, RemoteError, ValueError]


def test_a_group_of_a_kind_of_its_own_says_which() -> None:
    class Special(ExceptionGroup[Exception]):  # noqa: ASYNC126  # nobody splits it
        pass

    back = travel(Special("text", [ValueError("v")]))
    assert type(back) is ExceptionGroup
    assert "Special: text" in back.message


def test_large_groups_and_long_chains_are_cut() -> None:
    back = travel(ExceptionGroup("many", [ValueError(number) for number in range(1000)]))
    assert isinstance(back, ExceptionGroup)
    assert [each.args for each in back.exceptions] == [(number,) for number in range(MAX_EXCEPTIONS)]
    error: BaseException = ValueError(0)
    for number in range(1, 100):
        error = raised(ValueError(number), error)
    cause = travel(error).__cause__
    assert cause is not None
    depth = 0
    origin = cause.__cause__
    while origin is not None:
        depth, origin = depth + 1, origin.__cause__
    assert depth == MAX_DEPTH


def test_groups_of_groups_stay_small_and_are_understood() -> None:
    error: Exception = ValueError("leaf")
    for _ in range(4):
        error = ExceptionGroup("g", [error] * 50)
    assert len(encode_failure(error)) < 1 << 20
    assert isinstance(travel(error), ExceptionGroup)
    deep: Exception = ValueError("leaf")
    for number in range(50):
        deep = ExceptionGroup(f"g{number}", [deep])
    assert isinstance(travel(deep), ExceptionGroup)


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert travel(first).args == ("first",)


@pytest.mark.parametrize("text", ["\ud800 lonely", "x" * 1_000_000, "\0", "\N{SNOWMAN}" * 100_000, "\ud800" * 100_000])
def test_texts_of_any_kind_travel_within_bounds(text: str) -> None:
    for error in (ValueError(text), Unknown(text)):
        error.add_note(text)
        encoded = encode_failure(raised(error))
        assert len(encoded) < 16 * MAX_TEXT
        back = decode_failure(decode_value(encoded))
        assert isinstance(back, (ValueError, RemoteError))
        assert len(back.__notes__[0]) <= MAX_TEXT + 100


def test_the_name_of_a_type_may_be_anything() -> None:
    strange = type("Strange", (Exception,), {"__module__": "\ud800" + "m" * 100_000})
    back = travel(strange("text"))
    assert type(back) is RemoteError
    assert len(back.type_name) < 2 * MAX_TEXT
    group = type("Group", (ExceptionGroup,), {"__module__": "\ud800"})
    assert type(travel(group("\ud800", [ValueError("\ud800")]))) is ExceptionGroup


def test_arguments_that_cannot_be_sent_leave_the_text() -> None:
    back = travel(ValueError(object(), "x"))
    assert type(back) is RemoteError
    assert "object object" in back.text


def test_only_exceptions_are_registered() -> None:
    for wrong in (3, int, BaseException, KeyboardInterrupt, StopIteration, StopAsyncIteration):
        with pytest.raises(TypeError, match="cls must be a subclass of Exception"):
            trioton.register_exception(wrong)  # type: ignore[type-var]


@pytest.mark.parametrize("name", dir(builtins))
def test_a_peer_gets_nothing_from_the_builtins_but_exceptions(name: str) -> None:
    back = decode_failure([name, ["text"], "text", [], "", None, None])
    assert isinstance(back, Exception)
    assert type(back) is RemoteError or isinstance(getattr(builtins, name), type)


NAMES = st.sampled_from(
    ["ValueError", "OSError", "UnicodeDecodeError", "SyntaxError", "ExceptionGroup", "BaseExceptionGroup"]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | NAMES | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=8) | st.lists(inner, min_size=7, max_size=7),
    max_leaves=30,
)
FAILURE = st.tuples(NAMES | st.text(), DATA, st.text(), st.lists(DATA, max_size=3), st.text(), DATA, DATA).map(list)


@given(DATA | FAILURE)
def test_hostile_data_gives_an_exception_or_is_refused(data: object) -> None:
    try:
        back = decode_failure(data)
    except ProtocolError:
        return
    assert isinstance(back, Exception)
    encode_failure(back)
    repr(back)
    str(back)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        ["ValueError", [], "", [], "", None],
        [3, [], "", [], "", None, None],
        ["ValueError", [], 3, [], "", None, None],
        ["ValueError", [], "", 3, "", None, None],
        ["ValueError", [], "", [], 3, None, None],
        ["ValueError", [], "", [], "", 3, None],
        ["ExceptionGroup", ["g"], "", [], "", None, []],
        ["ExceptionGroup", ["g"], "", [], "", None, 3],
        ["ExceptionGroup", ["g"], "", [], "", None, [3]],
        ["ExceptionGroup", [], "", [], "", None, [["ValueError", [], "", [], "", None, None]]],
        ["ExceptionGroup", None, "", [], "", None, [["ValueError", [], "", [], "", None, None]]],
        ["ExceptionGroup", [3], "", [], "", None, [["ValueError", [], "", [], "", None, None]]],
    ],
    ids=repr,
)
def test_what_is_no_failure(data: object) -> None:
    with pytest.raises(ProtocolError):
        decode_failure(data)


def test_a_chain_that_is_too_deep_is_refused() -> None:
    data: Any = None
    for _ in range(MAX_DEPTH + 2):
        data = ["ValueError", [], "", [], "", data, None]
    with pytest.raises(ProtocolError):
        decode_failure(data)


def test_a_group_without_its_members_is_what_it_says() -> None:
    back = decode_failure(["ExceptionGroup", ["g"], "text", [], "", None, None])
    assert type(back) is RemoteError


def test_notes_of_a_peer_that_are_no_texts_are_left_out() -> None:
    back = decode_failure(["ValueError", ["x"], "x", ["a", 3, None, "b"], "", None, None])
    assert back.__notes__ == ["a", "b"]


def test_a_traceback_that_cannot_be_written_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    error = raised(ValueError("x"))
    monkeypatch.setattr("traceback.format_exception", fail)
    assert "in raised" in str(travel(error).__cause__)


def test_the_text_of_a_failure_is_what_others_encode_too() -> None:
    assert decode_value(encode_value(["a"])) == ["a"]
    assert str(RemoteTraceback()) == ""


@pytest.mark.parametrize("source", ["1 +", "def f(:\n pass", "if x:\npass", "(" * 300])
def test_errors_of_syntax_keep_their_place(source: str) -> None:
    with pytest.raises(SyntaxError) as caught:
        compile(source, "<input>", "exec")
    error = decode_failure(decode_value(encode_failure(caught.value)))
    assert type(error) is type(caught.value)
    assert traceback.format_exception_only(error) == traceback.format_exception_only(caught.value)


HUGE = 1 << 61


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [[1]],
        ["why", 1],
        ["why", ["f", 1, 1]],
        ["why", ["f", 1, 1, [1]]],
        ["why", ["f", 1, HUGE, "x"]],
        ["why", ["f", 1, 1, "x", 1, HUGE]],
        ["why", ["f", "1", 1, "x"]],
        ["why", ["f", 1, 1, "x"], 2],
        None,
    ],
)
@pytest.mark.parametrize("name", ["SyntaxError", "IndentationError", "TabError"])
def test_one_that_python_could_not_show_comes_as_what_it_says(name: str, arguments: object) -> None:
    """Python shows such an error when it is logged, and would raise there, or fill the memory with blanks."""
    error = decode_failure([name, arguments, "why", [], "", None, None])
    assert type(error) is RemoteError
    assert "why" in "".join(traceback.format_exception(error))
