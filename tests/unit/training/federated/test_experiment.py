"""Sites train together: what travels, what is turned away, and what comes of it."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flwr", reason="needs lungnode[federated]")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from inference.calibration.calibration import calibrated, fit_platt
from inference.loading import load_models
from inference.metrics import auc
from tests.unit.training.test_commands import write_nodules
from training import evaluate
from training.data.records import DataError
from training.federated import bundle, experiment, partition
from training.federated.client import make_app, record_of
from training.federated.counts import EDGES, MarginCounts, figures_of, fit_jointly
from training.federated.plan import Plan
from training.federated.sabotage import broken_update, reversed_update
from training.federated.server import run_federation
from training.federated.simulation import InProcess
from training.federated.site import (
    Site,
    learning_rate_of,
    new_network,
    shared_state,
    take_state,
    train_round,
)
from training.federated.strategies import make_strategy

SMALL = Plan(rounds=2, local_epochs=1, batch_size=8, sites=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three sites with balls for nodules."""
    sites = [tmp_path_factory.mktemp(f"site-{i}") for i in range(3)]
    for folder in sites:
        write_nodules(folder)
    return sites


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Margins and labels of an overconfident, shifted model."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    labels = rng.random(n) < 1 / (1 + np.exp(-z))
    return 2.5 * z + 0.7, labels


def test_counts_of_sites_add_up_to_the_pools() -> None:
    margins, labels = drawn(300)
    parts = [MarginCounts.of(margins[a:b], labels[a:b]) for a, b in ((0, 50), (50, 51), (51, 300))]
    pooled = MarginCounts.of(margins, labels)
    joint = MarginCounts.sum(parts)
    assert (joint.benign == pooled.benign).all()
    assert (joint.malignant == pooled.malignant).all()
    assert joint.malignant.sum() == labels.sum()


def test_margins_beyond_the_bins_are_counted_in_the_outermost() -> None:
    counts = MarginCounts.of(np.array([-1e9, 1e9, np.nan]), np.array([False, True, True]))
    assert counts.benign[0] == 1
    assert counts.malignant[-1] == 1
    assert counts.malignant.sum() == 2


def test_calibrating_on_counts_is_as_good_as_on_the_margins() -> None:
    margins, labels = drawn(2000)
    from_counts = fit_jointly(MarginCounts.of(margins, labels))
    exact = fit_platt(np.clip(margins, EDGES[0], EDGES[-1]), labels)
    fresh, _ = drawn(500, seed=1)
    p = calibrated(fresh, from_counts["kind"], from_counts["parameters"])
    q = calibrated(fresh, "platt", exact)
    assert np.abs(p - q).max() < 0.02


def test_figures_from_counts_are_near_those_from_the_margins() -> None:
    margins, labels = drawn(2000)
    counts = MarginCounts.of(margins, labels)
    figures = figures_of(counts, fit_jointly(counts))
    assert figures["n"] == 2000
    assert figures["auc"] == pytest.approx(auc(labels, margins), abs=0.01)
    assert figures["ece"] < 0.05


def test_no_calibrator_is_made_of_one_class() -> None:
    with pytest.raises(ValueError, match="benign and malignant"):
        fit_jointly(MarginCounts.of(np.zeros(5), np.ones(5, dtype=bool)))


@pytest.mark.parametrize("sent", [([1] * 63, [1] * 64), ([-1] + [0] * 63, [0] * 64), ([[1]] * 64, [0] * 64)])
def test_counts_that_cannot_be_are_refused(sent: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="a site"):
        MarginCounts.received(*sent)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"strategy": "average"}, "strategy"),
        ({"group": "huge"}, "group"),
        ({"rounds": 0}, "rounds"),
        ({"least": 9}, "least"),
        ({"trim": 0.5}, "trim"),
        ({"learning-rate": "fast"}, "learning-rate"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_and_says_what_is_wrong(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        Plan.of({**Plan().config(), **wrong})


def test_a_plan_survives_the_way_to_a_site() -> None:
    plan = Plan(group="planar", strategy="fedprox", rounds=3, proximal_mu=0.5)
    assert Plan.of(json.loads(json.dumps(plan.config()))) == plan


def test_the_app_that_travels_knows_every_setting_of_the_plan() -> None:
    text = (Path(experiment.__file__).parent / "app" / "pyproject.toml").read_text()
    config = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    assert Plan.of(config) == Plan()
    assert set(config) == {*Plan().config(), "out"}


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate_of(Plan(rounds=20), r) for r in range(1, 21)]
    assert max(rates) <= Plan().learning_rate
    assert rates[0] < rates[3] > rates[-1]
    assert rates[-1] < 0.02 * Plan().learning_rate


def test_fedprox_keeps_a_site_nearer_to_the_joint_network(folders: list[Path]) -> None:
    samples = Site.read(folders[0]).samples(SMALL.network_group())

    def strayed(mu: float) -> float:
        network = new_network(SMALL)
        before = [p.detach().clone() for p in network.parameters()]
        train_round(network, samples, replace(SMALL, local_epochs=4), 1, mu=mu)
        return sum(float((a.detach() - b).square().sum()) for a, b in zip(network.parameters(), before, strict=True))

    assert strayed(100.0) < 0.5 * strayed(0.0)


def test_weights_of_another_network_are_refused() -> None:
    network = new_network(SMALL)
    state = shared_state(network)
    first = next(iter(state))
    with pytest.raises(DataError, match="another network"):
        take_state(network, {**state, first: torch.zeros(3)})


def reply(weights: dict[str, np.ndarray], n: float = 10, *, to: Message) -> Message:
    """A site's answer."""
    arrays = ArrayRecord({k: Array(v.astype(np.float32)) for k, v in weights.items()})
    return Message(
        RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": n, "loss": 1.0})}), reply_to=to
    )


def one_round(answers: list[dict[str, np.ndarray] | None], *, n: float = 10, **plan: Any) -> tuple[Any, Any]:
    """Let a guarded strategy average these answers to a joint network of zeros; its weights and its report."""
    round_plan = Plan(sites=len(answers), **plan)
    strategy = make_strategy(round_plan)
    grid = InProcess([Path()] * len(answers), [None] * len(answers), round_plan)
    joint = ArrayRecord({"w": Array(np.zeros(4, dtype=np.float32))})
    messages = list(strategy.configure_train(1, joint, ConfigRecord({}), grid))
    replies = [
        Message(Error(code=0, reason="gone"), reply_to=m) if a is None else reply(a, n, to=m)
        for m, a in zip(messages, answers, strict=True)
    ]
    arrays, _ = strategy.aggregate_train(1, replies)
    return (None if arrays is None else arrays["w"].numpy()), strategy.rounds[0]


ONE = {"w": np.ones(4)}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"w": np.full(4, np.nan)}, "no numbers"),
        ({"w": np.full(4, 1e6)}, "times as long"),
        ({"w": np.ones(5)}, "another network"),
        ({"v": np.ones(4)}, "another network"),
    ],
)
def test_a_bad_reply_is_turned_away_and_the_others_count(bad: dict[str, np.ndarray], words: str) -> None:
    weights, report = one_round([ONE, ONE, bad, ONE])
    np.testing.assert_allclose(weights, 1.0)
    assert report.accepted == 3
    assert words in " ".join(report.refused)


@pytest.mark.parametrize("n", [0, -5, float("nan"), 1e9])
def test_a_site_cannot_weigh_more_than_it_may(n: float) -> None:
    weights, report = one_round([ONE, ONE, ONE], n=n)
    assert weights is None
    assert report.accepted == 0


def test_a_round_with_too_few_answers_changes_nothing() -> None:
    weights, report = one_round([ONE, None, None], least=2)
    assert weights is None
    assert (report.asked, report.answered) == (3, 1)


@pytest.mark.parametrize("strategy", ["median", "trimmed"])
def test_robust_strategies_bear_a_site_that_learns_backwards(strategy: str) -> None:
    backwards = {"w": -3 * np.ones(4)}
    robust, _ = one_round([ONE, ONE, backwards, ONE], strategy=strategy)
    plain, _ = one_round([ONE, ONE, backwards, ONE], strategy="fedavg")
    np.testing.assert_allclose(robust, 1.0)
    np.testing.assert_allclose(plain, 0.0)


def test_private_rounds_are_clipped_noised_and_accounted() -> None:
    plan: dict[str, Any] = {"strategy": "private", "noise_multiplier": 1e-4, "clipping_norm": 1.0}
    weights, _ = one_round([{"w": np.full(4, 5.0)}] * 3, **plan)
    assert np.linalg.norm(weights) == pytest.approx(1.0, abs=0.01)


@pytest.fixture(scope="module")
def joint(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run of three sites wrote."""
    folder = tmp_path_factory.mktemp("joint")
    plan = replace(SMALL, rounds=4, local_epochs=3)
    arrays, _ = run_federation(InProcess(folders, [make_app()] * 3, plan), plan, folder)
    assert arrays.keys() == record_of(new_network(plan)).keys()
    return folder


def test_three_sites_train_one_network_and_calibrate_it(joint: Path) -> None:
    summary = json.loads((joint / "federated.json").read_text())
    assert [r["accepted"] for r in summary["rounds"]] == [3] * 4
    assert [r["samples"] for r in summary["rounds"]] == [48] * 4
    assert summary["rounds"][-1]["loss"] < summary["rounds"][0]["loss"]
    assert summary["test"]["n"] == 18
    assert summary["test"]["auc"] > 0.9
    assert summary["calibrator"]["kind"] == "temperature"
    assert len((joint / "rounds.txt").read_text().splitlines()) == 4


def test_joint_weights_become_a_bundle_that_is_measured_and_answers(
    joint: Path, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "bundle", str(folders[0])
    assert bundle.main(["--joint", str(joint), "--data", data, "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["n"] == 6
    recipe = json.loads((out / "bundle.json").read_text())
    (run,) = recipe["training_data"]["federated"]
    assert (run["sites"], run["samples"], run["sites_accepted"]) == (3, 48, [3] * 4)
    assert "48 samples" in (out / "MODEL_CARD.md").read_text()
    assert evaluate.main(["--data", data, "--split", "test", "--bundle", str(out), "--draws", "20"]) == 0
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["auc"] > 0.9
    predictor = load_models(out, device="cpu", engine="torch-float32").nodule
    answer = predictor.analyse_slice(np.full((64, 64), -400, dtype=np.int16), (0.7, 0.7), (32, 32))
    assert [reason.code for reason in answer.abstentions] == ["whole_series_only"]


def test_weights_that_were_changed_after_the_run_become_no_bundle(
    joint: Path, folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "joint"
    shutil.copytree(joint, changed)
    with (changed / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert bundle.main(["--joint", str(changed), "--data", str(folders[0]), "--out", str(tmp_path / "out")]) == 2
    assert "not those" in capsys.readouterr().err


def test_a_site_that_sends_no_numbers_and_one_that_is_absent_do_not_stop_the_others(folders: list[Path]) -> None:
    apps = [make_app(), make_app([broken_update()]), None]
    _, summary = run_federation(InProcess(folders, apps, replace(SMALL, least=1)), replace(SMALL, least=1))
    assert [r["accepted"] for r in summary["rounds"]] == [1, 1]
    assert summary["test"]["n"] == 12


def test_privacy_spent_grows_by_round(folders: list[Path]) -> None:
    spent = []
    for rounds in (1, 3):
        plan = replace(SMALL, strategy="private", rounds=rounds)
        _, summary = run_federation(InProcess(folders, [make_app()] * 3, plan), plan)
        spent.append(summary["privacy"]["epsilon"])
    assert 0 < spent[0] < spent[1]


def test_a_reversed_update_is_what_it_says(folders: list[Path]) -> None:
    moved = []
    for app in (make_app(), make_app([reversed_update(1.0)])):
        grid = InProcess(folders[:1], [app], replace(SMALL, sites=1, least=1))
        joint = record_of(new_network(SMALL))
        content = RecordDict({"arrays": joint, "config": ConfigRecord({"server-round": 1})})
        (answer,) = grid.send_and_receive([Message(content, 1, "train")])
        name = next(iter(joint.keys()))
        moved.append(answer.content["arrays"][name].numpy() - joint[name].numpy())
    np.testing.assert_allclose(moved[0], -moved[1], atol=1e-6)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_site_of_a_partition_holds_its_own_patients_only(tmp_path: Path) -> None:
    write_nodules(tmp_path)
    table = tmp_path / "lidc_idri_nodules" / "labels.csv"
    rows = read_table(table)
    for i, row in enumerate(rows):
        row["slice_mm"], row["pixel_mm"] = ("1.0", "2.0")[i % 2], ("0.6", "0.8")[i // 2 % 2]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert partition.main(["--data", str(tmp_path), "--out", str(tmp_path / "sites")]) == 0
    patients = []
    for i in range(4):
        own = read_table(tmp_path / "sites" / f"site-{i}" / "labels.csv")
        assert {p.name for p in (tmp_path / "sites" / f"site-{i}" / "image").iterdir()} == {r["file"] for r in own}
        patients.append({r["patient_id"] for r in own})
    assert sum(map(len, patients)) == len(set.union(*patients)) == 28


def test_the_experiment_writes_a_table_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nodules(tmp_path)
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--rounds", "1", "--local-epochs", "1"]
    assert experiment.main([*command, "--only", "fedavg, a site is absent"]) == 0
    assert [r["name"] for r in json.loads(capsys.readouterr().out)["rows"]] == [
        "pool of all data",
        "fedavg, a site is absent",
    ]
    assert "n = 6 (3 malignant), 6 patients" in (tmp_path / "out" / "experiment.md").read_text()
    assert (tmp_path / "out" / "experiment.png").stat().st_size > 1000


def test_a_folder_of_another_layout_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no labels.csv" in capsys.readouterr().err
