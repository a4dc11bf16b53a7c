"""Coverage by package, from the JSON report of coverage.py: lines and branches that the tests ran."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")
LISTED_MODULES = 20


def percent(part: int, total: int) -> str:
    """Format a share; of nothing it is 100 %."""
    return f"{100 * part / total if total else 100:.1f} %"


def table(files: dict[str, dict[str, dict[str, int]]]) -> list[str]:
    """Lines of a table with a row per package, a row for all of them and the modules with most uncovered lines."""
    packages: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    for path, report in files.items():
        for name in (Path(path).parts[0], "all"):
            for count in COUNTS:
                packages[name][count] += report["summary"][count]
    lines = [f"{'package':<12} {'statements':>10} {'lines':>8} {'branches':>9}"]
    for name in sorted(packages, key=lambda name: (name == "all", name)):
        statements, covered, branches, covered_branches = (packages[name][count] for count in COUNTS)
        lines.append(
            f"{name:<12} {statements:>10} {percent(covered, statements):>8} {percent(covered_branches, branches):>9}"
        )
    lines += ["", f"{'most uncovered lines':<60} {'uncovered':>9} {'lines':>8}"]
    summaries = {path: report["summary"] for path, report in files.items()}
    uncovered = {path: summary["num_statements"] - summary["covered_lines"] for path, summary in summaries.items()}
    for path in sorted(uncovered, key=lambda path: (-uncovered[path], path))[:LISTED_MODULES]:
        if uncovered[path]:
            share = percent(summaries[path]["covered_lines"], summaries[path]["num_statements"])
            lines.append(f"{path:<60} {uncovered[path]:>9} {share:>8}")
    return lines


if __name__ == "__main__":
    print("\n".join(table(json.loads(Path(sys.argv[1]).read_text())["files"])))
