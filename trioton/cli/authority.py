"""A small authority in a folder, and the certificates that it has issued: what ``trioton keys`` works on.

The folder holds ``authority.pem`` and ``authority.key``, and for each node ``NAME.pem`` and ``NAME.key``. Keys are of the curve P-256, and
may be read by nobody else.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..transports.mutual import NODE, ROUTER, check_node_name

AUTHORITY: Final = "authority"
"""The name of the authority's own files, which no node may have."""

CLOCKS_DIFFER: Final = datetime.timedelta(hours=1)
"""How long before now a certificate becomes valid, for machines whose clocks are late."""


class KeysError(ValueError):
    """Something that cannot be done in this folder; the message says why."""


@attrs.frozen
class Issued:
    """What a certificate in the folder says.

    Attributes:
        name: The node's name, or ``"authority"``.
        is_router: Whether it may speak for others.
        until: When it ends.
        file: Where it is.
    """

    name: str
    is_router: bool
    until: datetime.datetime
    file: Path

    @property
    def days(self) -> int:
        """Whole days that are left; negative if none are."""
        return (self.until - _now()).days


class Authority:
    """An authority in a folder.

    Args:
        folder: Where it is, or is to be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def certificate_file(self) -> Path:
        """What all nodes must have to check the certificates of others."""
        return self.folder / f"{AUTHORITY}.pem"

    def create(self, days: int) -> Issued:
        """Make the authority; the folder is made if it is not there.

        Raises:
            KeysError: There is one already.
            OSError: A file cannot be written.
        """
        if self.certificate_file.exists() or self._key_file(AUTHORITY).exists():
            raise KeysError(f"there is an authority in {str(self.folder)!r} already")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        # Two authorities with one name could be mistaken for each other by those who check.
        name = _name(f"Trioton {os.urandom(4).hex()}")
        usage = _usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            _builder(name, name, key, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(self._key_file(AUTHORITY), key)
        _write_certificate(self.certificate_file, certificate)
        return _describe(certificate, self.certificate_file)

    def issue(self, name: str, *, is_router: bool, days: int) -> Issued:
        """Make a key and a certificate for a node.

        Raises:
            KeysError: There is no authority, or the node has a certificate already.
            ValueError: The name cannot be that of a node.
            OSError: A file cannot be read or written.
        """
        self._check_name(name)
        if self._certificate_file(name).exists() or self._key_file(name).exists():
            raise KeysError(f"{name!r} has a certificate already; `trioton keys renew {name}` makes a newer one")
        issuer, issuer_key = self._open()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, issuer, issuer_key, is_router=is_router, days=days)
        _write_key(self._key_file(name), key)
        _write_certificate(self._certificate_file(name), certificate)
        return _describe(certificate, self._certificate_file(name))

    def renew(self, name: str, *, days: int) -> Issued:
        """Make a certificate with another end for the key and role that a node has; it takes the old one's place at once.

        Raises:
            KeysError: The node has none.
            ValueError: The name cannot be that of a node.
            OSError: A file cannot be read or written.
        """
        self._check_name(name)
        if not self._certificate_file(name).exists():
            raise KeysError(f"there is no certificate of {name!r} in {str(self.folder)!r}")
        issuer, issuer_key = self._open()
        before = _describe(_read_certificate(self._certificate_file(name)), self._certificate_file(name))
        key = _read_key(self._key_file(name))
        certificate = _sign(name, key, issuer, issuer_key, is_router=before.is_router, days=days)
        _write_certificate(self._certificate_file(name), certificate)
        return _describe(certificate, self._certificate_file(name))

    def issued(self) -> Iterator[Issued]:
        """All certificates in the folder, the authority's first.

        Raises:
            KeysError: There is no authority, or a file is no certificate.
            OSError: A file cannot be read.
        """
        yield _describe(self._read_own(), self.certificate_file)
        for file in sorted(self.folder.glob("*.pem")):
            if file != self.certificate_file:
                yield _describe(_read_certificate(file), file)

    def _check_name(self, name: str) -> None:
        if check_node_name(name) == AUTHORITY:
            raise KeysError(f"{AUTHORITY!r} is the authority's own name")

    def _read_own(self) -> x509.Certificate:
        if not self.certificate_file.exists():
            raise KeysError(f"there is no authority in {str(self.folder)!r}; `trioton keys init` makes one")
        return _read_certificate(self.certificate_file)

    def _open(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        return self._read_own(), _read_key(self._key_file(AUTHORITY))

    def _certificate_file(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def _key_file(self, name: str) -> Path:
        return self.folder / f"{name}.key"


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_router: bool,
    days: int,
) -> x509.Certificate:
    uris = [NODE + name, *([ROUTER] if is_router else [])]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(_name(name), issuer.subject, key, days, at_most=issuer.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), False)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    days: int,
    at_most: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    until = _now() + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - CLOCKS_DIFFER)
        .not_valid_after(until if at_most is None else min(until, at_most))
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _describe(certificate: x509.Certificate, file: Path) -> Issued:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    nodes = [uri.removeprefix(NODE) for uri in uris if uri.startswith(NODE)]
    name = nodes[0] if nodes else file.stem
    return Issued(name, ROUTER in uris, certificate.not_valid_after_utc, file)


# ----------------------------------------------------------------------------------------------------------------- files


def _read_certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError as error:
        raise KeysError(f"{str(file)!r} is no certificate in PEM form") from error


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (TypeError, ValueError) as error:
        raise KeysError(f"{str(file)!r} is no key in PEM form without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeysError(f"{str(file)!r} is no key of an elliptic curve")
    return key


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(text)


def _write_certificate(file: Path, certificate: x509.Certificate) -> None:
    """Put the file in its place whole, as others may read it at any time."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    fresh.replace(file)
