"""Markdown formatting of numbers, intervals, tables and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def number(value: Any) -> str:
    """Format with three decimals; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def within(value: Any, interval: Sequence[Any] | None) -> str:
    """Format a value with its 95 % interval."""
    if value is None or not interval or interval[0] is None:
        return number(value)
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def percent(value: Any) -> str:
    """Format a share as a percentage."""
    return "–" if value is None else f"{100 * value:.0f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a Markdown table with an empty line after it."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def picture(name: str, words: str) -> list[str]:
    """Return an image and an empty line."""
    return [f"![{words}]({name})", ""]
