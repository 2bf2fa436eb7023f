"""The handshake: what contexts say of themselves, what may be missing, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol.control import MAX_REASON
from trioton.protocol.frames import PREFACE, PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.handshake import MAX_NAME, STRANGER_REPLY, Hello, encode_refusal, parse_refusal
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import Limits

TOKEN = bytes(range(16))
BOTH = [FrameKind.HELLO, FrameKind.WELCOME]
LEAST: dict[str, Any] = {
    "id": TOKEN,
    "name": "",
    "pid": 1,
    "host": TOKEN[::-1],
    "max_package": 1,
    "window_bytes": 2,
    "reassembly_bytes": 3,
    "lease": 1,
}
OPTIONAL: dict[str, Any] = {
    "uid": 0,
    "session": TOKEN,
    "resume": TOKEN,
    "move": TOKEN,
    "offer_path": "/run/x",
    "offer_token": TOKEN,
    "resumed": True,
    "returns": False,
    "retains": True,
    "stub": True,
    "leaf": True,
    "interval": 0.1,
}


NUMBER = [-1, 2**62, "1", 1.5, True, b"1"]
BYTES = [TOKEN[:15], TOKEN + b"x", "x" * 16, 5, []]
WRONG: dict[str, list[Any]] = {
    "id": [*BYTES, None],
    "name": ["x" * (MAX_NAME + 1), b"name", None, 5],
    "pid": [*NUMBER, None],
    "uid": NUMBER,
    "host": [*BYTES, None],
    "max_package": [*NUMBER, None],
    "window_bytes": [*NUMBER, None],
    "reassembly_bytes": [*NUMBER, None],
    "lease": [0, -1, 0.0, math.nan, math.inf, -math.inf, "1", None, True],
    "session": BYTES,
    "resume": BYTES,
    "move": BYTES,
    "offer_path": ["", "a\0b", "x" * 4096, b"/run/x", 5],
    "offer_token": BYTES,
    "resumed": [None, 0, 1, "true"],
    "returns": [None, 0, 1, "true"],
    "retains": [None, 0, 1, "true"],
    "stub": [None, 0, 1, "true"],
    "leaf": [0, 1, "true"],
    "interval": [0, -1, math.nan, math.inf, "1", True],
}


def parse(kind: FrameKind, fields: object) -> Hello:
    return Hello.from_header(kind, cbor2.dumps(fields))


def header_of(first_bytes: bytes, kind: FrameKind) -> bytes:
    assert first_bytes.startswith(PREFACE)
    found = PREFIX.unpack_from(first_bytes, len(PREFACE))
    header = first_bytes[len(PREFACE) + PREFIX_SIZE :]
    assert found == (kind, 0, len(header), 0)
    return header


HELLOS = st.builds(
    Hello,
    id=st.integers(0, 2**128 - 1).map(ContextId),
    name=st.text(max_size=MAX_NAME),
    pid=st.integers(0, 2**62 - 1),
    uid=st.none() | st.integers(0, 2**62 - 1),
    host=st.binary(min_size=16, max_size=16),
    max_package=st.integers(0, 2**62 - 1),
    window_bytes=st.integers(0, 2**62 - 1),
    reassembly_bytes=st.integers(0, 2**62 - 1),
    lease=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    session=st.binary(min_size=16, max_size=16),
    resume=st.none() | st.binary(min_size=16, max_size=16),
    move=st.none() | st.binary(min_size=16, max_size=16),
    offer_path=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=108),
    offer_token=st.none() | st.binary(min_size=16, max_size=16),
    resumed=st.booleans(),
    returns=st.booleans(),
    retains=st.booleans(),
    stub=st.booleans(),
    interval=st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)


@given(HELLOS, st.sampled_from(BOTH))
def test_a_hello_comes_back_as_it_was_and_fits(hello: Hello, kind: FrameKind) -> None:
    header = header_of(hello.to_frame(kind), kind)
    again = Hello.from_header(kind, header)
    assert again == hello
    assert type(again.id) is ContextId
    assert len(header) <= Limits().max_handshake


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", LEAST)
def test_what_must_be_there_is_missed(kind: FrameKind, name: str) -> None:
    fields = {**LEAST, **OPTIONAL}
    del fields[name]
    with pytest.raises(ProtocolError, match=f"a {kind.name} lacks the field {name}"):
        parse(kind, [fields])


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_may_be_missing_is_not(name: str) -> None:
    fields = {**LEAST, **OPTIONAL}
    del fields[name]
    default = next(field.default for field in attrs.fields(Hello) if field.name == name)
    assert getattr(parse(FrameKind.HELLO, [fields]), name) == (None if default is attrs.NOTHING else default)


def test_a_welcome_without_a_session_is_none() -> None:
    assert parse(FrameKind.HELLO, [LEAST]).session is None
    for fields in (LEAST, {**LEAST, "session": None}):
        with pytest.raises(ProtocolError, match="a WELCOME lacks the field session"):
            parse(FrameKind.WELCOME, [fields])


def test_every_field_is_in_the_table() -> None:
    assert {field.name for field in attrs.fields(Hello)} == WRONG.keys() == LEAST.keys() | OPTIONAL.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_field_is_named(name: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=f"the field {name} of a HELLO is wrong"):
        parse(FrameKind.HELLO, [{**LEAST, name: value}])


def test_what_a_later_version_adds_is_ignored() -> None:
    more = {**LEAST, "colour": "red", 5: [{}], None: b"", "": 1}  # type: ignore[misc]
    assert parse(FrameKind.HELLO, [more]) == parse(FrameKind.HELLO, [LEAST])


@pytest.mark.parametrize("fields", [[], [LEAST, LEAST], LEAST, ["x"], [[LEAST]], [None]], ids=lambda f: repr(f)[:20])
def test_anything_but_an_array_of_one_map_is_refused(fields: object) -> None:
    with pytest.raises(ProtocolError):
        parse(FrameKind.HELLO, fields)


def test_secrets_are_not_shown() -> None:
    shown = repr(parse(FrameKind.WELCOME, [{**LEAST, **OPTIONAL, "id": bytes(16)}]))
    assert repr(TOKEN) not in shown
    assert "/run/x" not in shown


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("is_unproved", [False, True])
@pytest.mark.parametrize("reason", ["no", "", "two\nlines", "x" * 5000, "\ud800"])
def test_a_refusal_brings_its_reason(reason: str, is_unproved: bool) -> None:
    header = header_of(encode_refusal(reason, bytes(range(16)), unproved=is_unproved), FrameKind.REFUSE)
    assert len(header) <= Limits().max_handshake
    again, source, unproved = parse_refusal(header)
    assert source == bytes(range(16))
    assert unproved is is_unproved
    assert len(again) <= MAX_REASON
    assert "\n" not in again
    assert again[:2] == reason[:2] or not reason.isprintable()


@pytest.mark.parametrize(
    "fields",
    [[], ["no"], [b"no", bytes(16)], ["no", "no"], ["no", bytes(15)], ["no", bytes(16), 1], [None, bytes(16)], "no"],
)
def test_a_refusal_is_a_text_and_an_identity(fields: object) -> None:
    with pytest.raises(ProtocolError):
        parse_refusal(cbor2.dumps(fields))


def test_a_server_cannot_write_lines_into_our_log() -> None:
    reason, _source, _unproved = parse_refusal(cbor2.dumps(["one\ntwo" + "x" * 5000, bytes(16)]))
    assert reason == "one two" + "x" * (MAX_REASON - 8) + "…"


def test_strangers_get_an_answer_that_their_tools_show() -> None:
    head, body = STRANGER_REPLY.split(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 400 Bad Request"
    assert b"Content-Length: %d" % len(body) in head
    assert b"Trioton" in body
    assert body.endswith(b"\r\n")
