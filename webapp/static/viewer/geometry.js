// Where things are in the patient: orientation letters, distances between slices, what lies near a slice.

const AXES = [["L", "R"], ["P", "A"], ["H", "F"]]; // +x, +y, +z of the patient (PS3.3 C.7.6.2.1.1)
const OBLIQUE = 0.4;

export function letters(direction) {
  return direction
    .map((part, axis) => [Math.abs(part), AXES[axis][part >= 0 ? 0 : 1]])
    .filter(([size]) => size >= OBLIQUE)
    .sort(([a], [b]) => b - a)
    .map(([, letter]) => letter)
    .join("");
}

// Letters at the edges of an image whose rows run along the first three cosines and columns along the last three.
export function edgeLetters(orientation) {
  if (!orientation) return { left: "", right: "", top: "", bottom: "" };
  const row = orientation.slice(0, 3);
  const column = orientation.slice(3);
  const opposite = (direction) => direction.map((part) => -part);
  return { left: letters(opposite(row)), right: letters(row), top: letters(opposite(column)), bottom: letters(column) };
}

// Readers scroll from the head to the feet, whatever order the slices have.
export function fromTheHead(slices) {
  const first = slices[0]?.position_mm;
  const last = slices.at(-1)?.position_mm;
  return first && last && last[2] > first[2] ? [...slices].reverse() : slices;
}

export function distanceMm(a, b) {
  return a && b ? Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) : null;
}

// Half axes, in pixels, of a finding's circle on a slice that lies so many millimetres away; null where it does not reach.
export function markRadii(finding, slice, distance) {
  const radius = (finding.diameter_mm ?? 8) / 2;
  if (distance === null || distance >= radius) return null;
  const here = Math.sqrt(radius ** 2 - distance ** 2);
  const margin = 3; // millimetres of air between the nodule and its mark
  return { rx: (here + margin) / (slice.column_spacing_mm || 1), ry: (here + margin) / (slice.row_spacing_mm || 1) };
}

export function lengthMm(line, slice) {
  if (!slice.row_spacing_mm || !slice.column_spacing_mm) return null;
  return Math.hypot((line.x2 - line.x1) * slice.column_spacing_mm, (line.y2 - line.y1) * slice.row_spacing_mm);
}
