"""Converted networks are read back as they were written, and never where anything about them differs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.bundle import Bundle, build_network, describe_bundle, write_recipe, write_weights
from inference.engines import cache as network_cache
from inference.engines.cache import GRAPH, MANIFEST, WEIGHTS, NetworkCache, network_digest

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")

SHAPE = (2, 8, 8, 8)
MEMBER: dict[str, Any] = {"prefix": "a", "kind": "volumetric", "widths": [4, 8], "in_channels": 2}


def written_bundle(folder: Path, seed: int = 0) -> Bundle:
    """A bundle of one small network, described."""
    torch.manual_seed(seed)
    digest = write_weights(folder, {"a": build_network(MEMBER)})
    write_recipe(folder, {"members": [MEMBER], "weights_sha256": digest})
    return describe_bundle(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return written_bundle(tmp_path / "bundle")


def convert(cache: NetworkCache, bundle: Bundle) -> object:
    """The converted network, from the cache if it is there."""
    (member,) = bundle.recipe["members"]
    return cache.converted(bundle, member, lambda: bundle.members("cpu")[0][1], SHAPE)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Networks that were converted, in order."""
    import inference.engines.openvino

    convert = inference.engines.openvino.converted
    calls: list[object] = []

    def counted(network: torch.nn.Module, input_shape: tuple[int, ...]) -> object:
        calls.append(network)
        return convert(network, input_shape)

    monkeypatch.setattr(inference.engines.openvino, "converted", counted)
    return calls


def logits(model: object) -> NDArray[np.float32]:
    from inference.engines.openvino import runner_of

    inputs = np.random.default_rng(1).random((3, *SHAPE), dtype=np.float32)
    return runner_of(model, precision="f32")(inputs)


def entry_of(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_a_second_start_reads_the_network_and_answers_bit_for_bit_alike(
    tmp_path: Path, bundle: Bundle, conversions: list[object]
) -> None:
    first = logits(convert(NetworkCache(tmp_path / "cache"), bundle))
    (bundle.folder / "model.safetensors").unlink()  # so it is not read again
    second = logits(convert(NetworkCache(tmp_path / "cache"), bundle))
    assert len(conversions) == 1
    assert np.array_equal(first, second)
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def truncated(entry: Path) -> None:
    (entry / WEIGHTS).write_bytes((entry / WEIGHTS).read_bytes()[:-4])


def flipped(entry: Path) -> None:
    content = bytearray((entry / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / WEIGHTS).write_bytes(content)


def other_graph(entry: Path) -> None:
    (entry / GRAPH).write_text((entry / GRAPH).read_text().replace("Relu", "Tanh"))


def without_manifest(entry: Path) -> None:
    (entry / MANIFEST).unlink()


def other_format(entry: Path) -> None:
    (entry / MANIFEST).write_text(json.dumps({**json.loads((entry / MANIFEST).read_text()), "format": 0}))


def no_json(entry: Path) -> None:
    (entry / MANIFEST).write_bytes(b"\xff\xfe{")


def writable_by_others(entry: Path) -> None:
    (entry / WEIGHTS).chmod(0o666)


def folder_writable_by_others(entry: Path) -> None:
    entry.parent.chmod(0o777)


def linked(entry: Path) -> None:
    elsewhere = entry.parent.parent / "elsewhere.bin"
    (entry / WEIGHTS).rename(elsewhere)
    (entry / WEIGHTS).symlink_to(elsewhere)


def a_file_instead(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    entry.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        flipped,
        other_graph,
        without_manifest,
        other_format,
        no_json,
        writable_by_others,
        folder_writable_by_others,
        linked,
        a_file_instead,
    ],
)
def test_an_entry_that_is_damaged_or_foreign_is_never_used(
    tmp_path: Path, bundle: Bundle, conversions: list[object], damage: Callable[[Path], None]
) -> None:
    cache = NetworkCache(tmp_path / "cache")
    expected = logits(convert(cache, bundle))
    damage(entry_of(tmp_path / "cache"))
    assert np.array_equal(logits(convert(cache, bundle)), expected)
    assert len(conversions) == 2


def test_a_damaged_entry_is_written_anew(tmp_path: Path, bundle: Bundle, conversions: list[object]) -> None:
    cache = NetworkCache(tmp_path / "cache")
    convert(cache, bundle)
    flipped(entry_of(tmp_path / "cache"))
    for _ in range(2):
        convert(cache, bundle)
    assert len(conversions) == 2


def test_what_a_conversion_depends_on_is_part_of_the_digest(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {
        network_digest(bundle, MEMBER, SHAPE),
        network_digest(written_bundle(tmp_path / "other", seed=1), MEMBER, SHAPE),
        network_digest(bundle, {**MEMBER, "widths": [4, 4]}, SHAPE),
        network_digest(bundle, MEMBER, (2, 16, 16, 16)),
    }
    edited = tmp_path / "volumetric.py"
    edited.write_text(network_cache.CODE[-1].read_text() + "\n")
    for release in ("torch", "openvino"):
        monkeypatch.setattr(network_cache, "version", lambda name, it=release: "0.0" if name == it else "1.0")
        digests.add(network_digest(bundle, MEMBER, SHAPE))
    monkeypatch.setattr(network_cache, "CODE", (*network_cache.CODE[:-1], edited))
    digests.add(network_digest(bundle, MEMBER, SHAPE))
    assert len(digests) == 7
    assert network_digest(replace(bundle, folder=tmp_path / "moved"), MEMBER, SHAPE) in digests


def test_the_code_of_every_kind_of_network_is_part_of_the_digest() -> None:
    members = [MEMBER, {"kind": "planar", "preset": "small", "in_channels": 1}]
    modules = {Path(str(sys.modules[type(build_network(member)).__module__].__file__)) for member in members}
    assert modules <= set(network_cache.CODE)


def test_a_folder_that_cannot_be_written_is_no_failure(
    tmp_path: Path, bundle: Bundle, conversions: list[object]
) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    assert convert(NetworkCache(tmp_path / "cache"), bundle) is not None
    assert len(conversions) == 1


def test_the_least_recently_used_entries_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_cache, "MAX_ENTRIES", 2)
    cache = NetworkCache(tmp_path / "cache")
    bundles = [written_bundle(tmp_path / str(seed), seed) for seed in range(3)]
    for bundle in bundles:
        convert(cache, bundle)
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert names == {network_digest(bundle, MEMBER, SHAPE) for bundle in bundles[1:]}
