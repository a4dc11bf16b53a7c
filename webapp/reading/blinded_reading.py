"""Reading first: whoever chose to read without the model is not sent what it says until they have read.

The choice is a cookie of the reader's browser, so programs with a token, which send none, are always told everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flask import request

from db.domain.caveats import ABOUT_FINDINGS
from db.domain.records import WorklistOrder, WorklistQuery
from webapp.accounts.identity import principal
from webapp.api.shapes import ReasonShape
from webapp.api.shapes_studies import FindingShape, StudyShape
from webapp.api.shapes_worklist import WorklistItemShape

COOKIE = "lungnode_hide_model"
SHOWN_HEADER = "X-Lungnode-Model"
"""Says ``shown`` once the reader of a study has read it and asked for the model's findings, which is on record."""
FIELDS_OF_MODEL = frozenset({"min_probability", "max_probability"})


def reads_first() -> bool:
    """Whether this reader chose to read before the model is shown."""
    return request.cookies.get(COOKIE) == "yes"


def is_model_hidden() -> bool:
    """Whether the model's findings of the study that is asked about are to be left out."""
    return reads_first() and request.headers.get(SHOWN_HEADER) != "shown"


def blind_reader() -> str | None:
    """Name the reader to whom the archive shows results only of studies that they are done with, if this is one."""
    return principal().name if is_model_hidden() else None


def blind_query(query: WorklistQuery) -> WorklistQuery:
    """Ask for nothing that would tell what the model says: no bounds on it, no order by it."""
    order = WorklistOrder.OLDEST if query.order is WorklistOrder.PRIORITY else query.order
    return replace(query, min_probability=None, max_probability=None, order=order)


def blind_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Leave the same out of the parameters of an address."""
    kept = {name: value for name, value in fields.items() if name not in FIELDS_OF_MODEL}
    return kept | {"sort": WorklistOrder.OLDEST.value} if kept.get("sort") == WorklistOrder.PRIORITY else kept


def blind_item(item: WorklistItemShape) -> WorklistItemShape:
    """Leave out what the model found, unless this reader is done with the study."""
    if item["reviewed_by"] == principal().name:
        return item
    return {
        **item,
        "finding_count": None,
        "malignancy_probability": None,
        "interval": None,
        "displayed": None,
        "caveats": blind_caveats(item["caveats"]),
        "result_failures": [],
    }


def blind_caveats(caveats: list[ReasonShape]) -> list[ReasonShape]:
    """Leave out what would tell of findings."""
    return [caveat for caveat in caveats if caveat["code"] not in ABOUT_FINDINGS]


def blind_study(study: StudyShape) -> StudyShape:
    """Keep the reader's own marks, without numbers; even how many objects went out would tell of findings."""
    own = [blind_finding(finding) for finding in study["findings"] if finding["origin"] == "reader"]
    series_codes = {reason["code"] for series in study["series"] for reason in series["reasons"]}
    return {
        **study,
        "finding_count": None,
        "malignancy_probability": None,
        "interval": None,
        "displayed": None,
        "caveats": blind_caveats(study["caveats"]),
        "result_failures": [],
        "overrulable": [code for code in study["overrulable"] if code in series_codes],
        "analyses": [{**one, "caveats": blind_caveats(one["caveats"])} for one in study["analyses"]],
        "findings": own,
        "deliveries": [],
    }


def blind_finding(finding: FindingShape) -> FindingShape:
    """Keep a place and what the reader decided about it."""
    return {
        **finding,
        "diameter_mm": None,
        "nodule_probability": None,
        "malignancy_probability": None,
        "interval": None,
        "displayed": None,
        "displayed_basis": None,
        "displayed_nodule": None,
        "prediction_set": [],
        "reasons": [],
        "attributes": {},
    }
