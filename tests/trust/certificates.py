"""Certificates of a test's own authority, good ones and all kinds of bad ones."""

from __future__ import annotations

import datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

import trioton
from trioton.cli import authority
from trioton.cli.authority import Authority

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@attrs.frozen
class Office:
    """An authority, and what it issues."""

    authority: Authority

    @classmethod
    def opened(cls, folder: Path) -> Office:
        office = cls(Authority(folder))
        office.authority.create(100)
        return office

    def mutual(self, name: str, *, is_router: bool = False, trusts: Office | None = None) -> trioton.Mutual:
        """What a node of a name opens its context with; its certificate is issued when it is first asked for."""
        folder = self.authority.folder
        if not (folder / f"{name}.pem").exists():
            self.authority.issue(name, is_router=is_router, days=10)
        trusted = (trusts or self).authority.certificate_file
        return trioton.Mutual(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", authority=trusted)

    def odd(
        self,
        *uris: str,
        days: int = 10,
        purposes: tuple[x509.ObjectIdentifier, ...] = BOTH,
    ) -> trioton.Mutual:
        """What a node with a certificate that is not as it should be opens its context with."""
        issuer, issuer_key = self.authority._open()
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(authority._name("odd"))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=20))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        folder = self.authority.folder
        odd = folder / f"odd{len(list(folder.iterdir()))}.pem"
        authority._write_key(odd.with_suffix(".key"), key)
        authority._write_certificate(odd, builder.sign(issuer_key, hashes.SHA256()))
        return trioton.Mutual(certificate=odd, key=odd.with_suffix(".key"), authority=self.authority.certificate_file)
