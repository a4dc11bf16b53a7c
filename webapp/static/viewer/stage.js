// The image, its marks and what the mouse does to them.
import { svg } from "./dom.js";
import { edgeLetters, lengthMm } from "./geometry.js";

const MIN_ZOOM = 0.5;
const MAX_ZOOM = 12;
const WHEEL_STEP = 60;
const HU_PER_PIXEL = 2;

export class Stage {
  // calls: scroll(by), window(center, width), mark(row, column), pick(finding)
  constructor(root, calls) {
    this.root = root;
    this.calls = calls;
    this.find = (name) => root.querySelector(`[data-${name}]`);
    this.inner = this.find("inner");
    this.canvas = this.find("canvas");
    this.overlay = this.find("overlay");
    this.tool = "window";
    this.view = { zoom: 1, x: 0, y: 0 };
    this.slice = null;
    this.marks = [];
    this.lines = new Map(); // slice key -> measured lines
    this.drag = null;
    this.wheel = 0;
    new ResizeObserver(() => this.layout()).observe(root);
    root.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.onDown(event));
    root.addEventListener("pointermove", (event) => this.onMove(event));
    root.addEventListener("pointerup", (event) => this.onUp(event));
    root.addEventListener("pointercancel", () => { this.drag = null; });
    root.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  setTool(name) {
    this.tool = name;
    this.root.dataset.activeTool = name;
  }

  setWindow(center, width) {
    this.window = { center, width };
    this.find("readout-window").textContent = `C ${Math.round(center)}  W ${Math.round(width)} HU`;
  }

  show(slice, bitmap, place) {
    const changesShape = !this.slice || this.slice.rows !== slice.rows || this.slice.columns !== slice.columns
      || this.slice.row_spacing_mm !== slice.row_spacing_mm;
    this.slice = slice;
    if (this.canvas.width !== bitmap.width) this.canvas.width = bitmap.width;
    if (this.canvas.height !== bitmap.height) this.canvas.height = bitmap.height;
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.find("readout-slice").textContent = `Slice ${place.index + 1} of ${place.count}`;
    this.find("readout-position").textContent = slice.position_mm ? `z ${slice.position_mm[2].toFixed(1)} mm` : "";
    const edges = edgeLetters(slice.orientation);
    for (const [edge, letter] of Object.entries(edges)) this.root.querySelector(`[data-orient="${edge}"]`).textContent = letter;
    if (changesShape) this.layout();
  }

  setMarks(marks) {
    this.marks = marks;
    this.drawOverlay();
  }

  reset() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.layout();
  }

  say(text) {
    this.find("message").textContent = text;
  }

  // Size of one image pixel on the screen, with the zoom.
  pixelSize() {
    const { rows, columns } = this.slice;
    const wide = this.slice.column_spacing_mm || 1;
    const high = this.slice.row_spacing_mm || 1;
    const fit = Math.min(this.root.clientWidth / (columns * wide), this.root.clientHeight / (rows * high));
    return { wide: fit * wide * this.view.zoom, high: fit * high * this.view.zoom, perMm: fit * this.view.zoom };
  }

  layout() {
    if (!this.slice || !this.root.clientWidth) return;
    const size = this.pixelSize();
    const width = this.slice.columns * size.wide;
    const height = this.slice.rows * size.high;
    const left = (this.root.clientWidth - width) / 2 + this.view.x;
    const top = (this.root.clientHeight - height) / 2 + this.view.y;
    Object.assign(this.inner.style, { width: `${width}px`, height: `${height}px`, transform: `translate(${left}px, ${top}px)` });
    this.find("readout-zoom").textContent = `${Math.round(this.view.zoom * 100)} %`;
    this.drawScale(size.perMm);
    this.drawOverlay();
  }

  drawScale(perMm) {
    const scale = this.find("scale");
    if (!this.slice.row_spacing_mm) { scale.replaceChildren(); return; }
    const mm = [100, 50, 20, 10, 5].find((length) => length * perMm <= 150) || 5;
    const height = mm * perMm;
    scale.setAttribute("viewBox", `0 0 16 ${height}`);
    Object.assign(scale.style, { height: `${height}px`, width: "16px" });
    const label = svg("text", { x: 8, y: height + 14, "text-anchor": "middle" });
    label.textContent = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
    scale.replaceChildren(svg("path", { d: `M15 .5H5M15 ${height - 0.5}H5M10 .5V${height - 0.5}` }), label);
  }

  drawOverlay() {
    if (!this.slice) return;
    const { rows, columns } = this.slice;
    this.overlay.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    this.overlay.setAttribute("preserveAspectRatio", "none");
    const parts = [];
    for (const mark of this.marks) {
      const cx = mark.column + 0.5;
      const cy = mark.row + 0.5;
      parts.push(svg("ellipse", { cx, cy, rx: mark.rx, ry: mark.ry, class: `mark ${mark.classes}` }));
      if (mark.label) parts.push(this.text(mark.label, cx + mark.rx * 0.75, cy - mark.ry * 0.85, mark.classes));
    }
    for (const line of [...(this.lines.get(this.key()) || []), ...(this.drag?.line ? [this.drag.line] : [])]) {
      parts.push(svg("line", { ...line, class: "line" }));
      const mm = lengthMm(line, this.slice);
      parts.push(this.text(mm === null ? "no spacing" : `${mm.toFixed(1)} mm`, Math.max(line.x1, line.x2), Math.max(line.y1, line.y2), "length"));
    }
    if (this.pending) parts.push(svg("circle", { cx: this.pending.column + 0.5, cy: this.pending.row + 0.5, r: 8, class: "pending" }));
    this.overlay.replaceChildren(...parts);
  }

  text(content, x, y, classes) {
    const size = (0.95 * parseFloat(getComputedStyle(document.documentElement).fontSize)) / this.pixelSize().wide;
    const made = svg("text", { x: x + size * 0.2, y, class: classes });
    made.textContent = content;
    Object.assign(made.style, { fontSize: `${size}px`, strokeWidth: `${size * 0.16}px` });
    return made;
  }

  setPending(place) {
    this.pending = place;
    this.drawOverlay();
  }

  key() {
    return `${this.slice.sop_instance_uid}/${this.slice.frame_number}`;
  }

  // Image coordinates of the mouse: x and y in pixels from the top left corner of the image.
  point(event) {
    const box = this.inner.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * this.slice.columns, y: ((event.clientY - box.top) / box.height) * this.slice.rows };
  }

  isInside({ x, y }) {
    return x >= 0 && y >= 0 && x < this.slice.columns && y < this.slice.rows;
  }

  zoomAt(event, factor) {
    const box = this.root.getBoundingClientRect();
    const zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, this.view.zoom * factor));
    const ratio = zoom / this.view.zoom;
    const x = event.clientX - box.left - box.width / 2;
    const y = event.clientY - box.top - box.height / 2;
    this.view = { zoom, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio };
    this.layout();
  }

  onWheel(event) {
    event.preventDefault();
    if (!this.slice) return;
    if (event.ctrlKey) { this.zoomAt(event, Math.exp(-event.deltaY / 300)); return; }
    this.wheel += event.deltaMode === 1 ? event.deltaY * WHEEL_STEP : event.deltaY;
    const by = Math.trunc(this.wheel / WHEEL_STEP);
    if (by) {
      this.wheel -= by * WHEEL_STEP;
      this.calls.scroll(Math.max(-5, Math.min(5, by)));
    }
  }

  onDown(event) {
    if (!this.slice) return;
    this.root.focus({ preventScroll: true });
    event.preventDefault();
    this.root.setPointerCapture(event.pointerId);
    const tool = event.button === 2 ? "zoom" : event.button === 1 ? "pan" : this.tool;
    const start = this.point(event);
    this.drag = { tool, x: event.clientX, y: event.clientY, view: { ...this.view }, window: { ...this.window }, start, moved: false };
    if (tool === "length" && this.isInside(start)) this.drag.line = { x1: start.x, y1: start.y, x2: start.x, y2: start.y };
  }

  onMove(event) {
    if (!this.drag) return;
    const { tool, view, window, line } = this.drag;
    const dx = event.clientX - this.drag.x;
    const dy = event.clientY - this.drag.y;
    this.drag.moved ||= Math.hypot(dx, dy) > 3;
    if (!this.drag.moved) return;
    if (tool === "pan") { this.view = { ...this.view, x: view.x + dx, y: view.y + dy }; this.layout(); }
    if (tool === "zoom") { this.view.zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, view.zoom * Math.exp(-dy / 150))); this.layout(); }
    if (tool === "window") this.calls.window(window.center + dy * HU_PER_PIXEL, Math.max(1, window.width + dx * HU_PER_PIXEL));
    if (line) {
      const { x, y } = this.point(event);
      Object.assign(line, { x2: x, y2: y });
      this.drawOverlay();
    }
  }

  onUp(event) {
    if (!this.drag) return;
    const { tool, moved, line } = this.drag;
    this.drag = null;
    if (line && moved) this.lines.set(this.key(), [...(this.lines.get(this.key()) || []), line]);
    this.drawOverlay();
    if (moved || event.button !== 0) return;
    const at = this.point(event);
    if (!this.isInside(at)) return;
    // a pixel's own index is its centre: the middle of the first pixel is 0
    const place = { row: Math.max(0, at.y - 0.5), column: Math.max(0, at.x - 0.5) };
    if (tool === "mark") this.calls.mark(place.row, place.column);
    else this.pickAt(at);
  }

  pickAt({ x, y }) {
    const hit = this.marks.find((mark) => ((x - mark.column - 0.5) / mark.rx) ** 2 + ((y - mark.row - 0.5) / mark.ry) ** 2 <= 1.6);
    if (hit) this.calls.pick(hit.id);
  }
}

