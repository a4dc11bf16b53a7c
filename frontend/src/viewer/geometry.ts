// Where things are in the patient: orientation letters, distances between slices, what lies near a slice.
import type { Edge, Finding, Slice, Triple } from "./types";

const AXES = [
  ["L", "R"],
  ["P", "A"],
  ["H", "F"],
] as const; // +x, +y, +z of the patient (PS3.3 C.7.6.2.1.1)
const OBLIQUE = 0.4;
const UNMEASURED_MM = 8; // a mark's size where there is no diameter
const AIR_MM = 3; // between a nodule and its mark

export function letters(direction: number[]): string {
  return AXES.map(([plus, minus], axis) => ({
    size: Math.abs(direction[axis] ?? 0),
    letter: (direction[axis] ?? 0) >= 0 ? plus : minus,
  }))
    .filter(({ size }) => size >= OBLIQUE)
    .sort((a, b) => b.size - a.size)
    .map(({ letter }) => letter)
    .join("");
}

// Letters at the edges of an image whose rows run along the first three cosines and columns along the last three.
export function edgeLetters(orientation: number[] | null): Record<Edge, string> {
  if (!orientation) return { left: "", right: "", top: "", bottom: "" };
  const row = orientation.slice(0, 3);
  const column = orientation.slice(3);
  const opposite = (direction: number[]) => direction.map((part) => -part);
  return { left: letters(opposite(row)), right: letters(row), top: letters(opposite(column)), bottom: letters(column) };
}

// Readers scroll from the head to the feet, whatever order the slices have.
export function fromTheHead(slices: Slice[]): Slice[] {
  const first = slices[0]?.position_mm;
  const last = slices.at(-1)?.position_mm;
  return first && last && last[2] > first[2] ? [...slices].reverse() : slices;
}

export function distanceMm(a: Triple | null, b: Triple | null): number | null {
  return a && b ? Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) : null;
}

// Radius in millimetres of a finding's circle on a slice that lies so far away; null where it does not reach.
export function markRadiusMm(finding: Finding, distance: number | null): number | null {
  const radius = (finding.diameter_mm ?? UNMEASURED_MM) / 2;
  if (distance === null || distance >= radius) return null;
  return Math.sqrt(radius ** 2 - distance ** 2) + AIR_MM;
}

// The slice that lies nearest to a height in the patient; null where slices have no place.
export function nearestSlice(slices: Slice[], z: number): number | null {
  let nearest: number | null = null;
  let least = Infinity;
  slices.forEach(({ position_mm }, index) => {
    const away = position_mm ? Math.abs(position_mm[2] - z) : Infinity;
    if (away < least) [nearest, least] = [index, away];
  });
  return nearest;
}

// The height that lies in the middle of a stack; null where its slices have no place.
export function middleMm(slices: Slice[]): number | null {
  const first = slices[0]?.position_mm;
  const last = slices.at(-1)?.position_mm;
  return first && last ? (first[2] + last[2]) / 2 : null;
}
