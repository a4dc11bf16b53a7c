// Orders and choices among findings, series and slices.
import type { Finding, SeriesItem } from "./types";

// As the server lists them: most probably malignant first, those without an answer last.
export function byMalignancy(
  a: Pick<Finding, "malignancy_probability">,
  b: Pick<Finding, "malignancy_probability">,
): number {
  return (b.malignancy_probability ?? -1) - (a.malignancy_probability ?? -1);
}

// The entry so many steps after another, round the ends; without one, the first or the last.
export function stepThrough<T>(entries: T[], from: T | null, by: number): T | null {
  const at = entries.indexOf(from as T);
  if (at < 0) return entries.at(by > 0 ? 0 : -1) ?? null;
  return entries[(((at + by) % entries.length) + entries.length) % entries.length] ?? null;
}

export function largestSeries(series: SeriesItem[]): SeriesItem | null {
  return [...series].sort((a, b) => b.instance_count - a.instance_count)[0] ?? null;
}

// The series that is most like another one: of its modality, with the most similar number of images.
export function mostSimilarSeries(series: SeriesItem[], shown: SeriesItem | undefined): SeriesItem | null {
  const sameModality = series.filter(({ modality }) => modality === shown?.modality);
  const candidates = sameModality.length ? sameModality : series;
  const difference = ({ instance_count }: SeriesItem) =>
    Math.abs(instance_count - (shown?.instance_count ?? instance_count));
  return (
    [...candidates].sort((a, b) => difference(a) - difference(b) || b.instance_count - a.instance_count)[0] ?? null
  );
}

// The index that is nearest to another; null where there is none.
export function nearestIndex(indices: Iterable<number>, at: number): number | null {
  let nearest: number | null = null;
  for (const index of indices) {
    if (nearest === null || Math.abs(index - at) < Math.abs(nearest - at)) nearest = index;
  }
  return nearest;
}
