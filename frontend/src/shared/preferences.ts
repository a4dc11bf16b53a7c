// Choices of a reader that the server reads with each request.
const YEAR_S = 31_536_000;

function setCookie(name: string, value: string): void {
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API needs HTTPS
  document.cookie = `${name}=${value}; path=/; max-age=${YEAR_S}; SameSite=Strict`;
}

// "Hide the model until I have read", for all studies: what is hidden is not sent.
export function setReadFirst(isChosen: boolean): void {
  setCookie("lungnode_hide_model", isChosen ? "yes" : "no");
}

export function setLanguage(code: string): void {
  setCookie("lungnode_language", code);
}
