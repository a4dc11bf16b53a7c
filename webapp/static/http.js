// Requests to our own API: the form token goes along, refusals become errors with a sentence for people.
import { english, recorded } from "./words.js";

/**
 * @param {string} name
 * @param {ParentNode} [page]
 */
const metaOf = (name, page = document) => /** @type {HTMLMetaElement | null} */ (page.querySelector(`meta[name="${name}"]`))?.content ?? "";
let token = metaOf("csrf-token");

let isLeaving = false; // whoever signs out is on the way elsewhere already: a late 401 must not lead them astray
addEventListener("beforeunload", () => { isLeaving = true; });
addEventListener("pageshow", () => { isLeaving = false; });

export class RefusedError extends Error {
  /**
   * @param {number} status
   * @param {{message?: string, reference?: string, code?: string} | undefined} detail
   */
  constructor(status, detail) {
    super(recorded(detail?.message || english("The service did not answer.")));
    this.status = status;
    this.reference = detail?.reference || "";
    this.code = detail?.code || "";
  }
}

/** @typedef {{signal?: AbortSignal | null}} Options */

/** @type {Record<string, string>} what every request of this page says besides */
const always = {};

/** The reader of this study has read, and is told what the model says from now on. */
export function askForModel(isAsked = true) {
  if (isAsked) always["X-Lungnode-Model"] = "shown";
  else delete always["X-Lungnode-Model"];
}

/** Tell the page that somebody is there: only requests keep a session alive. */
const stirred = () => document.dispatchEvent(new Event("lungnode:request"));

/** Sign in again, and come back to this page. */
export function goToSignIn() {
  document.dispatchEvent(new Event("lungnode:leaving"));
  location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

let signedOut = goToSignIn;
/**
 * Say what happens where the session has ended, instead of leaving the page at once.
 * @param {() => void} handler
 */
export function onSignedOut(handler) {
  signedOut = handler;
}

/** @param {Response} response */
async function answer(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401 && !isLeaving) signedOut();
  throw new RefusedError(response.status, body.error);
}

/**
 * @param {string} url
 * @param {Options & {background?: boolean, accept?: string}} [options] background: asked by the page itself, not by a person
 * @returns {Promise<any>}
 */
export async function getJson(url, { background = false, signal = null, accept = "application/json" } = {}) {
  /** @type {Record<string, string>} */
  const headers = { ...always, Accept: accept };
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
 * @param {unknown} body
 * @param {{keepalive?: boolean}} [options] keepalive: send it even while the page is left
 * @returns {Promise<any>}
 */
export async function postJson(url, body, { keepalive = false } = {}) {
  return (await change(url, { method: "POST", body: JSON.stringify(body), keepalive })).json();
}

/**
 * @param {string} url
 * @returns {Promise<any>}
 */
export async function deleteJson(url) {
  const response = await change(url, { method: "DELETE" });
  return response.status === 204 ? null : response.json();
}

/**
 * @param {string} url
 * @param {RequestInit} request
 */
async function change(url, request) {
  stirred();
  const send = () => {
    const headers = { ...always, Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": token };
    return fetch(url, { ...request, headers }).catch(() => { throw new RefusedError(0, { message: english("The service cannot be reached. Try again.") }); });
  };
  try {
    return await answer(await send());
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== "form_token" || request.keepalive) throw error;
    await renewToken(); // somebody signed in again, in another tab
    return answer(await send());
  }
}

async function renewToken() {
  const page = new DOMParser().parseFromString(await getText(location.pathname + location.search), "text/html");
  if (metaOf("reader", page) !== metaOf("reader")) {
    throw new RefusedError(403, { message: english("Another person has signed in. Reload the page.") });
  }
  token = metaOf("csrf-token", page);
}
