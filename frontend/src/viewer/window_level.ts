// The grey-scale window (PS3.3 C.11.2.1.2): presets, and its conversion from and to the range that is drawn.
export interface Window {
  center: number; // HU
  width: number;
}

export interface Range {
  lower: number;
  upper: number;
}

// In the order of their keys, 1 to 5.
export const PRESETS: Record<string, Window> = {
  lung: { center: -600, width: 1500 },
  mediastinum: { center: 50, width: 400 },
  bone: { center: 400, width: 1800 },
  vessels: { center: 100, width: 700 },
  liver: { center: 90, width: 150 },
};

export function rangeOf({ center, width }: Window): Range {
  return { lower: center - width / 2, upper: center + width / 2 };
}

export function windowOf({ lower, upper }: Range): Window {
  return { center: (lower + upper) / 2, width: upper - lower };
}

// True if two windows differ by less than a tolerance in HU, as after rounding.
export function isSameWindow(a: Window, b: Window, tolerance: number): boolean {
  return Math.abs(a.center - b.center) < tolerance && Math.abs(a.width - b.width) < tolerance;
}
