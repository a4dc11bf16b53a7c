// Choices of a reader: cookies that the server reads with each request, and this browser's storage.
const YEAR_S = 31_536_000;

function setCookie(name: string, value: string): void {
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API needs HTTPS
  document.cookie = `${name}=${value}; path=/; max-age=${YEAR_S}; SameSite=Strict`;
}

// True once the reader chose between a blind read and the model's results.
export function hasChosenReadFirst(): boolean {
  return document.cookie.split("; ").some((cookie) => cookie.startsWith("lungnode_hide_model="));
}

// "Hide the model until I have read", for all studies: what is hidden is not sent.
export function setReadFirst(isChosen: boolean): void {
  setCookie("lungnode_hide_model", isChosen ? "yes" : "no");
}

export function setLanguage(code: string): void {
  setCookie("lungnode_language", code);
}

// A choice that concerns this browser alone; without storage it lasts as long as the page.
export function isChosen(name: string, usual: boolean): boolean {
  try {
    const stored = localStorage.getItem(name);
    return stored === null ? usual : stored === "yes";
  } catch {
    return usual;
  }
}

export function choose(name: string, isOn: boolean): void {
  try {
    localStorage.setItem(name, isOn ? "yes" : "no");
  } catch {
    // no storage
  }
}
