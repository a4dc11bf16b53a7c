// Types of the viewer. Those of the API are generated from /openapi.json (`make types`).
import type * as api from "../shared/api";

export type { Assessment, OtherStudy, Reason, Slice, Verdict } from "../shared/api";
export type SeriesItem = api.Series;
export type Triple = [number, number, number];
export type Edge = "left" | "right" | "top" | "bottom";

// Attributes that the model recorded (inference/predictor.py); earlier records hold fewer.
export interface FindingAttributes {
  density?: string;
  density_limit?: "slice_thickness" | "size";
  perpendicular_mm?: number;
  mean_diameter_mm?: number;
  volume_mm3?: number;
  volume_repeatability?: number; // share below which a change is no growth
  opinions?: Partial<Record<"ensemble" | "planar" | "volumetric", { displayed?: { bounds: string } }>>;
  doubts?: string[];
  location?: { side: "right" | "left"; third: "upper" | "middle" | "lower" | null }; // never a lobe
}

export interface Finding extends Omit<api.Finding, "attributes"> {
  attributes: FindingAttributes;
}

export interface Study extends Omit<api.Study, "findings"> {
  findings: Finding[];
}

// Scores of labelled nodules of a held-out split: counts between edges of the probability (metrics of a model).
export interface Histogram {
  edges: number[];
  benign: number[];
  malignant: number[];
}
