"""Binding of an AE title to a certificate, by its fingerprint, by a name in it, or both.

The CA vouches that a caller is ours; this binds it to one AE title. Without it every holder of a certificate could
call by any other's AE title.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

_UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER), 64 hexadecimal digits; empty for no certificate."""
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


def names(certificate: bytes) -> frozenset[str]:
    """Return the names in a certificate (DER): ``DNS:`` and ``URI:`` (RFC 5280 4.2.1.6), ``CN:`` of its subject."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        values = {f"CN:{attribute.value!s}" for attribute in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
        alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(values)
    except _UNREADABLE:  # OpenSSL let it pass, and still it cannot be read: it bears no name for us
        return frozenset()
    values |= {f"DNS:{name.lower()}" for name in alternatives.get_values_for_type(x509.DNSName)}
    values |= {f"URI:{uri}" for uri in alternatives.get_values_for_type(x509.UniformResourceIdentifier)}
    return frozenset(values)


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """Required certificate of a peer; where fingerprints and names are given, both apply."""

    fingerprints: frozenset[str] = frozenset()
    """SHA-256 of the certificates that it may show, in lower case."""
    names: frozenset[str] = frozenset()
    """Names of which it must bear one, whole and without wildcards, as ``names`` spells them."""

    def allows(self, certificate: bytes) -> bool:
        """Return True if a certificate (DER; empty: none presented) satisfies the rule."""
        if not self.fingerprints and not self.names:
            return True
        if not certificate or (self.fingerprints and fingerprint(certificate) not in self.fingerprints):
            return False
        return not self.names or not self.names.isdisjoint(names(certificate))


ANY_CERTIFICATE = CertificateRule()
"""Any certificate of the CA, or none where none is required."""
