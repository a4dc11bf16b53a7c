// Caveats of the study's analyses; some of it is sent only once the model's findings are.

import { element, find, fromTemplate } from "../shared/dom";
import { recorded } from "../shared/i18n";
import type { Reason } from "./types";

export function showCaveats(caveats: Reason[]): void {
  const note = find("caveats");
  note.hidden = caveats.length === 0;
  note
    .querySelector("ul")
    ?.replaceChildren(
      ...caveats.map(({ code, text }) =>
        element(
          "li",
          { "data-caveat": code },
          fromTemplate('[data-icon="warning"]'),
          element("span", {}, recorded(text)),
        ),
      ),
    );
}
