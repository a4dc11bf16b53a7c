// The upload form: drop, preview, progress. Without scripts it is an ordinary form.
import { _, number, recorded } from "./words.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-upload]"));
/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} name
 * @returns {T}
 */
const one = (name) => /** @type {T} */ (form.querySelector(`[data-${name}]`));
const input = /** @type {HTMLInputElement} */ (form.querySelector("#image"));
const drop = one("drop");
const submit = /** @type {HTMLButtonElement} */ (one("submit"));
const progress = /** @type {HTMLProgressElement} */ (/** @type {unknown} */ (one("progress")));
const preview = /** @type {HTMLImageElement} */ (one("preview"));
const MIB = 1024 ** 2;

/** @param {number} bytes */
function readableSize(bytes) {
  return bytes < MIB ? `${Math.ceil(bytes / 1024)} KiB` : `${number(bytes / MIB)} MiB`;
}

/**
 * What a file is, told by its first bytes as the server does.
 * @param {File} file
 * @returns {Promise<"png" | "jpeg" | "dicom" | "zip" | "other">}
 */
async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  /** @param {number} at @param {...number} bytes */
  const has = (at, ...bytes) => bytes.every((byte, index) => head[at + index] === byte);
  if (has(128, 0x44, 0x49, 0x43, 0x4d)) return "dicom";
  if (has(0, 0x89, 0x50, 0x4e, 0x47)) return "png";
  if (has(0, 0xff, 0xd8, 0xff)) return "jpeg";
  return has(0, 0x50, 0x4b, 0x03, 0x04) ? "zip" : "other";
}

const HINTS = {
  png: "",
  jpeg: "",
  dicom: _("Click the nodule in the image to analyse it."),
  zip: _("A zip of a DICOM series: it is stored as a study in the worklist."),
  other: _("Unsupported file. Use PNG, JPEG, DICOM or a zip."),
};

/**
 * Why a file is not sent; empty where it is.
 * @param {File} file
 * @param {keyof typeof HINTS} kind
 */
function obstacle(file, kind) {
  const size = (kind === "zip" ? form.dataset.maxUploadMb : form.dataset.maxImageMb) ?? "";
  return file.size > Number(size) * MIB ? _("The file is larger than {size} MiB.", { size }) : "";
}

const row = /** @type {HTMLInputElement} */ (form.elements.namedItem("row"));
const column = /** @type {HTMLInputElement} */ (form.elements.namedItem("column"));
const slice = /** @type {HTMLImageElement} */ (one("slice-image"));
const token = () => /** @type {HTMLInputElement} */ (form.elements.namedItem("csrf_token")).value;

/**
 * A browser reads no DICOM: the server draws it, and keeps nothing.
 * @param {File} file
 */
async function drawDicom(file) {
  const body = new FormData();
  body.append("image", file);
  const response = await fetch("/predict/preview", { method: "POST", body, headers: { Accept: "application/json", "X-CSRF-Token": token() } }).catch(() => null);
  if (input.files?.[0] !== file || !response?.ok) return; // another was chosen meanwhile, or the answer will say why
  previewUrl = URL.createObjectURL(await response.blob());
  slice.src = preview.src = previewUrl;
  preview.onload = () => { preview.hidden = false; one("no-preview").setAttribute("hidden", ""); showPlace(); };
  one("slice").hidden = false;
}

// The place that row and column name, on the slice.
function showPlace() {
  const mark = one("slice-mark");
  const isKnown = row.value !== "" && column.value !== "" && slice.naturalWidth > 0;
  mark.toggleAttribute("hidden", !isKnown);
  if (!isKnown) return;
  mark.setAttribute("viewBox", `0 0 ${slice.naturalWidth} ${slice.naturalHeight}`);
  const circle = /** @type {Element} */ (mark.querySelector("circle"));
  circle.setAttribute("cx", String(Number(column.value) + 0.5));
  circle.setAttribute("cy", String(Number(row.value) + 0.5));
  circle.setAttribute("r", String(slice.naturalWidth / 40));
}
for (const field of [row, column]) field.addEventListener("input", showPlace);
slice.addEventListener("load", showPlace);
slice.addEventListener("click", (event) => {
  if (!slice.naturalWidth) return; // it is still on its way, and has no rows or columns yet
  const box = slice.getBoundingClientRect();
  /** @param {number} part @param {number} count */
  const pixel = (part, count) => String(Math.min(count - 1, Math.max(0, Math.floor(part * count))));
  row.value = pixel((event.clientY - box.top) / box.height, slice.naturalHeight);
  column.value = pixel((event.clientX - box.left) / box.width, slice.naturalWidth);
  showPlace();
});

let previewUrl = "";
async function showChosen() {
  const file = input.files?.[0];
  if (previewUrl) URL.revokeObjectURL(previewUrl);
  previewUrl = "";
  one("drop-prompt").hidden = Boolean(file);
  one("drop-preview").hidden = !file;
  one("problem").hidden = true;
  one("received").hidden = true;
  preview.hidden = true;
  one("slice").hidden = true;
  one("no-preview").setAttribute("hidden", "");
  if (!file) return;
  one("file-name").textContent = file.name;
  one("file-size").textContent = readableSize(file.size);
  const kind = await kindOf(file);
  if (input.files?.[0] !== file) return; // another was chosen meanwhile
  const unfit = obstacle(file, kind);
  const hint = one("file-hint");
  hint.textContent = unfit || HINTS[kind];
  hint.hidden = !hint.textContent;
  if (kind === "dicom") /** @type {HTMLDetailsElement} */ (one("place")).open = true;
  if (kind === "png" || kind === "jpeg") {
    previewUrl = URL.createObjectURL(file);
    preview.onload = () => { preview.hidden = false; };
    preview.onerror = () => one("no-preview").removeAttribute("hidden");
    preview.src = previewUrl;
  } else {
    one("no-preview").removeAttribute("hidden");
    if (kind === "dicom" && !unfit) await drawDicom(file);
  }
}

input.addEventListener("change", showChosen);
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  const files = event.dataTransfer?.files;
  if (!files?.length) return;
  if (files.length > 1) {
    fail(_("One file at a time. Upload a series as a zip."));
    return;
  }
  input.files = files;
  showChosen();
});

function settle() {
  submit.disabled = false;
  form.removeAttribute("aria-busy");
  progress.hidden = true;
  one("status").textContent = "";
}

/** @param {string} message */
function fail(message) {
  settle();
  const problem = one("problem");
  problem.textContent = message;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

/**
 * Open the study of a zip, after saying what was left out of it.
 * @param {{url: string, accepted: number, left_out: {text: string}[]}} study
 */
function received(study) {
  if (!study.left_out.length) {
    location.assign(study.url);
    return;
  }
  settle();
  const files = study.left_out.map(({ text }) => recorded(text)).join(", ");
  one("received-text").textContent = `${_("CT images accepted: {count}", { count: study.accepted })}. ${_("Left out: {files}", { files })}.`;
  one("received-link").setAttribute("href", study.url);
  one("received").hidden = false;
  one("received").scrollIntoView({ block: "nearest" });
}

/** @param {XMLHttpRequest} request */
function answered(request) {
  const body = request.response || {};
  if (request.status === 200 && body.id) location.assign(`/predictions/${body.id}`);
  else if (request.status === 202 && body.url) received(body);
  else fail(body.error ? _("{reason} (reference {reference})", { reason: recorded(body.error.message), reference: body.error.reference }) : _("The service did not respond. Try again."));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = input.files?.[0];
  const unfit = file && obstacle(file, await kindOf(file).catch(() => /** @type {const} */ ("other")));
  if (unfit) {
    fail(unfit);
    return;
  }
  const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
  request.open("POST", form.action);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRF-Token", token());
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    if (loaded < total) {
      progress.value = (100 * loaded) / total;
      return;
    }
    progress.removeAttribute("value"); // it is read now, for as long as that takes
    one("status").textContent = _("Reading the image…");
  });
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () => fail(_("The service is unreachable. Try again.")));
  submit.disabled = true;
  form.setAttribute("aria-busy", "true");
  progress.value = 0;
  progress.hidden = false;
  one("problem").hidden = true;
  one("received").hidden = true;
  one("status").textContent = _("Uploading…");
  request.send(new FormData(form));
});

addEventListener("pageshow", () => { // back from the answer
  settle();
  showChosen();
});
