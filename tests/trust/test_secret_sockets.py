"""A shared secret over real sockets: with TLS or without, and where it comes from."""

from __future__ import annotations

import logging
import os
import ssl
import stat
import sys
from pathlib import Path

import pytest
import trustme

import trioton
from trioton import Secret, blocking
from trioton.transports.secret import MOST_FILE_BYTES

pytestmark = pytest.mark.net

VALUE = "correct horse battery staple"
OLD = "what was good enough for years"

takes_psk = pytest.mark.skipif(sys.version_info < (3, 13), reason="TLS with a secret takes Python 3.13")


async def test_links_on_one_machine_move_to_a_unix_socket_all_the_same() -> None:
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b", security=Secret(VALUE)) as b,
    ):
        listener = await a.bind("localhost:0")
        connection = await b.connect(listener.address)
        assert (connection.transport, connection.kind, connection.peer.identity) == ("unix", "trusted", None)
        await connection.aclose()
        connection = await b.connect(listener.address, local_shortcut=False)
        assert (connection.transport, connection.kind, connection.peer.identity) == ("tcp", "trusted", "secret")


async def test_a_session_that_has_moved_comes_back_over_the_sealed_way() -> None:
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b", security=Secret(VALUE)) as b,
    ):
        listener = await a.bind("localhost:0")
        connection = await b.connect(listener.address, reconnect=trioton.Reconnect(first=0))
        publisher, subscriber = trioton.PubChannel(a, "news"), trioton.SubChannel(b, "news")
        await publisher.wait_subscribers(1)
        for number in range(3):
            assert connection._link is not None
            connection._link.transport._socket.shutdown(2)  # type: ignore[attr-defined]
            await publisher.send(str(number))
            assert await subscriber.receive() == str(number)
        assert connection.statistics().transports > 1


def test_contexts_for_threads_take_it_too() -> None:
    secret = Secret(VALUE)
    with blocking.open_context("a", security=secret) as a, blocking.open_context("b", security=secret) as b:
        listener = a.bind("localhost:0")
        connection = b.connect(listener.address, local_shortcut=False, timeout=10)
        assert connection.peer.identity == "secret"
        with blocking.open_context("c") as c, pytest.raises(trioton.AuthError):
            c.connect(listener.address, timeout=10)


async def test_who_knows_nothing_stays_outside() -> None:
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b") as b,
        trioton.open_context("c", security=Secret(OLD)) as c,
    ):
        listener = await a.bind("localhost:0")
        with pytest.raises(trioton.AuthError, match="takes in only who knows its secret"):
            await b.connect(listener.address)
        with pytest.raises(trioton.AuthError, match="does not know our secret"):
            await c.connect(listener.address)


async def test_t01_sealed_is_not_hidden_and_has_to_be_meant_off_the_loopback() -> None:
    async with trioton.open_context(security=Secret(VALUE)) as context:
        for verb in (context.bind, context.connect):
            with pytest.raises(ValueError, match="others can read along though not write, takes insecure=True"):
                await verb("192.0.2.1:9000")


async def test_the_secret_within_tls_of_ones_own() -> None:
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b", security=Secret(VALUE)) as b,
        trioton.open_context("c", security=Secret(OLD)) as c,
        trioton.open_context("d") as d,
    ):
        listener = await a.bind("tls://localhost:0", ssl_context=server)
        connection = await b.connect(listener.address, ssl_context=client)
        assert (connection.transport, connection.kind, connection.peer.identity) == ("tls", "trusted", "secret")
        with pytest.raises(trioton.AuthError, match="does not know our secret"):
            await c.connect(listener.address, ssl_context=client)
        with pytest.raises(trioton.AuthError, match="takes in only who knows its secret"):
            await d.connect(listener.address, ssl_context=client)


async def test_r43_plain_words_at_a_door_of_tls(caplog: pytest.LogCaptureFixture) -> None:
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server)
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b", security=Secret(VALUE)) as b,
    ):
        listener = await a.bind("tls://localhost:0", ssl_context=server)
        with caplog.at_level(logging.WARNING), pytest.raises(trioton.ConnectError):
            await b.connect(f"localhost:{listener.port}")
        assert len(caplog.records) == 1
        assert "does not speak TLS" in caplog.records[0].getMessage()


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python can do it")
async def test_tls_with_a_secret_takes_a_newer_python() -> None:
    async with trioton.open_context(security=Secret(VALUE)) as context:
        for verb in (context.bind, context.connect):
            with pytest.raises(ValueError, match=r"takes Python 3\.13"):
                await verb("tls://localhost:0")


@takes_psk
@pytest.mark.parametrize("ours", [Secret(VALUE), Secret(OLD, accepted=[Secret(VALUE)])])
async def test_tls_with_nothing_but_the_secret(ours: Secret) -> None:
    async with (
        trioton.open_context("a", security=ours) as a,
        trioton.open_context("b", security=Secret(VALUE)) as b,
    ):
        listener = await a.bind("tls://localhost:0")
        connection = await b.connect(listener.address)
        assert (connection.transport, connection.kind, connection.peer.identity) == ("tls", "trusted", "secret")
        assert connection._link is not None
        assert connection._link.transport.tls_version == "TLSv1.3"  # type: ignore[attr-defined]
        publisher, subscriber = trioton.PubChannel(b, "news"), trioton.SubChannel(a, "news")
        await publisher.wait_subscribers(1)
        await publisher.send("x" * 300_000)
        assert len(await subscriber.receive()) == 300_000


@takes_psk
async def test_r46_tls_with_another_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A name that the server does not know, the right name with another key, none at all, and a certificate in place of the proof."""
    from trioton.protocol.sealing import key_id
    from trioton.transports import psk

    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    async with (
        trioton.open_context("a", security=Secret(VALUE)) as a,
        trioton.open_context("b", security=Secret(OLD)) as b,
        trioton.open_context("c") as c,
    ):
        listener = await a.bind("tls://localhost:0")
        with pytest.raises(trioton.AuthError):
            await b.connect(listener.address)
        with pytest.raises(trioton.ConnectError):
            await c.connect(listener.address, ssl_context=trusting)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psk, "key_id", lambda _secret: key_id(VALUE.encode()))
            with pytest.raises(trioton.AuthError):
                await b.connect(listener.address)
        assert not a.connections
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(server)
        evil = await c.bind("tls://localhost:0", ssl_context=server)
        with pytest.raises(trioton.AuthError, match="is not accepted"):
            await b.connect(evil.address)


# ---------------------------------------------------------------- where secrets come from


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("value", ["short", b"x" * 15, ""])
def test_short_secrets_are_refused_and_not_shown(value: str | bytes) -> None:
    with pytest.raises(ValueError, match="value must have at least 16 bytes to be a secret, not") as caught:
        Secret(value)
    assert not value or str(value) not in str(caught.value)


def test_what_is_no_secret_at_all() -> None:
    for wrong in (None, 17, bytearray(32)):
        with pytest.raises(TypeError, match="value must be bytes or a str, not "):
            Secret(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has characters that are none") as caught:
        Secret("\ud800" + VALUE)
    assert caught.value.__cause__ is None
    assert VALUE not in str(caught.value)
    with pytest.raises(TypeError, match="accepted must be several secrets"):
        Secret(VALUE, accepted=OLD)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"accepted must be several secrets, .* not one int"):
        Secret(VALUE, accepted=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"accepted must hold trioton.Secret objects, such as .*, not str"):
        Secret(VALUE, accepted=["/etc/trioton/old.secret"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="accepted must be at most 7 secrets, not 8"):
        Secret(VALUE, accepted=[Secret(OLD)] * 8)


def test_a_repr_tells_where_it_is_from_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", VALUE)
    assert repr(Secret(VALUE)) == "<Secret>"
    assert repr(Secret(VALUE, accepted=[Secret(OLD)])) == "<Secret, 1 more accepted>"
    assert repr(Secret.from_file(path)) == f"<Secret of {str(path)!r}>"


def test_a_generated_one_is_new_and_can_be_saved(tmp_path: Path) -> None:
    secret = Secret.generate()
    secret.save(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert Secret.from_file(tmp_path / "new")._secrets() == secret._secrets() != Secret.generate()._secrets()
    with pytest.raises(FileExistsError):
        secret.save(tmp_path / "new")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWORK_SECRET", VALUE)
    assert Secret.from_environment("NETWORK_SECRET", accepted=[Secret(OLD)])._secrets() == [
        VALUE.encode(),
        OLD.encode(),
    ]
    monkeypatch.setenv("NETWORK_SECRET", "short")
    with pytest.raises(ValueError, match="environment variable 'NETWORK_SECRET' must have at least 16 bytes"):
        Secret.from_environment("NETWORK_SECRET")
    with pytest.raises(ValueError, match="there is no environment variable 'NOTHING' with a secret"):
        Secret.from_environment("NOTHING")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_line_end_does_not_count(tmp_path: Path, end: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(VALUE.encode() + end.encode())
    path.chmod(0o600)
    assert Secret.from_file(path)._secrets() == [VALUE.encode()]


@pytest.mark.skipif(os.name != "posix", reason="modes of files are for POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match=f"others may read the secret in .*, whose mode is {mode:04o}; chmod 600 it"):
        Secret.from_file(write(tmp_path / "secret", VALUE, mode))


def test_files_that_are_no_good(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Secret.from_file(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"the file '.*' must have at least 16 bytes"):
        Secret.from_file(write(tmp_path / "short", "short"))
    with pytest.raises(ValueError, match="is too long for a secret"):
        Secret.from_file(write(tmp_path / "long", "x" * (MOST_FILE_BYTES + 1)))


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "secret", OLD)
    secret = Secret(VALUE, accepted=[Secret.from_file(path)])
    for content, mode, used in (
        (VALUE, 0o600, VALUE),
        ("short", 0o600, VALUE),
        (OLD, 0o644, VALUE),
        (OLD, 0o600, OLD),
    ):
        caplog.clear()
        write(path, content, mode)
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                assert secret._secrets() == [VALUE.encode(), used.encode()]
        assert len(caplog.records) == 1
        assert ("stays as it was" in caplog.text) is (used != content)
        assert VALUE not in caplog.text
        assert OLD not in caplog.text
    path.unlink()
    with caplog.at_level(logging.WARNING):
        assert secret._secrets()[1] == secret._secrets()[1] == OLD.encode()
    assert "No such file" in caplog.text


def test_t20_no_secret_on_any_command_line() -> None:
    """Where all users of a machine could read it: there is no option that takes one."""
    from trioton.cli.commands import cli

    for command in cli.commands.values():
        names = {name for parameter in command.params for name in parameter.opts if "secret" in name}
        assert names <= {"--secret-file", "--secret-env"}
