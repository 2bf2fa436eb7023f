"""The quicker ways of decoding: they give what the ordinary way gives, and refuse what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.codec import array_head, decode_lone_text, decode_strings, text_head
from trioton.protocol.values import decode_run, decode_value, encode_value, prepare_decoders

NOT_UTF_8 = b"\x81\x62\xc3\x28"
MESSAGES = st.one_of(
    st.text(), st.binary(), st.integers(), st.none(), st.lists(st.text(), max_size=2), st.just("y" * 300)
)


def run_of(messages: list[Any]) -> bytes:
    return array_head(len(messages)) + b"".join(map(encode_value, messages))


# ------------------------------------------------------------------------------------------------------------- strings


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=30))
def test_strings_are_decoded_as_by_the_ordinary_way(messages: list[Any]) -> None:
    assert decode_strings(run_of(messages)) == decode_run(run_of(messages)) == messages


def test_what_is_no_string_is_left_for_the_caller_to_refuse() -> None:
    first, second, third = decode_strings(run_of(["a", [1], None]))
    assert first == "a"
    assert type(second) is not str
    assert type(third) is not str


@pytest.mark.parametrize("decode", [decode_strings, decode_run])
def test_a_string_that_is_not_utf_8_is_refused_in_one_short_line(decode: Callable[[bytes], list[Any]]) -> None:
    with pytest.raises(ProtocolError, match=r"^data that cannot be decoded: .{1,200}$"):
        decode(NOT_UTF_8)


# ----------------------------------------------------------------------------------------------------------- lone texts


@given(MESSAGES)
def test_a_lone_message_is_decoded_quickly_only_if_it_is_a_short_text(message: object) -> None:
    body = run_of([message])
    is_short_text = isinstance(message, str) and len(message.encode()) < 256
    assert decode_lone_text(body) == (message if is_short_text else None)


@pytest.mark.parametrize(
    ("size", "is_quick"), [(0, True), (1, True), (23, True), (24, True), (255, True), (256, False), (70_000, False)]
)
def test_texts_whose_head_has_one_or_two_bytes_are_quick(size: int, is_quick: bool) -> None:
    text = "t" * size
    assert decode_lone_text(run_of([text])) == (text if is_quick else None)
    assert decode_run(run_of([text])) == [text]


@pytest.mark.parametrize("body", [NOT_UTF_8, b"\x81\x78\x18" + b"\xff" * 24])
def test_a_lone_text_that_is_not_utf_8_is_left_to_those_who_say_why(body: bytes) -> None:
    assert decode_lone_text(body) is None


# ---------------------------------------------------------------------------------------------------------- extra tags


def test_prepared_decoders_decode_what_plain_ones_do_and_are_not_made_twice() -> None:
    plain = {1234: lambda content: ("extra", content)}
    prepared = prepare_decoders(plain)
    data = b"\xd9\x04\xd2" + text_head(1) + b"x"
    assert decode_value(data, plain) == decode_value(data, prepared) == ("extra", "x")
    assert decode_run(b"\x81" + data, prepared) == [("extra", "x")]
    assert prepare_decoders(prepared) is prepared


def test_what_is_prepared_still_knows_the_tags_of_every_message() -> None:
    value = (1, {2, 3})
    assert decode_value(encode_value(value), prepare_decoders({1234: repr})) == value
