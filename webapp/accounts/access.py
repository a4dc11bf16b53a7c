"""Permissions by role for every endpoint and method; anything not in this table is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from db.domain.records import Role

ADMIN, RADIOLOGIST, AUDITOR, SERVICE = Role.ADMIN, Role.RADIOLOGIST, Role.AUDITOR, Role.SERVICE

Roles = frozenset[Role] | None
"""The permitted roles; None means everyone, signed in or not."""

EVERYONE: Final[Roles] = None
SIGNED_IN: Final[Roles] = frozenset(Role)
READ_CLINICAL: Final[Roles] = frozenset(Role)
UPLOAD: Final[Roles] = frozenset({ADMIN, RADIOLOGIST, SERVICE})
DECIDE: Final[Roles] = frozenset({RADIOLOGIST})
"""A verdict on a finding is a clinical act: an administrator's account is not a reader's."""
OPERATE: Final[Roles] = frozenset({ADMIN, RADIOLOGIST})
ADMINISTER: Final[Roles] = frozenset({ADMIN})
AUDIT: Final[Roles] = frozenset({ADMIN, AUDITOR})
OBSERVE: Final[Roles] = frozenset({ADMIN, AUDITOR, SERVICE})

TABLE: Final[Mapping[str, Mapping[str, Roles]]] = {
    "static": {"GET": EVERYONE},
    "pages.home": {"GET": EVERYONE},
    "pages.favicon": {"GET": EVERYONE},
    "health.livez": {"GET": EVERYONE},
    "account.sign_in_page": {"GET": EVERYONE},
    "account.sign_in": {"POST": EVERYONE},
    "oidc.start": {"GET": EVERYONE},
    "oidc.callback": {"GET": EVERYONE},
    "account.sign_out": {"POST": SIGNED_IN},
    "pages.detector": {"GET": UPLOAD},
    "pages.model_card": {"GET": SIGNED_IN},
    "pages.model_plot": {"GET": SIGNED_IN},
    "conformance.page": {"GET": SIGNED_IN},
    "status.model_status": {"GET": SIGNED_IN},
    "status.openapi": {"GET": SIGNED_IN},
    "health.readyz": {"GET": EVERYONE},
    "health.metrics": {"GET": OBSERVE},
    "predictions.predict": {"POST": UPLOAD},
    "predictions.preview": {"POST": UPLOAD},
    "predictions.show": {"GET": UPLOAD},
    "predictions.picture": {"GET": UPLOAD},
    "trail.page": {"GET": AUDIT},
    "trail.result_timeline": {"GET": AUDIT},
    "monitoring.page": {"GET": AUDIT},
    "admin.page": {"GET": ADMINISTER},
    "admin.overview": {"GET": ADMINISTER},
    "admin.delivery_listing": {"GET": ADMINISTER},
    "admin.resend": {"POST": ADMINISTER},
    "admin.resend_all": {"POST": ADMINISTER},
    "admin.resend_from_page": {"POST": ADMINISTER},
    "admin.resend_all_from_page": {"POST": ADMINISTER},
    "admin.fetch_again": {"POST": ADMINISTER},
    "admin.retry_results": {"POST": ADMINISTER},
    "admin.retry_results_from_page": {"POST": ADMINISTER},
    "admin.fetch_again_from_page": {"POST": ADMINISTER},
    "admin.analyse_again_from_page": {"POST": ADMINISTER},
    "candidate.page": {"GET": ADMINISTER},
    "candidate.roll_back_from_page": {"POST": ADMINISTER},
    "candidate.comparison": {"GET": ADMINISTER},
    "scanners.listing": {"GET": ADMINISTER},
    "scanners.hold": {"POST": ADMINISTER},
    "scanners.release": {"POST": ADMINISTER},
    "scanners.hold_from_page": {"POST": ADMINISTER},
    "scanners.release_from_page": {"POST": ADMINISTER},
    "scanners.rerun_from_page": {"POST": ADMINISTER},
    "worklist.page": {"GET": READ_CLINICAL},
    "worklist.listing": {"GET": READ_CLINICAL},
    "worklist.filters": {"GET": READ_CLINICAL},
    "worklist.save_filter": {"POST": READ_CLINICAL},
    "worklist.remove_filter": {"DELETE": READ_CLINICAL},
    "worklist.review": {"POST": DECIDE},
    "events.stream": {"GET": READ_CLINICAL},
    "studies.viewer": {"GET": READ_CLINICAL},
    "studies.detail": {"GET": READ_CLINICAL},
    "studies.slices": {"GET": READ_CLINICAL},
    "qido.studies": {"GET": READ_CLINICAL},
    "qido.series": {"GET": READ_CLINICAL},
    "qido.instances": {"GET": READ_CLINICAL},
    "stow.store": {"POST": UPLOAD},
    "rendered.picture": {"GET": READ_CLINICAL},
    "wado.metadata": {"GET": READ_CLINICAL},
    "wado.frames": {"GET": READ_CLINICAL},
    "wado.part10_files": {"GET": READ_CLINICAL},
    "wado.bulk_data": {"GET": READ_CLINICAL},
    "studies.add_finding": {"POST": DECIDE},
    "studies.attention": {"GET": READ_CLINICAL},
    "studies.withdraw_finding": {"DELETE": DECIDE},
    "studies.assess": {"POST": DECIDE},
    "studies.withdraw_assessment": {"DELETE": DECIDE},
    "studies.record_reading": {"POST": DECIDE},
    "studies.analyse_again": {"POST": OPERATE},
    "studies.overrule": {"POST": DECIDE},
    "studies.complete": {"POST": OPERATE},
}


def may_observe(role: Role | None) -> bool:
    """Return whether a role may read detailed health information."""
    return OBSERVE is None or role in OBSERVE


def is_declared(endpoint: str, method: str) -> bool:
    """Return whether the table has this endpoint and method (HEAD counts as GET)."""
    return _method(method) in TABLE.get(endpoint, {})


def may(role: Role | None, endpoint: str, method: str) -> bool:
    """Return whether a role (None: not signed in) may use this endpoint with this method."""
    if not is_declared(endpoint, method):
        return False
    roles = TABLE[endpoint][_method(method)]
    return roles is None or role in roles


def _method(method: str) -> str:
    return "GET" if method == "HEAD" else method
