"""Nothing that identifies a person passes the last step before rendering, whoever logs it."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from lungnode.errors import CommandError
from lungnode.logs import ALLOWED_FIELDS, WITHHELD, configure_logging, safe_event, safe_value

CANARY = "CANARY^PHI"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, dbos = logging.getLogger(), logging.getLogger("dbos")
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, dbos.handlers[:], dbos.propagate)
    text = io.StringIO()
    configure_logging("debug", "json", text)
    yield text
    root.handlers[:], dbos.handlers[:], dbos.propagate = before[0], before[4], before[5]
    root.setLevel(before[1])
    sys.excepthook, threading.excepthook = before[2], before[3]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_allowed_fields_are_kept_and_others_named_but_dropped(stream: io.StringIO) -> None:
    log = structlog.get_logger("dicom_node.services.storage_service")
    log.info("instance:stored", series_id="0192", size_bytes=524288, patient_name=CANARY, PatientID="123")
    (line,) = lines(stream)
    assert line["event"] == "instance:stored"
    assert (line["series_id"], line["size_bytes"], line["level"]) == ("0192", 524288, "info")
    assert line["dropped"] == ["PatientID", "patient_name"]
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "is_logged"),
    [
        ("1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192", False),
        ("2.25.1.2.3.4.123456", False),
        ("received 1.2.826.0.1.3680043.8.498.1 again", False),
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("127.0.0.1", True),
        ("3.11.7", True),
        ("DOE^JANE", False),
        ("x" * 500, False),
        (0.25, True),
        (None, True),
        (True, True),
    ],
)
def test_values_that_look_like_an_identity_are_withheld(value: object, is_logged: bool) -> None:
    assert (safe_value(value) == value) is is_logged
    assert is_logged or safe_value(value) == WITHHELD


def test_values_inside_lists_are_withheld_too() -> None:
    assert safe_value(["ok", CANARY]) == ["ok", WITHHELD]


@pytest.mark.parametrize("event", ["study:received", "series:quiet", "c-store refused", "process:crashed"])
def test_constant_events_pass(event: str) -> None:
    assert safe_event(event) == event


@pytest.mark.parametrize("event", [f"stored {CANARY}", "got 1.2.3.4.5.6.7.8", "a\nb", "", "x" * 300, None, 3, "a {b}"])
def test_events_that_are_no_constants_are_withheld(event: object) -> None:
    assert safe_event(event) == "event:withheld"


@given(st.text(max_size=40))
def test_person_names_never_pass(text: str) -> None:
    assert "^" not in str(safe_value(f"{text}^{text}"))
    assert "^" not in safe_event(f"{text}^{text}")


@pytest.mark.parametrize(
    "name", ["pydicom", "pynetdicom.acse", "sqlalchemy.engine", "waitress", "dbos", "alembic", "PIL"]
)
def test_libraries_lose_their_text_but_not_their_place(name: str, stream: io.StringIO) -> None:
    logging.getLogger(name).error("bad value %s", CANARY, extra={"patient": CANARY})
    (line,) = lines(stream)
    assert line["event"] == "library:message"
    assert str(line["source"]).startswith("test_logs.test_libraries")
    assert "CANARY" not in stream.getvalue()


def test_exceptions_show_type_and_place_but_no_message(stream: io.StringIO) -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise RuntimeError(CANARY) from error
    except RuntimeError as error:
        structlog.get_logger("dicom_node.series.pipeline").exception("job:failed")
        logging.getLogger("pynetdicom").exception(error)  # noqa: TRY401 (as pynetdicom itself does)
        logging.getLogger("webapp").exception("request:failed")
    assert [line["error_type"] for line in lines(stream)] == ["RuntimeError"] * 3
    assert all(
        "ValueError at" in str(line["chain"]) and "test_logs.py" in str(line["location"]) for line in lines(stream)
    )
    assert "CANARY" not in stream.getvalue()


def test_errors_of_ours_say_what_is_wrong_and_the_others_that_caused_them_do_not(stream: io.StringIO) -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise CommandError("the model bundle is damaged") from error
    except CommandError:
        structlog.get_logger("lungnode").exception("model:unavailable")
    (line,) = lines(stream)
    assert line["problem"] == "the model bundle is damaged"
    assert "CANARY" not in stream.getvalue()


def test_our_own_standard_loggers_keep_their_event_and_allowed_fields(stream: io.StringIO) -> None:
    logging.getLogger("webapp.http.errors").warning(
        "upload:refused", extra={"reference": "a1", "filename_given": CANARY}
    )
    (line,) = lines(stream)
    assert (line["event"], line["reference"], line["dropped"]) == ("upload:refused", "a1", ["filename_given"])


def test_warnings_lose_their_text(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"Invalid value for VR PN: {CANARY}", UserWarning, stacklevel=1)
    logging.captureWarnings(capture=False)
    assert lines(stream)[0]["logger"] == "py.warnings"
    assert "CANARY" not in stream.getvalue()


def test_uncaught_exceptions_are_logged_without_values(stream: io.StringIO) -> None:
    def crash() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    try:
        crash()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    assert [line["event"] for line in lines(stream)] == ["thread:crashed", "process:crashed"]
    assert "CANARY" not in stream.getvalue()


def test_the_console_form_is_filtered_as_well() -> None:
    text = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    configure_logging("info", "console", text)
    structlog.get_logger("db").info("study:received", patient=CANARY, study_id="7")
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()
    assert "study:received" in text.getvalue()
    assert CANARY not in text.getvalue()


def test_no_allowed_field_is_named_after_an_identity() -> None:
    forbidden = (
        "patient",
        "accession",
        "birth",
        "study_instance_uid",
        "series_instance_uid",
        "sop_instance_uid",
        "path",
        "url",
    )
    assert not [name for name in ALLOWED_FIELDS if any(word in name for word in forbidden)]
