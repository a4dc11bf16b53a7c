"""Detection of silent workers, by unchanged counts on the observer's monotonic clock."""

from __future__ import annotations

from dicom_node.jobs.liveness import SilenceWatch


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def observe(watch: SilenceWatch, clock: Clock, counts: list[int], step_s: float = 5.0) -> list[float]:
    """Show a worker's counts at an even pace; gives the seconds at which it was held to be silent."""
    begin_s, silent_at = clock.now_s, []
    for count in counts:
        if watch.silent({"worker-1": count}):
            silent_at.append(clock.now_s - begin_s)
        clock.now_s += step_s
    return silent_at


def test_a_worker_whose_count_stands_still_for_a_minute_is_silent() -> None:
    clock = Clock()
    assert observe(SilenceWatch(60, clock), clock, [7] * 14) == [60, 65]


def test_a_worker_that_counts_is_never_silent() -> None:
    clock = Clock()
    assert observe(SilenceWatch(60, clock), clock, list(range(50))) == []


def test_a_worker_that_goes_on_is_silent_no_more() -> None:
    clock = Clock()
    assert observe(SilenceWatch(60, clock), clock, [7] * 13 + [8] * 12) == [60]


def test_after_an_outage_of_the_database_everyone_has_a_minute_again() -> None:
    """No worker could count while the database was away; the observer is the first to return."""
    clock = Clock()
    watch = SilenceWatch(60, clock)
    observe(watch, clock, [7, 7])
    clock.now_s += 300
    assert observe(watch, clock, [7, 7, 8, 9]) == []
