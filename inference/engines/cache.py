"""Cache of networks converted to OpenVINO, which avoids tracing them at each start.

Converting a network takes seconds of CPU, reading it back milliseconds. An entry is a folder named by a digest of all
that the conversion depends on: the weights, the description and the code of the network, the shape of its input, and
the releases of torch and OpenVINO. So an entry also proves that these weights could be read and fit their network. Its
manifest holds a digest of each file. An entry that is incomplete, altered, or writable by others is ignored and written
anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.bundle import Bundle

if TYPE_CHECKING:
    from torch import nn

FORMAT = 2
"""Version of the layout of an entry."""
MAX_ENTRIES = 32
"""Maximum number of entries, removed by least recent use; one set of bundles has four."""
GRAPH, WEIGHTS, MANIFEST = "network.xml", "network.bin", "manifest.json"
CODE = tuple(Path(__file__).parents[1] / name for name in ("bundle.py", "networks/planar.py", "networks/volumetric.py"))
"""Modules that make a network from its description and weights."""

_log = logging.getLogger(__name__)


class NetworkCache:
    """Converted networks in a private folder of this user.

    Parameters
    ----------
    folder
        Created with mode 0700 when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def converted(
        self, bundle: Bundle, member: dict[str, Any], network: Callable[[], nn.Module], input_shape: tuple[int, ...]
    ) -> Any:
        """Return the converted network from the cache, or convert and store it; write errors are ignored.

        Parameters
        ----------
        bundle
            The bundle of the network; the digest of its weights is checked.
        member
            Description of the network in the bundle's recipe.
        network
            Returns the network in evaluation mode, on the CPU; called where there is no entry.
        input_shape
            ``(channels, ...)`` of one input.

        Returns
        -------
        openvino.Model
            For any number of inputs.
        """
        from inference.engines.openvino import converted

        entry = self._folder / network_digest(bundle, member, input_shape)
        if (model := _read(entry)) is not None:
            return model
        model = converted(network(), input_shape)
        try:
            self._write(model, entry)
        except OSError as error:
            _log.warning("network_cache:not_written", extra={"error_type": type(error).__name__})
        return model

    def _write(self, model: Any, entry: Path) -> None:
        from inference.engines.openvino import write_network

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{entry.name}.{secrets.token_hex(4)}"
        try:
            draft.mkdir(mode=0o700)
            write_network(model, draft / GRAPH)
            digests = {name: _sha256((draft / name).read_bytes()) for name in (GRAPH, WEIGHTS)}
            (draft / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": digests}))
            for path in draft.iterdir():
                path.chmod(0o600)
            shutil.rmtree(entry, ignore_errors=True)
            draft.rename(entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        entries = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in entries[MAX_ENTRIES:]:
            shutil.rmtree(path, ignore_errors=True)


def network_digest(bundle: Bundle, member: dict[str, Any], input_shape: tuple[int, ...]) -> str:
    """Return the SHA-256 of everything that a conversion depends on."""
    parts = {
        "releases": [FORMAT, version("torch"), version("openvino")],
        "code": [path.read_text(encoding="utf-8") for path in CODE],
        "network": [bundle.recipe["weights_sha256"], member, list(input_shape)],
    }
    return _sha256(json.dumps(parts, sort_keys=True).encode())


def _read(entry: Path) -> Any | None:
    """Read an entry if it is complete, unaltered and owned by this user; None otherwise."""
    from inference.engines.openvino import network_of

    try:
        if not all(_is_private(path) for path in (entry.parent, entry, *entry.iterdir())):
            return None
        content = {name: (entry / name).read_bytes() for name in (GRAPH, WEIGHTS)}
        manifest = json.loads((entry / MANIFEST).read_bytes())
        digests = {name: _sha256(data) for name, data in content.items()}
        if manifest != {"format": FORMAT, "sha256": digests}:
            _log.warning("network_cache:rebuilt", extra={"code": "digest_differs"})
            return None
        os.utime(entry)
        return network_of(content[GRAPH], content[WEIGHTS])
    except (OSError, ValueError, RuntimeError):
        return None


def _is_private(path: Path) -> bool:
    """Return whether the path is a real file or folder that only this user can write."""
    status = path.lstat()
    is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return is_plain and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
