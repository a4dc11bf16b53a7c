"""Probabilities in result objects: bounds from calibration cases, as numbers, codes and words.

No standard concept says that radiologists would rate a nodule malignant: "Probability of cancer" (DCM 111047) is a
statement about the patient, and "Certainty of Finding" (DCM 111012) one of the device about itself. The concepts here
are private to 99LUNGNODE.
"""

from __future__ import annotations

from dataclasses import dataclass

from highdicom.sr import CodedConcept, Measurement, QualitativeEvaluation
from pydicom.sr.codedict import codes

from db.domain.findings import NewFinding
from dicom_node.results.verified_report import SCHEME
from inference.displayed import Censored, Displayed, DisplayedProbability, Question, displayed_of

PERCENT = codes.UCUM.Percent
NO_UNITS = codes.UCUM.NoUnits
LIMITS = CodedConcept("limits", SCHEME, "Kind of the limits")
KINDS_OF_LIMITS = {
    Censored.NONE: CodedConcept("two-sided", SCHEME, "Exact binomial, two-sided 95 %"),
    Censored.HIGH: CodedConcept("lower", SCHEME, "Exact binomial, one-sided lower 95 %; no upper limit"),
    Censored.LOW: CodedConcept("upper", SCHEME, "Exact binomial, one-sided upper 95 %; no lower limit"),
}


@dataclass(frozen=True, slots=True)
class BoundConcepts:
    """Concept codes of the bounds of one probability, and of the number of cases behind them."""

    low: CodedConcept
    high: CodedConcept
    similar: CodedConcept
    positive: CodedConcept


MALIGNANCY = BoundConcepts(
    CodedConcept("rated-mal-low", SCHEME, "Probability of a malignant rating by readers, lower limit"),
    CodedConcept("rated-mal-high", SCHEME, "Probability of a malignant rating by readers, upper limit"),
    CodedConcept("similar", SCHEME, "Calibration nodules with a similar score"),
    CodedConcept("similar-mal", SCHEME, "Calibration nodules with a similar score rated malignant"),
)
NODULE = BoundConcepts(
    CodedConcept("nodule-low", SCHEME, "Probability of being a nodule, lower limit"),
    CodedConcept("nodule-high", SCHEME, "Probability of being a nodule, upper limit"),
    CodedConcept("similar-struct", SCHEME, "Test structures with a similar score"),
    CodedConcept("similar-nodule", SCHEME, "Test structures with a similar score that were nodules"),
)


def displayed_malignancy(finding: NewFinding) -> Displayed | None:
    """Return what is displayed of a finding's malignancy; None where the model gave none."""
    return displayed_of(finding.attributes, Question.MALIGNANCY, finding.malignancy_probability)


def displayed_nodule(finding: NewFinding) -> Displayed | None:
    """Return what is displayed of a finding's nodule probability; None where the model gave none."""
    return displayed_of(finding.attributes, Question.NODULE, finding.nodule_probability)


def bound_measurements(finding: NewFinding) -> list[Measurement]:
    """Return the bounds of a finding's probabilities in per cent, and the numbers of cases behind them."""
    probabilities = ((displayed_malignancy(finding), MALIGNANCY), (displayed_nodule(finding), NODULE))
    return [measurement for displayed, concepts in probabilities for measurement in _bounds(displayed, concepts)]


def _bounds(displayed: Displayed | None, concepts: BoundConcepts) -> list[Measurement]:
    if not isinstance(displayed, DisplayedProbability):
        return []
    numbers = []
    if displayed.censored is not Censored.LOW:
        numbers.append(Measurement(concepts.low, displayed.low_percent, PERCENT))
    if displayed.censored is not Censored.HIGH:
        numbers.append(Measurement(concepts.high, displayed.high_percent, PERCENT))
    counts = ((concepts.similar, displayed.n), (concepts.positive, displayed.k))
    return [*numbers, *(Measurement(concept, count, NO_UNITS) for concept, count in counts)]


def limit_evaluations(finding: NewFinding) -> list[QualitativeEvaluation]:
    """Return whether the bounds of malignancy are two-sided or one-sided."""
    displayed = displayed_malignancy(finding)
    if not isinstance(displayed, DisplayedProbability):
        return []
    return [QualitativeEvaluation(LIMITS, KINDS_OF_LIMITS[displayed.censored])]


def displayed_comments(finding: NewFinding) -> list[str]:
    """Return the sentences on a finding's probabilities, the same in every object."""
    malignancy, nodule = displayed_malignancy(finding), displayed_nodule(finding)
    texts = [malignancy.text, malignancy.sentence] if malignancy else []
    return [*texts, f"Nodule probability: {nodule.text}"] if nodule else texts
