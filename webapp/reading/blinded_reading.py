"""Blinded reading: model output is withheld from a reader until the study was read.

The choice is a cookie of the reader's browser; programs with a token, which send none, always get everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flask import request

from db.domain.caveats import ABOUT_FINDINGS
from db.domain.findings import FindingOrigin
from db.domain.worklist import WorklistOrder, WorklistQuery
from webapp.accounts.identity import principal
from webapp.api.models import Reason
from webapp.api.models_studies import Finding, Study
from webapp.api.models_worklist import WorklistItem

COOKIE = "lungnode_hide_model"
SHOWN_HEADER = "X-Lungnode-Model"
"""Has the value ``shown`` after the reader revealed the model's findings, which is recorded."""
FIELDS_OF_MODEL = frozenset({"min_probability", "max_probability"})


def reads_first() -> bool:
    """Return whether this reader reads blinded."""
    return request.cookies.get(COOKIE) == "yes"


def has_chosen() -> bool:
    """Return whether this reader ever chose between reading blind and with the model's results."""
    return COOKIE in request.cookies


def is_model_hidden() -> bool:
    """Return whether to withhold the model's findings in this request."""
    return reads_first() and request.headers.get(SHOWN_HEADER) != "shown"


def blind_reader() -> str | None:
    """Return the reader's name if blinded, for whom the archive lists results only of reviewed studies."""
    return principal().name if is_model_hidden() else None


def blind_query(query: WorklistQuery) -> WorklistQuery:
    """Return a query without bounds on, or order by, model output."""
    order = WorklistOrder.OLDEST if query.order is WorklistOrder.PRIORITY else query.order
    return replace(query, min_probability=None, max_probability=None, order=order)


def blind_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Return URL parameters without bounds on, or order by, model output."""
    visible = {name: value for name, value in fields.items() if name not in FIELDS_OF_MODEL}
    return visible | {"sort": WorklistOrder.OLDEST.value} if visible.get("sort") == WorklistOrder.PRIORITY else visible


def blind_item(item: WorklistItem) -> WorklistItem:
    """Return a worklist item without model output, unless this reader reviewed the study."""
    return item if item.reviewed_by == principal().name else item.model_copy(update=_hidden(item))


def _hidden(item: WorklistItem) -> dict[str, object]:
    """Return the fields that replace a study's model output."""
    output = dict.fromkeys(("finding_count", "malignancy_probability", "interval", "displayed", "top_diameter_mm"))
    return output | {"caveats": blind_caveats(item.caveats), "result_failures": []}


def blind_caveats(caveats: list[Reason]) -> list[Reason]:
    """Return the caveats that reveal nothing about findings."""
    return [caveat for caveat in caveats if caveat.code not in ABOUT_FINDINGS]


def blind_study(study: Study) -> Study:
    """Return a study with readers' marks only, without model output and deliveries, whose number reveals findings."""
    series_codes = {reason.code for series in study.series for reason in series.reasons}
    analyses = [analysis.model_copy(update={"caveats": blind_caveats(analysis.caveats)}) for analysis in study.analyses]
    parts: dict[str, object] = {
        "overrulable": [code for code in study.overrulable if code in series_codes],
        "analyses": analyses,
        "findings": [blind_finding(finding) for finding in study.findings if finding.origin is FindingOrigin.READER],
        "deliveries": [],
    }
    return study.model_copy(update=_hidden(study) | parts)


def blind_finding(finding: Finding) -> Finding:
    """Return a finding's position and verdict, without model output."""
    measures = ("diameter_mm", "nodule_probability", "malignancy_probability", "interval")
    texts = ("displayed", "displayed_basis", "displayed_nodule")
    lists: dict[str, object] = {"prediction_set": [], "reasons": [], "attributes": {}}
    return finding.model_copy(update=dict.fromkeys((*measures, *texts)) | lists)
