"""Milliseconds of server time for one page of the worklist, by order, filter and depth, over many studies.

``cpu`` is the processor time of the thread that answers: other work on the machine does not add to it. On PostgreSQL it
leaves out what the server computes.

Usage: ``python -m benchmarks.worklist [--studies 100000] [--repeat 30] [--url postgresql+psycopg://...]``. Without
``--url`` on SQLite in a temporary folder; a database that is named must be empty. Requests pass the whole app (guard,
query, JSON or HTML) and no network; each is repeated, the first of a kind included.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from flask.testing import FlaskClient
from sqlalchemy import insert, text

from benchmarks.measure import parser, report
from db.database import Database
from db.domain.reasons import Reason
from db.domain.studies import PatientAttributes, ReceivedInstance, StudyState
from db.engine import schema
from db.engine.session import new_id
from db.intake.ingest import search_text
from db.studies.patients import sort_name
from db.tables.studies import PatientRow, StudyRow
from webapp.assembly import create_app
from webapp.options import WebOptions

BATCH = 2000
FAMILIES = ("Müller", "Nguyen", "García", "Kowalski", "Okafor", "Li", "Haddad", "Silva", "Novák", "Smith", "Ito", "Ali")
GIVEN = ("Anna", "Minh", "Luis", "Ewa", "Chidi", "Wei", "Nour", "João", "Petr", "Grace", "Ken", "Zoë")
STATES = (StudyState.ANALYSED,) * 90 + (StudyState.NOT_ANALYSED,) * 8 + (StudyState.FAILED, StudyState.QUEUED)
PROTOCOLS = ("CT Thorax", "CT Thorax low dose", "CT Thorax/Abdomen with contrast")
OLD_PROTOCOL, OLD_SHARE = "CT Thorax spiral", 0.4
"""Descriptions of the node's first studies and their share of all studies, which the latest do not show."""
WHY = {
    StudyState.NOT_ANALYSED: (Reason("few_slices", "Fewer slices than the model needs."),),
    StudyState.FAILED: (Reason("timeout", "The analysis took too long."),),
}
RATED_SHARE = 0.7
UNREAD = 400
"""The last so many studies are unread, as on a morning; of the others, these of every thousand were left."""
LEFT_PER_THOUSAND = 2
STAT_EVERY = 30
QUERIES = {
    "newest": "",
    "oldest": "sort=oldest",
    "priority": "sort=priority",
    "unread": "reviewed=no",
    "patient": "sort=patient",
    "patient, descending": "sort=patient_desc",
    "study date": "sort=study_date",
    "patient, text": "sort=patient&q=haddad",
    "patient, state": "sort=patient&state=not_analysed",
    "patient, unread": "sort=patient&reviewed=no",
    "study date, date": "sort=study_date&date_from=20250101&date_to=20250630",
    "priority, unread": "sort=priority&reviewed=no",
    "reviewed": "reviewed=yes",
    "state, common": "state=analysed",
    "state, rare": "state=failed",
    "priority, state": "sort=priority&state=not_analysed",
    "text, one study": "q=A0001234",
    "text, a name": "q=nguyen minh",
    "text, every study": "q=thorax",
    "text, two letters": "q=li",
    "text, inside a word": "q=owalsk",
    "text, nothing": "q=zzyzx",
    "text, old studies only": "q=spiral",
    "oldest, new studies only": "sort=oldest&q=dose",
    "priority, old studies only": "sort=priority&q=spiral",
    "priority, text": "sort=priority&q=haddad",
    "study date, a day": "date_from=20250310&date_to=20250310",
    "study date, a year": "date_from=20250101&date_to=20251231",
    "priority, date": "sort=priority&date_from=20250101&date_to=20250630",
    "probability, high": "min_probability=0.97",
    "probability, half": "min_probability=0.5",
    "nothing fits": "state=not_analysed&min_probability=0.5",
    "all filters": "state=analysed&q=silva&date_from=20250101&date_to=20251231&min_probability=0.2&sort=priority",
}
CLOCK = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def fill(database: Database, count: int, *, seed: int = 0) -> None:
    """Put ``count`` studies into an empty database, as a node of three years would hold them."""
    rng = random.Random(seed)
    for first in range(0, count, BATCH):
        patients, studies = [], []
        for number in range(first, min(first + BATCH, count)):
            patient, study = _rows(rng, number, count)
            patients.append(patient)
            studies.append(study)
        with database.begin() as session:
            session.execute(insert(PatientRow), patients)
            session.execute(insert(StudyRow), studies)
    with database.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def _rows(rng: random.Random, number: int, count: int) -> tuple[dict[str, object], dict[str, object]]:
    received_at = CLOCK - timedelta(minutes=15 * (count - number))
    name = f"{rng.choice(FAMILIES)}^{rng.choice(GIVEN)}"
    instance = ReceivedInstance(
        sop_instance_uid="",
        sop_class_uid="",
        transfer_syntax_uid="",
        study_instance_uid=f"1.2.826.0.1.3680043.10.{number}",
        series_instance_uid="",
        patient=PatientAttributes(f"P{number % (count // 3 + 1):07d}", name=name),
        path="",
        size_bytes=0,
        sha256="",
        study_date=f"{received_at:%Y%m%d}",
        study_description=OLD_PROTOCOL if number < OLD_SHARE * count else rng.choice(PROTOCOLS),
        accession_number=f"A{number:07d}",
    )
    state = rng.choice(STATES)
    likely = rng.betavariate(0.6, 2) if state is StudyState.ANALYSED and rng.random() < RATED_SHARE else None
    is_unread = count - number <= UNREAD or rng.randrange(1000) < LEFT_PER_THOUSAND
    patient = {
        "id": new_id(),
        "issuer": "",
        "patient_id": instance.patient.patient_id,
        "variant": number,
        "name": name,
        "birth_date": f"{rng.randrange(1935, 1990)}0615",
        "sex": rng.choice("FM"),
        "created_at": received_at,
    }
    study = {
        "id": new_id(),
        "study_instance_uid": instance.study_instance_uid,
        "patient_row_id": patient["id"],
        "study_date": instance.study_date,
        "study_time": "",
        "study_description": instance.study_description,
        "accession_number": instance.accession_number,
        "local_study_id": f"S{number}",
        "referring_physician": "",
        "search_text": search_text(instance),
        "sort_name": sort_name(name),
        "state": state,
        "reasons": WHY.get(state, ()),
        "flags": (),
        "series_count": 3,
        "instance_count": rng.randrange(80, 600),
        "finding_count": rng.randrange(1, 9) if likely is not None else 0,
        "malignancy_probability": likely,
        "interval_low": None if likely is None else likely * 0.8,
        "interval_high": None if likely is None else likely + 0.2 * (1 - likely),
        "received_at": received_at,
        "analysed_at": received_at + timedelta(minutes=2) if state is StudyState.ANALYSED else None,
        "settled_at": received_at + timedelta(minutes=2) if state is not StudyState.QUEUED else None,
        "reviewed_at": None if is_unread else received_at + timedelta(minutes=90),
        "reviewed_by": None if is_unread else "reader",
        "is_stat": number % STAT_EVERY == 0,
    }
    return patient, study


def client_of(database: Database, folder: Path) -> FlaskClient:
    """Make the app over ``database``; the worklist needs no model, images or intake."""
    absent = cast("Any", None)
    options = WebOptions(upload_images_root=folder / "evidence", auth_required=False)
    app = create_app(database=database, predictor=absent, images=absent, files=absent, intake=absent, options=options)
    return app.test_client()


def times_ms(ask: Callable[[], object], count: int) -> tuple[list[float], list[float]]:
    """Time each of ``count`` calls: by the clock, and of the processor, in milliseconds."""
    times, cpu_times = [], []
    for _ in range(count):
        started, cpu_started = time.perf_counter(), time.thread_time()
        ask()
        times.append(1000 * (time.perf_counter() - started))
        cpu_times.append(1000 * (time.thread_time() - cpu_started))
    return times, cpu_times


def p99(times: list[float]) -> float:
    """Give the 99th percentile."""
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def depths(client: FlaskClient, query: str) -> Iterator[tuple[str, str]]:
    """Give the first page's address, and that of the page after 1000 studies where there is one."""
    yield "first", query
    following = client.get(f"/api/v1/worklist?{query}&limit=500").json["next"]  # type: ignore[index]
    if following:
        following = client.get(f"/api/v1/worklist?{query}&limit=500&cursor={following}").json["next"]  # type: ignore[index]
    if following:
        yield "after 1000", f"{query}&cursor={following}"


def measured(client: FlaskClient, count: int) -> Iterator[dict[str, object]]:
    """Time every query as JSON and as a page."""
    for name, query in QUERIES.items():
        for depth, address in depths(client, query):
            row: dict[str, object] = {"query": name, "page": depth}
            for kind, path in (("json", "/api/v1/worklist"), ("html", "/worklist")):
                response = client.get(f"{path}?{address}")
                assert response.status_code == 200, response.text
                if kind == "json":
                    row["studies"] = len(response.get_json()["items"])
                times, cpu_times = times_ms(partial(client.get, f"{path}?{address}"), count)
                row[f"{kind}_median_ms"] = statistics.median(times)
                row[f"{kind}_p99_ms"] = p99(times)
                row[f"{kind}_cpu_p99_ms"] = p99(cpu_times)
            yield row


def main() -> None:
    """Fill, measure, report."""
    options = parser(__doc__ or "")
    options.add_argument("--studies", type=int, default=100_000)
    options.add_argument("--url", help="an empty database; SQLite in a temporary folder by default")
    options.set_defaults(repeat=30)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = asked.url or f"sqlite:///{folder}/worklist.db"
        if schema.current(url) is not None:
            raise SystemExit("the database is not empty")
        schema.upgrade(url)
        database = Database(url, bytes(32), clock=lambda: CLOCK)
        started = time.perf_counter()
        fill(database, asked.studies)
        fill_s = time.perf_counter() - started
        rows = list(measured(client_of(database, Path(folder)), asked.repeat))
        database.dispose()
    worst = {name: max(cast("float", row[name]) for row in rows) for name in ("html_p99_ms", "html_cpu_p99_ms")}
    backend = url.partition(":")[0]
    report("worklist", rows, studies=asked.studies, database=backend, fill_s=round(fill_s, 1), worst=worst)


if __name__ == "__main__":
    main()
