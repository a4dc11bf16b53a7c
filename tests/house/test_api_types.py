"""The TypeScript types of the API are those of its document."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def api_types(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_types", root / "frontend/api_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_current(api_types: ModuleType) -> None:
    assert api_types.TYPES.read_text(encoding="utf-8") == api_types.current(), "run `make types`"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "number"),
        ({"type": ["string", "null"], "pattern": "x"}, "string | null"),
        ({"anyOf": [{"$ref": "#/components/schemas/Reason"}, {"type": "null"}]}, "Reason | null"),
        ({"type": "array", "items": {"enum": ["a", "b"], "type": "string"}}, '("a" | "b")[]'),
        ({"type": ["array", "null"], "prefixItems": [{"type": "number"}, {"type": "null"}]}, "[number, null] | null"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Record<string, number>"),
        ({"type": "object", "additionalProperties": True}, "Record<string, unknown>"),
        ({"const": True, "type": "boolean"}, "true"),
        ({}, "unknown"),
    ],
)
def test_a_schema_has_its_type(api_types: ModuleType, schema: dict[str, Any], expected: str) -> None:
    assert api_types.type_of(schema) == expected


def test_an_unknown_schema_is_an_error(api_types: ModuleType) -> None:
    with pytest.raises(ValueError, match="no TypeScript type"):
        api_types.type_of({"oneOf": []})


def test_an_optional_field_and_a_comment(api_types: ModuleType) -> None:
    schema = {"description": "A ``thing``.", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}
    lines = list(api_types.declaration("Thing", schema))
    assert lines == ["/** A `thing`. */", "export interface Thing {", "  a: string;", "  b?: unknown;", "}"]


def test_a_long_union_takes_one_line_an_option(api_types: ModuleType) -> None:
    names = [f"option_{number:02}" for number in range(10)]
    first, *_, last = lines = list(api_types.declaration("Choice", {"enum": names}))
    assert (first, last, len(lines)) == ("export type Choice =", '  | "option_09";', 11)
    assert list(api_types.declaration("Choice", {"enum": names[:2]})) == [
        'export type Choice = "option_00" | "option_01";'
    ]
