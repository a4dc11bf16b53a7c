// Requests to our own API: the form token goes along, refusals become errors with a sentence for people.
const token = document.querySelector('meta[name="csrf-token"]')?.content || "";

let isLeaving = false; // whoever signs out is on the way elsewhere already: a late 401 must not lead them astray
addEventListener("beforeunload", () => { isLeaving = true; });
addEventListener("pageshow", () => { isLeaving = false; });

export class RefusedError extends Error {
  constructor(status, detail) {
    super(detail?.message || "The service did not answer.");
    this.status = status;
    this.reference = detail?.reference || "";
  }
}

async function answer(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401 && !isLeaving) {
    location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  throw new RefusedError(response.status, body.error);
}

export async function getJson(url, { background = false, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (background) headers["X-Lungnode-Background"] = "1";
  else document.dispatchEvent(new Event("lungnode:request"));
  return (await answer(await fetch(url, { headers, signal, cache: "no-store" }))).json();
}

export async function getText(url) {
  const headers = { Accept: "text/html", "X-Lungnode-Background": "1" };
  return (await answer(await fetch(url, { headers, cache: "no-store" }))).text();
}

export async function getBlob(url, { signal } = {}) {
  document.dispatchEvent(new Event("lungnode:request"));
  return (await answer(await fetch(url, { headers: { Accept: "image/png, application/json" }, signal, cache: "no-store" }))).blob();
}

export async function postJson(url, body) {
  document.dispatchEvent(new Event("lungnode:request"));
  const headers = { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": token };
  return (await answer(await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }))).json();
}

export async function deleteJson(url) {
  document.dispatchEvent(new Event("lungnode:request"));
  return answer(await fetch(url, { method: "DELETE", headers: { Accept: "application/json", "X-CSRF-Token": token } }));
}
