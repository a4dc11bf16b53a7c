// Kinds and sizes of files to upload.
import { expect, test } from "vitest";
import { exceededLimit, type FileKind, kindOf, pixelAt, readableSize } from "../src/detector/upload_file";

const MIB = 1024 ** 2;
const dicom = new Uint8Array(132);
dicom.set([0x44, 0x49, 0x43, 0x4d], 128);
const dicomWithPngPreamble = dicom.slice();
dicomWithPngPreamble.set([0x89, 0x50, 0x4e, 0x47]);

test.each<[string, Uint8Array, FileKind]>([
  ["PNG", Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a), "png"],
  ["JPEG", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0), "jpeg"],
  ["zip", Uint8Array.of(0x50, 0x4b, 0x03, 0x04), "zip"],
  ["DICOM", dicom, "dicom"],
  ["DICOM with a preamble that looks like PNG", dicomWithPngPreamble, "dicom"],
  ["DICOM without a preamble", Uint8Array.of(0x08, 0x00, 0x05, 0x00), "other"],
  ["an empty file", new Uint8Array(), "other"],
  ["a file that ends within a signature", Uint8Array.of(0xff, 0xd8), "other"],
])("kind: %s", (_name, head, expected) => {
  expect(kindOf(head)).toBe(expected);
});

test.each<[FileKind, number, number | null]>([
  ["png", 10 * MIB, null],
  ["png", 10 * MIB + 1, 10],
  ["dicom", 500 * MIB, 10],
  ["zip", 10 * MIB + 1, null],
  ["zip", 512 * MIB + 1, 512],
  ["other", 0, null],
])("limit of a %s of %d bytes: %s", (kind, sizeBytes, expected) => {
  expect(exceededLimit(sizeBytes, kind, { imageMib: 10, zipMib: 512 })).toBe(expected);
});

test.each([
  [0, "0 KiB"],
  [1, "1 KiB"],
  [1025, "2 KiB"],
  [MIB, "1.0 MiB"],
  [1.25 * MIB, "1.3 MiB"],
])("%d bytes: %s", (sizeBytes, expected) => {
  expect(readableSize(sizeBytes, (value) => value.toFixed(1))).toBe(expected);
});

test.each([
  [0, 512, 0],
  [0.5, 512, 256],
  [0.9999, 512, 511],
  [1, 512, 511],
  [-0.01, 512, 0],
  [7, 512, 511],
])("share %d of %d pixels: %d", (share, count, expected) => {
  expect(pixelAt(share, count)).toBe(expected);
});
