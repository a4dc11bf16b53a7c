"""Reconstructions of one acquisition: image measures of a series, and the choice of the one to analyse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields

from db.domain.reasons import Reason

OTHER_RECONSTRUCTION = Reason("other_reconstruction", "Another reconstruction of this acquisition was analysed.")
"""Reason of a series that was not chosen; it is analysed on request."""

MIN_OVERLAP = 0.5
"""Share of the shorter of two stacks that the other must cover; adjacent acquisitions overlap by less."""
SAME_TIME_S = 2.0
"""Largest distance between acquisition times of one acquisition; two breath holds are further apart."""
FULL_COVERAGE = 0.9
"""Share of the largest lung volume of an acquisition from which on a reconstruction covers the lungs."""
FINEST_MM = 0.5
"""Slice spacing below which finer slices only add noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Measures of a series by which reconstructions of one acquisition are recognised and ranked.

    Parameters
    ----------
    refusal
        Code of the reason for which headers or geometry would be refused; empty if none.
    frame_of_reference_uid
        Empty if missing, or if the series is no axial stack: it is then compared with no other.
    patient_position
        Patient Position (PS3.3 C.7.3.1.1.2); empty if missing.
    coverage_mm
        Lowest and highest position along the patient's z axis.
    acquisition_dates, acquisition_numbers, irradiation_event_uids
        Values of all images; empty if missing.
    acquisition_times_s
        First and last acquisition time, seconds since midnight; None if missing.
    slice_mm
        Distance between slices or Slice Thickness, whichever is larger.
    caveat_count
        Number of caveats of the geometry.
    lung_ml
        Lung volume that the series covers; None if not measured.
    noise_hu
        Noise of plain lung in the slice; None if not measurable.
    unvalidated
        Measures of plain lung outside their validated range: ``noise_hu``, ``grain``, ``lung_hu``.
    """

    refusal: str = ""
    frame_of_reference_uid: str = ""
    patient_position: str = ""
    coverage_mm: tuple[float, float] = (0.0, 0.0)
    acquisition_dates: tuple[str, ...] = ()
    acquisition_times_s: tuple[float, float] | None = None
    acquisition_numbers: tuple[str, ...] = ()
    irradiation_event_uids: tuple[str, ...] = ()
    slice_mm: float = 0.0
    caveat_count: int = 0
    lung_ml: float | None = None
    noise_hu: float | None = None
    unvalidated: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Return True if there is nothing left to measure: also of a series that would be refused."""
        return bool(self.refusal) or self.lung_ml is not None

    def is_of_acquisition(self, other: Reconstruction) -> bool:
        """Return True if both were reconstructed from one acquisition, as far as headers and positions say."""
        return (
            self.frame_of_reference_uid != ""
            and self.frame_of_reference_uid == other.frame_of_reference_uid
            and _agree({self.patient_position} - {""}, {other.patient_position} - {""})
            and _agree(self.acquisition_dates, other.acquisition_dates)
            and _agree(self.acquisition_numbers, other.acquisition_numbers)
            and _agree(self.irradiation_event_uids, other.irradiation_event_uids)
            and _is_same_time(self.acquisition_times_s, other.acquisition_times_s)
            and _overlaps(self.coverage_mm, other.coverage_mm)
        )

    def values(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of_values(cls, values: Mapping[str, object]) -> Reconstruction:
        """Read ``values``; those of other releases are ignored."""
        names = {field.name for field in fields(cls)}
        read = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**{name: value for name, value in read.items() if name in names})  # type: ignore[arg-type]


def choose(reconstructions: Mapping[str, Reconstruction]) -> dict[str, str]:
    """Return for each series the one to analyse in its place: itself, or the best of its acquisition.

    Of equally good ones the first is chosen. What is not chosen is of the same acquisition as what replaces it, so
    that no acquisition is left out where attributes are missing.
    """
    ranked = sorted(reconstructions, key=lambda series: _rank(reconstructions[series], reconstructions.values()))
    replaced_by: dict[str, str] = {}
    for series in ranked:
        chosen = (other for other in replaced_by if replaced_by[other] == other)
        own = reconstructions[series]
        replaced_by[series] = next((c for c in chosen if own.is_of_acquisition(reconstructions[c])), series)
    return replaced_by


def _rank(own: Reconstruction, all_of_study: Collection[Reconstruction]) -> tuple[object, ...]:
    """Return the sort key: fit for the models, lungs covered, image quality validated, fine, complete, little noise."""
    largest_ml = max((each.lung_ml or 0.0 for each in all_of_study if own.is_of_acquisition(each)), default=0.0)
    return (
        bool(own.refusal),
        (own.lung_ml or 0.0) < FULL_COVERAGE * largest_ml,
        len(own.unvalidated),
        max(round(own.slice_mm, 1), FINEST_MM),
        own.caveat_count,
        own.noise_hu is None,
        own.noise_hu or 0.0,
    )


def _agree(values: Collection[str], others: Collection[str]) -> bool:
    """Return True if both have a value in common, or one has none."""
    return not values or not others or bool(set(values) & set(others))


def _is_same_time(times_s: tuple[float, float] | None, others_s: tuple[float, float] | None) -> bool:
    if times_s is None or others_s is None:
        return True
    return max(times_s[0], others_s[0]) - min(times_s[1], others_s[1]) <= SAME_TIME_S


def _overlaps(coverage_mm: tuple[float, float], other_mm: tuple[float, float]) -> bool:
    common_mm = min(coverage_mm[1], other_mm[1]) - max(coverage_mm[0], other_mm[0])
    shorter_mm = min(coverage_mm[1] - coverage_mm[0], other_mm[1] - other_mm[0])
    return common_mm > 0 and common_mm >= MIN_OVERLAP * shorter_mm
