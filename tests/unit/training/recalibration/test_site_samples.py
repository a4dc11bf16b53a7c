"""A site's verdicts recalibrate the filter, its labels the nodule model; weights stay, too little is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from db.analyses import analyses, findings
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import AssessmentRecord, FindingOrigin, FindingRecord, NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.studies.instances import series_record
from inference.bundle import SHIPPED, Bundle, read_bundle
from inference.calibration.calibration import CALIBRATORS, calibrated
from inference.description import joint_digest
from inference.loading import Models, load_models
from inference.types import CtVolume
from tests.support.factories import sqlite_database
from tests.support.records import record_instance
from training import calibrate
from training.data.nodules import DataError
from training.recalibration.recalibrate import recalibrated
from training.recalibration.site_samples import SiteSamples, margin_of, samples_from, verdict_label

DIGEST = joint_digest(read_bundle(SHIPPED / "nodule").sha256, read_bundle(SHIPPED / "filter").sha256)
SHIPPED_MODEL = ModelIdentity("lungnode-nodule", "1.0.0", DIGEST)
CALIBRATIONS = {task: read_bundle(SHIPPED / task).recipe["calibration"] for task in ("nodule", "filter")}
FINDINGS_EACH = 10


def shipped_probability(task: str, z: float) -> float:
    calibration = CALIBRATIONS[task]
    return float(calibrated(np.array([z]), calibration["kind"], calibration["parameters"])[0])


def fill(
    database: Database,
    patients: int,
    *,
    stores_margins: bool = True,
) -> dict[str, bool]:
    """Findings of so many patients with a verdict each, more often right the higher the margin; what each one is."""
    rng, turned_out = np.random.default_rng(0), {}
    for number in range(patients):
        uids = [f"1.2.826.0.1.{kind}.{number + 1}" for kind in (1, 2, 3)]
        instance = ReceivedInstance(
            sop_instance_uid=uids[2], sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1", study_instance_uid=uids[0], series_instance_uid=uids[1],
            patient=PatientAttributes(f"P{number}"),
            path=f"{number}.dcm", size_bytes=1, sha256=f"{number:064x}", modality="CT",
        )  # fmt: skip
        margins = rng.uniform(1.1, 6.0, FINDINGS_EACH)
        new_findings = tuple(
            NewFinding(
                uids[2], 1, 5.0, 5.0, (float(k), 0.0, 0.0), 8.0, shipped_probability("filter", z),
                shipped_probability("nodule", z - 5.0), None,
                attributes={"nodule_margin": z, "malignancy_margin": z - 5.0} if stores_margins else {},
            )
            for k, z in enumerate(margins.tolist())
        )  # fmt: skip
        with database.begin() as session:
            record_instance(session, instance)
            series = series_record(session, series_instance_uid=uids[1])
            assert series is not None
            record = analyses.request_analysis(session, series.id, SHIPPED_MODEL, requested_by="system")
            analyses.start_analysis(session, record.id)
            analyses.complete_analysis(session, record.id, AnalysisOutcome(new_findings))
            stored = findings.findings_of_analysis(session, record.id)
            for z, finding in zip(margins, stored, strict=True):
                turned_out[finding.id] = bool(rng.random() < expit(0.8 * z - 2.0))
                verdict = Verdict.ACCEPT if turned_out[finding.id] else Verdict.REJECT
                findings.record_assessment(session, finding.id, verdict, "", "", reader="reader")
    return turned_out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bool]]:
    """A database of 24 patients with 240 verdicts, and what each finding is."""
    database = sqlite_database(tmp_path_factory.mktemp("site"))
    turned_out = fill(database, 24)
    database.dispose()
    return database.url, turned_out


def recalibrate(out: Path, url: str, *arguments: object, bundle: Path = SHIPPED / "filter") -> int:
    named = ["--from-database", url, "--bundle", str(bundle), "--out", str(out), "--site", "hospital-a"]
    return calibrate.main([*named, *(str(a) for a in arguments)])


def test_verdicts_recalibrate_the_filter_and_let_the_same_findings_pass(
    site: tuple[str, dict[str, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str], network_cache: Path
) -> None:
    assert recalibrate(tmp_path / "out", site[0]) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (said["n"], said["patients"], said["counts"]) == (240, 24, {"margin_stored": 240})
    assert said["nll"] < said["nll_before"]
    assert said["nll_change_interval"][1] < 0
    before, after = read_bundle(SHIPPED / "filter"), read_bundle(tmp_path / "out")
    assert after.version.startswith(f"{before.version}+site.hospital-a.20")
    assert after.recipe["weights_sha256"] == before.recipe["weights_sha256"]
    assert after.sha256 != before.sha256
    assert after.recipe["site"]["from"] == {"version": before.version, "sha256": before.sha256}
    margins = np.linspace(-8, 8, 2001)
    passes = []
    for recipe in (before.recipe, after.recipe):
        p = calibrated(margins, recipe["calibration"]["kind"], recipe["calibration"]["parameters"])
        passes.append(p >= recipe["operating_points"]["confirm"])
    assert 0 < passes[0].sum() < len(margins)
    assert (passes[0] == passes[1]).mean() > 0.999  # all but the one on the threshold
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"MODEL_CARD.md", "reliability_after.png"}
    assert "nothing but calibration" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    statuses = load_models(tmp_path / "out", "cpu", cache=network_cache).description.statuses
    assert {status.version for status in statuses if status.task == "filter"} == {after.version}


def test_labels_recalibrate_the_nodule_model(
    site: tuple[str, dict[str, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{finding_id},{int(label)}" for finding_id, label in site[1].items()]
    (tmp_path / "pathology.csv").write_text("\n".join(["finding_id,malignant", *rows]))
    arguments = ("--labels", tmp_path / "pathology.csv")
    assert recalibrate(tmp_path / "out", site[0], *arguments, bundle=SHIPPED) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (said["task"], said["n"], said["positives"]) == ("nodule", 240, sum(site[1].values()))
    assert "confirm" not in said["operating_points"]
    assert said["nll"] < said["nll_before"]


def test_verdicts_given_before_a_recalibration_count_in_the_next(
    site: tuple[str, dict[str, bool]], tmp_path: Path
) -> None:
    assert recalibrate(tmp_path / "out", site[0]) == 0
    after = read_bundle(tmp_path / "out")
    digest = joint_digest(read_bundle(SHIPPED / "nodule").sha256, after.sha256)
    database = Database(site[0], bytes(32))
    with database.read() as session:
        records = findings.findings_with_patients(session)
    database.dispose()
    assert len(samples_from(records, after, digest, None).margins) == 240
    other = replace(after, recipe={**after.recipe, "site": {}})
    assert samples_from(records, other, digest, None).counts == {"of_another_model": 240}


def test_margins_that_were_not_stored_are_inverted_from_the_probability(tmp_path: Path) -> None:
    margins = {}
    for stores in (True, False):
        database = sqlite_database(tmp_path / str(stores))
        fill(database, 2, stores_margins=stores)
        with database.read() as session:
            records = findings.findings_with_patients(session)
        database.dispose()
        samples = samples_from(records, read_bundle(SHIPPED / "filter"), DIGEST, None)
        margins[stores] = samples.margins
        assert set(samples.counts) <= ({"margin_stored"} if stores else {"margin_inverted"})
    edge = margins[False].max()
    assert np.minimum(margins[True], edge) == pytest.approx(margins[False], abs=1e-4)


REFUSALS = [
    ("verdicts on malignancy", {"bundle": SHIPPED / "nodule"}, "a nodule bundle wants labels of malignancy"),
    ("a site name with a path", {"site": "../a"}, "--site is a short name"),
    ("labels without columns", {"labels": "a,b\n1,2"}, "needs the columns finding_id and malignant"),
    ("labels of words", {"labels": "finding_id,malignant\nx,yes"}, "line 2: malignant must be 0 or 1"),
    ("contrary labels", {"labels": "finding_id,malignant\nx,1\nx,0"}, "line 3: the finding has two different labels"),
    ("labels of no finding", {"labels": "finding_id,malignant\nx,1"}, "0 findings of 0 patients count as benign"),
    ("no database", {"url": "sqlite:////nowhere/to/be/found.db"}, "another schema"),
    ("another product", {"url": "mysql://user:secret@host/db"}, "cannot be read"),
]


@pytest.mark.parametrize(("what", "wrong", "message"), REFUSALS, ids=[r[0] for r in REFUSALS])
def test_what_cannot_be_recalibrated_is_refused_in_words(
    what: str, wrong: dict[str, object], message: str, site: tuple[str, dict[str, bool]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments: list[object] = ["--site", wrong["site"]] if "site" in wrong else []
    if "labels" in wrong:
        (tmp_path / "labels.csv").write_text(str(wrong["labels"]))
        arguments += ["--labels", tmp_path / "labels.csv"]
    bundle = Path(str(wrong.get("bundle", SHIPPED)))
    assert recalibrate(tmp_path / "out", str(wrong.get("url", site[0])), *arguments, bundle=bundle) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "secret" not in said.err
    assert not (tmp_path / "out").exists()


def drawn(n: int, truth: Callable[[float], float], *, patients: int = 40) -> SiteSamples:
    """Margins between -3 and 3, each true as often as ``truth`` says."""
    rng = np.random.default_rng(1)
    z = rng.uniform(-3, 3, n)
    labels = np.array([rng.random() < truth(v) for v in z])
    return SiteSamples(z, labels, [f"p{k % patients}" for k in range(n)], {"unsure": 7})


PLAIN = Bundle(
    Path("nowhere"),
    {
        "task": "nodule", "name": "plain", "version": "1.0.0", "classes": ["benign", "malignant"],
        "calibration": {"kind": "temperature", "parameters": {"temperature": 1.0}},
    },
    {},
)  # fmt: skip
TOO_LITTLE = [
    ("few", drawn(50, lambda z: 0.5), r"count as benign; recalibration wants 30 of 10 in each class \(seen: 7 unsure"),
    ("few of one class", drawn(400, lambda z: 0.02), "count as malignant; recalibration wants 30 of 10"),
    ("few patients", drawn(400, lambda z: 0.5, patients=6), "findings of 6 patients count as benign"),
    ("contrary", drawn(400, lambda z: float(expit(-z))), "does not follow the margins of plain"),
    ("as shipped", drawn(400, lambda z: float(expit(z))), "is as good on these 400 findings"),
]


@pytest.mark.parametrize(("what", "samples", "message"), TOO_LITTLE, ids=[r[0] for r in TOO_LITTLE])
def test_samples_that_say_too_little_are_refused(what: str, samples: SiteSamples, message: str) -> None:
    today = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(DataError, match=message):
        recalibrated(PLAIN, samples, site="a", seed=0, today=today)


def test_every_opinion_is_recalibrated_on_its_own_margins_and_kept_where_that_is_no_better() -> None:
    samples = drawn(600, lambda z: float(expit(3 * z)))
    own = {"calibration": PLAIN.recipe["calibration"], "combination": {"weights": [1.0]}}
    samples = replace(samples, submodels={"planar": samples.margins / 2, "volumetric": samples.margins * 3})
    best = CALIBRATORS["temperature"](samples.submodels["volumetric"], samples.labels)
    fits = {**own, "calibration": {"kind": "temperature", "parameters": best}}
    bundle = replace(PLAIN, recipe={**PLAIN.recipe, "opinions": {"planar": own, "volumetric": fits}})
    recalibrated_parts = recalibrated(bundle, samples, site="a", seed=0, today=datetime(2026, 1, 1, tzinfo=UTC))[
        "opinions"
    ]
    fitted = recalibrated_parts["planar"]["calibration"]
    assert fitted["parameters"] == CALIBRATORS[fitted["kind"]](samples.submodels["planar"], samples.labels)
    shipped, now = (abs(float(p) - expit(3.0)) for p in (expit(0.5), calibrated(np.array([0.5]), fitted["kind"],
                                                                               fitted["parameters"])[0]))  # fmt: skip
    assert now < 0.2 * shipped
    assert recalibrated_parts["planar"]["calibration"]["n"] == 600
    assert recalibrated_parts["planar"]["combination"] == own["combination"]
    assert recalibrated_parts["volumetric"] == fits


def test_opinions_whose_margins_a_site_does_not_know_are_left_out() -> None:
    bundle = replace(PLAIN, recipe={**PLAIN.recipe, "opinions": {"planar": {}}})
    recalibrated_parts = recalibrated(
        bundle, drawn(600, lambda z: float(expit(3 * z))), site="a", seed=0, today=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert recalibrated_parts["opinions"] == {}


@given(z=st.floats(-8, 8), a=st.floats(0.1, 5), b=st.floats(-2, 2))
@pytest.mark.parametrize("kind", ["none", "temperature", "bias_corrected_temperature", "platt", "beta"])
def test_a_rising_calibrator_is_inverted(kind: str, z: float, a: float, b: float) -> None:
    parameters = {"temperature": a, "bias": b, "slope": a, "intercept": b, "a": a, "b": a, "c": b}
    p = float(calibrated(np.array([z]), kind, parameters)[0])
    if 1e-9 < p < 1 - 1e-9:
        assert margin_of(p, {"kind": kind, "parameters": parameters}) == pytest.approx(z, abs=1e-3)


def test_a_flat_calibrator_is_not_inverted() -> None:
    assert margin_of(0.5, {"kind": "isotonic", "parameters": {"z": [0.0, 1.0], "p": [0.2, 0.8]}}) is None
    assert margin_of(0.5, {"kind": "platt", "parameters": {"slope": 0.0, "intercept": 1.0}}) is None


VERDICTS = [
    (FindingOrigin.MODEL, Verdict.ACCEPT, "Nodule", True),
    (FindingOrigin.MODEL, Verdict.ACCEPT, "Suspicious", True),
    (FindingOrigin.MODEL, Verdict.REJECT, "Vessel", False),
    (FindingOrigin.MODEL, Verdict.REJECT, "", False),
    (FindingOrigin.MODEL, Verdict.REJECT, "Calcified", None),
    (FindingOrigin.MODEL, Verdict.REJECT, "Lymph node", None),
    (FindingOrigin.MODEL, Verdict.UNSURE, "", None),
    (FindingOrigin.READER, Verdict.ACCEPT, "", None),
]


@pytest.mark.parametrize(("origin", "verdict", "reason", "expected"), VERDICTS)
def test_a_verdict_says_whether_a_nodule_is_there(
    origin: FindingOrigin, verdict: Verdict, reason: str, expected: bool | None
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    finding = NewFinding("1.2", 1, 0.0, 0.0, (0.0, 0.0, 0.0), None, 0.9, None, None)
    assessment = AssessmentRecord("a", "f", verdict, reason, "", "reader", now)
    record = FindingRecord("f", None, "1", "2", origin, finding, SHIPPED_MODEL, assessment, now, "system")
    label, why = verdict_label(record)
    assert label is expected
    assert bool(why) == (expected is None)
    unread, why = verdict_label(replace(record, origin=FindingOrigin.MODEL, assessment=None))
    assert (unread, why) == (None, "without_verdict")


def test_what_a_finding_rests_on_is_stored_with_it(shipped_models: Models) -> None:
    grid = np.meshgrid(*(np.arange(n) for n in (30, 64, 64)), indexing="ij")
    distance_mm = np.sqrt(
        sum(((g - n / 2) * mm) ** 2 for g, n, mm in zip(grid, (30, 64, 64), (1.25, 0.7, 0.7), strict=True))
    )
    noise = np.random.default_rng(0).normal(0, 20, distance_mm.shape)
    volume = CtVolume((np.where(distance_mm < 6, 40, -850) + noise).astype(np.int16), (1.25, 0.7, 0.7), np.eye(4))
    finding = shipped_models.nodule.analyse_point(volume, (15.0, 32.0, 32.0))
    for task, probability in (("filter", finding.nodule_probability), ("nodule", finding.malignancy_probability)):
        margin = finding.attributes.get("nodule_margin" if task == "filter" else "malignancy_margin")
        if probability is None:
            assert margin is None
        else:
            assert shipped_probability(task, float(str(margin))) == pytest.approx(probability, abs=1e-4)
    assert finding.nodule_probability is not None
