// Cornerstone3D: started once; what the mouse does; where a series' frames come from.
import {
  Enums as coreEnums,
  eventTarget,
  getShouldUseCPURendering,
  imageLoadPoolManager,
  imageRetrievalPoolManager,
  init as initCore,
  metaData,
  RenderingEngine,
  type StackViewport,
} from "@cornerstonejs/core";
import { init as initLoader, wadors } from "@cornerstonejs/dicom-image-loader";
import {
  addTool,
  annotation,
  Enums,
  init as initTools,
  LengthTool,
  PanTool,
  ToolGroupManager,
  WindowLevelTool,
  ZoomTool,
} from "@cornerstonejs/tools";
import type { Slice, Slices } from "../shared/api";
import { find } from "../shared/dom";
import { getJson } from "../shared/http";
import { CaliperTool } from "./calipers";
import { fromTheHead, type Plane, type Size } from "./geometry";

export type Tool = "window" | "pan" | "zoom" | "length" | "size" | "mark";

const ENGINE = "viewer";
const AT_ONCE = 5; // a browser opens six connections; one listens to the worklist's news
const TOOLS = { window: WindowLevelTool, pan: PanTool, zoom: ZoomTool, length: LengthTool, size: CaliperTool } as const;
const { Primary, Secondary, Auxiliary } = Enums.MouseBindings;

let engine: RenderingEngine | null = null;

export function startEngine(): RenderingEngine {
  if (engine) return engine;
  initCore({ debug: {}, rendering: { webGlContextCount: 2 } }); // without WebGL it draws on a plain canvas by itself
  initLoader({ maxWebWorkers: Math.max(1, Math.min(4, Math.floor(navigator.hardwareConcurrency / 2))) });
  initTools();
  imageRetrievalPoolManager.setMaxSimultaneousRequests(coreEnums.RequestType.Prefetch, AT_ONCE);
  imageRetrievalPoolManager.setMaxSimultaneousRequests(coreEnums.RequestType.Interaction, AT_ONCE);
  imageLoadPoolManager.maxNumRequests = { interaction: 100, thumbnail: 5, prefetch: 100, compute: 100 };
  const group = ToolGroupManager.createToolGroup(ENGINE);
  for (const tool of Object.values(TOOLS)) {
    addTool(tool);
    group?.addTool(tool.toolName);
  }
  const { accentColor: accent, fontFamily } = getComputedStyle(find("view"));
  const usual = annotation.config.style.getDefaultToolStyles();
  annotation.config.style.setDefaultToolStyles({
    ...usual,
    global: {
      ...usual.global,
      color: accent,
      colorHighlighted: accent,
      colorSelected: accent,
      lineWidth: "1.75",
      textBoxColor: accent,
      textBoxColorHighlighted: accent,
      textBoxColorSelected: accent,
      textBoxFontFamily: fontFamily,
      textBoxFontSize: "14px",
    },
  });
  engine = new RenderingEngine(ENGINE);
  return engine;
}

// Pixels of the screen that an element covers; null while it has no room.
export function sizeOnScreen(element: Element): Size | null {
  const { width, height } = element.getBoundingClientRect();
  const size = { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) };
  return size.width > 1 && size.height > 1 ? size : null;
}

export function bitmapSize({ sWidth, sHeight, canvas }: StackViewport): Size {
  return getShouldUseCPURendering()
    ? { width: canvas.width, height: canvas.height }
    : { width: sWidth, height: sHeight };
}

// With WebGL the canvas takes its size when it is drawn. The engine's own resize drops a change that comes between a
// request to draw and the drawing, as it does for every pane while one has no image yet.
export function setBitmapSize(viewport: StackViewport, { width, height }: Size): void {
  if (getShouldUseCPURendering()) Object.assign(viewport.canvas, { width, height });
  else Object.assign(viewport, { sWidth: width, sHeight: height });
}

// Call back when the screen has other pixels for the same element: browser zoom, or a window moved to another screen.
export function onPixelRatio(changed: () => void): void {
  const watch = () =>
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener(
      "change",
      () => {
        watch();
        changed();
      },
      { once: true },
    );
  watch();
}

// Call a function for each frame that cannot be loaded; rejected promises of such requests are not errors of the page.
export function onFrameError(report: (imageId: string) => void): void {
  eventTarget.addEventListener(coreEnums.Events.IMAGE_LOAD_ERROR, ((event: CustomEvent<{ imageId: string }>) =>
    report(event.detail.imageId)) as EventListener);
  addEventListener("unhandledrejection", (event) => {
    if (event.reason instanceof XMLHttpRequest || event.reason?.request instanceof XMLHttpRequest)
      event.preventDefault();
  });
}

export function joinTools(viewportId: string): void {
  ToolGroupManager.getToolGroup(ENGINE)?.addViewport(viewportId, ENGINE);
}

// The right button always zooms and the middle one pans, as readers' hands know it; the left one does what is chosen.
export function useTool(chosen: Tool): void {
  const group = ToolGroupManager.getToolGroup(ENGINE);
  if (!group) return;
  const always: Partial<Record<Tool, number>> = { pan: Auxiliary, zoom: Secondary };
  for (const [name, tool] of Object.entries(TOOLS)) {
    const buttons = [name === chosen ? Primary : undefined, always[name as Tool]].filter(
      (button) => button !== undefined,
    );
    group.setToolPassive(tool.toolName, { removeAllBindings: true });
    if (buttons.length)
      group.setToolActive(tool.toolName, { bindings: buttons.map((mouseButton) => ({ mouseButton })) });
  }
}

export function removeLastLength(): boolean {
  const lines = annotation.state
    .getAllAnnotations()
    .filter(({ metadata }) => metadata?.toolName === LengthTool.toolName);
  const last = lines.at(-1)?.annotationUID;
  if (!last) return false;
  annotation.state.removeAnnotation(last);
  engine?.render();
  return true;
}

export interface Series {
  uid: string;
  frameOfReference: string; // empty where the images state none
  slices: Slice[]; // from head to feet
  missing: number; // slices that the service knows and cannot describe
  imageIds: string[];
}

interface Document {
  [tag: string]: { Value?: unknown[] } | undefined;
}

// Learn a series' slices and describe its frames to Cornerstone before any is asked for.
export async function loadSeries(studyUid: string, seriesUid: string): Promise<Series> {
  const study = `/dicom-web/studies/${studyUid}/series/${seriesUid}`;
  const [listed, documents] = await Promise.all([
    getJson<Slices>(`/api/v1/studies/${studyUid}/series/${seriesUid}/slices`),
    getJson<Document[]>(`${study}/metadata`, { accept: "application/dicom+json" }),
  ]);
  const described = new Map(documents.map((document) => [String(document["00080018"]?.Value?.[0]), document]));
  const all = fromTheHead(listed.slices);
  const slices = all.filter(({ sop_instance_uid }) => described.has(sop_instance_uid));
  const frameId = (sop: string, frame: number) => `wadors:${study}/instances/${sop}/frames/${frame}`;
  for (const [sop, document] of described) wadors.metaDataManager.add(frameId(sop, 1), document as never);
  return {
    uid: seriesUid,
    frameOfReference: String(documents[0]?.["00200052"]?.Value?.[0] ?? ""),
    slices,
    missing: all.length - slices.length,
    imageIds: slices.map((slice) => frameId(slice.sop_instance_uid, slice.frame_number)),
  };
}

// Offset of the first pixel's middle in Cornerstone: 0, or, drawing without WebGL, half a pixel.
export function cornerOffset(): number {
  return getShouldUseCPURendering() ? 0.5 : 0;
}

export function planeOf(imageId: string): Plane {
  return metaData.get("imagePlaneModule", imageId) as Plane;
}
