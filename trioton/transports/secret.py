"""A shared secret: whoever knows it belongs to us."""

from __future__ import annotations

import base64
import logging
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self

import trio

from ..errors import AuthError, ConnectError, ProtocolError
from .base import SHARED_IDENTITY, Credentials, Security, Transport, TurnedAwayError
from .sealed import seal_accepted, seal_dialled

if TYPE_CHECKING:
    import ssl

    from .address import Address

logger = logging.getLogger("trioton.transports")

LEAST_BYTES: Final = 16
"""A secret that is shorter can be guessed."""

MOST_FILE_BYTES: Final = 4096
"""A longer file is something else than a secret."""

_Signature = tuple[int, ...]

_NONCE_BYTES: Final = 32
_GENERATED_BYTES: Final = 32
_MOST_ACCEPTED: Final = 7


class Secret(Security):
    """What all contexts of a network know, and nobody else: ``open_context(security=Secret.from_file(path))``.

    Both ends of each link prove that they know it, and never say it. After that everything bears a mark that nobody else can make, so that
    nothing can be changed, left out, or recorded and played again. It is not hidden: where others can read along, use ``tls://``,
    which takes Python 3.13, or an `ssl_context` of your own, within which the ends show each other the secret.

    Those who know it are ``"trusted"`` (`Connection.kind`). Nothing of it shows in logs, errors, or its repr. Where the system vouches for
    the other end, as on a Unix socket between processes of one user, it is not asked for.

    To change a secret, open contexts with ``Secret(new, accepted=[old])``, one after the other; when all have it, with ``Secret(new)``.

    Args:
        value: The secret: at least 16 bytes that nobody can guess. A text stands for its bytes in UTF-8.
        accepted: Other `Secret` objects, at most 7, that are taken as well.

    Raises:
        TypeError: One of them is something else.
        ValueError: One of them is too short, or there are too many.
    """

    def __init__(self, value: bytes | str, *, accepted: Iterable[Secret] = ()) -> None:
        self._source: _File | bytes = _check("value", value)
        self._accepted = _check_accepted(accepted)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, accepted: Iterable[Secret] = ()) -> Self:
        """A secret from a file that only this user may read; one line break at its end does not count.

        When the file changes, the new content is used from the next connection on. If that is not fit to be a secret, or the file cannot
        be read any more, the old one stays in use, and the log says so once.

        Raises:
            OSError: It cannot be read.
            ValueError: Others may read it, or it is too short or too long.
        """
        self = cls.__new__(cls)
        self._source = _File(Path(path))
        self._accepted = _check_accepted(accepted)
        return self

    @classmethod
    def from_environment(cls, name: str, *, accepted: Iterable[Secret] = ()) -> Self:
        """A secret from an environment variable. It is read once; processes that are started from here inherit the variable.

        Raises:
            ValueError: There is no such variable, or it is too short.
        """
        value = os.environ.get(name)
        if value is None:
            raise ValueError(f"there is no environment variable {name!r} with a secret")
        return cls(_check(f"the environment variable {name!r}", value), accepted=accepted)

    @classmethod
    def generate(cls) -> Self:
        """A new secret of 32 random bytes, written with letters and digits; see `save`."""
        return cls(base64.urlsafe_b64encode(os.urandom(_GENERATED_BYTES)).rstrip(b"="))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the secret to a new file, which only this user may read.

        Raises:
            OSError: It cannot be written; a FileExistsError if there is a file already.
        """
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            file.write(self._secrets()[0] + b"\n")

    def __repr__(self) -> str:
        where = f" of {str(self._source.path)!r}" if isinstance(self._source, _File) else ""
        more = f", {len(self._accepted)} more accepted" if self._accepted else ""
        return f"<Secret{where}{more}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be written anywhere but by its method save")

    # ---------------------------------------------------------------- for contexts

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """Refuse what others could read, unless the user has said that this is meant; see `Security.check`."""
        if address.scheme == "tcp" and not address.is_loopback and not insecure:
            raise ValueError(
                f"to {verb} at {address} with a secret but without TLS, where others can read along though not write,"
                " takes insecure=True; tls:// hides it"
            )

    def ssl_context(self, *, server_side: bool) -> ssl.SSLContext:
        """TLS 1.3 in which both ends prove that they know the secret.

        Raises:
            ValueError: This Python cannot do it.
        """
        if sys.version_info >= (3, 13):
            from .psk import psk_context

            return psk_context(self._secrets, owner=self, server_side=server_side)
        raise ValueError(
            "tls:// with a trioton.Secret and without an ssl_context takes Python 3.13; "
            "give an ssl_context, or use tcp://, where others can read along but not write"
        )

    async def greet(self, transport: Transport, address: Address) -> Transport:
        """Prove to who was dialled that we know the secret, and have it prove the same; a checkpoint. See `Security.greet`."""
        if self._is_proved_in_tls(transport):
            await trio.lowlevel.checkpoint()
            return _trusted(transport)
        try:
            return _trusted(await seal_dialled(transport, self._secrets(), os.urandom(_NONCE_BYTES)))
        except ProtocolError as error:
            from ..protocol.sealing import NoSecretError, WrongSecretError

            if isinstance(error, NoSecretError | WrongSecretError):
                raise AuthError(f"{address}: {error}") from error
            raise ConnectError(f"{address}: {error}") from error

    async def meet(self, transport: Transport) -> Transport:
        """The same for who has dialled; see `Security.meet`."""
        if transport.kind == "tls":
            from .tls import TlsTransport, handshake_or_turn_away

            assert isinstance(transport, TlsTransport)
            await handshake_or_turn_away(transport)
            if self._is_proved_in_tls(transport):
                return _trusted(transport)
        try:
            return _trusted(await seal_accepted(transport, self._secrets(), os.urandom(_NONCE_BYTES)))
        except ProtocolError as error:
            from ..protocol.sealing import REFUSAL, NoSecretError, WrongSecretError

            if isinstance(error, NoSecretError):
                raise TurnedAwayError(str(error)) from error
            if isinstance(error, WrongSecretError):
                raise TurnedAwayError(str(error), REFUSAL) from error
            raise

    def _is_proved_in_tls(self, transport: Transport) -> bool:
        """Whether TLS, the handshake of which is over, has proved the secret already: its context was made by `ssl_context`."""
        if transport.kind != "tls":
            return False
        from .psk import is_psk
        from .tls import TlsTransport

        return isinstance(transport, TlsTransport) and is_psk(transport, self)

    def _secrets(self) -> list[bytes]:
        """The secret as it is now, and then all others that are taken."""
        own = self._source if isinstance(self._source, bytes) else self._source.read()
        return [own, *(secret for each in self._accepted for secret in each._secrets())]


def _trusted(transport: Transport) -> Transport:
    transport.credentials = Credentials(SHARED_IDENTITY, may_route=True)
    return transport


class _File:
    """A secret in a file, read again when that changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: _Signature | None
        self._seen, self._value = self._read()

    def read(self) -> bytes:
        """The secret as it is now; as it was, if that is not fit to be one."""
        try:
            seen = _signature(os.stat(self.path))
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen  # also if it is no good, so that the log hears of it once
            try:
                self._seen, self._value = self._read()
                logger.info("the secret in %s has changed", self.path)
            except (OSError, ValueError) as error:
                logger.warning("the secret stays as it was: %s", error)
        return self._value

    def _read(self) -> tuple[_Signature, bytes]:
        with open(self.path, "rb") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise ValueError(
                    f"others may read the secret in {str(self.path)!r}, whose mode is {mode}; chmod 600 it"
                )
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise ValueError(f"the file {str(self.path)!r} is too long for a secret")
        value = content.removesuffix(b"\n").removesuffix(b"\r")
        return _signature(status), _check(f"the file {str(self.path)!r}", value)


def _signature(status: os.stat_result) -> _Signature:
    """By which one sees that a file has changed."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode


def _check(what: str, value: object) -> bytes:
    """The bytes of a secret, which never show in an error.

    Raises:
        TypeError: It is neither bytes nor a text.
        ValueError: It is too short.
    """
    if isinstance(value, str):
        try:
            value = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ValueError(f"{what} has characters that are none") from None  # the error would hold the secret
    if not isinstance(value, bytes):
        raise TypeError(f"{what} must be bytes or a str, not {type(value).__name__}")
    if len(value) < LEAST_BYTES:
        raise ValueError(f"{what} must have at least {LEAST_BYTES} bytes to be a secret, not {len(value)}")
    return value


def _check_accepted(accepted: Iterable[Secret]) -> list[Secret]:
    if isinstance(accepted, (bytes, str, Secret)) or not isinstance(accepted, Iterable):
        raise TypeError(f"accepted must be several secrets, such as a list, not one {type(accepted).__name__}")
    taken = list(accepted)
    for each in taken:
        if not isinstance(each, Secret):
            # A text could be meant as the name of a file, and would be a secret that anybody can guess.
            raise TypeError(
                f"accepted must hold trioton.Secret objects, such as Secret.from_file(path), not {type(each).__name__}"
            )
    if len(taken) > _MOST_ACCEPTED:
        raise ValueError(f"accepted must be at most {_MOST_ACCEPTED} secrets, not {len(taken)}")
    return taken
