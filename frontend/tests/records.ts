// Records of the API for tests, complete but for what a test names.
import type { ReaderSize } from "../src/shared/api";
import type { Assessment, Finding, SeriesItem, Slice, Triple } from "../src/viewer/types";

// An axial slice of 0.5 mm pixels at a height; null for one without a place.
export function slice(z: number | null, values: Partial<Slice> = {}): Slice {
  return {
    sop_instance_uid: `1.2.${z}`,
    frame_number: 1,
    instance_number: null,
    position_mm: z === null ? null : ([-100, -100, z] as Triple),
    rows: 512,
    columns: 512,
    row_spacing_mm: 0.5,
    column_spacing_mm: 0.5,
    orientation: [1, 0, 0, 0, 1, 0],
    ...values,
  };
}

// Slices from the head to the feet, so many millimetres apart.
export function stack(count: number, spacing = 2, top = 0): Slice[] {
  return Array.from({ length: count }, (_, index) => slice(top - index * spacing));
}

export function finding(values: Partial<Finding> = {}): Finding {
  return {
    id: "f1",
    series_instance_uid: "1.2",
    sop_instance_uid: "1.2.0",
    frame_number: 1,
    row: 10,
    column: 20,
    position_mm: [0, 0, 0],
    frame_of_reference_uid: null,
    diameter_mm: 10,
    nodule_probability: 0.9,
    malignancy_probability: 0.5,
    interval: [0.3, 0.7],
    displayed: "30 to 70 %",
    displayed_basis: null,
    displayed_nodule: null,
    prediction_set: [],
    reasons: [],
    attributes: {},
    origin: "model",
    model: { name: "nodule", version: "1", sha256: "" },
    verdict: null,
    assessment: null,
    created_at: "2026-01-01T00:00:00.000Z",
    created_by: "",
    created_by_name: "",
    ...values,
  };
}

export function seriesItem(values: Partial<SeriesItem> = {}): SeriesItem {
  return {
    series_instance_uid: "1.2",
    series_number: 1,
    series_description: "",
    modality: "CT",
    instance_count: 100,
    state: "analysed",
    reasons: [],
    ...values,
  };
}

// An accepted finding's verdict, with a size that its reader measured or none.
export function assessed(size: ReaderSize | null): Assessment {
  return {
    verdict: "accept",
    reason: "",
    comment: "",
    reader: "anna",
    reader_name: "Anna",
    created_at: "2026-01-01T00:00:00.000Z",
    size,
  };
}
