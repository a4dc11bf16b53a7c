// A file to upload: its kind, and whether it is small enough.
const MIB = 1024 ** 2;

export type FileKind = "png" | "jpeg" | "dicom" | "zip" | "other";

export interface SizeLimits {
  imageMib: number;
  zipMib: number;
}

export const HEAD_BYTES = 132;

const SIGNATURES: [kind: FileKind, offset: number, bytes: number[]][] = [
  ["dicom", 128, [0x44, 0x49, 0x43, 0x4d]], // PS3.10 7.1
  ["png", 0, [0x89, 0x50, 0x4e, 0x47]],
  ["jpeg", 0, [0xff, 0xd8, 0xff]],
  ["zip", 0, [0x50, 0x4b, 0x03, 0x04]],
];

// The kind of a file by its first HEAD_BYTES bytes, as the server judges it.
export function kindOf(head: Uint8Array): FileKind {
  const match = SIGNATURES.find(([, offset, bytes]) => bytes.every((byte, index) => head[offset + index] === byte));
  return match?.[0] ?? "other";
}

// The limit in MiB that a file exceeds; null where it is small enough.
export function exceededLimit(sizeBytes: number, kind: FileKind, limits: SizeLimits): number | null {
  const limit = kind === "zip" ? limits.zipMib : limits.imageMib;
  return sizeBytes > limit * MIB ? limit : null;
}

export function readableSize(sizeBytes: number, number: (value: number) => string): string {
  return sizeBytes < MIB ? `${Math.ceil(sizeBytes / 1024)} KiB` : `${number(sizeBytes / MIB)} MiB`;
}

// The pixel at a share (0 to 1) of an image's extent that has so many pixels.
export function pixelAt(share: number, count: number): number {
  return Math.min(count - 1, Math.max(0, Math.floor(share * count)));
}
