// Arithmetic of a pane's camera.
type Vector = [number, number, number];

export interface Camera {
  focalPoint: Vector;
  position: Vector;
  viewPlaneNormal: Vector;
}

const [MIN_ZOOM, MAX_ZOOM] = [0.3, 20];
const WHEEL_SCALE = 300; // of the wheel's travel, for a zoom by e
const AXES = [0, 1, 2] as const;

// The camera moved within its plane so that a point of the patient is in the middle.
export function centredOn(point: Vector, camera: Camera): Pick<Camera, "focalPoint" | "position"> {
  const { focalPoint, position, viewPlaneNormal } = camera;
  const away = AXES.map((axis) => point[axis] - focalPoint[axis]) as Vector;
  const depth = AXES.reduce<number>((sum, axis) => sum + away[axis] * viewPlaneNormal[axis], 0);
  const moved = (from: Vector) => AXES.map((axis) => from[axis] + away[axis] - depth * viewPlaneNormal[axis]) as Vector;
  return { focalPoint: moved(focalPoint), position: moved(position) };
}

// The middle of the view after a zoom, so that a point of the patient stays at its pixel of the screen; `after` is the
// point that the zoom has put there about the present middle.
export function middleHolding(middle: Readonly<Vector>, before: Readonly<Vector>, after: Readonly<Vector>): Vector {
  return AXES.map((axis) => middle[axis] + before[axis] - after[axis]) as Vector;
}

export function boundedZoom(zoom: number): number {
  return Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom));
}

// The zoom after a turn of the wheel, within bounds.
export function zoomAfterWheel(zoom: number, deltaY: number): number {
  return boundedZoom(zoom * Math.exp(-deltaY / WHEEL_SCALE));
}
