"""Certificates to try a TLS port with: one that is right, and each way in which one can be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
CLIENTS = (
    "good",
    "none",
    "self-signed",
    "other authority",
    "expired",
    "not yet valid",
    "for servers only",
    "revoked",
    "of another peer",
)
"""Clients by certificate; only the first may associate."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path, name: str) -> None:
        """Write both as PEM files."""
        (folder / f"{name}.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(key)


def issue(
    name: str,
    issuer: Holder | None = None,
    *,
    starts: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    is_authority: bool = False,
) -> Holder:
    """Make a certificate for localhost; signed by itself where there is no issuer."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer or Holder(None, key)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return Holder(builder.sign(signer.key, SHA256()), key)


def write_certificates(folder: Path) -> None:
    """Write the authority, its revocation list, the node's certificate, and one for each of ``CLIENTS``."""
    authority, other_authority = issue("authority", is_authority=True), issue("other authority", is_authority=True)
    revoked = issue("revoked", authority)
    holders = {
        "authority": authority,
        "node": issue("node", authority),
        "good": issue("good", authority),
        "self-signed": issue("self-signed"),
        "other authority": issue("other", other_authority),
        "expired": issue("expired", authority, starts=-30 * DAY, ends=-DAY),
        "not yet valid": issue("early", authority, starts=DAY),
        "for servers only": issue("server", authority, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "revoked": revoked,
        "of another peer": issue("other peer", authority),
    }
    for name, holder in holders.items():
        holder.write(folder, name)
    (folder / "revoked.pem").write_bytes(revocation_list(authority, (revoked,)))


def revocation_list(authority: Holder, revoked: Iterable[Holder], *, ends: timedelta = 30 * DAY) -> bytes:
    """Make an authority's list of what it revoked, in PEM."""
    now = datetime.now(UTC)
    listed = (
        x509.CertificateRevocationListBuilder(issuer_name=authority.certificate.subject)
        .last_update(now - DAY)
        .next_update(now + ends)
    )
    for holder in revoked:
        serial = holder.certificate.serial_number
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now - DAY)
        listed = listed.add_revoked_certificate(entry.build())
    return listed.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)
