"""API operations of public pages, uploads and models."""

from __future__ import annotations

from webapp.api.operations import HTML, PNG, Operation
from webapp.api.schema import Schema
from webapp.api.shapes_status import ModelStatusShape
from webapp.api.shapes_uploads import PredictionShape, StudyTakenShape

FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
UPLOAD_FORM: Schema = {
    "type": "object",
    "properties": {
        "image": FILE
        | {"description": "PNG, JPEG, a DICOM instance, or a zip of a DICOM series; detected by content."},
        "file": FILE | {"description": "The same as `image`."},
        "row": {"type": "number", "minimum": 0, "description": "0-based row of a nodule in a DICOM instance."},
        "column": {"type": "number", "minimum": 0, "description": "0-based column of a nodule in a DICOM instance."},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "sex": {"type": "string", "enum": ["female", "male", "other"]},
        "smoking_pack_years": {"type": "number", "minimum": 0, "maximum": 500},
        "family_history": {"type": "string", "enum": ["yes", "no"]},
        "symptoms": {"type": "string", "maxLength": 2000},
    },
    "anyOf": [{"required": ["image"]}, {"required": ["file"]}],
}
UPLOADS = (
    Operation("get", "/", "Educational page", {200: HTML}, public=True),
    Operation("get", "/detector", "Upload form", {200: HTML}),
    Operation("get", "/conformance", "DICOM conformance statement", {200: HTML}),
    Operation("get", "/model", "Model card", {200: HTML}, (503,)),
    Operation("get", "/model/{model_name}/{plot}.png", "A plot of a model bundle", {200: PNG}, (404,)),
    Operation(
        "post",
        "/predict",
        "Analyse one slice or nodule; store a zip as a study",
        {200: PredictionShape, 202: StudyTakenShape},
        (400, 413, 415, 422, 429, 503),
        form=UPLOAD_FORM,
        alternative=HTML,
    ),
    Operation(
        "post",
        "/predict/preview",
        "Render a DICOM instance in the lung window; nothing is stored",
        {200: PNG},
        (400, 413, 415, 422, 429, 503),
        form=UPLOAD_FORM,
    ),
    Operation(
        "get",
        "/predictions/{prediction_id}",
        "An earlier prediction",
        {200: PredictionShape},
        (404,),
        alternative=HTML,
    ),
    Operation(
        "get",
        "/predictions/{prediction_id}/{name}.png",
        "The image as analysed, or the attention overlay",
        {200: PNG},
        (404,),
    ),
    Operation("get", "/model_status", "Models and their metrics", {200: ModelStatusShape}, (503,)),
)
