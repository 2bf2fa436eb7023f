"""Addresses: what is understood, what is refused and how that is said."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import AddressError
from trioton.transports.address import (
    MAX_UNIX_PATH,
    Address,
    is_loopback_host,
    parse_address,
    ports_to_try,
    yoton_hash,
    yoton_port,
)

LONGEST_PATH = "/" + "p" * (MAX_UNIX_PATH - 1)

UNDERSTOOD = {
    "localhost:9000": Address("tcp", "127.0.0.1", 9000),
    "LocalHost:9000": Address("tcp", "127.0.0.1", 9000),
    "localhost:0": Address("tcp", "127.0.0.1", 0),
    "localhost:65535": Address("tcp", "127.0.0.1", 65535),
    "localhost:00080": Address("tcp", "127.0.0.1", 80),
    "127.0.0.1:9000": Address("tcp", "127.0.0.1", 9000),
    "host:9000": Address("tcp", "host", 9000),
    "Host.Example.:9000": Address("tcp", "host.example.", 9000),
    "my_host-2:9000": Address("tcp", "my_host-2", 9000),
    "2020.example:1": Address("tcp", "2020.example", 1),
    "bücher.example:1": Address("tcp", "bücher.example", 1),
    "[::1]:9000": Address("tcp", "::1", 9000),
    "[2001:DB8:0:0:0:0:0:1]:1": Address("tcp", "2001:db8::1", 1),
    "[fe80::1%eth0]:1": Address("tcp", "fe80::1%eth0", 1),
    "tcp://host:9000": Address("tcp", "host", 9000),
    "TCP://[::]:9000": Address("tcp", "::", 9000),
    "tls://host:9000": Address("tls", "host", 9000),
    "tls://LOCALHOST:9000": Address("tls", "localhost", 9000),
    "tls://[::1]:test": Address("tls", "::1", 56337),
    "unix:///run/x.sock": Address("unix", path="/run/x.sock"),
    "unix:///tmp/a b:c": Address("unix", path="/tmp/a b:c"),
    f"unix://{LONGEST_PATH}": Address("unix", path=LONGEST_PATH),
    "mem://name": Address("mem", path="name"),
    "mem://a/b c": Address("mem", path="a/b c"),
    "publichost:9000": Address("tcp", "publichost", 9000),
    "publichost2:9000": Address("tcp", "publichost2", 9000),
    "localhost:test": Address("tcp", "127.0.0.1", 56337),
    "localhost:test+3": Address("tcp", "127.0.0.1", 56340),
    "localhost:PYZO": Address("tcp", "127.0.0.1", 50369),
    "localhost:9000+5": Address("tcp", "127.0.0.1", 9005),
    "a:_b.c-d": Address("tcp", "a", yoton_port("_b.c-d")),
}

REFUSED = {
    "": "there is no port",
    "localhost": "there is no port",
    "localhost:": "there is no port",
    "[::1]": "there is no port",
    "[::1]9000": "there is no port",
    "[::1]:": "there is no port",
    "tls://host": "there is no port",
    ":9000": "there is no host",
    "tcp://:9000": "there is no host",
    "tcp://": "there is no port",
    "foo://host:1": "'foo' is not a scheme",
    "http://host:80": "'http' is not a scheme",
    "://host:80": "'' is not a scheme",
    "host:65536": "the port 65536 is over 65535",
    "host:70000": "the port 70000 is over 65535",
    "host:" + "9" * 5000: "is over 65535",
    "host:-1": "the port -1 is negative",
    "host:test+20000": "the port 76337 is over 65535",
    "host:test+": "'' is not a number to be added",
    "host:test+x": "'x' is not a number to be added",
    "host:test+-3": "'-3' is not a number to be added",
    "host:test+1+2": "'1+2' is not a number to be added",
    "host:+3": "'+3' is neither a number nor a name",
    "host:1.5": "'1.5' is neither a number nor a name",
    "host:0x10": "'0x10' is neither a number nor a name",
    "host:٣": "is neither a number nor a name",
    "host:80/path": "'80/path' is neither a number nor a name",
    "host:80 ": "'80 ' is neither a number nor a name",
    " host:80": "is not the name of a host",
    "ho st:80": "is not the name of a host",
    "user@host:80": "is not the name of a host",
    "a..b:80": "is not the name of a host",
    ".:80": "is not the name of a host",
    "x" * 64 + ":80": "is not the name of a host",
    "x." * 130 + "x:80": "is not the name of a host",
    "256.1.1.1:80": "'256.1.1.1' is not an IPv4 address",
    "127.1:80": "'127.1' is not an IPv4 address",
    "1.2.3.4.5:80": "is not an IPv4 address",
    "::1:9000": "an IPv6 address stands in brackets",
    "fe80::1": "an IPv6 address stands in brackets",
    "a:b:c": "more than one colon",
    "[::1:9000": "the bracket is never closed",
    "[host]:9000": "[host] is not an IPv6 address",
    "[127.0.0.1]:9000": "[127.0.0.1] is not an IPv6 address",
    "[]:9000": "[] is not an IPv6 address",
    "unix://": "there is no path",
    "unix://run/x.sock": "does not begin with a slash",
    "unix:/run/x.sock": "neither a number nor a name",
    f"unix://{LONGEST_PATH}p": f"a Unix socket's may have {MAX_UNIX_PATH}",
    "unix:///" + "ü" * 60: "the path has 121 bytes",
    "unix:///run/\0x": "it has a NUL character",
    "host\0:80": "it has a NUL character",
    "mem://": "there is no name",
    "stdio:": "there is no port",
}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_understood(text: str) -> None:
    address = parse_address(text)
    assert address == UNDERSTOOD[text]
    assert parse_address(str(address)) == address
    assert hash(address) == hash(parse_address(text))


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    message = str(caught.value)
    assert REFUSED[text] in message
    assert repr(text)[:100] in message
    assert len(message) < 700
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [None, 9000, b"localhost:9000", ("localhost", 9000), Address("tcp", "h", 1)])
def test_not_text(value: object) -> None:
    with pytest.raises(AddressError, match=f"not {type(value).__name__}"):
        parse_address(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("tcp", "127.0.0.1", 9000), "tcp://127.0.0.1:9000"),
        (Address("tcp", "::1", 0), "tcp://[::1]:0"),
        (Address("tls", "host", 1), "tls://host:1"),
        (Address("unix", path="/x"), "unix:///x"),
        (Address("mem", path="x"), "mem://x"),
    ],
)
def test_as_text(address: Address, text: str) -> None:
    assert str(address) == text


def assert_understood_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address


@given(st.text(max_size=30))
def test_any_text_is_understood_or_refused(text: str) -> None:
    assert_understood_or_refused(text)


@given(
    st.sampled_from(["", "tcp://", "tls://", "unix://", "mem://", "x"]),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]", "::1", "h", "", "publichost", "[", "]"]),
    st.sampled_from(["", ":", ":0", ":1", ":test", ":test+1", ":-1", ":70000", "/", ":+"]),
)
def test_any_parts_are_understood_or_refused(scheme: str, host: str, port: str) -> None:
    assert_understood_or_refused(scheme + host + port)


def test_addresses_cannot_be_changed() -> None:
    address = Address("tcp", "host", 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        address.port = 2  # type: ignore[misc]
    assert address.with_port(2) == Address("tcp", "host", 2)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost:1", True),
        ("tls://localhost:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("unix:///x", True),
        ("mem://x", True),
        ("host:1", False),
        ("localhost.example:1", False),
        ("publichost:1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("128.0.0.1:1", False),
        ("[::ffff:128.0.0.1]:1", False),
    ],
)
def test_is_loopback(text: str, is_loopback: bool) -> None:
    assert parse_address(text).is_loopback is is_loopback


def test_is_loopback_host() -> None:
    assert is_loopback_host("127.0.0.1")
    assert not is_loopback_host("")


@pytest.mark.parametrize(
    ("text", "index"), [("publichost:1", 0), ("PublicHost:1", 0), ("publichost3:1", 3), ("publichostess:1", None)]
)
def test_public_host(text: str, index: int | None) -> None:
    assert parse_address(text).public_index == index


# Yoton's numbers


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("test", 56337),
        ("test1", 49382),
        ("test2", 54419),
        ("chat", 49264),
        ("PYZO", 50369),
        ("pyzoserver", 63859),
        ("whop", 62578),
        ("split1", 59910),
        ("", 49152),
    ],
)
def test_yoton_port(name: str, port: int) -> None:
    assert yoton_port(name) == port


@pytest.mark.parametrize(
    ("slot", "number"),
    [
        ("chat.txt.pub-sub", 0xFE15408168F),
        ("chat.txt.sub-pub", 0xFE37207F442),
        ("foo.txt.pub-sub", 0xDE704F7501C),
        ("bar.obj.req-rep", 0xD3BF4A69F9A),
        ("bar.obj.rep-req", 0xD3B65E6EC0E),
        ("spam.txt.state", 0xC721137846C),
    ],
)
def test_yoton_hash(slot: str, number: int) -> None:
    assert yoton_hash(slot) == number


def test_yotons_hash_collides_as_it_always_did() -> None:
    assert yoton_hash("sensor19") == yoton_hash("sensor90")
    assert yoton_port("test19") == yoton_port("test90")


@given(st.text())
def test_yotons_numbers_are_in_their_ranges(name: str) -> None:
    assert 8 <= yoton_hash(name) < 2**64
    assert 49152 <= yoton_port(name) < 65536


def test_a_hash_of_ones_own() -> None:
    assert parse_address("h:test", port_hash=len).port == 4
    with pytest.raises(AddressError, match="the port 99999 is over 65535"):
        parse_address("h:test", port_hash=lambda name: 99999)


# Further ports


def test_ports_to_try_are_yotons() -> None:
    """Yoton's case 42: which ports are tried."""
    offsets = [port - 1000 for port in ports_to_try(1000, 11)]
    assert offsets == [0, 1, 2, 3, 5, 7, 9, 11, 13, 16, 19]
    assert list(ports_to_try(1000, 256))[-1] - 1000 > 2500
    assert list(itertools.islice(ports_to_try(9000, 10**9), 2)) == [9000, 9001]


def test_ports_to_try_end_with_the_last_port() -> None:
    assert list(ports_to_try(65533, 10)) == [65533, 65534, 65535]
    assert list(ports_to_try(65535, 10)) == [65535]
    assert list(ports_to_try(0, 10)) == [0]
    assert list(ports_to_try(80, 1)) == [80]


@pytest.mark.parametrize(("port", "max_tries"), [(-1, 1), (65536, 1), (80, 0), (80, -1)])
def test_ports_to_try_checks_its_arguments(port: int, max_tries: int) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        ports_to_try(port, max_tries)


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000, "\udcff" * 10_000 + ":1", "h:" + "9" * 10_000, "[" + "1" * 10_000 + "]:1", "unix://" + "x" * 10_000],
)
def test_a_refusal_is_short_however_long_the_text(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 1000
