"""Structured logs: events with allow-listed fields, from which values that may identify a patient are removed.

UIDs identify people, and libraries put dataset values into their messages. Our own events are therefore constants with
named fields; of a library's record only the level, the location in the code and the exception types are logged.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import IO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

OWN_PACKAGES = frozenset({"lungnode", "dicom_node", "inference", "webapp", "db", "training"})
"""Packages whose events are constants; the text of every other logger is withheld."""

_RECORD = "event level timestamp logger source process pid version dropped"
_OUR_IDS = (
    "study_id series_id instance_id analysis_id finding_id delivery_id prediction_id user_id association_id request_id "
    "reference workflow_id executor_id role"
)
_NETWORK = (
    "host port peer_address calling_ae_title called_ae_title ae_title certificate_sha256 destination abort_source "
    "sop_class_uid transfer_syntax_uid service dimse_status method route endpoint http_status"
)
_OUTCOMES = (
    "status state outcome verdict kind reason_code code error_type location where chain attempt attempts exit_status "
    "signal action setting part problem model model_name model_version model_sha256 device task"
)
_MEASURES = (
    "duration_s waiting_s quiet_s timeout_s retry_in_s size_bytes free_bytes free_mb limit count instance_count "
    "series_count slice_count candidate_count finding_count event_count object_count queued_count frame_count step "
    "fraction revision"
)
ALLOWED_FIELDS = frozenset(f"{_RECORD} {_OUR_IDS} {_NETWORK} {_OUTCOMES} {_MEASURES}".split())
"""Field names that may be logged; none of their values may come from a dataset."""

MAX_TEXT = 200
WITHHELD = "[withheld]"
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*([:. -]+[A-Za-z0-9_]+)*\Z")
_UID = re.compile(r"(?<![\d.])(?!1\.2\.840\.10008\.)[0-2](?:\.\d+){5,}(?![\d.])")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_CHATTY = (
    "pynetdicom",
    "pydicom",
    "highdicom",
    "sqlalchemy",
    "alembic",
    "dbos",
    "waitress",
    "PIL",
    "matplotlib",
    "werkzeug",
)


def configure_logging(level: str = "info", style: str = "json", stream: IO[str] | None = None) -> None:
    """Configure structlog and ``logging`` to write allow-listed fields to ``stream`` (default: stderr).

    Parameters
    ----------
    level
        Minimum level: ``debug``, ``info``, ``warning`` or ``error``; for libraries at least ``warning``.
    style
        ``json`` (one object a line) or ``console``.
    """
    severity = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _describe_exception,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, strip_library_record],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                keep_allowed,
                _renderer(style),
            ],
            keep_exc_info=False,
            keep_stack_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(severity)
    _quieten_libraries(handler, max(severity, logging.WARNING))
    _catch_uncaught()


def _renderer(style: str) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer(default=str, ensure_ascii=True)
    return structlog.dev.ConsoleRenderer(colors=False)


def _quieten_libraries(handler: logging.Handler, severity: int) -> None:
    for name in _CHATTY:
        logger = logging.getLogger(name)
        logger.setLevel(severity)
    dbos = logging.getLogger("dbos")  # adds a console handler unless it already has one
    dbos.handlers[:] = [handler]
    dbos.propagate = False
    logging.captureWarnings(capture=True)
    if "pynetdicom" in sys.modules:
        strip_pynetdicom()


def strip_pynetdicom() -> None:
    """Remove Identifier datasets from pynetdicom's own logs; call after importing it."""
    from pynetdicom import _config

    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"


def keep_allowed(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Drop fields that are not allow-listed and withhold values that may identify a patient (last processor)."""
    dropped = sorted(name for name in event_dict if name not in ALLOWED_FIELDS)
    allowed: EventDict = {name: safe_value(value) for name, value in event_dict.items() if name in ALLOWED_FIELDS}
    allowed["event"] = safe_event(event_dict.get("event"))
    if dropped:
        allowed["dropped"] = dropped
    return allowed


def safe_event(event: object) -> str:
    """Return the event if it is a constant, else ``event:withheld``."""
    return event if isinstance(event, str) and len(event) <= MAX_TEXT and _is_constant(event) else "event:withheld"


def _is_constant(event: str) -> bool:
    return _EVENT.match(event) is not None and _UID.search(event) is None


def safe_value(value: object) -> object:
    """Return numbers and short texts; withhold instance UIDs, DICOM person names and long texts."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [safe_value(part) for part in list(value)[:20]]
    text = str(value)
    if len(text) > MAX_TEXT or "^" in text or _UID.search(text):
        return WITHHELD
    return text


def strip_library_record(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Reduce a standard-library record to location, level, exception type and message template."""
    record: logging.LogRecord = event_dict["_record"]
    if record.name.split(".")[0] in OWN_PACKAGES:
        event_dict["event"] = record.msg
        event_dict.update(_extra_fields(record))
    else:
        event_dict["event"] = "library:message"
        event_dict["source"] = f"{record.module}.{record.funcName}:{record.lineno}"
    exc_info = event_dict.pop("exc_info", None) or record.exc_info
    if isinstance(record.msg, BaseException):
        event_dict.update(exception_fields(record.msg))
    elif isinstance(exc_info, tuple) and exc_info[1] is not None:
        event_dict.update(exception_fields(exc_info[1]))
    return event_dict


_RECORD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _RECORD_FIELDS and name[0] != "_"}


def _describe_exception(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    exc_info = event_dict.pop("exc_info", None)
    event_dict.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        event_dict.update(exception_fields(error))
    return event_dict


def exception_fields(error: BaseException) -> dict[str, object]:
    """Return type and location of an exception and its causes, and the message of the first one of our own packages.

    Messages of other exceptions may hold dataset values.
    """
    fields: dict[str, object] = {"error_type": type(error).__name__, "location": _location(error.__traceback__)}
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < 5:
        chain.append(f"{type(cause).__name__} at {_location(cause.__traceback__)}")
        if "problem" not in fields and type(cause).__module__.split(".")[0] in OWN_PACKAGES:
            fields["problem"] = str(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return {**fields, "chain": chain}


def _location(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    if not frames:
        return "unknown"
    return " < ".join(f"{_module(frame.filename)}:{frame.lineno}" for frame in reversed(frames[-4:]))


def _module(filename: str) -> str:
    parts = filename.replace("\\", "/").split("/")
    return "/".join(parts[-2:])


def _catch_uncaught() -> None:
    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        structlog.get_logger("lungnode").error("process:crashed", exc_info=error.with_traceback(trace))

    def on_thread_exception(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            structlog.get_logger("lungnode").error("thread:crashed", exc_info=args.exc_value)

    sys.excepthook = on_exception
    threading.excepthook = on_thread_exception
