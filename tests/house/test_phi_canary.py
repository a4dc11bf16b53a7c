"""A patient named CANARY^PHI goes through the whole flow, and nothing that identifies them shows where it must not."""

from __future__ import annotations

import io
import re
import urllib.request
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.sop_class import CTImageStorage, PatientRootQueryRetrieveInformationModelFind

from benchmarks.serving import AE_TITLE, Service, running_service
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.phantom.writer import SeriesIdentity
from tests.support.factories import CtSeries, Defects, ct_series

pytestmark = pytest.mark.slow

WORDS = ("CANARY", "PHI2", "19370421", "1937-04-21")
"""Word in every identifying attribute of the canary; the product uses none of it."""
IDENTITY = SeriesIdentity(
    patient_name="CANARY^PHI2",
    patient_id="CANARYID",
    patient_birth_date="19370421",
    accession_number="CANARYACC",
    study_description="CANARY STUDY",
    series_description="CANARY SERIES",
    study_id="CANARYSTUDY",
)
ATTRIBUTES: dict[str, object] = {
    "ReferringPhysicianName": "CANARY^REFERRER",
    "InstitutionName": "CANARY CLINIC",
    "OperatorsName": "CANARY^OPERATOR",
    "PatientComments": "CANARY COMMENT",
    "OtherPatientIDs": "CANARYOTHER",
}


def spoil(ds: Dataset, index: int) -> None:
    """Values that libraries warn about, quoting them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.PatientAge = "CANARY"
        ds.PatientTelephoneNumbers = "CANARY" * 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("canary")
    with running_service(folder, {"LUNGNODE_LOG__LEVEL": "debug"}) as running:
        yield running


@pytest.fixture(scope="module")
def flow(service: Service, tmp_path_factory: pytest.TempPathFactory) -> list[CtSeries]:
    """One study that can be analysed, one that is refused, one spoiled; and instances that are refused."""
    folder = tmp_path_factory.mktemp("series")
    good = ct_series(folder / "good", n=60, rows=256, identity=IDENTITY, defects=Defects(attributes=ATTRIBUTES), seed=1)
    coarse = ct_series(folder / "coarse", n=24, identity=IDENTITY, defects=Defects(attributes=ATTRIBUTES), seed=2)
    odd = ct_series(
        folder / "odd", n=24, identity=IDENTITY, defects=Defects(attributes=ATTRIBUTES, alter=spoil), seed=3
    )
    ae = RequestingEntity("SENDER")
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
    association = ae.associate("127.0.0.1", service.dicom_port, ae_title=AE_TITLE)
    assert association.is_established
    for series in (good, coarse, odd):
        for path in series.paths:
            association.send_c_store(path)
    for keyword in ("SeriesInstanceUID", "PixelData"):
        broken = dcmread(good.paths[0])
        broken.SOPInstanceUID = f"{broken.SOPInstanceUID[:50]}.9"
        broken.file_meta.MediaStorageSOPInstanceUID = broken.SOPInstanceUID
        del broken[keyword]
        assert association.send_c_store(broken).Status != 0
    association.release()
    service.wait_for_answers(3)
    return [good, coarse, odd]


def test_the_patient_is_where_they_belong(service: Service, flow: list[CtSeries]) -> None:
    names = {item["patient"]["name"] for item in service.worklist()}
    assert any("CANARY" in name for name in names), "the canary never arrived: the other tests would prove nothing"


def test_pages_have_no_patient_in_title_address_or_headers(service: Service, flow: list[CtSeries]) -> None:
    pages = ["/", "/detector", "/worklist", "/model_status", *(f"/studies/{one.study_instance_uid}" for one in flow)]
    for path in pages:
        status, headers, body = service.get(path)
        assert status == 200, path
        title = re.search(r"<title>(.*?)</title>", body, flags=re.DOTALL)
        links = re.findall(r"""(?:href|src|action)=["']([^"']*)""", body)
        for word in WORDS:
            assert word not in headers, path
            assert title is None or word not in title[1], path
            assert not [link for link in links if word in link], path


def test_error_pages_and_metrics_hold_no_patient(service: Service, flow: list[CtSeries]) -> None:
    uid = flow[0].study_instance_uid
    answers = [
        service.get("/metrics"),
        service.get("/livez"),
        service.get("/readyz"),
        service.get("/openapi.json"),
        service.get("/monitoring"),
        service.get("/studies/CANARY"),
        service.get("/CANARY^PHI2"),
        service.get("/api/v1/studies/1.2.CANARY"),
        service.get("/api/v1/worklist?state=CANARY"),
        service.get("/api/v1/worklist?cursor=CANARY"),
        service.send(upload(service, picture_of_noise(), "CANARY^PHI2.png")),
        service.send(upload(service, b"CANARY, and no image at all", "CANARY.jpg")),
        service.send(upload(service, flow[0].paths[0].read_bytes()[:-1000], "CANARY.dcm")),
    ]
    for number, (_, headers, body) in enumerate(answers):
        assert not [word for word in WORDS if word in headers + body], f"answer {number}"
        assert not number or uid not in body


def picture_of_noise() -> bytes:
    """A PNG that is no CT slice."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def upload(service: Service, content: bytes, name: str) -> urllib.request.Request:
    """POST /predict of a file."""
    head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    return urllib.request.Request(
        f"http://127.0.0.1:{service.web_port}/predict",
        data=head.encode() + content + b"\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )


def test_logs_hold_no_patient(service: Service, flow: list[CtSeries]) -> None:
    text = service.log.read_text()
    assert text.count("\n") > 3
    assert not [word for word in WORDS if word in text]
    uids = {uid for one in flow for uid in (one.study_instance_uid, one.series_instance_uid, *one.sop_instance_uids)}
    assert not [uid for uid in uids if uid in text]


def test_file_names_and_leftovers_hold_no_patient(service: Service, flow: list[CtSeries]) -> None:
    for folder in (service.home, service.home.parent / "tmp"):
        for path in folder.rglob("*"):
            assert not [word for word in WORDS if word in path.name]
    for path in (service.home.parent / "tmp").rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), f"{path.name} is left in the temporary folder"


def test_no_other_account_can_read_stored_files(service: Service, flow: list[CtSeries]) -> None:
    assert service.home.stat().st_mode & 0o077 == 0
    secret = [path for path in service.home.iterdir() if path.suffix in {".key", ".db"}]
    assert secret
    assert not [path.name for path in secret if path.stat().st_mode & 0o077]
