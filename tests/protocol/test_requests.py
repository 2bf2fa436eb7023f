"""Requests and replies, as bytes and back; and all that is none of either."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trioton.errors import ProtocolError
from trioton.protocol import requests
from trioton.protocol.packages import MAX_SEQUENCE
from trioton.protocol.requests import MAX_METHOD, Answer, Ask, Call
from trioton.protocol.values import decode_value, encode_value

BODY = encode_value(["add", [1, (2,)], {"c": None}])


@pytest.mark.parametrize("number", [0, 1, 23, 24, 255, 256, 1 << 32, MAX_SEQUENCE - 1])
def test_what_is_said_is_understood(number: int) -> None:
    def ask(message: bytes) -> list[Any]:
        return requests.check_ask(decode_value(message))

    def answer(message: bytes) -> list[Any]:
        return requests.check_answer(decode_value(message))

    assert ask(requests.encode_call(number, None, None, BODY)) == [
        Ask.CALL,
        Call(number, None, None, "add", [1, (2,)], {"c": None}),
    ]
    assert ask(requests.encode_call(number, 1.5, encode_value("stream"), BODY)) == [
        Ask.CALL,
        Call(number, 1.5, "stream", "add", [1, (2,)], {"c": None}),
    ]
    assert ask(requests.encode_call(number, -1.0, None, BODY))[1].seconds == 0.0
    assert ask(requests.encode_cancel(number)) == [Ask.CANCEL, number]
    assert ask(requests.PASS) == [Ask.PASS]
    assert answer(requests.encode_done(number, encode_value((1, 2)))) == [Answer.DONE, number, (1, 2)]
    assert answer(requests.encode_failed(number, encode_value(["why"]))) == [Answer.FAILED, number, ["why"]]
    assert answer(requests.encode_busy(number)) == [Answer.BUSY, number]
    assert answer(requests.ROOM) == [Answer.ROOM]
    assert answer(requests.encode_cancelled(number, is_clean=True)) == [Answer.CANCELLED, number, True]
    assert answer(requests.encode_cancelled(number, is_clean=False)) == [Answer.CANCELLED, number, False]
    assert answer(requests.encode_gone(number, "closed \N{SNOWMAN}")) == [Answer.GONE, number, "closed \N{SNOWMAN}"]


NO_MESSAGES: list[Any] = [
    None,
    1,
    "text",
    b"",
    {},
    (),
    [],
    [[]],
    ["0"],
    [None],
    [True],
    [1.0],
    (2,),
    [-1],
    [99],
    [1 << 70],
]
NO_NUMBERS: list[Any] = [None, -1, MAX_SEQUENCE, 1 << 70, "1", 1.0, True, [1]]


@pytest.mark.parametrize("message", [*NO_MESSAGES, [0], [0, 1], [1], [1, 2, 3], [2, 1]], ids=repr)
def test_what_no_requester_says(message: Any) -> None:
    with pytest.raises(ProtocolError, match="a requester says"):
        requests.check_ask(message)


@pytest.mark.parametrize(
    "message", [*NO_MESSAGES, [0], [0, 1], [1, 2], [2], [2, 1, 1], [3, 1], [4, 1], [5, 1], [6, 1]], ids=repr
)
def test_what_no_replier_says(message: Any) -> None:
    with pytest.raises(ProtocolError, match="a replier says"):
        requests.check_answer(message)


@pytest.mark.parametrize("number", NO_NUMBERS, ids=repr)
def test_numbers_that_no_request_has(number: Any) -> None:
    for ask in ([Ask.CALL.value, number, None, None, ["m", [], {}]], [Ask.CANCEL.value, number]):
        with pytest.raises(ProtocolError, match="a requester names no request"):
            requests.check_ask(ask)
    for answer in (
        [Answer.DONE.value, number, 1],
        [Answer.FAILED.value, number, 1],
        [Answer.BUSY.value, number],
        [Answer.CANCELLED.value, number, True],
        [Answer.GONE.value, number, "x"],
    ):
        with pytest.raises(ProtocolError, match="a replier names no request"):
            requests.check_answer(answer)


@pytest.mark.parametrize(
    ("seconds", "body", "text"),
    [
        (-1.0, ["m", [], {}], "leaves -1.0 seconds"),
        (math.nan, ["m", [], {}], "leaves nan seconds"),
        (1, ["m", [], {}], "leaves 1 seconds"),
        ("1", ["m", [], {}], "leaves '1' seconds"),
        (None, None, "without method and arguments"),
        (None, ("m", [], {}), "without method and arguments"),
        (None, ["m", []], "without method and arguments"),
        (None, ["m", [], {}, 1], "without method and arguments"),
        (None, [1, [], {}], "names no method"),
        (None, [b"m", [], {}], "names no method"),
        (None, ["m" * (MAX_METHOD + 1), [], {}], "names no method"),
        (None, ["m", (), {}], "the arguments of a request are wrong"),
        (None, ["m", None, {}], "the arguments of a request are wrong"),
        (None, ["m", [], []], "the arguments of a request are wrong"),
        (None, ["m", [], {1: 2}], "the keywords of a request are wrong"),
        (None, ["m", [], {("a",): 2}], "the keywords of a request are wrong"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_requests_that_make_no_sense(seconds: Any, body: Any, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        requests.check_ask([Ask.CALL.value, 1, seconds, None, body])


def test_the_longest_name_and_no_end_of_time_are_allowed() -> None:
    call = requests.check_ask([Ask.CALL.value, 1, math.inf, None, ["m" * MAX_METHOD, [], {}]])[1]
    assert call.seconds == math.inf
    assert len(call.method) == MAX_METHOD


@pytest.mark.parametrize("state", [None, 0, 1, "True"])
def test_a_request_is_stopped_cleanly_or_not(state: Any) -> None:
    with pytest.raises(ProtocolError, match="stopped in a way that makes no sense"):
        requests.check_answer([Answer.CANCELLED.value, 1, state])


@pytest.mark.parametrize("reason", [None, 1, b"x"])
def test_a_request_is_gone_for_a_reason(reason: Any) -> None:
    with pytest.raises(ProtocolError, match="gone for no reason"):
        requests.check_answer([Answer.GONE.value, 1, reason])


def test_what_is_refused_is_quoted_only_in_part() -> None:
    with pytest.raises(ProtocolError) as caught:
        requests.check_ask(["x" * 100_000])
    assert len(str(caught.value)) < 300
