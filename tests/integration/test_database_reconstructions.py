"""Of the reconstructions of one acquisition one is analysed, whatever the order of events; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from db.analyses import analyses, reconstructions
from db.analyses.quarantine import quarantine_scanner
from db.audit.verification import verify
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.exchange import ResultObject
from db.domain.findings import NewFinding
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.reconstructions import Reconstruction
from db.domain.scanners import Scanner
from db.domain.studies import ReceivedInstance, StudyState
from db.monitoring.workload import lately_done
from db.read_models.studies import study_detail
from db.results import objects as results
from db.studies.instances import series_record
from tests.support.databases import ManualClock
from tests.support.records import record_instance

BEST = Reconstruction(
    frame_of_reference_uid="1.2", coverage_mm=(-300.0, 0.0), slice_mm=1.0, lung_ml=4000.0, noise_hu=20.0
)
WORSE = replace(BEST, slice_mm=2.5)
WORST = replace(BEST, slice_mm=5.0)
OTHER_FRAME = replace(WORST, frame_of_reference_uid="1.3")
REFUSED = Reason("no_lung", "No lung in view.")
LEFT_OUT = (StudyState.NOT_ANALYSED, ["other_reconstruction"])
ANALYSED = (StudyState.ANALYSED, list[str]())


@dataclass
class Study:
    """A study whose series ``1``, ``2``, ... have given measures; a worker that does what is pending."""

    database: Database
    received: Callable[..., ReceivedInstance]
    new_finding: Callable[..., NewFinding]
    model: ModelIdentity
    measures: dict[str, Reconstruction]
    refused: frozenset[str] = frozenset()
    analysed: tuple[str, ...] = ()

    def arrive(self, *names: str, number: int = 1) -> None:
        """Receive an instance of each series, and request their analyses as a worker does."""
        with self.database.begin() as session:
            for name in names:
                record_instance(session, self.received(number, series=name, series_number=int(name)))
                series = series_record(session, series_instance_uid=f"1.2.3.{name}")
                assert series is not None
                analyses.request_analysis(session, series.id, self.model, requested_by="system")

    def request(self, name: str) -> AnalysisRecord:
        """Request one series as a reader does."""
        with self.database.begin() as session:
            series = series_record(session, series_instance_uid=f"1.2.3.{name}")
            assert series is not None
            return analyses.request_analysis(
                session, series.id, self.model, requested_by="reader", force=True, is_explicit=True
            )

    def begin(self, analysis: AnalysisRecord) -> bool:
        """Start an attempt; return whether the analysis is to be made."""
        with self.database.begin() as session:
            if analyses.start_analysis(session, analysis.id).status is not AnalysisStatus.RUNNING:
                return False
        with self.database.read() as session:
            to_measure = reconstructions.to_measure(session, analysis.id)
            if to_measure is None:
                return True
            records = [analyses.analysis_record(session, each) for each in to_measure]
        measures = {record.id: self.measures[name_of(record)] for record in records if record is not None}
        with self.database.begin() as session:
            return reconstructions.begin(session, analysis.id, measures)

    def finish(self, analysis: AnalysisRecord) -> None:
        """Answer an analysis, or refuse the series."""
        name = name_of(analysis)
        self.analysed = (*self.analysed, name)
        outcome = AnalysisOutcome((self.new_finding(f"1.2.3.{name}.1"),))
        if name in self.refused:
            outcome = AnalysisOutcome(reasons=(REFUSED,))
        with self.database.begin() as session:
            analyses.complete_analysis(session, analysis.id, outcome)
            reconstructions.follow(session, analysis.id)

    def pending(self) -> tuple[AnalysisRecord, ...]:
        with self.database.read() as session:
            return analyses.pending_analyses(session)

    def work(self) -> None:
        """Do what is pending, one after the other."""
        while pending := self.pending():
            if self.begin(pending[0]):
                self.finish(pending[0])

    def states(self) -> dict[str, tuple[StudyState, list[str]]]:
        with self.database.read() as session:
            detail = study_detail(session, "1.2.3")
        assert detail is not None
        return {
            series.series_instance_uid.rsplit(".", 1)[1]: (series.state, [reason.code for reason in series.reasons])
            for series in detail.series
        }

    def findings(self) -> list[str]:
        with self.database.read() as session:
            detail = study_detail(session, "1.2.3")
        assert detail is not None
        assert detail.item.finding_count == len(detail.findings)
        return [finding.series_instance_uid.rsplit(".", 1)[1] for finding in detail.findings]


def name_of(analysis: AnalysisRecord) -> str:
    return analysis.series_instance_uid.rsplit(".", 1)[1]


@pytest.fixture
def study(
    database: Database,
    received: Callable[..., ReceivedInstance],
    new_finding: Callable[..., NewFinding],
    model: ModelIdentity,
) -> Study:
    return Study(database, received, new_finding, model, {"1": WORST, "2": BEST, "3": WORSE, "4": OTHER_FRAME})


def test_the_best_is_analysed_and_the_others_say_why_not(study: Study) -> None:
    study.arrive("1", "2", "3")
    study.work()
    assert study.analysed == ("2",)
    assert study.states() == {"1": LEFT_OUT, "2": ANALYSED, "3": LEFT_OUT}
    assert study.findings() == ["2"]
    with study.database.read() as session:
        detail = study_detail(session, "1.2.3")
        assert lately_done(session).outcomes == {"analysed": 1}
    assert detail is not None
    assert (detail.item.state, detail.item.reasons) == (StudyState.ANALYSED, ())
    assert sorted(record.answer_status for record in detail.analyses) == ["current", "not_chosen", "not_chosen"]
    assert verify(study.database).is_intact


def test_an_only_series_and_other_acquisitions_are_analysed(study: Study) -> None:
    study.arrive("3")
    study.work()
    assert list(study.analysed) == ["3"]
    study.arrive("4")
    study.work()
    assert list(study.analysed) == ["3", "4"]
    assert study.states() == {"3": ANALYSED, "4": ANALYSED}


def test_where_the_best_is_refused_the_next_one_is_analysed(study: Study) -> None:
    study.refused = frozenset({"2"})
    study.arrive("1", "2", "3")
    study.work()
    assert study.analysed == ("2", "3")
    assert study.states() == {"1": LEFT_OUT, "2": (StudyState.NOT_ANALYSED, ["no_lung"]), "3": ANALYSED}


def test_where_all_are_refused_each_says_why(study: Study) -> None:
    study.refused = frozenset({"1", "2", "3"})
    study.arrive("1", "2", "3")
    study.work()
    assert study.analysed == ("2", "3", "1")
    assert {state for state in study.states().values() if state[1] != ["no_lung"]} == set()


def test_where_the_best_fails_the_next_one_is_analysed(study: Study) -> None:
    study.arrive("2", "3")
    best = next(analysis for analysis in study.pending() if name_of(analysis) == "2")
    assert study.begin(best)
    with study.database.begin() as session:
        analyses.fail_analysis(session, best.id, Reason("crashed", "It crashed."))
        reconstructions.follow(session, best.id)
    study.work()
    assert study.analysed == ("3",)
    assert study.states() == {"2": (StudyState.FAILED, ["crashed"]), "3": ANALYSED}


def test_a_later_better_series_is_analysed_and_supersedes(study: Study) -> None:
    study.arrive("3")
    study.work()
    study.arrive("2")
    study.work()
    assert study.analysed == ("3", "2")
    assert study.states() == {"2": ANALYSED, "3": LEFT_OUT}
    assert study.findings() == ["2"]


def test_a_later_better_series_that_is_refused_supersedes_nothing(study: Study) -> None:
    study.refused = frozenset({"2"})
    study.arrive("3")
    study.work()
    study.arrive("2")
    study.work()
    assert study.states() == {"2": (StudyState.NOT_ANALYSED, ["no_lung"]), "3": ANALYSED}
    assert study.findings() == ["3"]


def test_a_later_worse_series_only_gets_the_reason(study: Study) -> None:
    study.arrive("2")
    study.work()
    study.arrive("1")
    study.work()
    assert study.analysed == ("2",)
    assert study.states() == {"1": LEFT_OUT, "2": ANALYSED}


def test_late_images_of_a_series_that_was_not_chosen_change_nothing(study: Study) -> None:
    study.arrive("2", "3")
    study.work()
    study.arrive("3", number=2)
    study.work()
    assert study.analysed == ("2",)
    assert study.states() == {"2": ANALYSED, "3": LEFT_OUT}


def test_late_images_that_make_the_chosen_one_unfit_have_the_next_one_analysed(study: Study) -> None:
    study.arrive("2", "3")
    study.work()
    study.measures["2"] = replace(BEST, refusal="gaps")
    study.arrive("2", number=2)
    study.work()
    assert study.analysed == ("2", "3")
    assert study.states() == {"2": LEFT_OUT, "3": ANALYSED}


def test_a_series_that_was_not_chosen_is_analysed_on_request_and_stays_so(study: Study) -> None:
    study.arrive("1", "2", "3")
    study.work()
    study.request("1")
    study.work()
    assert study.analysed == ("2", "1")
    assert study.states() == {"1": ANALYSED, "2": ANALYSED, "3": LEFT_OUT}
    assert sorted(study.findings()) == ["1", "2"]
    study.arrive("1", number=2)  # the request holds for its late images too
    study.work()
    assert study.states() == {"1": ANALYSED, "2": ANALYSED, "3": LEFT_OUT}


def test_a_request_reaches_an_analysis_that_still_waits(study: Study) -> None:
    study.arrive("1", "2")
    study.request("1")
    study.work()
    assert sorted(study.analysed) == ["1", "2"]


def test_a_study_that_is_analysed_again_has_one_answer_again(study: Study) -> None:
    study.arrive("1", "2", "3")
    study.work()
    with study.database.begin() as session:
        assert len(analyses.request_reanalysis(session, "1.2.3", study.model, requested_by="reader")) == 3
    study.work()
    assert study.analysed == ("2", "2")
    assert study.states() == {"1": LEFT_OUT, "2": ANALYSED, "3": LEFT_OUT}


@pytest.mark.parametrize("first", ["2", "3"])
def test_two_workers_that_begin_at_once_answer_once(study: Study, first: str) -> None:
    study.arrive("2", "3")
    pending = sorted(study.pending(), key=lambda analysis: name_of(analysis) != first)
    with ThreadPoolExecutor(2) as workers:
        decisions = list(workers.map(study.begin, pending))
    assert [name_of(analysis) for analysis, is_made in zip(pending, decisions, strict=True) if is_made] == ["2"]
    for analysis, is_made in zip(pending, decisions, strict=True):
        if is_made:
            study.finish(analysis)
    study.work()
    assert study.states() == {"2": ANALYSED, "3": LEFT_OUT}


def test_the_better_one_counts_where_the_worse_one_ends_last(study: Study) -> None:
    """The worse series is being analysed when the better one arrives, and ends after it."""
    study.arrive("3")
    (worse,) = study.pending()
    assert study.begin(worse)
    study.arrive("2")
    better = next(analysis for analysis in study.pending() if name_of(analysis) == "2")
    assert study.begin(better)
    study.finish(better)
    study.finish(worse)
    assert study.states() == {"2": ANALYSED, "3": LEFT_OUT}
    assert study.findings() == ["2"]


def test_an_attempt_that_is_repeated_after_a_crash_decides_the_same(study: Study) -> None:
    study.arrive("2", "3")
    pending = study.pending()
    for _ in range(3):
        assert [name_of(analysis) for analysis in pending if study.begin(analysis)] == ["2"]
    study.work()
    assert study.analysed == ("2",)


def test_a_series_is_measured_once_for_its_images_and_model(study: Study) -> None:
    study.arrive("2", "3")
    study.work()
    study.measures = {"1": WORST}  # the others would raise
    study.arrive("1")
    study.work()
    assert study.states()["1"] == LEFT_OUT


def test_answers_of_a_quarantined_scanner_supersede_nothing_that_is_shown(study: Study) -> None:
    study.arrive("3")
    study.work()
    with study.database.begin() as session:
        quarantine_scanner(session, Scanner("unknown", "unknown", ""), "drift", held_by="ann")
    study.arrive("2")
    study.work()
    assert study.findings() == ["3"]


def test_delivered_results_of_a_superseded_reconstruction_are_withdrawn(study: Study, clock: ManualClock) -> None:
    def make_results(name: str) -> str:
        with study.database.begin() as session:
            detail = study_detail(session, "1.2.3")
            assert detail is not None
            (current,) = (
                each for each in detail.analyses if each.status is AnalysisStatus.CURRENT and name_of(each) == name
            )
            result = ResultObject("sr", "1.2.840", f"2.25.{name}", "2.25.9", 1, "SR", 1, f"r/{name}")
            results.record_results(session, current.id, [result])
        return current.id

    study.arrive("3")
    study.work()
    first = make_results("3")
    study.arrive("2")
    study.work()
    with study.database.read() as session:
        assert results.outdated_results(session) == ()  # nothing of the better one stands in their place yet
    make_results("2")
    clock.advance(60.0)
    with study.database.read() as session:
        assert [analysis_id for analysis_id, *_ in results.outdated_results(session)] == [first]
