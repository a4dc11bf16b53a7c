"""TypeScript types of the JSON API, generated from the OpenAPI document: ``make types``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TYPES = ROOT / "frontend" / "src" / "shared" / "api.ts"
HEADER = "// Generated from /openapi.json by `make types`; change the models in webapp/api instead.\n"
LINE_LIMIT = 120
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def type_of(schema: Mapping[str, Any]) -> str:
    """Return the TypeScript type of a JSON Schema.

    Raises
    ------
    ValueError
        For a schema of another kind than the document has.
    """
    return " | ".join(_options(schema))


def _options(schema: Mapping[str, Any]) -> list[str]:
    """Return the types whose union a schema is."""
    if "$ref" in schema:
        return [str(schema["$ref"]).rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return [option for inner in schema["anyOf"] for option in _options(inner)]
    if "const" in schema or "enum" in schema:
        return [json.dumps(value) for value in schema.get("enum", [schema.get("const")])]
    kinds = schema.get("type", [])
    if schema and not kinds:
        raise ValueError(f"no TypeScript type for {schema}")
    return [_of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)] or ["unknown"]


def _of_kind(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return _array(schema)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"Record<string, {type_of(inner) if isinstance(inner, dict) else 'unknown'}>"
    return PLAIN[kind]


def _array(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(type_of(item) for item in schema['prefixItems'])}]"
    item = type_of(schema["items"])
    return f"({item})[]" if " | " in item else f"{item}[]"


def declaration(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an exported type."""
    yield from _comment(schema.get("description", ""))
    if "properties" not in schema:
        yield from _union(name, schema)
        return
    yield f"export interface {name} {{"
    required = schema.get("required", ())
    for field, inner in schema["properties"].items():
        yield f"  {field}{'' if field in required else '?'}: {type_of(inner)};"
    yield "}"


def _union(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a type on one line, or where that is too long one option a line, as the formatter does."""
    line = f"export type {name} = {type_of(schema)};"
    if len(line) <= LINE_LIMIT:
        yield line
        return
    options = [f"  | {option}" for option in _options(schema)]
    yield from (f"export type {name} =", *options[:-1], f"{options[-1]};")


def _comment(text: str) -> Iterator[str]:
    lines = text.replace("``", "`").splitlines()
    if len(lines) == 1:
        yield f"/** {lines[0]} */"
    elif lines:
        yield from ("/**", *(f" * {line}".rstrip() for line in lines), " */")


def types_of(document: Mapping[str, Any]) -> str:
    """Return the module of the types of an OpenAPI document's schemas."""
    schemas = document["components"]["schemas"]
    return HEADER + "".join(f"\n{text}\n" for text in ("\n".join(declaration(*entry)) for entry in schemas.items()))


def current() -> str:
    """Return the module of the types of this API."""
    sys.path.insert(0, str(ROOT))
    from webapp.api.openapi import document
    from webapp.assembly import declared_endpoints

    return types_of(document("", declared_endpoints()))


if __name__ == "__main__":
    TYPES.parent.mkdir(exist_ok=True)
    TYPES.write_text(current(), encoding="utf-8")
