"""Certificates on both sides, over real sockets: who gets in, as whom, and what is said when somebody does not."""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path

import pytest
import trio
import trustme
from cryptography.x509.oid import ExtendedKeyUsageOID

import trioton
from trioton.cli.authority import KeysError

from .certificates import Office

pytestmark = pytest.mark.net


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office.opened(tmp_path / "ours")


async def try_to_connect(server: trioton.Mutual, client: trioton.Mutual | None, **options: object) -> BaseException:
    """What a client hears that is not taken in, by a server that then has nobody, and got nothing."""
    async with (
        trioton.open_context("server", security=server) as there,
        trioton.open_context("client", security=client) as here,
    ):
        listener = await there.bind("tls://127.0.0.1:0")
        publisher = trioton.PubChannel(here, "news")
        await publisher.send("for those who belong to us only")
        with pytest.raises(OSError) as caught:
            await here.connect(listener.address, **options)  # type: ignore[arg-type]
        assert not there.connections
        assert not here.connections
        assert here.statistics().messages_sent == 0
        assert there.statistics().messages_received == 0
    return caught.value


async def test_t02_each_end_knows_which_node_the_other_is(office: Office) -> None:
    async with (
        trioton.open_context("a", security=office.mutual("alpha", is_router=True)) as a,
        trioton.open_context("b", security=office.mutual("beta")) as b,
    ):
        listener = await a.bind("tls://127.0.0.1:0")
        to_a = await b.connect(listener.address, identity="alpha")
        await a.wait_context("b")
        to_b = a.connection("b")
        assert (to_a.peer.identity, to_a.kind, to_a.transport) == ("alpha", "trusted", "tls")
        assert (to_b.peer.identity, to_b.kind) == ("beta", "peer")
        publisher, subscriber = trioton.PubChannel(a, "news"), trioton.SubChannel(b, "news")
        await publisher.wait_subscribers(1)
        await publisher.send("hello")
        assert await subscriber.receive() == "hello"


async def test_whom_one_expects(office: Office) -> None:
    error = await try_to_connect(office.mutual("alpha"), office.mutual("beta"), identity="gamma")
    assert isinstance(error, trioton.AuthError)
    assert "'gamma' was expected there, and who answers is 'alpha'" in str(error)


async def test_r45_wrong_certificates_of_clients(office: Office, tmp_path: Path) -> None:
    """T3: TLS tells the client that all is well before the server has looked; nothing leaves before the server says welcome."""
    server = office.mutual("alpha")
    others = Office.opened(tmp_path / "theirs")
    for client, words in (
        (others.mutual("beta", trusts=office), "does not accept us: .*unknown ca"),
        (office.odd("trioton:node/late", days=-1), "does not accept us: .*certificate expired"),
        (office.odd("trioton:nodes/beta"), "names no node"),
        (office.odd(), "names no node"),
        (office.odd("trioton:node/one", "trioton:node/two"), "names 2 nodes"),
        (office.odd("trioton:node/a b"), "a node's name has"),
        (office.odd("trioton:node/secret"), "a node's name has"),
        (office.odd("trioton:node/s", purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "does not accept us"),
    ):
        error = await try_to_connect(server, client)
        assert isinstance(error, trioton.AuthError), error
        with pytest.raises(trioton.AuthError, match=words):
            raise error


async def test_r45_wrong_certificates_of_servers(office: Office, tmp_path: Path) -> None:
    client = office.mutual("beta")
    others = Office.opened(tmp_path / "theirs")
    for server, words in (
        (others.mutual("alpha", trusts=office), "not accepted: unable to get local issuer certificate"),
        (office.odd("trioton:node/late", days=-1), "not accepted: certificate has expired"),
        (office.odd("trioton:role/router"), "names no node"),
        (office.odd("trioton:node/c", purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "not accepted: unsuitable"),
    ):
        error = await try_to_connect(server, client)
        assert isinstance(error, trioton.AuthError), error
        with pytest.raises(trioton.AuthError, match=words):
            raise error


async def test_r45_no_certificate(office: Office) -> None:
    context = ssl.create_default_context(cafile=office.authority.certificate_file)
    context.check_hostname = False
    error = await try_to_connect(office.mutual("alpha"), None, ssl_context=context)
    assert isinstance(error, trioton.AuthError), error
    assert "certificate required" in str(error)


async def test_wait_does_not_wait_for_what_will_not_come(office: Office, tmp_path: Path) -> None:
    others = Office.opened(tmp_path / "theirs")
    error = await try_to_connect(office.mutual("alpha"), others.mutual("beta", trusts=office), wait=True)
    assert isinstance(error, trioton.AuthError)


async def test_one_line_in_the_log_says_who_was_turned_away(
    office: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = Office.opened(tmp_path / "theirs")
    with caplog.at_level(logging.INFO):
        await try_to_connect(office.mutual("alpha"), others.mutual("beta", trusts=office))
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "not accepted: unable to get local issuer certificate; closed" in line]) == 1
    assert len(lines) == 1


async def test_a_role_that_another_authority_has_issued_counts_for_nothing(office: Office) -> None:
    """With an `ssl_context` of one's own only the name in the certificate counts, and gives no right to speak for others."""
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(server)
    ca.configure_trust(client)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(office.authority.certificate_file)
    office.mutual("rho", is_router=True)
    folder = office.authority.folder
    client.load_cert_chain(folder / "rho.pem", folder / "rho.key")
    for security in (None, office.mutual("alpha")):
        async with (
            trioton.open_context("a", security=security) as a,
            trioton.open_context("b") as b,
        ):
            listener = await a.bind("tls://localhost:0", ssl_context=server)
            connection = await b.connect(listener.address, ssl_context=client, identity="localhost")
            await a.wait_context("b")
            assert (a.connection("b").kind, a.connection("b").peer.identity) == ("peer", "trioton:node/rho")
            assert (connection.kind, connection.peer.identity) == ("peer", "localhost")


async def test_where_nothing_proves_an_identity_none_can_be_expected(office: Office) -> None:
    secret = trioton.Secret.generate()
    for security, address, options in (
        (None, "localhost:1", {}),
        (secret, "localhost:1", {}),
        (secret, "tls://localhost:1", {}),
        (office.mutual("alpha"), "localhost:1", {}),
        (office.mutual("alpha"), "unix:///run/x", {}),
    ):
        async with trioton.open_context(security=security) as context:
            with pytest.raises(ValueError, match="identity='beta' cannot be proved at "):
                await context.connect(address, identity="beta", **options)
    async with trioton.open_context(security=office.mutual("alpha")) as context:
        with pytest.raises(TypeError, match="identity must be a str or None, not 1"):
            await context.connect("tls://localhost:1", identity=1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="identity must not be empty"):
            await context.connect("tls://localhost:1", identity="")


async def test_t01_plain_tcp_to_others_has_to_be_meant(office: Office) -> None:
    async with trioton.open_context(security=office.mutual("alpha")) as context:
        for verb in (context.bind, context.connect):
            with pytest.raises(ValueError, match=r"without TLS, where nobody shows a certificate.*insecure=True"):
                await verb("192.0.2.1:9000")
        listener = await context.bind("localhost:0")  # nobody proves anything here
        async with trioton.open_context(security=office.mutual("beta")) as other:
            connection = await other.connect(listener.address, local_shortcut=False)
            assert (connection.kind, connection.peer.identity) == ("unauthenticated", None)


# ---------------------------------------------------------------- renewal


async def test_certificates_are_renewed_without_a_restart(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    server = office.mutual("alpha")
    folder = office.authority.folder
    async with trioton.open_context("a", security=server) as a:
        listener = await a.bind("tls://127.0.0.1:0")

        async def connect_once() -> str | None:
            async with trioton.open_context(security=office.mutual("beta")) as client:
                return (await client.connect(listener.address)).peer.identity

        assert await connect_once() == "alpha"
        good = (folder / "alpha.pem").read_bytes()
        (folder / "alpha.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken")
        with caplog.at_level(logging.WARNING):
            assert await connect_once() == "alpha"
            assert await connect_once() == "alpha"
        stays = [each for each in caplog.records if "stay as they were" in each.getMessage()]
        assert len(stays) == 1
        assert "alpha.pem" in stays[0].getMessage()
        office.mutual("omega")
        (folder / "alpha.pem").unlink()
        assert await connect_once() == "alpha"
        (folder / "alpha.key").write_bytes((folder / "omega.key").read_bytes())
        (folder / "alpha.pem").write_bytes((folder / "omega.pem").read_bytes())
        assert await connect_once() == "omega"
        (folder / "alpha.pem").write_bytes(good)  # with the other's key
        assert await connect_once() == "omega"


async def test_a_link_that_is_made_again_uses_what_was_renewed(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """A client whose certificate was refused meanwhile says so once, dials on, and resumes when it has a good one."""
    others = Office.opened(office.authority.folder.parent / "theirs")
    others.authority.issue("beta", is_router=False, days=5)
    folder, wrong = office.authority.folder, others.authority.folder
    async with (
        trioton.open_context("a", security=office.mutual("alpha")) as a,
        trioton.open_context("b", security=office.mutual("beta")) as b,
    ):
        listener = await a.bind("tls://127.0.0.1:0")
        connection = await b.connect(listener.address, reconnect=trioton.Reconnect(first=0.01, maximum=0.02))
        events, heard = b.events(), trio.Event()

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "does not accept us" in record.getMessage():
                    heard.set()

        handler = Listener()
        logging.getLogger("trioton").addHandler(handler)
        good = [(folder / f"beta.{end}").read_bytes() for end in ("pem", "key")]
        for end in ("pem", "key"):
            (folder / f"beta.{end}").write_bytes((wrong / f"beta.{end}").read_bytes())
        with caplog.at_level(logging.WARNING):
            assert connection._link is not None
            connection._link.transport._transport._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
            with trio.fail_after(5):
                await heard.wait()
            for end, content in zip(("pem", "key"), good, strict=True):
                (folder / f"beta.{end}").write_bytes(content)
            with trio.fail_after(10):
                async for event in events:
                    if isinstance(event, trioton.Resumed):
                        break
        assert sum("does not accept us" in each.getMessage() for each in caplog.records) == 1
        assert connection.kind == "peer"
        logging.getLogger("trioton").removeHandler(handler)


def test_files_that_are_no_good(office: Office, tmp_path: Path) -> None:
    office.mutual("alpha")
    office.mutual("beta")
    folder = office.authority.folder
    good = {"certificate": folder / "alpha.pem", "key": folder / "alpha.key", "authority": folder / "authority.pem"}
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(FileNotFoundError, match="nothing"):
        trioton.Mutual(**{**good, "key": tmp_path / "nothing"})
    for name, file, words in (
        ("authority", text, "the authority '.*text' is no certificate in PEM form"),
        ("certificate", text, "the certificate '.*text' with its key: no PEM form"),
        ("key", folder / "beta.key", "with its key: key values mismatch"),
    ):
        with pytest.raises(ValueError, match=words):
            trioton.Mutual(**{**good, name: file})
    assert "alpha.pem" in repr(trioton.Mutual(**good))


def test_one_file_may_hold_both(office: Office, tmp_path: Path) -> None:
    office.mutual("alpha")
    folder = office.authority.folder
    both = tmp_path / "both.pem"
    both.write_bytes((folder / "alpha.pem").read_bytes() + (folder / "alpha.key").read_bytes())
    both.chmod(0o644)
    with pytest.raises(ValueError, match=r"others may read the key in .*both.pem', whose mode is 0644; chmod 600 it"):
        trioton.Mutual(certificate=both, authority=folder / "authority.pem")
    both.chmod(0o600)
    trioton.Mutual(certificate=both, authority=folder / "authority.pem")


def test_the_office_is_one(office: Office) -> None:
    with pytest.raises(KeysError, match="already"):
        office.authority.create(1)
