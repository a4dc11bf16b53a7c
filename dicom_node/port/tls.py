"""TLS of DICOM associations: PS3.15 B.12, the BCP 195 profile of RFC 8996, with certificates on both sides."""

from __future__ import annotations

import logging
import re
import ssl
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

_log = logging.getLogger(__name__)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!kRSA:!PSK"
"""For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of this node, and of the CA of its peers."""

    certificate: Path
    key: Path
    authority: Path
    revocations: Path | None = None
    """Certificate revocation lists of the authorities; given, they are checked."""
    requires_certificate: bool = True
    """True if callers must present a certificate; without one, only the address identifies them."""


def expiry(certificate: Path) -> datetime:
    """Return when a certificate expires.

    Raises
    ------
    OSError
        The file is missing.
    ValueError
        It is no certificate.
    """
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def revocation_expiry(revocations: Path) -> datetime | None:
    """Return when the first CRL of a file expires, which rejects every peer; None where none states it.

    Raises
    ------
    OSError
        The file is missing.
    ValueError
        It holds no list.
    """
    ends = [crl.next_update_utc for crl in _lists(revocations)]
    return min((end for end in ends if end is not None), default=None)


_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


def _lists(revocations: Path) -> list[x509.CertificateRevocationList]:
    crls = [x509.load_pem_x509_crl(text) for text in _LIST.findall(revocations.read_bytes())]
    if not crls:
        raise ValueError("no revocation list")
    return crls


def checks_chain(files: TlsFiles) -> bool:
    """Return True if CA certificates are checked too: where there is a CRL of every CA in ``authority``."""
    if files.revocations is None:
        return False
    authorities = x509.load_pem_x509_certificates(files.authority.read_bytes())
    return {certificate.subject for certificate in authorities} <= {crl.issuer for crl in _lists(files.revocations)}


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a server that requires a certificate of every peer.

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
    """Return the context of a client that checks the peer's certificate and name, and presents its own.

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
        try:
            flag = ssl.VERIFY_CRL_CHECK_CHAIN if checks_chain(files) else ssl.VERIFY_CRL_CHECK_LEAF
        except ValueError as error:
            raise ssl.SSLError(str(error)) from None
        context.load_verify_locations(files.revocations)
        context.verify_flags |= flag
    return context


class ServerTls:
    """Server context that is reloaded when one of its files changes.

    Unusable files are logged, and the previous context stays in use.

    Raises
    ------
    OSError
        A file is missing, or is no such file (ssl.SSLError).
    """

    CHECK_EVERY_S = 1.0

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamps = self._file_stamps()
        self._context = server_context(files)
        self._checked_s = time.monotonic()

    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection."""
        if time.monotonic() - self._checked_s >= self.CHECK_EVERY_S:
            self._checked_s = time.monotonic()
            self._renew()
        return self._context

    def _renew(self) -> None:
        stamps = self._file_stamps()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._context = server_context(self._files)
        except OSError as error:
            _log.error("tls:not_renewed", extra={"error_type": type(error).__name__})
        else:
            _log.info("tls:renewed")

    def _file_stamps(self) -> list[tuple[int, int, int] | None]:
        files = self._files
        paths = (files.certificate, files.key, files.authority, files.revocations)
        return [_stamp(path) for path in paths if path is not None]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
