"""Check of setting names: unknown names are refused with the most similar known one.

A misspelt section would otherwise silently leave peers, TLS and destinations at their defaults.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

PREFIX = "LUNGNODE_"
DELIMITER = "__"
SOURCES = {
    "LUNGNODE_CONFIG": "TOML file with settings",
    "LUNGNODE_SECRETS": "folder of files, each named after a setting and holding its value",
}
"""Variables that name sources of settings."""
OTHER_PREFIXES = ("LUNGNODE_TEST_", "LUNGNODE_BENCHMARK_")
"""Prefixes of variables of tests and benchmarks."""
OTHER_NAMES = frozenset({"LUNGNODE_TAG"})
"""Variables of the deployment: the tag of the container image (`docker/compose.yaml`)."""
_SERVICE_LINK = re.compile(r"LUNGNODE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""Variables that Kubernetes and Docker set in each container for a service whose name begins with `lungnode`."""
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://\S+")
_SIMILAR = 0.6
_TYPING_ERROR = 0.9


def unknown_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return a line for each name in the environment, secrets folder and TOML file that is no setting of ``model``.

    Lines suggest similar names and hold no value. Unreadable files are ignored.
    """
    return (*_in_environment(model), *_in_secrets(model), *_in_file(model))


def _in_environment(model: type[BaseModel]) -> Iterator[str]:
    for variable, value in sorted(os.environ.items()):
        if not _is_foreign(variable.upper(), value):
            yield from _variable_problems(model, variable, value)


def _is_foreign(name: str, value: str) -> bool:
    is_link = bool(_SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and bool(_SERVICE_URL.fullmatch(value)))
    return name in SOURCES or name in OTHER_NAMES or name.startswith(OTHER_PREFIXES) or is_link


def _in_secrets(model: type[BaseModel]) -> Iterator[str]:
    folder = Path(os.environ.get("LUNGNODE_SECRETS") or os.devnull)
    if not folder.is_dir():
        return
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            value = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            value = ""
        name = path.name
        if DELIMITER in name and f"{PREFIX}{name.upper()}" in _variables(model):
            yield f"{path}: unknown setting; did you mean `{PREFIX}{name.upper()}`?"
            continue
        yield from (f"{path.parent}{os.sep}{problem}" for problem in _variable_problems(model, name, value))


def _in_file(model: type[BaseModel]) -> Iterator[str]:
    config = os.environ.get("LUNGNODE_CONFIG")
    if not config:
        return
    try:
        content = tomllib.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for path, meant in _unknown_keys(model, content):
        if isinstance(content.get(path), dict):
            yield f"{config}: unknown section `[{path}]`{_suggestion([f'[{name}]' for name in meant])}"
        else:
            yield f"{config}: unknown setting `{path}`{_suggestion(meant)}"


def _variable_problems(model: type[BaseModel], variable: str, value: str) -> Iterator[str]:
    """Yield problems of one variable: its own name, and the names within its JSON."""
    name, variables = variable.upper(), _variables(model)
    if not name.startswith(PREFIX):
        if _resembles_prefix(name) and (near := get_close_matches(name, variables, 1, _TYPING_ERROR)):
            yield f"{variable}: unknown variable; did you mean `{near[0]}`?"
        return
    annotation = variables.get(name)
    if annotation is None:
        if not any(name.startswith(f"{mapping}{DELIMITER}") for mapping in _mappings(model)):
            yield f"{variable}: unknown setting{_suggestion(_similar_variables(name, variables))}"
        return
    for path, meant in _unknown_in_value(annotation, _json(value)):
        yield f"{variable}: unknown setting `{path}`{_suggestion(meant)}"


def _similar_variables(name: str, variables: Mapping[str, Any]) -> list[str]:
    """Return the variable that contains the name as a key, else the most similar ones."""
    parents = [
        parent for parent, kind in variables.items() if name.startswith(parent + DELIMITER) and _section(kind) is None
    ]
    if parents:
        return parents
    candidates = [*variables, *SOURCES]
    elsewhere = [
        other for other in variables if other.endswith(f"{DELIMITER}{name.removeprefix(PREFIX).split(DELIMITER)[-1]}")
    ]
    corrected = get_close_matches(name, candidates, 1, _TYPING_ERROR)
    return corrected or elsewhere or get_close_matches(name, candidates, 1, _SIMILAR)


def _resembles_prefix(name: str) -> bool:
    return SequenceMatcher(None, name[: len(PREFIX)], PREFIX).ratio() >= _SIMILAR


def _json(value: str) -> object:
    try:
        return json.loads(value) if value.lstrip().startswith(("[", "{")) else None
    except ValueError:
        return None  # reported where the value is read


def _variables(model: type[BaseModel], prefix: str = PREFIX) -> dict[str, Any]:
    """Map the variable of every setting and section to its type."""
    names: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        names[variable] = field.annotation
        if (section := _section(field.annotation)) is not None:
            names |= _variables(section, f"{variable}{DELIMITER}")
    return names


def _mappings(model: type[BaseModel]) -> list[str]:
    return [name for name, annotation in _variables(model).items() if get_origin(annotation) is dict]


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section type of an annotation, also within ``| None``."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return None if get_origin(annotation) in (tuple, list) else kind
    return None


def _unknown_keys(model: type[BaseModel], content: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    """Yield the path of each key that ``model`` does not have, with similar names."""
    for key, value in content.items():
        field = model.model_fields.get(key)
        if field is None:
            yield key, get_close_matches(key.lower(), model.model_fields, 1, _SIMILAR) or _elsewhere(model, key)
            continue
        for path, meant in _unknown_in_value(field.annotation, value):
            yield f"{key}.{path}" if not path.startswith("[") else f"{key}{path}", meant


def _unknown_in_value(annotation: Any, value: object) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, dict) and (section := _section(annotation)) is not None:
        yield from _unknown_keys(section, value)
    elif isinstance(value, list) and get_origin(annotation) in (tuple, list):
        for number, item in enumerate(value, start=1):
            for path, meant in _unknown_in_value(get_args(annotation)[0], item):
                yield f"[{number}].{path}", meant


def _elsewhere(model: type[BaseModel], key: str) -> list[str]:
    """Return the paths of settings of the same name in other sections."""
    ending = f"{DELIMITER}{key.upper()}"
    names = [name.removeprefix(PREFIX) for name in _variables(model) if name.endswith(ending)]
    return [name.lower().replace(DELIMITER, ".") for name in names]


def _suggestion(meant: list[str]) -> str:
    return f"; did you mean {' or '.join(f'`{name}`' for name in meant)}?" if meant else "; see docs/settings.md"
