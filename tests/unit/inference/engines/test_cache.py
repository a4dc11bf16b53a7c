"""Converted networks are read back as they were written, and never where anything about them differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from inference.engines import cache as network_cache
from inference.engines.cache import GRAPH, MANIFEST, WEIGHTS, NetworkCache, network_digest
from inference.networks.volumetric import VolumetricResNet

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")

SHAPE = (2, 8, 8, 8)


def network(seed: int = 0, widths: tuple[int, ...] = (4, 8)) -> VolumetricResNet:
    torch.manual_seed(seed)
    return VolumetricResNet(widths, num_classes=2, in_channels=2).eval()


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


def logits(model: object) -> torch.Tensor:
    from inference.engines.openvino import runner_of

    inputs = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    return runner_of(model, precision="f32")(inputs)


def entry_of(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_a_second_start_reads_the_network_and_answers_bit_for_bit_alike(
    tmp_path: Path, conversions: list[object]
) -> None:
    first = logits(NetworkCache(tmp_path / "cache").converted(network(), SHAPE))
    second = logits(NetworkCache(tmp_path / "cache").converted(network(), SHAPE))
    assert len(conversions) == 1
    assert torch.equal(first, second)
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
    tmp_path: Path, conversions: list[object], damage: Callable[[Path], None]
) -> None:
    cache = NetworkCache(tmp_path / "cache")
    expected = logits(cache.converted(network(), SHAPE))
    damage(entry_of(tmp_path / "cache"))
    assert torch.equal(logits(cache.converted(network(), SHAPE)), expected)
    assert len(conversions) == 2


def test_a_damaged_entry_is_written_anew(tmp_path: Path, conversions: list[object]) -> None:
    cache = NetworkCache(tmp_path / "cache")
    cache.converted(network(), SHAPE)
    flipped(entry_of(tmp_path / "cache"))
    for _ in range(2):
        cache.converted(network(), SHAPE)
    assert len(conversions) == 2


def test_what_a_conversion_depends_on_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {
        network_digest(network(), SHAPE),
        network_digest(network(seed=1), SHAPE),
        network_digest(network(widths=(4, 4)), SHAPE),
        network_digest(network(), (2, 16, 16, 16)),
    }
    monkeypatch.setattr("openvino.__version__", "0.0")
    digests.add(network_digest(network(), SHAPE))
    monkeypatch.setattr(torch, "__version__", "0.0")
    digests.add(network_digest(network(), SHAPE))
    assert len(digests) == 6


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, conversions: list[object]) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    assert NetworkCache(tmp_path / "cache").converted(network(), SHAPE) is not None
    assert len(conversions) == 1


def test_the_least_recently_used_entries_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_cache, "MAX_ENTRIES", 2)
    cache = NetworkCache(tmp_path / "cache")
    for seed in range(3):
        cache.converted(network(seed), SHAPE)
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert names == {network_digest(network(seed), SHAPE) for seed in (1, 2)}
