// The square about a nodule, and its values.
import type { Pixels } from "./reslice";

export interface CropBox {
  top: number; // of the first row; below 0 where the square reaches over the image
  left: number;
  width: number;
  height: number;
}

interface Grid {
  row_spacing_mm: number | null;
  column_spacing_mm: number | null;
}

// A square of so many millimetres about a pixel.
export function cropBox({ row, column }: { row: number; column: number }, grid: Grid, fieldMm: number): CropBox {
  const height = Math.max(1, Math.round(fieldMm / (grid.row_spacing_mm ?? 1)));
  const width = Math.max(1, Math.round(fieldMm / (grid.column_spacing_mm ?? 1)));
  return { top: Math.round(row - (height - 1) / 2), left: Math.round(column - (width - 1) / 2), width, height };
}

// Values of the pixels in a box; NaN beyond the image.
export function drawnInCrop(pixels: Pixels, columns: number, rows: number, box: CropBox): Float32Array {
  const values = new Float32Array(box.width * box.height).fill(NaN);
  for (let y = 0; y < box.height; y += 1) {
    for (let x = 0; x < box.width; x += 1) {
      const [row, column] = [box.top + y, box.left + x];
      if (row < 0 || column < 0 || row >= rows || column >= columns) continue;
      values[y * box.width + x] = pixels[row * columns + column] as number;
    }
  }
  return values;
}
