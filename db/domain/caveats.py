"""Caveats of results; every kind is declared here.

To add one, declare a member of ``Caveat`` and use ``Caveat.NAME.stated(...)`` where it is detected: ``LoadedSeries``
lists those of reading a series, ``VolumeAnalysis`` those of the models, and ``dicom_node.series.pipeline`` joins them.
Worklist, study page, provenance, API and result objects show every kind alike.
"""

from __future__ import annotations

from enum import Enum, unique

from db.domain.reasons import Reason


@unique
class Caveat(Enum):
    """A kind of caveat: its code, and the template of its text."""

    LUNGS_BEYOND_SLICES = Reason(
        "lungs_beyond_slices", "The lungs are only partly in view: they run beyond the first or last slice."
    )
    LUNGS_CUT_BY_FIELD_OF_VIEW = Reason(
        "lungs_cut_by_field_of_view", "The lungs are only partly in view: the field of view cuts them."
    )
    ONE_LUNG = Reason("one_lung", "The lungs are only partly in view, or one is not aerated.")
    LITTLE_LUNG = Reason("little_lung", "The lungs are only partly in view: less than one litre of aerated lung.")
    REPEATED_POSITIONS = Reason(
        "repeated_positions", "Different images at {count} of {total} positions; one image of each was analysed."
    )
    OTHER_ACQUISITIONS_LEFT_OUT = Reason(
        "other_acquisitions_left_out",
        "The series mixes {stacks} image stacks (differing in {attribute}): {count} of {total} images were analysed.",
    )
    LOCALIZERS_LEFT_OUT = Reason("localizers_left_out", "Localizer images in the series were not analysed: {count}.")
    IMAGE_NUMBERS_SKIP = Reason(
        "image_numbers_skip", "Image numbers are not consecutive; images of the series may be missing."
    )
    SPACING_EXCEEDS_THICKNESS = Reason(
        "spacing_exceeds_thickness",
        "Gaps between slices: {spacing} mm apart, but only {thickness} mm thick. Nodules in the gaps are not seen.",
    )
    THICK_SLICES = Reason("thick_slices", "Thick or widely spaced slices ({size} mm): small nodules may be missed.")
    TILTED = Reason("tilted", "The slices are tilted by {degrees} degrees against the direction of the stack.")
    NO_FRAME_OF_REFERENCE = Reason(
        "no_frame_of_reference", "No Frame of Reference UID: positions cannot be compared with other series."
    )
    OVERRULED_DERIVED = Reason(
        "overruled_derived",
        "Analysed at the request of a radiologist although the series is derived from other images;"
        " the models are not validated for such images.",
    )
    OVERRULED_LOSSY = Reason(
        "overruled_lossy",
        "Analysed at the request of a radiologist although the images were compressed with loss;"
        " the models are not validated for such images.",
    )
    OVERRULED_KERNEL = Reason(
        "overruled_kernel",
        "Rated at the request of a radiologist although the reconstruction kernel differs from those validated.",
    )
    FINDINGS_LIMITED = Reason(
        "findings_limited", "At most {limit} candidates are assessed; {count} more were left out."
    )
    FINDINGS_UNRATED = Reason("findings_unrated", "{count} of {total} findings have no malignancy probability.")
    FINDINGS_UNMEASURED = Reason("findings_unmeasured", "{count} of {total} findings could not be measured.")
    SUBMODELS_DISAGREE = Reason("submodels_disagree", "The sub-models disagree on {count} of {total} findings.")

    @property
    def code(self) -> str:
        """The stable code."""
        return self.value.code

    def stated(self, **values: object) -> Reason:
        """Return the caveat with the template's values filled in, by name.

        Raises
        ------
        KeyError
            A value of the template is missing.
        """
        return Reason(self.value.code, self.value.text.format(**values))


PARTIAL_COVERAGE = frozenset(
    kind.code
    for kind in (Caveat.LUNGS_BEYOND_SLICES, Caveat.LUNGS_CUT_BY_FIELD_OF_VIEW, Caveat.ONE_LUNG, Caveat.LITTLE_LUNG)
)
"""Codes of caveats about partial coverage of the lungs."""
NO_NODULE_FOUND = "No nodule was found. That does not mean that there is none."
ABOUT_FINDINGS = frozenset(
    kind.code
    for kind in (
        Caveat.FINDINGS_LIMITED,
        Caveat.FINDINGS_UNRATED,
        Caveat.FINDINGS_UNMEASURED,
        Caveat.SUBMODELS_DISAGREE,
    )
)
"""Codes of caveats about the model's findings; hidden where the findings are."""
