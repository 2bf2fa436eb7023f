"""``trioton keys``, and the options by which commands prove who they are."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import trioton
from trioton.cli import commands, keys
from trioton.cli.authority import Authority
from trioton.cli.broker import Broker
from trioton.cli.broker_settings import Options, SettingsError, read_settings
from trioton.cli.pubsub import Place
from trioton.cli.security import SecurityError, make_security

VALUE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> int:
    return commands.run(["keys", *words])


def secret_file(name: str = "secret") -> str:
    trioton.Secret(VALUE).save(name)
    return name


# ---------------------------------------------------------------- making them


def test_an_authority_and_its_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", "--days", "1000") == 0
    assert run("new", "alpha", "--router") == 0
    assert run("new", "beta", "--days", "30") == 0
    capsys.readouterr()
    assert run("show") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[1], line[4]) for line in lines] == [
        ("authority", "authority", "999"),
        ("alpha", "router", "364"),
        ("beta", "node", "29"),
    ]
    folder = Path("keys")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.glob("*.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    trioton.Mutual(certificate="keys/alpha.pem", key="keys/alpha.key", authority="keys/authority.pem")
    text = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "keys/authority.pem", "keys/alpha.pem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert text.stdout == "keys/alpha.pem: OK\n", text


def test_renewal_keeps_the_key_and_the_role(capsys: pytest.CaptureFixture[str]) -> None:
    run("init", "-d", "here")
    run("new", "-d", "here", "alpha", "--router", "--days", "3")
    before = [Path("here/alpha.key").read_bytes(), Path("here/alpha.pem").read_bytes()]
    capsys.readouterr()
    assert run("renew", "-d", "here", "alpha", "--days", "50") == 0
    assert "the router alpha, valid for 49 days" in capsys.readouterr().out
    after = [Path("here/alpha.key").read_bytes(), Path("here/alpha.pem").read_bytes()]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert not list(Path("here").glob("*.new"))


def test_no_certificate_outlives_its_authority() -> None:
    run("init", "--days", "10")
    run("new", "alpha", "--days", "100")
    ends = {each.until for each in Authority(Path("keys")).issued()}
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["new", "alpha"], "there is no authority in 'keys'; `trioton keys init` makes one"),
        (["show"], "there is no authority in 'keys'"),
        (["renew", "alpha"], "there is no certificate of 'alpha' in 'keys'"),
        (["new", "a/b"], "a node's name has 1 to 64 letters"),
        (["new", "secret"], "a node's name has 1 to 64 letters"),
        (["new", "authority"], "is the authority's own name"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], error: str) -> None:
    assert run(*words) == 2
    shown = capsys.readouterr().err
    assert error in shown
    assert shown.count("\n") == 1


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    run("init")
    run("new", "alpha")
    before = {file: file.read_bytes() for file in Path("keys").iterdir()}
    assert run("init") == 2
    assert "there is an authority in 'keys' already" in capsys.readouterr().err
    assert run("new", "alpha") == 2
    assert "'alpha' has a certificate already; `trioton keys renew alpha`" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in Path("keys").iterdir()}


def test_damaged_files(capsys: pytest.CaptureFixture[str]) -> None:
    run("init")
    run("new", "alpha")
    Path("keys/alpha.key").write_text("nothing")
    assert run("renew", "alpha") == 2
    assert "'keys/alpha.key' is no key in PEM form" in capsys.readouterr().err
    Path("keys/alpha.pem").write_text("nothing")
    assert run("show") == 2
    assert "'keys/alpha.pem' is no certificate in PEM form" in capsys.readouterr().err
    Path("keys/authority.key").unlink()
    assert run("new", "beta") == 1
    assert "keys/authority.key: No such file" in capsys.readouterr().err


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_directory: Path) -> Authority:
        raise ImportError("No module named 'cryptography'")

    monkeypatch.setattr(keys, "_authority", fail)
    assert run("init") == 1
    assert "this needs the package cryptography: pip install trioton[keys]" in capsys.readouterr().err


def test_the_command_line_starts_without_cryptography() -> None:
    code = "import sys, trioton.cli.commands; print([name for name in ('cryptography', 'hmac') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cryptography" not in done.stdout


def test_a_new_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("secret", "shared") == 0
    shown = capsys.readouterr().out
    assert Path("shared").read_text().strip() not in shown
    assert len(Path("shared").read_text()) == 44
    trioton.Secret.from_file("shared")
    assert run("secret", "shared") == 1
    assert "shared cannot be written: File exists" in capsys.readouterr().err


# ---------------------------------------------------------------- options


def test_options_that_do_not_go_together() -> None:
    file = secret_file()
    for given, words in (
        ({"secret_file": file, "secret_env": "S"}, "--secret-file and --secret-env do not go together"),
        ({"secret_file": file, "key": "k"}, "--secret-file does not go together with certificates"),
        ({"certificate": "c"}, "--certificate and --authority go together"),
        ({"key": "k"}, "--certificate and --authority go together"),
        ({"secret_file": "nothing"}, "cannot read 'nothing': No such file"),
        ({"secret_env": "NOTHING"}, "there is no environment variable 'NOTHING'"),
        ({"certificate": "c", "authority": "a"}, "cannot read 'c': No such file"),
    ):
        with pytest.raises(SecurityError, match=words):
            make_security(**given)


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["pub", "localhost:1", "x", "y"], ["top", "localhost:1"], ["broker", "localhost:0"]):
        assert commands.run([*command, "--secret-file", "nothing"]) == 2
        assert "cannot read 'nothing': No such file" in capsys.readouterr().err


@pytest.mark.net
async def test_commands_prove_who_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    file = secret_file()
    monkeypatch.setenv("NETWORK_SECRET", VALUE)
    async with trioton.open_context("server", security=trioton.Secret(VALUE)) as server:
        listener = await server.bind("localhost:0")
        for given in ({"secret_file": file}, {"secret_env": "NETWORK_SECRET"}):

            def security(given: dict[str, str] = given) -> trioton.Secret:
                made = make_security(**given)
                assert isinstance(made, trioton.Secret)
                return made

            async with Place(listener.address, "x", "txt", security=security).open("client") as (_, connection):
                assert connection is not None
                assert connection.kind == "trusted"
        with pytest.raises(trioton.AuthError):
            async with Place(listener.address, "x", "txt").open("client"):
                pass


# ---------------------------------------------------------------- the broker's file


def write_config(table: str) -> Path:
    path = Path("broker.toml")
    path.write_text(f'[broker]\nlisten = ["tls://127.0.0.1:0"]\n{table}')
    return path


@pytest.mark.net
async def test_a_broker_with_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["init"], ["new", "hub", "--router"], ["new", "ide"]):
        assert await trio.to_thread.run_sync(run, *words) == 0
    capsys.readouterr()
    files = 'certificate = "keys/hub.pem"\nkey = "keys/hub.key"\nauthority = "keys/authority.pem"\n'
    settings = read_settings(Options(), write_config(f"[security]\n{files}"))
    broker = Broker(settings)
    security = trioton.Mutual(certificate="keys/ide.pem", key="keys/ide.key", authority="keys/authority.pem")
    async with trio.open_nursery() as nursery, trioton.open_context(security=security) as context:
        nursery.start_soon(broker.run)
        address = ""
        while not address:
            await trio.testing.wait_all_tasks_blocked()
            address = capsys.readouterr().out.removeprefix("listening at ").strip()
        connection = await context.connect(address, identity="hub")
        assert connection.kind == "trusted"
        broker.stop()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[security]\nsecret_file = "nothing"', r"broker.toml: \[security\]: cannot read 'nothing'"),
        ('[security]\ncertificate = "c"', r"broker.toml: \[security\]: certificate and authority go together"),
        ('[security]\nsecret_env = "S"\nkey = "k"', "secret_env does not go together with certificates"),
        ('[security]\nsecret = "x"', r"\[security\]: there is no key secret; there are secret_file"),
        ("[security]\nkey = 1", "key must be the path of a file, not 1"),
    ],
)
def test_files_that_make_no_sense(table: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(Options(), write_config(table))


def test_a_secret_beside_the_file() -> None:
    Path("etc").mkdir()
    Path("etc/broker.toml").write_text('[security]\nsecret_file = "secret"')
    trioton.Secret(VALUE).save("etc/secret")
    settings = read_settings(Options(), Path("etc/broker.toml"))
    assert repr(settings.security) == "<Secret of 'etc/secret'>"
    assert VALUE not in repr(settings)
    other = read_settings(Options(security=lambda: trioton.Secret("the one of the options")), Path("etc/broker.toml"))
    assert repr(other.security) == "<Secret>"
