"""`trioton broker`: what it can be told, how it stays with other brokers, and the service in real processes."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import trioton
from trioton import Heartbeat, Limits
from trioton.cli import commands, service
from trioton.cli.broker import Broker, Tie
from trioton.cli.broker_settings import Options, Settings, SettingsError, read_settings
from trioton.testing import Network
from trioton.transports.address import parse_address, yoton_port

assert sys.platform != "win32"

if TYPE_CHECKING:
    from .conftest import CommandLine

WHOLE = """
[broker]
name = "hub"
listen = ["localhost:9000", "unix:///run/hub.sock", "localhost:0", "localhost:0"]
connect = ["[::1]:9000"]
insecure = true
grace = 2

[limits]
max_package = 1000
handshake_deadline = 2.5

[heartbeat]
interval = 1
timeout = 2
lease = 3.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "broker.toml"
    path.write_text(text, encoding="utf-8")
    return path


def texts(addresses: tuple[object, ...]) -> list[str]:
    return [str(address) for address in addresses]


# -------------------------------------------------------------------------------------------------------------- settings


def test_without_a_word() -> None:
    settings = read_settings(Options())
    assert texts(settings.listen) == [f"tcp://127.0.0.1:{yoton_port('trioton')}"]
    assert (settings.name, settings.connect, settings.insecure, settings.grace) == ("broker", (), False, 5.0)
    assert (settings.limits, settings.heartbeat) == (Limits(), Heartbeat())
    assert (settings.server_tls, settings.client_tls) == (None, None)


def test_a_whole_file(tmp_path: Path) -> None:
    settings = read_settings(Options(), write(tmp_path, WHOLE))
    assert texts(settings.listen) == [
        "tcp://127.0.0.1:9000",
        "unix:///run/hub.sock",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:0",
    ]
    assert texts(settings.connect) == ["tcp://[::1]:9000"]
    assert (settings.name, settings.insecure, settings.grace) == ("hub", True, 2)
    assert settings.limits == Limits(max_package=1000, handshake_deadline=2.5)
    assert settings.heartbeat == Heartbeat(interval=1, timeout=2, lease=3.5)


def test_the_command_line_stands_in_place_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[broker]\nname = "hub"\nlisten = ["localhost:1"]\nconnect = ["localhost:2"]')
    options = Options(listen=("localhost:3",), connect=("there:4",), name="other", insecure=True)
    settings = read_settings(options, path)
    assert texts(settings.listen + settings.connect) == ["tcp://127.0.0.1:3", "tcp://there:4"]
    assert (settings.name, settings.insecure) == ("other", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[brokr]", "FILE: there is no table [brokr]; there are broker, limits, heartbeat, tls, security"),
        ("x = 1", "FILE: there is no table [x]; there are broker, limits, heartbeat, tls, security"),
        ("broker = 1", "FILE: [broker] must be a table, not 1"),
        ("[broker]\nnam = 1", "FILE: [broker]: there is no key nam; there are name, listen, connect, insecure, grace"),
        ('[tls]\n"a\\nb" = 1', "FILE: [tls]: there is no key 'a\\nb'; there are certificate, key, ca"),
        ('[broker]\nname = ""', "FILE: [broker]: name must not be empty"),
        ("[broker]\nname = 1", "FILE: [broker]: name must be a str, not 1"),
        ("[broker]\ninsecure = 1", "FILE: [broker]: insecure must be True or False, not 1"),
        ("[broker]\ngrace = -1", "FILE: [broker]: grace must be finite and not negative, not -1"),
        (
            '[broker]\nlisten = "localhost:1"',
            "FILE: [broker]: listen must be a list of addresses, not 'localhost:1'",
        ),
        ("[broker]\nconnect = [1]", "FILE: [broker]: connect must be a list of addresses, not [1]"),
        (
            '[broker]\nlisten = ["localhost"]',
            "FILE: [broker] listen: 'localhost' is not an address: there is no port",
        ),
        (
            "[broker]\nlisten = []",
            "FILE: [broker] listen: there is nothing to do without addresses to listen at or to connect to",
        ),
        (
            '[broker]\nlisten = ["localhost:1", "127.0.0.1:1"]',
            "FILE: [broker] listen: tcp://127.0.0.1:1 is there twice",
        ),
        (
            '[broker]\nlisten = ["mem://x"]',
            "FILE: [broker] listen: nobody else can reach mem://x, which is inside this process",
        ),
        (
            '[broker]\nlisten = ["0.0.0.0:1"]',
            "FILE: [broker] listen: tcp://0.0.0.0:1 without TLS, where others can read and write, takes --insecure, or insecure = true in [broker]",
        ),
        (
            '[broker]\nlisten = ["tls://localhost:1"]',
            "FILE: [broker] listen: to listen at tls:// takes --certificate and --authority, or [tls] or [security] in the file of --config",
        ),
        (
            '[broker]\nconnect = ["localhost:0"]',
            "FILE: [broker] connect: tcp://127.0.0.1:0: port 0 is only for listening",
        ),
        (
            '[broker]\nconnect = ["localhost:trioton"]',
            f"FILE: [broker] connect: tcp://127.0.0.1:{yoton_port('trioton')} is an address of this broker itself",
        ),
        ('[limits]\nmax_package = "16M"', "FILE: [limits]: max_package must be an int, not '16M'"),
        ("[limits]\nconnections = 0", "FILE: [limits]: connections must be positive, not 0"),
        (
            "[heartbeat]\ninterval = 7",
            "FILE: [heartbeat]: interval < timeout <= lease must hold, not 7 < 5.0 <= 10.0",
        ),
        ("[tls]\ncertificate = 1", "FILE: [tls]: certificate must be the path of a file, not 1"),
        ('[tls]\nkey = "x"', "FILE: [tls]: key is there without certificate"),
        (
            '[tls]\ncertificate = "x.pem"',
            "FILE: [tls]: certificate: cannot read 'FOLDER/x.pem': No such file or directory",
        ),
        ("[broker", "FILE is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_settings(Options(), path)
    assert str(caught.value) == message.replace("FILE", str(path)).replace("FOLDER", str(tmp_path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^cannot read '.*missing': No such file or directory$"):
        read_settings(Options(), tmp_path / "missing")
    with pytest.raises(SettingsError, match=r"^cannot read '.*': Is a directory$"):
        read_settings(Options(), tmp_path)
    path = tmp_path / "latin"
    path.write_bytes(b'[broker]\nname = "\xff"')
    with pytest.raises(SettingsError, match=r"latin is not TOML: it is not in UTF-8 \(at byte 17\)$"):
        read_settings(Options(), path)
    path.write_text("x = " + "[" * 100_000)
    with pytest.raises(SettingsError, match="is not TOML: "):
        read_settings(Options(), path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["localhost"], "ADDRESS: 'localhost' is not an address: there is no port"),
        (["--connect", "localhost:0"], "--connect: tcp://127.0.0.1:0: port 0 is only for listening"),
        (["--name", "a\nb"], r"--name must be at most 256 printable characters, not 'a\nb'"),
        (["--name", ""], "--name must not be empty"),
        (
            ["tls://localhost:1"],
            "ADDRESS: to listen at tls:// takes --certificate and --authority, or [tls] or [security] in the file of --config",
        ),
        (["--config", "/nowhere/x"], "cannot read '/nowhere/x': No such file or directory"),
    ],
)
def test_command_lines_that_make_no_sense(capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    assert commands.run(["broker", *args]) == commands.EXIT_USAGE
    assert capsys.readouterr() == ("", f"trioton broker: {message}\n")


def test_a_descriptor_that_is_not_open(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["broker", "--ready-fd", "900"]) == commands.EXIT_USAGE
    assert "'--ready-fd': 900 is no open file descriptor" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def tls_folder(folder: Path, ca: trustme.CA) -> Path:
    """A folder with a certificate, its key, the same with a password, and the authority."""
    leaf = ca.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    (folder / "locked.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return folder


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('certificate = "cert.pem"', "certificate 'FOLDER/cert.pem': there is no certificate with its key in PEM form"),
        (
            'certificate = "cert.pem"\nkey = "locked.pem"',
            "certificate 'FOLDER/cert.pem': its key has a password",
        ),
        ('ca = "key.pem"', "ca 'FOLDER/key.pem': no certificate or crl found"),
    ],
)
def test_files_for_tls_that_make_no_sense(tmp_path: Path, ca: trustme.CA, table: str, message: str) -> None:
    path = write(tls_folder(tmp_path, ca), f"[tls]\n{table}")
    with pytest.raises(SettingsError) as caught:
        read_settings(Options(), path)
    assert str(caught.value) == f"{path}: [tls]: {message}".replace("FOLDER", str(tmp_path))


class Warned(logging.Filter):
    """Lets everything through, and tells when something came."""

    def __init__(self) -> None:
        super().__init__()
        self.came = trio.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        self.came.set()
        return True


@pytest.mark.net
async def test_tls_between_brokers(tmp_path: Path, ca: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trioton")
    text = '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\nca = "ca.pem"'
    settings = read_settings(Options(listen=("tls://localhost:0",)), write(tls_folder(tmp_path, ca), text))
    assert isinstance(settings.client_tls, ssl.SSLContext)
    untrusting = read_settings(Options())
    with trio.fail_after(20):
        async with trioton.open_context("one") as one, trioton.open_context("two") as two:
            listener = await one.bind("tls://localhost:0", ssl_context=settings.server_tls)
            with caplog.filtering(warning := Warned()):
                two.start_soon(Tie(two, listener.address, untrusting).keep)
                await warning.came.wait()
            two.start_soon(Tie(two, listener.address, settings).keep)
            await one.wait_context("two")
            assert one.connection("two").transport == "tls"
    words = "two: cannot connect to tls://localhost:[0-9]+: the certificate of the other end is not accepted: "
    assert [record for record in caplog.records if re.match(words, record.getMessage())]


# ---------------------------------------------------------------------------------------------------- with other brokers


@pytest.fixture
def settings() -> Settings:
    return read_settings(Options())


async def test_the_order_of_starts_does_not_matter(
    autojump_clock: trio.testing.MockClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioton.broker")
    network = Network(seed=1)
    async with trioton.open_context("here", network=network.host("h")) as here:
        here.start_soon(Tie(here, "tcp://t:1", settings).keep)
        for _ in range(2):  # It ends in good order, says goodbye, and comes back as another.
            await trio.sleep(100)
            async with trioton.open_context("there", network=network.host("t")) as there:
                await there.bind("t:1")
                await there.wait_context("here")
                await trio.sleep(100)
                assert len(there.connections) == 1
    lines = [record.getMessage() for record in caplog.records if record.name == "trioton.broker"]
    assert lines == ["here: nobody answers at tcp://t:1 yet; still dialling"] * 2


async def test_brokers_that_both_connect(
    autojump_clock: trio.testing.MockClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network = Network(seed=2)
    async with (
        trioton.open_context("a", network=network.host("a")) as a,
        trioton.open_context("b", network=network.host("b")) as b,
    ):
        await a.bind("a:1")
        await b.bind("b:1")
        await a.connect("b:1")
        b.start_soon(Tie(b, "tcp://a:1", settings).keep)
        await trio.sleep(3600)
        # It has asked once, and not every few seconds in vain.
        assert caplog.text.count("connected already") == 2
        assert len(a.connections) == 1
        await a.connections[0].aclose()
        with trio.fail_after(60):
            await a.wait_context("b")
        assert b.connections[0].address == "tcp://a:1"


# ------------------------------------------------------------------------------------------------------ what services say


@pytest.mark.parametrize("path", ["/nowhere/notify", "vsock:2:1", "/" + "x" * 200])
async def test_nobody_hears_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    await service.notify("READY=1")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"could not tell 'READY=1' to NOTIFY_SOCKET='{path}': ")


async def test_nobody_is_to_be_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await service.notify("READY=1")
    assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_an_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"trioton test {os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        await service.notify("STOPPING=1")
        assert manager.recv(100) == b"STOPPING=1"


async def test_a_manager_that_does_not_listen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        manager.bind(str(tmp_path / "notify"))
        filler.setblocking(False)
        try:
            while True:
                filler.sendto(b"x", str(tmp_path / "notify"))
        except BlockingIOError:
            pass
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        await service.notify("READY=1")
    assert caplog.records[-1].getMessage().endswith(": it took over 2 s")


@pytest.mark.parametrize(
    ("journal", "line"),
    [
        (None, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING trioton\.x: words\n$"),
        ("1:2", r"^WARNING trioton\.x: words\n$"),
        ("stderr", r"^<4>trioton\.x: words\n$"),
    ],
)
def test_lines_of_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, journal: str | None, line: str) -> None:
    with open(tmp_path / "stderr", "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stderr", file)
        status = os.fstat(file.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        if journal is not None:
            monkeypatch.setenv("JOURNAL_STREAM", journal.replace("stderr", f"{status.st_dev}:{status.st_ino}"))
        before = list(logging.getLogger("trioton").handlers)
        with service.logging_to_stderr(debug=False):
            logging.getLogger("trioton.x").warning("words")
            logging.getLogger("trioton.x").debug("not these")
        assert logging.getLogger("trioton").handlers == before
    assert re.match(line, (tmp_path / "stderr").read_text(encoding="utf-8"))


def test_a_descriptor_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    service.write_ready(reading, "x\n")
    assert f"could not write to --ready-fd {reading}: Bad file descriptor" in caplog.text
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


# --------------------------------------------------------------------------------------------- in this process: its signals


@pytest.fixture
def handlers() -> Iterator[None]:
    """What this process does with signals is as before when a test has ended."""
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


async def run_broker(settings: Settings, *numbers: signal.Signals) -> tuple[int, str]:
    """Run a broker until it has got these signals; gives its exit code, and what it wrote to its descriptor."""
    reading, writing = os.pipe()
    codes: list[int] = []

    async def run() -> None:
        codes.append(await Broker(settings, writing).run())

    with trio.fail_after(20):
        async with trio.lowlevel.FdStream(reading) as ready, trio.open_nursery() as nursery:
            nursery.start_soon(run)
            text = b"".join([data async for data in ready]).decode()
            for number in numbers:
                signal.raise_signal(number)
    return codes[0], text


@pytest.mark.net
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
async def test_signals(handlers: None, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int) -> None:
    settings = read_settings(Options(listen=("localhost:0", "localhost:0")))
    exit_code, text = await run_broker(settings, number)
    addresses = text.splitlines()
    assert exit_code == code
    assert len({parse_address(address).port for address in addresses} - {0}) == 2
    assert capsys.readouterr().out == "".join(f"listening at {address}\n" for address in addresses)


@pytest.mark.net
async def test_signals_that_are_to_be_ignored(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    settings = read_settings(Options(listen=("localhost:0",)))
    assert (await run_broker(settings, signal.SIGHUP, signal.SIGINT))[0] == 130


# ------------------------------------------------------------------------------------------------------------- processes


def listening_at(process: subprocess.Popen[str]) -> str:
    """The next address that a broker has printed."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening at "), line
    return line.split()[2]


def wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    """Read what a broker logs up to a line with these words."""
    assert process.stderr is not None
    assert any(words in line for line in process.stderr), f"it never said {words!r}"


@pytest.mark.net
@pytest.mark.slow
async def test_a_life_as_a_service(command_line: CommandLine) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, trio.fail_after(20):
        manager.bind(str(command_line.folder / "notify"))
        manager.settimeout(20)
        command_line.environment["NOTIFY_SOCKET"] = str(command_line.folder / "notify")
        command_line.environment.pop("JOURNAL_STREAM", None)
        broker = command_line.start("broker", "localhost:0", f"unix://{command_line.folder}/socket", "--name", "hub")
        addresses = [listening_at(broker), listening_at(broker)]
        assert manager.recv(100) == b"READY=1"
        async with trioton.open_context("one") as one, trioton.open_context("two") as two:
            connections = [await one.connect(addresses[0]), await two.connect(addresses[1])]
            assert [connection.peer.name for connection in connections] == ["hub", "hub"]
            broker.send_signal(signal.SIGTERM)
            for connection in connections:
                await connection.wait_closed()
                assert connection.close_reason == "the context was closed"
        assert manager.recv(100) == b"STOPPING=1"
        out, err = broker.communicate(timeout=20)
    assert (broker.returncode, out) == (0, "")
    assert "INFO trioton.context: hub: connected <Connection" in err
    assert "INFO trioton.broker: SIGTERM: ending\n" in err
    assert not (command_line.folder / "socket").exists()


@pytest.mark.net
@pytest.mark.slow
def test_another_one_after_it_was_killed(command_line: CommandLine) -> None:
    address = f"unix://{command_line.folder}/socket"
    first = command_line.start("broker", address)
    assert listening_at(first) == address
    first.kill()
    first.wait()
    assert (command_line.folder / "socket").exists()
    second = command_line.start("broker", address)
    assert listening_at(second) == address
    # The place is taken now.
    code, out, err = command_line.run("broker", address)
    assert (code, out) == (1, "")
    assert err.startswith("trioton broker: ")
    assert err.endswith(f"cannot listen on {address}: Address already in use\n")
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=20)
    assert second.returncode == 130


@pytest.mark.net
@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(command_line: CommandLine) -> None:
    path = write(command_line.folder, "[broker]\ngrace = 1000")
    broker = command_line.start("broker", "localhost:0", "--config", path)
    sub = command_line.start("sub", listening_at(broker), "slot")
    wait_for_line(broker, "broker: connected")
    sub.send_signal(signal.SIGSTOP)  # It does not answer the goodbye.
    broker.send_signal(signal.SIGHUP)
    wait_for_line(broker, "SIGHUP: ending")
    broker.send_signal(signal.SIGTERM)
    _, err = broker.communicate(timeout=20)
    assert (broker.returncode, "SIGTERM again: ending at once" in err) == (128 + signal.SIGTERM, True)
    sub.send_signal(signal.SIGCONT)
    sub.communicate(timeout=20)  # It has heard the goodbye, if perhaps before it knew that it was connected.


def test_a_full_disk_is_one_line(command_line: CommandLine) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "trioton", "broker", "localhost:0"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=command_line.environment,
            timeout=20,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, b"trioton: cannot write: No space left on device\n")
