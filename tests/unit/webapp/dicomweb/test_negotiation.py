"""Accept headers of DICOMweb clients, as they send them."""

from __future__ import annotations

import pytest

from tests.unit.webapp.conftest import Web
from webapp.dicomweb.negotiation import ANY_SYNTAX, OCTETS, UNCOMPRESSED, Choice, choose_frames

J2K = "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize(
    ("accept", "as_stored"),
    [
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={ANY_SYNTAX}', True),
        (f"multipart/related; type={OCTETS}; transfer-syntax={ANY_SYNTAX}", True),
        (f"multipart/related;type={OCTETS};transfer-syntax={J2K}", True),
        (f"multipart/related; type={OCTETS}; transfer-syntax={UNCOMPRESSED}", False),
        (f"multipart/related; type={OCTETS}", False),
    ],
)
def test_a_type_is_understood_with_quotes_and_without(web: Web, accept: str, as_stored: bool) -> None:
    with web.app.test_request_context(headers={"Accept": accept}):
        assert choose_frames(J2K) == Choice(OCTETS, as_stored=as_stored)
