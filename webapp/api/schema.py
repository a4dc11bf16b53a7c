"""JSON Schema of typed dictionaries (JSON Schema 2020-12, as OpenAPI 3.1 uses it)."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    object: {},
}


class SchemaBook:
    """Schemas of all referenced typed dictionaries, each once, by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def reference(self, shape: Any) -> Schema:
        """Return a reference to a typed dictionary, adding its schema if missing."""
        name = name_of(shape)
        if name not in self.schemas:
            self.schemas[name] = {}  # ends the recursion of a self-referencing shape
            self.schemas[name] = self._object(shape)
        return {"$ref": PREFIX + name}

    def of(self, annotation: Any) -> Schema:
        """Return the schema of an annotation.

        Raises
        ------
        TypeError
            For an unsupported annotation.
        """
        if annotation in _PLAIN:
            return dict(_PLAIN[annotation])
        if is_typeddict(annotation):
            return self.reference(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        makers: dict[Any, Callable[[], Schema]] = {
            Annotated: lambda: self.of(arguments[0]) | dict(arguments[1:]),
            NotRequired: lambda: self.of(arguments[0]),
            Literal: lambda: {"type": "string", "enum": list(arguments)},
            list: lambda: {"type": "array", "items": self.of(arguments[0])},
            dict: lambda: {"type": "object", "additionalProperties": self.of(arguments[1])},
            Union: lambda: _any_of([self.of(argument) for argument in arguments]),
            types.UnionType: lambda: _any_of([self.of(argument) for argument in arguments]),
        }
        if origin not in makers:
            raise TypeError(f"no JSON Schema for {annotation!r}")
        return makers[origin]()

    def _object(self, shape: Any) -> Schema:
        hints = get_type_hints(shape, include_extras=True)
        schema: Schema = {"type": "object", "properties": {name: self.of(hint) for name, hint in hints.items()}}
        required = [name for name, hint in hints.items() if shape.__total__ and get_origin(hint) is not NotRequired]
        if required:
            schema["required"] = required
        if shape.__doc__ and not shape.__doc__.startswith("dict("):
            schema["description"] = shape.__doc__.strip()
        return schema


def name_of(shape: Any) -> str:
    """Return the name of a shape in the document."""
    return str(shape.__name__).removesuffix("Shape")


def _any_of(schemas: list[Schema]) -> Schema:
    """Return a schema of alternatives; a plain type or null becomes one schema with two types."""
    null = {"type": "null"}
    others = [schema for schema in schemas if schema != null]
    if len(others) == 1 and null in schemas and isinstance(others[0].get("type"), str) and "enum" not in others[0]:
        return others[0] | {"type": [others[0]["type"], "null"]}
    return {"anyOf": schemas}
