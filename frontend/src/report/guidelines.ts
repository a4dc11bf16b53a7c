// Categories of nodules by published guidelines, from sizes and the reader's choices. Diameters in millimetres.
//
// Fleischner Society 2017: MacMahon et al., Radiology 2017;284:228-243, table 1 (mean diameter, whole millimetres).
// Lung-RADS v2022: American College of Radiology, November 2022 (mean diameter, one decimal).
// BTS 2015: Callister et al., Thorax 2015;70:ii1-ii54, figures 1 and 4 (maximum diameter).

export type NoduleType = "solid" | "part-solid" | "ground-glass";
export type History = "baseline" | "new" | "growing" | "stable";
export type LungRads = "2" | "3" | "4A" | "4B";

export const MASS_MM = 30; // above it Fleischner and BTS speak of a mass, and give no advice

export type Fleischner =
  | "mass"
  | "none"
  | "optional_12"
  | "6_12_consider_18_24"
  | "6_12_and_18_24"
  | "3_or_pet_or_tissue"
  | "3_6_consider_18_24"
  | "3_6_and_18_24"
  | "6_12_then_every_2_years"
  | "3_6_then_yearly"
  | "3_6_then_2_and_4_years"
  | "3_6_then_most_suspicious";

// Advice for the most suspicious nodule; `isOneOfSeveral` counts nodules of its kind, solid or subsolid.
export function fleischner(type: NoduleType, meanMm: number, isOneOfSeveral: boolean, isHighRisk: boolean): Fleischner {
  const millimetres = Math.round(meanMm);
  if (meanMm > MASS_MM) return "mass";
  if (type === "solid") return solidFleischner(millimetres, isOneOfSeveral, isHighRisk);
  if (isOneOfSeveral) return millimetres < 6 ? "3_6_then_2_and_4_years" : "3_6_then_most_suspicious";
  if (millimetres < 6) return "none";
  return type === "ground-glass" ? "6_12_then_every_2_years" : "3_6_then_yearly";
}

function solidFleischner(millimetres: number, isOneOfSeveral: boolean, isHighRisk: boolean): Fleischner {
  if (millimetres < 6) return isHighRisk ? "optional_12" : "none";
  if (isOneOfSeveral) return isHighRisk ? "3_6_and_18_24" : "3_6_consider_18_24";
  if (millimetres > 8) return "3_or_pet_or_tissue";
  return isHighRisk ? "6_12_and_18_24" : "6_12_consider_18_24";
}

export interface Screened {
  type: NoduleType;
  meanMm: number;
  solidMm: number; // mean diameter of the solid part of a part-solid nodule
  history: History;
  previous: LungRads; // category of the last examination, for stable ones
}

// Category of one nodule; null where the table has none for it, as for a stable one that was 4B.
export function lungRads({ type, meanMm, solidMm, history, previous }: Screened): LungRads | null {
  const [mean, solid] = [tenths(meanMm), tenths(solidMm)];
  if (history === "stable") return type === "ground-glass" ? "2" : stepDown(previous);
  if (type === "ground-glass") return mean < 30 ? "2" : history === "growing" ? null : "3";
  return type === "solid" ? solidLungRads(mean, history) : partSolidLungRads(mean, solid, history);
}

const tenths = (value: number): number => Math.round(value * 10) / 10;

// After the interval that the category asked for: 3 at six months, 4A at three.
function stepDown(previous: LungRads): LungRads | null {
  return previous === "4B" ? null : previous === "4A" ? "3" : "2";
}

function solidLungRads(mean: number, history: History): LungRads {
  if (history === "growing") return mean < 8 ? "4A" : "4B";
  const [low, middle, high] = history === "new" ? ([4, 6, 8] as const) : ([6, 8, 15] as const);
  return mean < low ? "2" : mean < middle ? "3" : mean < high ? "4A" : "4B";
}

function partSolidLungRads(mean: number, solid: number, history: History): LungRads {
  if (history !== "baseline" && solid >= 4) return "4B";
  if (history === "growing") return "4A";
  if (mean < 6) return history === "new" ? "3" : "2";
  if (history === "new") return "4A";
  return solid < 6 ? "3" : solid < 8 ? "4A" : "4B";
}

const ORDER: readonly LungRads[] = ["2", "3", "4A", "4B"];

// Category of an examination: that of its most suspicious nodule; null where one of them has none.
export function highest(categories: (LungRads | null)[]): LungRads | null {
  const ranks = categories.map((category) => (category === null ? -1 : ORDER.indexOf(category)));
  return ranks.includes(-1) ? null : (ORDER[Math.max(...ranks)] ?? null);
}

export type Bts = "mass" | "none" | "12" | "3" | "risk" | "3_then_risk";

// Advice for the largest nodule; from 8 mm on it depends on the risk by the Brock model, which the reader computes.
export function bts(type: NoduleType, longestMm: number): Bts {
  if (longestMm > MASS_MM) return "mass";
  if (longestMm < 5) return "none";
  if (type !== "solid") return "3_then_risk";
  return longestMm < 6 ? "12" : longestMm < 8 ? "3" : "risk";
}
