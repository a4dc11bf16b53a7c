// Terms of findings, verdicts and maps in the page's language; records and requests hold the English ones.
import { _, english } from "../shared/i18n";
import type { MapName } from "./overlay";
import type { Verdict } from "./types";

export const REASONS: Record<Verdict, string[]> = {
  // kept in English
  accept: [english("Nodule"), english("Known / stable"), english("Suspicious")],
  reject: [
    english("Vessel"),
    english("Scar"),
    english("Lymph node"),
    english("Calcified"),
    english("Artefact"),
    english("Not in the lung"),
  ],
  unsure: [english("Follow up"), english("Second opinion"), english("Poor image")],
};
export const VERDICT_WORDS: Record<Verdict, string> = {
  accept: _("Accepted"),
  reject: _("Rejected"),
  unsure: _("Unsure"),
};
export const BUTTONS: Record<Verdict, string> = { accept: _("Accept"), reject: _("Reject"), unsure: _("Unsure") };
export const MAPS: Record<MapName, { label: string; explains: string }> = {
  // shares: docs/model/nodule.md, "Explanations"
  attention: {
    label: _("Attention"),
    explains: _(
      "Where the network's attention lay. Measured on known nodules it is no more on the nodule than anywhere else " +
        "(11 % of it, for 11 % of the picture), so it does not show what the number rests on.",
    ),
  },
  gradient: {
    label: _("Gradients"),
    explains: _(
      "Pixels that move the number. On known nodules 42 % of it lies on the nodule, which is 11 % of the picture. " +
        "It does not say why, and brighter is not more malignant.",
    ),
  },
};
export const TERMS: Record<string, string> = {
  // words of the records
  benign: _("benign"),
  malignant: _("malignant"),
  solid: _("solid"),
  "part-solid": _("part-solid"),
  "ground-glass": _("ground-glass"),
};
export const SIDES = { right: _("right"), left: _("left") };
export const THIRDS = { upper: _("upper third"), middle: _("middle third"), lower: _("lower third") };
english("the 2D and the 3D networks disagree"); // a doubt of the records (inference/malignancy/submodels.py)
export const VERDICTS = Object.keys(BUTTONS) as Verdict[];
