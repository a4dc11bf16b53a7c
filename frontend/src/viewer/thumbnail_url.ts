// The address of a series' thumbnail.
import type { Slice } from "./types";

const SIDE_PX = 96; // twice the size on the page

// Address of the rendered middle slice (PS3.18 8.3.5.1); CT in the lung window, other images in their own.
export function thumbnailUrl(series: string, modality: string, slices: Slice[]): string | null {
  const middle = slices[Math.floor(slices.length / 2)];
  if (!middle) return null;
  const window = modality === "CT" ? "&window=-600,1500,linear" : "";
  const frame = `${series}/instances/${middle.sop_instance_uid}/frames/${middle.frame_number}`;
  return `/dicom-web/studies/${frame}/rendered?viewport=${SIDE_PX},${SIDE_PX}${window}`;
}
