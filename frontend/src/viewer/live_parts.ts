// The parts of the page that only the server writes, brought up to date.
import { all } from "../shared/dom";
import { getText } from "../shared/http";

// Returns the text of an empty list of findings, where the page has one.
export async function refreshLiveParts(): Promise<string | undefined> {
  const page = new DOMParser().parseFromString(await getText(location.pathname), "text/html");
  for (const here of all("live")) {
    const fresh = page.querySelector(`[data-live="${here.dataset.live}"]`);
    if (fresh && here.innerHTML !== fresh.innerHTML) here.replaceChildren(...document.adoptNode(fresh).childNodes);
  }
  return page.querySelector<HTMLElement>("[data-findings]")?.dataset.none;
}
