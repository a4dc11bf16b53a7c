// Words of reporting texts: types of nodules, and the advice of each guideline.
import { _ } from "../shared/i18n";
import type { Bts, Fleischner, History, LungRads, NoduleType } from "./guidelines";

export const TYPES: Record<NoduleType, string> = {
  solid: _("solid"),
  "part-solid": _("part-solid"),
  "ground-glass": _("ground-glass"),
};

export const HISTORIES: Record<History, string> = {
  baseline: _("baseline"),
  new: _("new"),
  growing: _("growing"),
  stable: _("stable"),
};

export const PREVIOUS: Record<LungRads, string> = { "2": "2", "3": "3", "4A": "4A", "4B": "4B" };

const MASS = _("above 30 mm a mass, which this guideline does not cover");

export const FLEISCHNER: Record<Fleischner, string> = {
  mass: MASS,
  none: _("no routine follow-up"),
  optional_12: _("optional CT at 12 months"),
  "6_12_consider_18_24": _("CT at 6 to 12 months, then consider CT at 18 to 24 months"),
  "6_12_and_18_24": _("CT at 6 to 12 months, then CT at 18 to 24 months"),
  "3_or_pet_or_tissue": _("consider CT at 3 months, PET/CT or tissue sampling"),
  "3_6_consider_18_24": _("CT at 3 to 6 months, then consider CT at 18 to 24 months"),
  "3_6_and_18_24": _("CT at 3 to 6 months, then CT at 18 to 24 months"),
  "6_12_then_every_2_years": _("CT at 6 to 12 months to confirm persistence, then CT every 2 years until 5 years"),
  "3_6_then_yearly": _(
    "CT at 3 to 6 months to confirm persistence; if unchanged with a solid part below 6 mm, yearly CT for 5 years",
  ),
  "3_6_then_2_and_4_years": _("CT at 3 to 6 months; if stable, consider CT at 2 and 4 years"),
  "3_6_then_most_suspicious": _("CT at 3 to 6 months, then by the most suspicious nodule"),
};

export const BTS: Record<Bts, string> = {
  mass: MASS,
  none: _("no follow-up"),
  "12": _("CT at 1 year"),
  "3": _("CT at 3 months"),
  risk: _("by the Brock model: below 10 % CT at 3 months, else PET/CT"),
  "3_then_risk": _("thin-section CT at 3 months; if it persists, by the Brock model"),
};

// Conditions under which a guideline applies; the reader checks them.
export const CONDITIONS = {
  fleischner: _(
    "For incidental nodules from 35 years of age; not for screening, known cancer or immunosuppression. Mean diameter.",
  ),
  lung_rads: _("For screening of asymptomatic smokers. Mean diameter; growth is more than 1.5 mm within 12 months."),
  bts: _(
    "For incidental nodules of adults. Longest diameter; where volumes are compared, the guideline prefers those.",
  ),
};

export const GUIDELINES = { fleischner: "Fleischner 2017", lung_rads: "Lung-RADS v2022", bts: "BTS 2015" };
export type Guideline = keyof typeof GUIDELINES;
