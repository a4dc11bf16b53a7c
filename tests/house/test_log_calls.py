"""Every log call in our packages has a constant event and allow-listed fields, so that nothing is dropped unnoticed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungnode.logs import ALLOWED_FIELDS, safe_event

WITHHELD_EVENT = safe_event(None)

PACKAGES = ("lungnode", "dicom_node", "inference", "webapp", "db", "training")
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
LOGGERS = {"log", "logger", "_log", "_logger", "LOG", "LOGGER", "_LOG", "_LOGGER"}


def log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        target = node.func.value
        name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
        if name in LOGGERS:
            yield node


def problems(path: Path) -> Iterator[str]:
    for call in log_calls(path):
        where = f"{path.name}:{call.lineno}"
        if not (call.args and is_constant(call.args[0])):
            yield f"{where}: the event is not a plain constant"
        for name in field_names(call):
            if name not in ALLOWED_FIELDS:
                yield f"{where}: {name} is not an allowed field (lungnode/logs.py)"


def is_constant(event: ast.expr) -> bool:
    """Return True if an event is a constant, or made of constants and of one that was passed as ``event``."""
    if isinstance(event, ast.JoinedStr):
        return all(is_constant(part.value if isinstance(part, ast.FormattedValue) else part) for part in event.values)
    if isinstance(event, ast.Name):
        return event.id == "event"
    if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
        return False
    return safe_event(f"a{event.value}") != WITHHELD_EVENT


def field_names(call: ast.Call) -> Iterator[str]:
    """Names of the fields that a call gives, as keywords (structlog) or in a literal ``extra`` (logging)."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            yield from (str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant))
        elif keyword.arg is not None and keyword.arg not in {"exc_info", "extra", "stacklevel"}:
            yield keyword.arg


@pytest.mark.parametrize("package", PACKAGES)
def test_log_calls_are_constants_with_allowed_fields(package: str, root: Path) -> None:
    offending = [line for path in sorted((root / package).rglob("*.py")) for line in problems(path)]
    assert not offending, "\n".join(offending)


def test_a_value_in_an_event_is_found(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text(
        'log.info(f"stored {uid}")\nself.log.warning("a:b", patient_name=name)\nlog.info("a:b", count=1)\n'
    )
    assert len(list(problems(module))) == 2
