"""TLS of the DICOM port: PS3.15 B.12, the BCP 195 profile of RFC 8996, with certificates on both sides."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

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


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server that asks every peer for a certificate.

    Raises
    ------
    OSError
        A file is missing, or is no such file (ssl.SSLError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    if files.revocations is not None:
        context.load_verify_locations(files.revocations)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context
