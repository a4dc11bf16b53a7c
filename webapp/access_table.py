"""Markdown table of endpoints and roles: ``python -m webapp.access_table``."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from flask import Flask
from werkzeug.routing import Rule

from db.domain.records import Role
from webapp.accounts import access
from webapp.assembly import BLUEPRINTS
from webapp.http import routing


def rules() -> list[Rule]:
    """Return the URL rules of the app, without database or predictor."""
    app = Flask("webapp", static_folder="static")
    routing.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return list(app.url_map.iter_rules())


def table(url_rules: Iterable[Rule]) -> str:
    """Return a Markdown table with a row per URL and method, and a column per role."""
    columns = ["not signed in", *(role.value for role in Role)]
    lines = [f"| route | method | {' | '.join(columns)} |", "| --- | --- |" + " --- |" * len(columns)]
    for rule in sorted(url_rules, key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            may = ["yes" if access.may(role, rule.endpoint, method) else "" for role in (None, *Role)]
            lines.append(f"| `{rule.rule}` | {method} | {' | '.join(may)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table(rules()))
