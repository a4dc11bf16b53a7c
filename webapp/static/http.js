// Requests to our own API: the form token goes along, refusals become errors with a sentence for people.
const token = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name="csrf-token"]'))?.content || "";

let isLeaving = false; // whoever signs out is on the way elsewhere already: a late 401 must not lead them astray
addEventListener("beforeunload", () => { isLeaving = true; });
addEventListener("pageshow", () => { isLeaving = false; });

export class RefusedError extends Error {
  /**
   * @param {number} status
   * @param {{message?: string, reference?: string} | undefined} detail
   */
  constructor(status, detail) {
    super(detail?.message || "The service did not answer.");
    this.status = status;
    this.reference = detail?.reference || "";
  }
}

/** @typedef {{signal?: AbortSignal | null}} Options */

/** Tell the page that somebody is there: only requests keep a session alive. */
const stirred = () => document.dispatchEvent(new Event("lungnode:request"));

/** @param {Response} response */
async function answer(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401 && !isLeaving) {
    location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  throw new RefusedError(response.status, body.error);
}

/**
 * @param {string} url
 * @param {Options & {background?: boolean}} [options] background: asked by the page itself, not by a person
 * @returns {Promise<any>}
 */
export async function getJson(url, { background = false, signal = null } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (background) headers["X-Lungnode-Background"] = "1";
  else stirred();
  return (await answer(await fetch(url, { headers, signal, cache: "no-store" }))).json();
}

/** @param {string} url */
export async function getText(url) {
  const headers = { Accept: "text/html", "X-Lungnode-Background": "1" };
  return (await answer(await fetch(url, { headers, cache: "no-store" }))).text();
}

/**
 * @param {string} url
 * @param {Options} [options]
 */
export async function getBlob(url, { signal = null } = {}) {
  stirred();
  return (await answer(await fetch(url, { headers: { Accept: "image/png, application/json" }, signal, cache: "no-store" }))).blob();
}

/**
 * @param {string} url
 * @param {unknown} body
 * @returns {Promise<any>}
 */
export async function postJson(url, body) {
  stirred();
  const headers = { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": token };
  return (await answer(await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }))).json();
}

/** @param {string} url */
export async function deleteJson(url) {
  stirred();
  return answer(await fetch(url, { method: "DELETE", headers: { Accept: "application/json", "X-CSRF-Token": token } }));
}
