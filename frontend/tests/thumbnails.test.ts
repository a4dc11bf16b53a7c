// Addresses of series' thumbnails.
import { expect, test } from "vitest";
import { thumbnailUrl } from "../src/viewer/thumbnail_url";
import type { Slice } from "../src/viewer/types";
import { slice, stack } from "./records";

const WINDOW = "&window=-600,1500,linear";

test.each<[string, string, Slice[], string | null]>([
  ["the middle slice", "CT", stack(3), `/instances/1.2.-2/frames/1/rendered?viewport=96,96${WINDOW}`],
  ["of two, the second", "CT", stack(2), `/instances/1.2.-2/frames/1/rendered?viewport=96,96${WINDOW}`],
  ["a frame", "CT", [slice(0, { frame_number: 7 })], `/instances/1.2.0/frames/7/rendered?viewport=96,96${WINDOW}`],
  ["another modality in its own window", "CR", stack(1), "/instances/1.2.0/frames/1/rendered?viewport=96,96"],
  ["no slices", "CT", [], null],
])("%s", (_name, modality, slices, expected) => {
  const url = thumbnailUrl("1.9/series/1.8", modality, slices);
  expect(url).toBe(expected && `/dicom-web/studies/1.9/series/1.8${expected}`);
});
