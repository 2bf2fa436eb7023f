"""What the reference says of the wire and of the public names must be what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trioton
from trioton.protocol import control, frames, handshake, packages
from trioton.protocol.frames import FrameKind

REFERENCE = Path(__file__).parent / "reference"
WIRE = (REFERENCE / "wire.rst").read_text(encoding="utf-8")
API = (REFERENCE / "api.rst").read_text(encoding="utf-8")

SOURCE = bytes(range(16))


def ping() -> bytes:
    return control.encode_control(control.Ping(7))


def close() -> bytes:
    return control.encode_control(control.Close("bye"))


def subscribe() -> bytes:
    return control.encode_control(control.Subscribe("chat.txt.pub-sub", 1, 0, 1024, 1, None, None))


def credit() -> bytes:
    return control.encode_control(control.Credit(SOURCE, "chat.txt.pub-sub", 3, 10, 1034))


def package() -> bytes:
    template = packages.PackageTemplate(SOURCE, "chat.txt.pub-sub", 3)
    body = bytes.fromhex("82") + b"\x65hello" + b"\x65world"
    return packages.Package(template.header(10, 2), [body], len(body), 10, 2).frame()


def refusal() -> bytes:
    return handshake.encode_refusal("no", SOURCE)


VECTORS = {function.__name__: function for function in (ping, close, subscribe, credit, package, refusal)}


def documented_vectors() -> dict[str, bytes]:
    block = WIRE.partition("Test vectors\n")[2]
    found = re.findall(r"^   # (\w+): .*\n((?:   [0-9a-f ]+\n)+)", block, re.MULTILINE)
    return {name: bytes.fromhex(text) for name, text in found}


def table_rows(*, after: str) -> list[list[str]]:
    """The cells of the first table behind a heading, without the table's own headings."""
    table = WIRE.partition(f"\n{after}\n")[2].partition("\n==")[2].partition("\n\n")[0]
    *_, rows, _ = re.split(r"\n==.*", f"\n=={table}")
    return [re.split(r"\s{2,}", line) for line in rows.strip().splitlines()]


@pytest.mark.parametrize("name", VECTORS)
def test_vector_is_what_is_sent(name: str) -> None:
    assert documented_vectors()[name].hex(" ") == VECTORS[name]().hex(" ")


def test_every_documented_vector_is_tested() -> None:
    assert documented_vectors().keys() == VECTORS.keys()


def test_preface() -> None:
    assert frames.PREFACE.hex(" ") in WIRE


def test_table_of_frames_is_complete() -> None:
    rows = {int(row[0]): row for row in table_rows(after="Frames")}
    assert {number: row[1] for number, row in rows.items()} == {int(kind): kind.name for kind in FrameKind}
    for kind, message in control.CONTROL_KINDS.items():
        assert rows[kind][2] == f"``[{', '.join(message._fields)}]``"


def test_table_of_the_handshake_is_complete() -> None:
    fields = {row[0].strip("`") for row in table_rows(after="The handshake")}
    assert fields == set(handshake._FIELD_CHECKS)


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"^\.\. (?:auto\w+|data|module):: (?:trioton\.)?(\w+)", API, re.MULTILINE))
    modules = {"annotations", "channels", "cli", "errors", "network", "protocol", "testing", "transports"}
    aliases = {"Event", "Policy"}  # unions of classes that are documented each
    public = {name for name in vars(trioton) if name.isidentifier() and not name.startswith("_")} - modules - aliases
    assert public - documented == set()
