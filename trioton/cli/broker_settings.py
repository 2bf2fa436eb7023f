"""What ``trioton broker`` is told by its command line and its file, checked before anything is opened.

Each error is one line that names the file (or the option), the key, and what is wrong with it.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import attrs

from .._arguments import check_flag, check_seconds
from ..errors import AddressError
from ..network.arguments import check_text
from ..protocol.heartbeat import Heartbeat
from ..protocol.limits import Limits
from ..transports.address import Address, parse_address
from ..transports.base import Security
from ..transports.tls import tls_reason
from .security import MakeSecurity, SecurityError, make_security

DEFAULT_ADDRESS: Final = "localhost:trioton"
DEFAULT_NAME: Final = "broker"
DEFAULT_GRACE: Final = 5.0

_SHOWN: Final = 100

T = TypeVar("T")


class SettingsError(ValueError):
    """A command line or a file that makes no sense."""


@attrs.frozen(kw_only=True)
class Settings:
    """All that a broker needs to know.

    Attributes:
        name: What other contexts see.
        listen: The addresses to listen at.
        connect: The addresses of other brokers.
        insecure: Whether other machines may be involved without TLS.
        grace: Seconds that closing may take.
        limits: The bounds of the broker's context.
        heartbeat: How its links are watched.
        server_tls: The certificate for ``tls://`` addresses to listen at, or None.
        client_tls: Whom to trust at ``tls://`` addresses to connect to, or None for the system's authorities.
        security: How the broker and its neighbours prove who they are, or None.
    """

    name: str
    listen: tuple[Address, ...]
    connect: tuple[Address, ...]
    insecure: bool
    grace: float
    limits: Limits
    heartbeat: Heartbeat
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    security: Security | None = None


@attrs.frozen(kw_only=True)
class Options:
    """What was on the command line; each stands in place of what the file says.

    Attributes:
        listen: The addresses to listen at; none are those of the file.
        connect: The same for those to connect to.
        name: The broker's name.
        insecure: Whether other machines may be involved without TLS; False is what the file says.
        security: Gives how to prove who we are; None is what the file says.
    """

    listen: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    name: str | None = None
    insecure: bool = False
    security: MakeSecurity | None = None


# ------------------------------------------------------------------------------------------------------------- the file


def _flag(_instance: object, attribute: attrs.Attribute[bool], value: object) -> None:
    check_flag(attribute.name, value)


def _name(_instance: object, attribute: attrs.Attribute[str], value: object) -> None:
    _check_name(attribute.name, value)


def _check_name(key: str, value: object) -> None:
    """Refuse what a broker cannot be called: others know it by its name, which a context by itself may do without."""
    check_text(key, value)
    if not value:
        raise ValueError(f"{key} must not be empty")


def _seconds(_instance: object, attribute: attrs.Attribute[float], value: object) -> None:
    check_seconds(attribute.name, value)


def _addresses(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{attribute.name} must be a list of addresses, not {value!r:.{_SHOWN}}")


def _path(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise TypeError(f"{attribute.name} must be the path of a file, not {value!r:.{_SHOWN}}")


@attrs.frozen(kw_only=True)
class _BrokerTable:
    """The table ``[broker]``."""

    name: str = attrs.field(default=DEFAULT_NAME, validator=_name)
    listen: Iterable[str] = attrs.field(default=(DEFAULT_ADDRESS,), validator=_addresses)
    connect: Iterable[str] = attrs.field(default=(), validator=_addresses)
    insecure: bool = attrs.field(default=False, validator=_flag)
    grace: float = attrs.field(default=DEFAULT_GRACE, validator=_seconds)


@attrs.frozen(kw_only=True)
class _TlsTable:
    """The table ``[tls]``; relative paths begin where the file is."""

    certificate: str | None = attrs.field(default=None, validator=_path)
    key: str | None = attrs.field(default=None, validator=_path)
    ca: str | None = attrs.field(default=None, validator=_path)


@attrs.frozen(kw_only=True)
class _SecurityTable:
    """The table ``[security]``; relative paths begin where the file is."""

    secret_file: str | None = attrs.field(default=None, validator=_path)
    secret_env: str | None = attrs.field(default=None, validator=_path)
    certificate: str | None = attrs.field(default=None, validator=_path)
    key: str | None = attrs.field(default=None, validator=_path)
    authority: str | None = attrs.field(default=None, validator=_path)


@attrs.frozen(kw_only=True)
class _File:
    """A whole file, or what holds where there is none."""

    broker: _BrokerTable = _BrokerTable()
    limits: Limits = attrs.field(factory=Limits)
    heartbeat: Heartbeat = attrs.field(factory=Heartbeat)
    tls: _TlsTable = _TlsTable()
    security: _SecurityTable = _SecurityTable()


_TABLES: Final[Mapping[str, type[Any]]] = {
    "broker": _BrokerTable,
    "limits": Limits,
    "heartbeat": Heartbeat,
    "tls": _TlsTable,
    "security": _SecurityTable,
}


def _read_file(path: Path) -> _File:
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not TOML: it is not in UTF-8 (at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    for name in content:
        if name not in _TABLES:
            raise SettingsError(f"{path}: there is no table [{_key(name)}]; there are {_names(_TABLES)}")
    return _File(**{name: _read_table(f"{path}: [{name}]", _TABLES[name], content[name]) for name in content})


def _read_table(where: str, kind: type[T], content: object) -> T:
    if not isinstance(content, dict):
        raise SettingsError(f"{where} must be a table, not {content!r:.{_SHOWN}}")
    known = [field.name for field in attrs.fields(kind)]  # type: ignore[arg-type]  # all that are in _TABLES are of attrs
    for key in content:
        if key not in known:
            raise SettingsError(f"{where}: there is no key {_key(key)}; there are {_names(known)}")
    try:
        return kind(**content)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where}: {error}") from error


def _key(name: str) -> str:
    """A key of a file as one word of a line."""
    return name[:_SHOWN] if name.isprintable() and name else repr(name[:_SHOWN])


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


# ------------------------------------------------------------------------------------------------ the file and the options


def read_settings(options: Options, path: Path | None = None) -> Settings:
    """Put together what the command line and the file at `path` say.

    Raises:
        SettingsError: They make no sense, or a file cannot be read.
    """
    file = _File() if path is None else _read_file(path)
    insecure = options.insecure or file.broker.insecure
    listen_key, connect_key = (f"{path}: [broker] listen", f"{path}: [broker] connect")
    if options.listen:
        listen = _parse("ADDRESS", options.listen, insecure=insecure)
    else:
        listen = _parse(listen_key, file.broker.listen, insecure=insecure)
    if options.connect:
        connect = _parse("--connect", options.connect, insecure=insecure)
    else:
        connect = _parse(connect_key, file.broker.connect, insecure=insecure)
    if not listen and not connect:
        raise SettingsError(f"{listen_key}: there is nothing to do without addresses to listen at or to connect to")
    server_tls, client_tls = _load_tls(path, file.tls)
    security = _load_security(path, file.security, options)
    if server_tls is None and security is None and any(address.scheme == "tls" for address in listen):
        where = "ADDRESS" if options.listen else listen_key
        raise SettingsError(
            f"{where}: to listen at tls:// takes --certificate and --authority, or [tls] or [security] in the file of --config"
        )
    _check_to_dial("--connect" if options.connect else connect_key, listen, connect)
    return Settings(
        name=file.broker.name if options.name is None else _checked_name(options.name),
        listen=listen,
        connect=connect,
        insecure=insecure,
        grace=file.broker.grace,
        limits=file.limits,
        heartbeat=file.heartbeat,
        server_tls=server_tls,
        client_tls=client_tls,
        security=security,
    )


def _checked_name(name: str) -> str:
    try:
        _check_name("--name", name)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return name


def _parse(where: str, texts: Iterable[str], *, insecure: bool) -> tuple[Address, ...]:
    """Understand addresses, which must all be different."""
    addresses: list[Address] = []
    for text in texts:
        try:
            address = parse_address(text)
        except AddressError as error:
            raise SettingsError(f"{where}: {error}") from error
        if address.scheme == "mem":
            raise SettingsError(f"{where}: nobody else can reach {address}, which is inside this process")
        if address.scheme == "tcp" and not address.is_loopback and not insecure:
            raise SettingsError(
                f"{where}: {address} without TLS, where others can read and write, takes --insecure, or insecure = true in [broker]"
            )
        if address in addresses and address.port != 0:
            raise SettingsError(f"{where}: {address} is there twice")
        addresses.append(address)
    return tuple(addresses)


def _check_to_dial(where: str, listen: Iterable[Address], connect: Iterable[Address]) -> None:
    """Refuse what can never become a connection."""
    for address in connect:
        if address.port == 0:
            raise SettingsError(f"{where}: {address}: port 0 is only for listening")
        if address in listen:
            raise SettingsError(f"{where}: {address} is an address of this broker itself")


# ------------------------------------------------------------------------------------------------------------------- TLS


def _load_tls(path: Path | None, table: _TlsTable) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The contexts for listening and for connecting, as far as the file names anything for them."""
    where, folder = f"{path}: [tls]", Path() if path is None else path.parent
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    if table.certificate is not None:
        certificate = _readable(where, "certificate", folder / table.certificate)
        key = None if table.key is None else _readable(where, "key", folder / table.key)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            # A password would be asked for at the terminal, which a service does not have.
            server.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{where}: certificate {str(certificate)!r}: {_tls_problem(error)}") from error
    elif table.key is not None:
        raise SettingsError(f"{where}: key is there without certificate")
    if table.ca is not None:
        ca = _readable(where, "ca", folder / table.ca)
        try:
            client = ssl.create_default_context(cafile=ca)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{where}: ca {str(ca)!r}: {_tls_problem(error)}") from error
        client.minimum_version = ssl.TLSVersion.TLSv1_3
    return server, client


def _load_security(path: Path | None, table: _SecurityTable, options: Options) -> Security | None:
    """How to prove who we are, by the options or else by the file."""
    given = {name: value for name, value in attrs.asdict(table).items() if value is not None}
    folder = Path() if path is None else path.parent
    try:
        if options.security is not None:
            return options.security()
        if not given:
            return None
        return make_security(
            **{name: value if name == "secret_env" else folder / value for name, value in given.items()}
        )
    except SecurityError as error:
        if options.security is not None:
            raise SettingsError(str(error)) from error
        words = re.sub(r"--(\w+)-?(\w*)", lambda match: "_".join(filter(None, match.groups())), str(error))
        raise SettingsError(f"{path}: [security]: {words}") from error


def _readable(where: str, key: str, path: Path) -> Path:
    """Give the path back if there is a file that can be read; OpenSSL would not say which it was."""
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise SettingsError(f"{where}: {key}: cannot read {str(path)!r}: {error.strerror or error}") from error


def _no_password() -> NoReturn:
    raise ValueError("its key has a password")


def _tls_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and not error.reason:
        return "there is no certificate with its key in PEM form"
    return tls_reason(error)
