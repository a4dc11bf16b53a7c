// Positions on the coronal and the sagittal plane: the crosshair, the fitted picture, the letters at its edges.
import { letters, type Plane, type Size } from "./geometry";
import type { PlaneName, Resliced, Stack } from "./reslice";
import type { Edge, Triple } from "./types";

// A point of a stack, in voxels; slices count from the head.
export interface VoxelPoint {
  row: number;
  column: number;
  slice: number;
}

export interface PlaneCamera {
  x: number; // of the picture's pixel in the middle of the view
  y: number;
  zoom: number; // 1 where the picture fits
}

// The picture of a resliced plane on the screen: offset and pixels of the page for one of its own.
export interface Placement {
  left: number;
  top: number;
  scale: number;
}

type Picture = Pick<Resliced, "width" | "height" | "pixelMm">;

export function fitted({ width, height }: Picture): PlaneCamera {
  return { x: (width - 1) / 2, y: (height - 1) / 2, zoom: 1 };
}

export function placementOf(picture: Picture, camera: PlaneCamera, view: Size): Placement {
  const scale = Math.min(view.width / picture.width, view.height / picture.height) * camera.zoom;
  return {
    left: view.width / 2 - (camera.x + 0.5) * scale,
    top: view.height / 2 - (camera.y + 0.5) * scale,
    scale,
  };
}

// The fractional depth of a slice, from the first.
export function depthAt(depthsMm: number[], slice: number): number {
  const below = Math.min(depthsMm.length - 1, Math.max(0, Math.floor(slice)));
  const [from, to] = [depthsMm[below] ?? 0, depthsMm[below + 1] ?? depthsMm[below] ?? 0];
  return from + (to - from) * Math.max(0, slice - below);
}

// The slice that lies nearest to a depth.
export function sliceAtDepth(depthsMm: number[], depthMm: number): number {
  let nearest = 0;
  depthsMm.forEach((depth, index) => {
    if (Math.abs(depth - depthMm) < Math.abs((depthsMm[nearest] as number) - depthMm)) nearest = index;
  });
  return nearest;
}

// The pixel of a plane's picture at a point, from the middle of its first pixel.
export function pictureOf(name: PlaneName, stack: Stack, pixelMm: number, point: VoxelPoint): [number, number] {
  return [name === "coronal" ? point.column : point.row, depthAt(stack.depthsMm, point.slice) / pixelMm];
}

// A point moved within a plane to a pixel of its picture, within the stack.
export function pointAt(
  name: PlaneName,
  stack: Stack,
  pixelMm: number,
  [x, y]: [number, number],
  from: VoxelPoint,
): VoxelPoint {
  const slice = sliceAtDepth(stack.depthsMm, y * pixelMm);
  if (name === "coronal") return { ...from, slice, column: within(x, stack.columns) };
  return { ...from, slice, row: within(x, stack.rows) };
}

// A point moved across a plane, by so many of its own lines.
export function across(name: PlaneName, stack: Stack, by: number, from: VoxelPoint): VoxelPoint {
  if (name === "coronal") return { ...from, row: within(Math.round(from.row) + by, stack.rows) };
  return { ...from, column: within(Math.round(from.column) + by, stack.columns) };
}

const within = (value: number, count: number) => Math.min(count - 1, Math.max(0, value));

// Letters at the edges: to the right along the rows or columns of the slices, downwards towards the feet.
export function planeLetters(name: PlaneName, plane: Plane, towardsFeet: Triple): Record<Edge, string> {
  const across = name === "coronal" ? plane.rowCosines : plane.columnCosines;
  const opposite = (direction: Triple) => direction.map((part) => -part);
  return {
    left: letters(opposite(across)),
    right: letters(across),
    top: letters(opposite(towardsFeet)),
    bottom: letters(towardsFeet),
  };
}
