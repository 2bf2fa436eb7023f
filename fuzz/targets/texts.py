"""Targets for text that comes from outside: single requests, addresses, the broker's file of settings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from trioton.cli.broker_settings import Options, Settings, SettingsError, _read_file, read_settings
from trioton.errors import AddressError, ProtocolError
from trioton.protocol.text_requests import TextKind, TextMessage, TextReader, encode_text
from trioton.transports.address import parse_address

from ..violation import require

_KINDS: Final = (frozenset({TextKind.REQUEST}), frozenset(TextKind) - {TextKind.REQUEST})
_MOST: Final = 2000


def text_requests(data: bytes) -> None:
    """A stream with a request or a reply, cut anywhere: the same message, a refusal, or more is needed."""
    how, stream = data[:2].ljust(2, b"\0"), data[2:]
    whole = _read(stream, _KINDS[how[0] & 1], len(stream) or 1)
    found = _read(stream, _KINDS[how[0] & 1], 1 + how[1])
    require(found == whole or "refused" in {found, whole}, "a text does not depend on the cut")
    if isinstance(whole, TextMessage):
        require(encode_text(*whole) == stream, "a text stays the same")


def _read(data: bytes, kinds: frozenset[TextKind], cut: int) -> object:
    reader = TextReader(kinds, max_size=1000)
    for at in range(0, len(data), cut):
        try:
            message = reader.receive_data(data[at : at + cut])
        except ProtocolError as error:
            require(len(str(error)) < _MOST, "a refusal is short")
            return "refused"
        if message is not None:
            return message if at + cut >= len(data) else "refused"  # who reads on is refused
    return None


def address(data: bytes) -> None:
    """The text of an address: what is understood is understood the same when it is written again."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = parse_address(text)
    except AddressError as error:
        require(len(str(error)) < _MOST, "a refusal is short")
        return
    require(parse_address(str(found)) == found, "an address stays the same")
    require(found.port is None or 0 <= found.port <= 65535, "a port is one")


def settings(data: bytes) -> None:
    """The file of settings of a broker: taken, or refused with one line that names the file."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            if _names_files(path := Path(file.name)):
                return  # of which some, such as /dev/zero, never end
            found = read_settings(Options(), path)
        except SettingsError as error:
            require("\n" not in str(error), "a refusal is one line")
            return
    require(isinstance(found, Settings), "settings are settings")


def _names_files(path: Path) -> bool:
    tls = _read_file(path).tls
    return any(name is not None for name in (tls.certificate, tls.key, tls.ca))
