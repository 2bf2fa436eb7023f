"""The vectors of sealed links are what the library says, and what it understands and refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioton.errors import ProtocolError
from trioton.protocol import sealing
from trioton.protocol.frames import SEALED_PREFACE
from trioton.protocol.sealing import DiallingHandshake, ListeningHandshake, key_id
from trioton.transports import psk

from .reference_pages import REFERENCE

PAGE = (REFERENCE / "wire_sealed.rst").read_text(encoding="utf-8")
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((REFERENCE / "wire_vectors" / "sealed.json").read_text())


def shake(vector: dict[str, Any]) -> tuple[DiallingHandshake, ListeningHandshake]:
    """Both ends of a handshake, which say what the vector has."""
    taken = {key_id(secret.encode()): secret.encode() for secret in vector["taken"]}
    client = DiallingHandshake(
        [secret.encode() for secret in vector["offered"]], bytes.fromhex(vector["client_chance"])
    )
    server = ListeningHandshake(taken, bytes.fromhex(vector["server_chance"]))
    assert client.greeting.hex(" ") == vector["greeting"]
    answer = server.receive_data(client.greeting)
    assert answer.hex(" ") == vector["answer"]
    proof = client.receive_data(answer)
    assert proof is not None
    assert proof.hex(" ") == vector["proof"]
    server.receive_data(proof)
    assert server.is_over
    return client, server


@pytest.mark.parametrize("vector", VECTORS["handshakes"], ids=lambda vector: str(vector["name"]))
def test_handshake_and_records(vector: dict[str, Any]) -> None:
    client, server = shake(vector)
    ends = {"client": (client.sealer, server.opener), "server": (server.sealer, client.opener)}
    for record in vector["records"]:
        sealer, opener = ends[record["from"]]
        text = record["text"].encode()
        assert sealer.seal([text]).hex(" ") == record["bytes"]
        assert opener.receive_data(bytes.fromhex(record["bytes"])) == text
        assert opener.has_ended is (not text)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: str(vector["name"]))
def test_records_that_are_refused(vector: dict[str, Any]) -> None:
    _, server = shake(VECTORS["handshakes"][0])
    with pytest.raises(ProtocolError, match=vector["error"]):
        server.opener.receive_data(bytes.fromhex(vector["bytes"]))


def test_what_the_page_says() -> None:
    assert SEALED_PREFACE.hex(" ") in PAGE
    for words in (
        sealing._KEY_ID,
        sealing._DIALLER_PROOF,
        sealing._LISTENER_PROOF,
        sealing._DIALLER_RECORDS,
        sealing._LISTENER_RECORDS,
        psk._PURPOSE,
    ):
        assert words.decode() in PAGE
    assert f"at most {sealing.MAX_RECORD} bytes" in PAGE
    assert f"(1 to {sealing.MOST_KEYS})" in PAGE
