"""Loading of settings, and the settings table of docs/settings.md."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError as SourceError

from lungnode.errors import SettingsError
from lungnode.settings.names import unknown_names
from lungnode.settings.section import Section
from lungnode.settings.service import Settings

BEGIN = "<!-- settings: written by `make docs` -->"
END = "<!-- settings end -->"


def load_settings() -> Settings:
    """Read all settings once.

    Raises
    ------
    SettingsError
        One line for each problem, without the value.
    """
    _check_config_file()
    if (folder := os.environ.get("LUNGNODE_SECRETS")) and not Path(folder).is_dir():
        raise SettingsError((f"LUNGNODE_SECRETS: {folder}: folder not found",))
    if problems := unknown_names(Settings):
        raise SettingsError(problems)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError.from_validation(error) from None
    except SourceError as error:
        variables = _not_json() or (_source_variable(str(error)),)
        raise SettingsError(tuple(f"{name}: not valid JSON; see docs/settings.md" for name in variables)) from None


def _check_config_file() -> None:
    config = os.environ.get("LUNGNODE_CONFIG")
    if not config:
        return
    try:
        tomllib.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError((f"LUNGNODE_CONFIG: {config}: the file cannot be read ({why})",)) from None
    except tomllib.TOMLDecodeError as error:
        where = " ".join(str(error).split()[-5:]).strip("()")
        raise SettingsError((f"LUNGNODE_CONFIG: {config}: the file is not valid TOML ({where})",)) from None


def _not_json() -> tuple[str, ...]:
    return tuple(name for name, value in os.environ.items() if name.startswith("LUNGNODE_") and _is_broken_json(value))


def _is_broken_json(value: str) -> bool:
    if not value.lstrip().startswith(("[", "{")):
        return False
    try:
        json.loads(value)
    except ValueError:
        return True
    return False


def _source_variable(message: str) -> str:
    parts = message.split('"')
    name = parts[1] if len(parts) > 1 else ""
    return f"LUNGNODE_{name.upper()}" if name else "a LUNGNODE_ variable"


def settings_table() -> str:
    """Write the table of docs/settings.md in Markdown: variable, default, meaning."""
    rows = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _rows(Settings, "LUNGNODE_")]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _rows(field.annotation, f"{variable}__")
        else:
            yield variable, _default(field), " ".join((field.description or "").split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return "unset"
    if isinstance(value, Path):
        return f"`{value.as_posix()}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rewrite(document: Path) -> bool:
    """Write the table between the markers of ``document``; return whether it changed."""
    text = document.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SettingsError((f"{document}: the markers of the settings table are missing",))
    new = f"{head}{BEGIN}\n{settings_table()}\n{END}{tail}"
    if new != text:
        document.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    changed = [path for path in sys.argv[1:] if rewrite(Path(path))]
    print("\n".join(f"rewrote {path}" for path in changed) or "settings tables are current")
