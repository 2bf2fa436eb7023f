"""Single text requests on a stream: what they look like, and what is not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.text_requests import MAX_HEAD, TextKind, TextMessage, TextReader, encode_text

ANY = frozenset(TextKind)


def read(data: bytes, kinds: frozenset[TextKind] = ANY, max_size: int = 1000) -> TextMessage | None:
    return TextReader(kinds, max_size).receive_data(data)


def test_what_travels() -> None:
    assert encode_text(TextKind.REQUEST, "hello") == b"trioton-text/1 request 5\nhello"
    assert encode_text(TextKind.FAILED, "") == b"trioton-text/1 failed 0\n"
    assert encode_text(TextKind.REPLY, "\u00e9\n") == b"trioton-text/1 reply 3\n\xc3\xa9\n"


@given(st.text(), st.sampled_from(TextKind), st.integers(1, 40))
def test_any_text_comes_through_however_the_bytes_are_cut(text: str, kind: TextKind, step: int) -> None:
    data = encode_text(kind, text)
    reader = TextReader(ANY, len(text.encode()))
    got = [reader.receive_data(data[start : start + step]) for start in range(0, len(data), step)]
    assert got[-1] == (kind, text)
    assert got[:-1] == [None] * (len(got) - 1)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n", "no text request or reply of Trioton: b'GET / HTTP/1.1"),
        (b"trioton-text/2 request 0\n", "no text request"),
        (b"x", "no text request"),
        (b"trioton-text/1 request " + b"1" * MAX_HEAD, "longer than 64 bytes"),
        (b"trioton-text/1 request 05\nhello", "not that of a failed or refused or reply or request"),
        (b"trioton-text/1 request -1\n", "not that of a"),
        (b"trioton-text/1 request\n", "not that of a"),
        (b"trioton-text/1 shout 0\n", "not that of a"),
        (b"trioton-text/1 request 1001\n", "has 1001 bytes; at most 1000"),
        (b"trioton-text/1 request 9999999999999999999\n", "at most 1000"),
        (b"trioton-text/1 request 2\nabc", "1 bytes came behind the request"),
        (b"trioton-text/1 request 0\n\n", "1 bytes came behind the request"),
        (b"trioton-text/1 request 2\na\xff", "not UTF-8: invalid start byte at byte 1"),
    ],
)
def test_what_is_no_message(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        read(data)


def test_a_request_is_no_reply() -> None:
    with pytest.raises(ProtocolError, match="not that of a reply"):
        read(encode_text(TextKind.REQUEST, ""), frozenset({TextKind.REPLY}))


@given(st.binary(max_size=100))
def test_other_bytes_end_in_nothing_or_a_clear_error(data: bytes) -> None:
    for start in (b"", b"trioton-text/1 ", b"trioton-text/1 request 3\n"):
        try:
            message = read(start + data, max_size=10)
        except ProtocolError:
            continue
        assert message is None or encode_text(*message) == start + data


def test_lone_surrogates_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_text(TextKind.REQUEST, "\ud800")
