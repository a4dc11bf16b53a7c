"""A study of several reconstructions through C-STORE: one is analysed, the others are on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from db.domain.studies import StudyState
from dicom_node.phantom.writer import SeriesIdentity
from tests.support.factories import FIELD_MM, HEIGHT_MM, CtSeries, Defects, ct_series, simple_chest
from tests.support.service import FINISHED, Sender, Service, until

pytestmark = pytest.mark.timeout(900)  # many processes start here; a busy machine takes its time
ROWS = 240
PIXEL_MM = FIELD_MM / ROWS


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home")
    yield service
    service.close()


def reconstruction(folder: Path, number: int, *, slices: int, noise_hu: float, frame: str = "1.2.3.4") -> CtSeries:
    """One chest in one frame of reference, as series ``number``."""
    spacing_mm = (HEIGHT_MM / slices, PIXEL_MM, PIXEL_MM)
    return ct_series(
        folder / str(number),
        volume_hu=simple_chest(slices, ROWS, ROWS, spacing_mm, noise_hu=noise_hu),
        spacing_mm=spacing_mm,
        identity=SeriesIdentity(patient_id="P", series_number=number, uid_seed="reconstructions"),
        defects=Defects(attributes={"FrameOfReferenceUID": frame, "AcquisitionNumber": 1}),
    )


def analysed_slices(service: Service) -> list[int]:
    """Return the numbers of slices of the volumes that were analysed, in order of the calls."""
    calls = sorted(service.calls.iterdir(), key=lambda path: int(path.name.split("-")[2]))
    return [int(path.name.split("-")[0]) for path in calls]


def state(service: Service, series: CtSeries) -> tuple[StudyState, list[str]]:
    record = service.wait_finished(series.series_instance_uid)
    return record.state, [reason.code for reason in record.reasons]


def test_one_of_three_reconstructions_is_analysed_and_another_one_on_request(service: Service, tmp_path: Path) -> None:
    thick = reconstruction(tmp_path, 2, slices=50, noise_hu=8.0)
    thin = reconstruction(tmp_path, 3, slices=96, noise_hu=15.0)
    sharp = reconstruction(tmp_path, 4, slices=95, noise_hu=60.0)
    status = service.start()
    sender = Sender(status["dicom"]["port"])
    for series in (thick, sharp, thin):
        sender.send(series.paths)
    assert len(sender.acknowledged) == 241

    assert state(service, thin) == (StudyState.ANALYSED, [])
    assert state(service, thick) == state(service, sharp) == (StudyState.NOT_ANALYSED, ["other_reconstruction"])
    assert analysed_slices(service) == [96]
    url = f"{status['web']['url']}api/v1/studies/{thin.study_instance_uid}"
    study: dict[str, Any] = requests.get(url, timeout=60).json()
    assert (study["state"], study["reasons"], study["finding_count"]) == ("analysed", [], 1)
    assert {finding["series_instance_uid"] for finding in study["findings"]} == {thin.series_instance_uid}
    assert {each["series_instance_uid"]: each["status"] for each in study["analyses"]} == {
        thin.series_instance_uid: "current",
        thick.series_instance_uid: "not_chosen",
        sharp.series_instance_uid: "not_chosen",
    }

    answer = requests.post(f"{url}/analyses", json={"series_instance_uid": thick.series_instance_uid}, timeout=60)
    assert answer.status_code == 202
    until(lambda: state(service, thick), lambda now: now == (StudyState.ANALYSED, []))
    assert analysed_slices(service) == [96, 50]
    assert state(service, thin) == (StudyState.ANALYSED, [])
    assert state(service, sharp) == (StudyState.NOT_ANALYSED, ["other_reconstruction"])


def test_a_later_better_reconstruction_supersedes_and_another_acquisition_is_analysed(
    service: Service, tmp_path: Path
) -> None:
    thick = reconstruction(tmp_path, 2, slices=50, noise_hu=8.0)
    thin = reconstruction(tmp_path, 3, slices=96, noise_hu=15.0)
    second = reconstruction(tmp_path, 4, slices=51, noise_hu=8.0, frame="1.2.3.5")
    sender = Sender(service.start()["dicom"]["port"])
    sender.send(thick.paths)
    assert state(service, thick) == (StudyState.ANALYSED, [])
    sender.send(second.paths)
    sender.send(thin.paths)
    until(
        lambda: [service.series(each.series_instance_uid) for each in (second, thin)],
        lambda records: all(record is not None and record.state in FINISHED for record in records),
    )
    assert state(service, thin) == state(service, second) == (StudyState.ANALYSED, [])
    assert state(service, thick) == (StudyState.NOT_ANALYSED, ["other_reconstruction"])
    assert sorted(analysed_slices(service)) == [50, 51, 96]
