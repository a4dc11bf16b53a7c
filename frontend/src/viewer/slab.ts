// MIP slabs as images of Cornerstone: the greatest value of the slices about one, with the geometry of that one.
import { type Types as CoreTypes, cache, imageLoader, metaData, utilities } from "@cornerstonejs/core";
import type { Series } from "./engine";
import { maximumOf, slabRange } from "./reslice";

const SCHEME = "mip";
const PRIORITY = 20_000; // before the providers of the loaders

interface Slab {
  middle: string; // image whose geometry it has
  images: string[];
}

const slabs = new Map<string, Slab>();
let isRegistered = false;

// Register the slabs of a series; gives their image ids, in the order of the slices.
export function slabImageIds(series: Series, depthsMm: number[], slabMm: number): string[] {
  register();
  return series.imageIds.map((imageId, index) => {
    const [first, last] = slabRange(depthsMm, index, slabMm);
    const id = `${SCHEME}:${slabMm}/${imageId}`;
    slabs.set(id, { middle: imageId, images: series.imageIds.slice(first, last + 1) });
    return id;
  });
}

// Forget all slabs: their pixels are as many as those of the series.
export function dropSlabs(): void {
  for (const id of slabs.keys()) if (cache.getImageLoadObject(id)) cache.removeImageLoadObject(id, { force: true });
  slabs.clear();
}

// Values of an image in HU, whether or not the loader has applied slope and intercept.
export function hounsfield(image: CoreTypes.IImage): ArrayLike<number> {
  const pixels = image.getPixelData();
  const { slope, intercept } = image;
  if (image.preScale?.scaled || (slope === 1 && intercept === 0)) return pixels;
  return Float32Array.from(pixels, (value) => value * slope + intercept);
}

function register(): void {
  if (isRegistered) return;
  isRegistered = true;
  metaData.addProvider((type: string, imageId: unknown) => {
    const slab = typeof imageId === "string" ? slabs.get(imageId) : undefined;
    return slab && metaData.get(type, slab.middle);
  }, PRIORITY);
  imageLoader.registerImageLoader(SCHEME, ((imageId: string) => ({ promise: load(imageId) })) as never);
}

async function load(imageId: string): Promise<CoreTypes.IImage> {
  const slab = slabs.get(imageId);
  if (!slab) throw new Error(imageId);
  const images = await Promise.all(slab.images.map((id) => imageLoader.loadAndCacheImage(id)));
  const middle = images[slab.images.indexOf(slab.middle)] as CoreTypes.IImage;
  const scalarData = new Float32Array(middle.rows * middle.columns);
  maximumOf(images.map(hounsfield), scalarData);
  const voxelManager = utilities.VoxelManager.createImageVoxelManager({
    scalarData,
    width: middle.columns,
    height: middle.rows,
    numberOfComponents: 1,
  });
  return {
    ...middle,
    imageId,
    dataType: "Float32Array",
    slope: 1,
    intercept: 0,
    preScale: { enabled: true, scaled: true },
    sizeInBytes: scalarData.byteLength,
    voxelManager,
    getPixelData: () => scalarData,
  } as CoreTypes.IImage;
}
