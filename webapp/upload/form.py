"""Form of an upload, ``multipart/form-data``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from werkzeug.datastructures import FileStorage

from db.domain.uploads import UploadPatient
from webapp.endpoints import Rule
from webapp.http.errors import BadRequestError, UnfitInputError
from webapp.http.forms import MAX_PIXEL_INDEX, MAX_TEXT, clean_text
from webapp.upload.uploads import UploadKind, head_of, kind_of

MAX_AGE = 130
MAX_PACK_YEARS = 500
"""Five packs a day for a hundred years."""
FILE_FIELDS = ("image", "file")
SEXES = {"m": "male", "f": "female", "o": "other"}

File = Annotated[FileStorage | None, WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})]
PixelIndex = Annotated[
    Annotated[float, BeforeValidator(float), Field(ge=0, le=MAX_PIXEL_INDEX)] | SkipJsonSchema[None],
    Rule(f"The field {{name}} must be a number from 0 to {MAX_PIXEL_INDEX:g}."),
]


def _sex(text: str) -> str:
    name = text.strip().lower()
    return SEXES.get(name, name)


def _counted_text(text: str) -> str:
    """Return a text with its line breaks as browsers count them."""
    return clean_text(text.replace("\r\n", "\n"))


class UploadForm(BaseModel):
    """One file, in either of two fields, and optional details."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        json_schema_extra={"anyOf": [{"required": [name]} for name in FILE_FIELDS]},
    )

    image: File = Field(
        default=None, description="PNG, JPEG, a DICOM instance, or a zip of a DICOM series; detected by content."
    )
    file: File = Field(default=None, description="The same as `image`.")
    row: PixelIndex = Field(default=None, description="0-based row of a nodule in a DICOM instance.")
    column: PixelIndex = Field(default=None, description="0-based column of a nodule in a DICOM instance.")
    age: Annotated[
        Annotated[int, BeforeValidator(float), Field(ge=0, le=MAX_AGE)] | SkipJsonSchema[None],
        Rule(f"The field {{name}} must be an integer number of years from 0 to {MAX_AGE}."),
    ] = None
    sex: Annotated[
        Literal["female", "male", "other"] | SkipJsonSchema[None],
        BeforeValidator(_sex),
        Rule("The field {name} must be female, male or other."),
    ] = None
    smoking_pack_years: Annotated[
        Annotated[float, BeforeValidator(float), Field(ge=0, le=MAX_PACK_YEARS)] | SkipJsonSchema[None],
        Rule(f"The field {{name}} must be a number from 0 to {MAX_PACK_YEARS}."),
    ] = None
    family_history: Annotated[
        Annotated[bool, BeforeValidator(str.strip)] | SkipJsonSchema[None],
        WithJsonSchema({"type": "string", "enum": ["yes", "no"]}),
        Rule("The field {name} must be yes or no."),
    ] = None
    symptoms: Annotated[
        Annotated[str, BeforeValidator(_counted_text), Field(max_length=MAX_TEXT)] | SkipJsonSchema[None],
        Rule(f"The field {{name}} must be at most {MAX_TEXT} characters."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _check_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Refuse several files, none, and one of another type; an empty file input next to a file is ignored."""
        inputs = [(name, file) for name, files in values.items() if isinstance(files, list) for file in files]
        files = [(name, file) for name, file in inputs if file.filename or head_of(file)]
        if len(files) > 1:
            raise UnfitInputError(422, "several_files", "Upload one file at a time; a series as one zip.")
        choice = [(name, file) for name, file in (*files, *inputs) if name in FILE_FIELDS]
        if not choice:
            raise BadRequestError("Send an image in the field image (multipart/form-data).", code="no_image")
        kind_of(head_of(choice[0][1]))
        return {name: text for name, text in values.items() if isinstance(text, str)} | dict(choice[:1])

    @model_validator(mode="after")
    def _check_position(self) -> Self:
        if (self.row is None) is not (self.column is None):
            text = "The field row and the field column must be given together."
            raise UnfitInputError(422, "invalid_field", text)
        return self

    @property
    def upload(self) -> FileStorage:
        """The file."""
        upload = self.image if self.image is not None else self.file
        if upload is None:
            raise AssertionError("a form without a file is refused")
        return upload

    @property
    def kind(self) -> UploadKind:
        """The type of the file, by its content."""
        return kind_of(head_of(self.upload))

    @property
    def patient(self) -> UploadPatient:
        """The details of the patient."""
        return UploadPatient(self.age, self.sex, self.smoking_pack_years, self.family_history, self.symptoms)
