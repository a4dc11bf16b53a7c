// Other readers who have the study open now, named in the banner.
import { element, find } from "../shared/dom";
import { _ } from "../shared/i18n";

export function showReaders(names: string[]): void {
  const here = find("readers");
  const parts = names.map((name) => element("span", {}, _("{name} is reading", { name })));
  if (here.textContent !== parts.map(({ textContent }) => textContent).join("")) here.replaceChildren(...parts);
}
