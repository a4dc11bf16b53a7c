// Requests to our own API: the form token goes along, refusals become errors with a sentence for people.
import type { ErrorDetail } from "./api";
import { english, recorded } from "./i18n";

export class RefusedError extends Error {
  readonly reference: string;
  readonly code: string;

  constructor(
    readonly status: number,
    detail: Partial<ErrorDetail> | undefined,
  ) {
    super(recorded(detail?.message || english("The service did not answer.")));
    this.reference = detail?.reference || "";
    this.code = detail?.code || "";
  }
}

const metaOf = (name: string, page: ParentNode = document): string =>
  page.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? "";

const pageHeaders: Record<string, string> = {}; // of every request of this page
let token = metaOf("csrf-token");
let signedOut = goToSignIn;
let isLeaving = false; // signing out: a late 401 must not lead elsewhere

addEventListener("beforeunload", () => {
  isLeaving = true;
});
addEventListener("pageshow", () => {
  isLeaving = false;
});

// Ask for the model's findings from now on: the reader of this study has read.
export function askForModel(isAsked = true): void {
  if (isAsked) pageHeaders["X-Lungnode-Model"] = "shown";
  else delete pageHeaders["X-Lungnode-Model"];
}

// Sign in again, and come back to this page.
export function goToSignIn(): void {
  document.dispatchEvent(new Event("lungnode:leaving")); // without a question: unsaved texts stay in this tab
  location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

// Set what happens where the session has ended, instead of leaving the page at once.
export function onSignedOut(handler: () => void): void {
  signedOut = handler;
}

// Somebody is there: only requests keep a session alive.
const noteActivity = () => document.dispatchEvent(new Event("lungnode:request"));

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as { error?: Partial<ErrorDetail> };
  if (response.status === 401 && !isLeaving) signedOut();
  throw new RefusedError(response.status, body.error);
}

// Requests in the background are made by the page itself, not by a person, and keep no session alive.
export async function getJson<T = unknown>(
  url: string,
  { background = false, accept = "application/json" } = {},
): Promise<T> {
  const headers: Record<string, string> = { ...pageHeaders, Accept: accept };
  if (background) headers["X-Lungnode-Background"] = "1";
  else noteActivity();
  return (await checked(await fetch(url, { headers, cache: "no-store" }))).json();
}

export async function getText(url: string): Promise<string> {
  const headers = { Accept: "text/html", "X-Lungnode-Background": "1" };
  return (await checked(await fetch(url, { headers, cache: "no-store" }))).text();
}

// keepalive: sent even while the page is left.
export async function postJson<T = unknown>(url: string, body: unknown, { keepalive = false } = {}): Promise<T> {
  return (await change(url, { method: "POST", body: JSON.stringify(body), keepalive })).json();
}

export async function deleteJson<T = unknown>(url: string): Promise<T | null> {
  const response = await change(url, { method: "DELETE" });
  return response.status === 204 ? null : response.json();
}

async function change(url: string, request: RequestInit): Promise<Response> {
  noteActivity();
  try {
    return await checked(await send(url, request));
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== "form_token" || request.keepalive) throw error;
    await renewToken(); // somebody signed in again, in another tab
    return checked(await send(url, request));
  }
}

function send(url: string, request: RequestInit): Promise<Response> {
  const headers = {
    ...pageHeaders,
    Accept: "application/json",
    "Content-Type": "application/json",
    "X-CSRF-Token": token,
  };
  return fetch(url, { ...request, headers }).catch(() => {
    throw new RefusedError(0, { message: english("The service cannot be reached. Try again.") });
  });
}

async function renewToken(): Promise<void> {
  const page = new DOMParser().parseFromString(await getText(location.pathname + location.search), "text/html");
  if (metaOf("reader", page) !== metaOf("reader")) {
    throw new RefusedError(403, { message: english("Another person has signed in. Reload the page.") });
  }
  token = metaOf("csrf-token", page);
}
