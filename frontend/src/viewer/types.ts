// The service's API as the viewer reads it (webapp/shapes*.py are its owners).
export type Verdict = "accept" | "reject" | "unsure";
export type Triple = [number, number, number];
export type Edge = "left" | "right" | "top" | "bottom";

export interface Reason {
  code: string;
  text: string;
}

export interface Assessment {
  verdict: Verdict;
  reason: string;
  comment: string;
  reader: string;
  reader_name: string;
}

// What the model recorded beside (inference/predictor.py); earlier records hold less.
export interface FindingAttributes {
  density?: string;
  volume_mm3?: number;
  opinions?: Partial<Record<"ensemble" | "planar" | "volumetric", { displayed?: { bounds: string } }>>;
  doubts?: string[];
}

export interface Finding {
  id: string;
  series_instance_uid: string;
  sop_instance_uid: string;
  frame_number: number;
  row: number;
  column: number;
  position_mm: Triple;
  diameter_mm: number | null;
  nodule_probability: number | null;
  malignancy_probability: number | null; // orders the list; people are shown displayed
  interval: [number, number] | null;
  displayed: string | null; // in English, as displayed_basis and displayed_nodule
  displayed_basis: string | null;
  displayed_nodule: string | null;
  prediction_set: string[];
  reasons: Reason[];
  attributes: FindingAttributes;
  origin: "model" | "reader";
  verdict: Verdict | null;
  assessment: Assessment | null;
  created_by: string;
  created_by_name: string;
}

export interface SeriesItem {
  series_instance_uid: string;
  series_number: number | null;
  series_description: string;
  modality: string;
  instance_count: number;
  reasons: Reason[];
}

export interface OtherStudy {
  study_instance_uid: string;
  study_date: string;
  study_description: string;
  instance_count: number;
}

export interface Study {
  study_instance_uid: string;
  study_date: string;
  study_description: string;
  state: string;
  reasons: Reason[];
  caveats: Reason[];
  overrulable: string[];
  series: SeriesItem[];
  findings: Finding[];
  others: OtherStudy[];
}

export interface Slice {
  sop_instance_uid: string;
  frame_number: number;
  position_mm: Triple | null;
  rows: number;
  columns: number;
  row_spacing_mm: number | null;
  column_spacing_mm: number | null;
  orientation: number[] | null;
}

// How known nodules of a held-out split were answered: counts between edges of the probability (metrics of a model).
export interface Histogram {
  edges: number[];
  benign: number[];
  malignant: number[];
}
