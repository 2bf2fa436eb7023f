"""Heads, texts, runs and headers as bytes and back; and what the decoder refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioton.errors import MessageTypeError, ProtocolError
from trioton.protocol import values
from trioton.protocol.codec import array_head, bytes_head, decode_header, encode_header, encode_texts, text_head, uint
from trioton.protocol.scan import TAGS, scan_run
from trioton.protocol.values import decode_run, decode_value, encode_value

from .values_of_all_kinds import any_values, exactly

# ---------------------------------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize("n", [0, 1, 23, 24, 255, 256, 599, 600, 65_535, 65_536, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_heads_are_the_shortest(n: int) -> None:
    assert uint(n) == cbor2.dumps(n)
    for head, major in ((bytes_head, 2), (text_head, 3), (array_head, 4)):
        made = head(n)
        assert made[0] >> 5 == major
        assert bytes([made[0] & 31]) + made[1:] == uint(n)


@pytest.mark.parametrize("head", [uint, bytes_head, text_head, array_head])
@pytest.mark.parametrize("n", [-1, -1024, 2**64])
def test_heads_refuse_what_does_not_fit(head: Callable[[int], bytes], n: int) -> None:
    with pytest.raises(ValueError, match=f"not {n}"):
        head(n)


# ---------------------------------------------------------------------------------------------- texts, runs and headers


def test_many_texts_are_encoded_at_once() -> None:
    texts = ["", "a", "ü" * 300]
    assert encode_texts(texts) == array_head(3) + b"".join(encode_value(text) for text in texts)
    assert decode_run(encode_texts(texts)) == texts
    assert encode_texts([]) == array_head(0)
    with pytest.raises(MessageTypeError, match=r"message\[1\]: a text with a lone surrogate"):
        encode_texts(["a", "\udc00"])


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_what_is_decoded_may_be_any_buffer(make: Callable[[bytes], bytes]) -> None:
    value = [1, "x" * 300, (1, b"y" * 30), {2**70: Decimal("1.5")}]
    data = encode_value(value)
    assert decode_value(make(data)) == value
    scan_run(make(array_head(1) + data), 1)
    assert decode_run(make(array_head(1) + data)) == [value]
    assert decode_header(make(encode_header([1, "a"]))) == [1, "a"]
    assert decode_header(make(encode_header([1, ["a"]]))) == [1, ["a"]]
    with pytest.raises(ProtocolError):
        decode_value(make(data[:-1]))


def test_a_run_that_is_no_array_is_refused_even_without_a_scan() -> None:
    with pytest.raises(ProtocolError, match="not an array"):
        decode_run(encode_value("text"))


@pytest.mark.parametrize(
    "header",
    [
        [],
        [1, b"source", 2**64 - 1, -5, "slot", None, True, 1.5],
        [1, "x" * 23, "y" * 24, "z" * 300],
        [[1, [2, [3]]], {"a": {"b": [1]}}],
        [{}, []],
        list(range(30)),
        ["x" * 8000],
    ],
    ids=lambda header: f"{len(header)} fields",
)
def test_headers_come_back(header: list[Any]) -> None:
    data = encode_header(header)
    assert decode_header(data) == header
    with pytest.raises(ProtocolError):
        decode_header(data + b"\x00")
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            decode_header(data[:end])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "ends in the middle"),
        (b"\x00", "not an array"),
        (b"\xa0", "not an array"),
        (b"\x81\xf7", "undefined"),
        (b"\x81\xc2\x41\x00", "tag"),
        (b"\x9f\xff", "indefinite"),
        (b"\x81\x81\x81\x81\x81\x00", "deep"),
        (b"\x82\x00\xa2\x00\x00\x00\x00", "Duplicate"),
        (b"\x81\x61\xff", "utf-8"),
        (b"\x82\x80\x61\xff", "utf-8"),
        (b"\x98" + bytes(8200), "8 KiB|8192"),
        (b"HTTP/1.1 200 OK", "not an array|middle|after"),
    ],
)
def test_headers_that_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        decode_header(data)


def test_a_header_that_is_too_long_is_not_made() -> None:
    with pytest.raises(ValueError, match="8193 bytes"):
        encode_header(["x" * 8189])


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("61ff", "utf-8"),
        ("c06161", "not a datetime with an offset from UTC: '"),
        ("c073" + b"2026-01-02T03:04:05".hex(), "not a datetime with an offset from UTC"),
        ("c07818" + "41" * 24, "not a datetime with an offset from UTC: '"),
        ("a200000000", "Duplicate map key: 0"),
        ("a20000f400", "Duplicate map key: False"),
        ("d90102820101", "element twice"),
        ("a1d9010282010100", "element twice"),
    ],
)
def test_what_the_decoder_refuses(data: str, text: str) -> None:
    with pytest.raises(ProtocolError, match=text) as caught:
        decode_value(bytes.fromhex(data))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_long_reason_is_cut() -> None:
    key = text_head(500) + b"k" * 500
    with pytest.raises(ProtocolError) as caught:
        decode_value(b"\xa2" + key + b"\x00" + key + b"\x00")
    assert len(str(caught.value)) < 250
    assert str(caught.value).endswith(" ...")


def test_a_panic_of_cbor2_is_a_protocol_error_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):  # its name is what it is known by
        pass

    failure: BaseException = PanicException("index out of range")

    def loads(*_: object, **__: object) -> object:
        raise failure

    monkeypatch.setattr(cbor2, "loads", loads)
    for decode in (decode_value, decode_header, decode_run):
        with pytest.raises(ProtocolError, match="index out of range"):
            decode(b"\x80")
    for failure in (RecursionError(), MemoryError(), OverflowError()):
        with pytest.raises(ProtocolError, match=type(failure).__name__):
            decode_value(b"\x80")
    failure = KeyboardInterrupt()
    for decode in (decode_value, decode_header):
        with pytest.raises(KeyboardInterrupt):
            decode(b"\x80")


@given(st.binary(max_size=300))
@example(b"\x81" * 33 + b"\x00")
@example(b"\x81" * 100_000)
@example(b"\xd9\xd9\xf7" * 100_000)
def test_any_bytes_give_a_value_or_a_protocol_error(data: bytes) -> None:
    for decode in (decode_value, decode_run, decode_header):
        try:
            decode(data)
        except ProtocolError as error:
            assert "\n" not in str(error)  # both outcomes are right
            assert len(str(error)) < 250


@given(any_values, st.data())
def test_damaged_data_gives_a_value_that_can_be_sent_or_a_protocol_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode_value(value))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(encoded)))
        action = data.draw(st.sampled_from(["cut", "flip", "insert", "delete"]))
        if action == "cut":
            del encoded[position:]
        elif action == "insert":
            encoded.insert(position, data.draw(st.integers(0, 255)))
        elif position < len(encoded):
            if action == "flip":
                encoded[position] = data.draw(st.integers(0, 255))
            else:
                del encoded[position]
    try:
        arrived = decode_value(bytes(encoded))
    except ProtocolError:
        return
    assert exactly(decode_value(encode_value(arrived))) == exactly(arrived)


def test_tables_are_complete() -> None:
    """Each type that may be sent has an encoder, and each tag a decoder."""
    assert set(values._DECODERS) == TAGS
    assert set(values._BASES) == set(values._ENCODERS) - {type(None), bool, memoryview}
    assert list(itertools.islice(values._BASES, 2)) == [int, float]
