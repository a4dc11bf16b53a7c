// Sizes of a finding: those that a reader measured, or else the model's.
import type { Finding } from "./types";

export interface Sizes {
  longMm: number | null;
  shortMm: number | null;
  meanMm: number | null;
  volumeMm3: number | null; // the model's alone: two axes have none
  repeatability: number | null; // of the volume
  reader: string | null; // name of the reader who measured; null for the model
}

export function sizesOf({ assessment, diameter_mm, attributes }: Finding): Sizes {
  const size = assessment?.size;
  if (assessment && size)
    return {
      longMm: size.long_mm,
      shortMm: size.short_mm,
      meanMm: size.mean_mm,
      volumeMm3: null,
      repeatability: null,
      reader: assessment.reader_name,
    };
  return {
    longMm: diameter_mm,
    shortMm: attributes.perpendicular_mm ?? null,
    meanMm: attributes.mean_diameter_mm ?? null,
    volumeMm3: attributes.volume_mm3 ?? null,
    repeatability: attributes.volume_repeatability ?? null,
    reader: null,
  };
}
