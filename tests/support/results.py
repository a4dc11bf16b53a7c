"""Result objects for tests, made in the test's own process."""

from __future__ import annotations

from db.domain.exchange import ResultObject
from dicom_node.results.child import make_results
from dicom_node.results.job import ReportJob


def make_objects(job: ReportJob) -> list[ResultObject]:
    """Write the missing result objects of a job, and return all of them; none may fail."""
    created = make_results(job)
    assert created.failures == {}
    return list(created.objects)
