"""TLS of DICOM associations: PS3.15 B.12, the BCP 195 profile of RFC 8996, with certificates on both sides."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!kRSA:!PSK"
"""For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of this node, and of the authority that its peers' certificates come from."""

    certificate: Path
    key: Path
    authority: Path
    revocations: Path | None = None
    """Certificate revocation list of the authority; given, it is checked."""
    requires_certificate: bool = True
    """Whether who calls us must show a certificate; without one, nothing but the address says who it is."""


def expiry(certificate: Path) -> datetime:
    """Tell when a certificate expires.

    Raises
    ------
    OSError
        The file is missing.
    ValueError
        It is no certificate.
    """
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server that asks every peer for a certificate.

    Raises
    ------
    OSError
        A file is missing, or is no such file (ssl.SSLError).
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = ssl.CERT_REQUIRED if files.requires_certificate else ssl.CERT_NONE
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a client that checks the peer's certificate and name, and shows its own.

    Raises
    ------
    OSError
        A file is missing, or is no such file (ssl.SSLError).
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_ciphers(_CIPHERS)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    if files.revocations is not None:
        context.load_verify_locations(files.revocations)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context
