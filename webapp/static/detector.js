// Drag and drop, a preview and progress; without this file the form works as forms do.
const form = document.querySelector("[data-upload]");
const one = (name) => form.querySelector(`[data-${name}]`);
const input = form.querySelector("#image");
const drop = one("drop");

function readableSize(bytes) {
  return bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

let previewUrl = "";
function showChosen() {
  const file = input.files[0];
  if (previewUrl) URL.revokeObjectURL(previewUrl);
  previewUrl = "";
  one("drop-prompt").hidden = Boolean(file);
  one("drop-preview").hidden = !file;
  one("problem").hidden = true;
  if (!file) return;
  one("file-name").textContent = file.name;
  one("file-size").textContent = readableSize(file.size);
  const preview = one("preview");
  preview.hidden = true;
  if (["image/png", "image/jpeg"].includes(file.type)) {
    previewUrl = URL.createObjectURL(file);
    preview.src = previewUrl;
    preview.onload = () => { preview.hidden = false; };
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
  if (event.dataTransfer.files.length) {
    input.files = event.dataTransfer.files;
    showChosen();
  }
});

function fail(message) {
  const problem = one("problem");
  problem.textContent = message;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
  one("submit").disabled = false;
  one("progress").hidden = true;
  one("status").textContent = "";
}

function answered(request) {
  const body = request.response || {};
  if (request.status === 200 && body.id) location.assign(`/predictions/${body.id}`);
  else if (request.status === 202 && body.url) location.assign(body.url);
  else fail(body.error ? `${body.error.message} (reference ${body.error.reference})` : "The service did not answer. Try again.");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
  request.open("POST", form.action);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRF-Token", form.elements.csrf_token.value);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    one("progress").value = (100 * loaded) / total;
    if (loaded === total) one("status").textContent = "Reading the image…";
  });
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () => fail("The service cannot be reached. Try again."));
  one("submit").disabled = true;
  one("progress").hidden = false;
  one("problem").hidden = true;
  one("status").textContent = "Uploading…";
  request.send(new FormData(form));
});

addEventListener("pageshow", () => { // back from the answer
  one("submit").disabled = false;
  one("progress").hidden = true;
  one("status").textContent = "";
  showChosen();
});
