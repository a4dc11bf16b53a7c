// Accepted findings as lines of a report, in the site's template or in ours in the page's language.
import { _, number } from "../shared/i18n";
import { SIDES, THIRDS } from "../viewer/finding_terms";
import type { Finding } from "../viewer/types";
import { fillTemplate, type Values } from "./template";
import { TYPES } from "./words";

export interface Reported {
  number: number; // in the list of findings
  finding: Finding;
  image: number | null; // number of its image
  series: number | null; // Series Number
}

const isType = (name: unknown): name is keyof typeof TYPES => typeof name === "string" && name in TYPES;

// The reader's findings: accepted ones, and own marks that no verdict rejects.
export function isReported({ assessment, origin }: Pick<Finding, "assessment" | "origin">): boolean {
  return assessment ? assessment.verdict === "accept" : origin === "reader";
}

export function reportLine(reported: Reported, template: string): string {
  return fillTemplate(template || ownTemplate(reported.finding), values(reported));
}

// Template of our own; without a mean diameter the longest one is named as such.
function ownTemplate({ attributes }: Finding): string {
  if (attributes.mean_diameter_mm === undefined)
    return _(
      "Finding {number}: nodule[, {density}][, {side}][, {third}][, longest diameter {long} mm][, image {image}].",
    );
  return _(
    "Finding {number}: nodule[, {density}][, {side}][, {third}], {mean} mm[ ({long} × {short} mm)]" +
      "[, volume {volume} mm³][, image {image}].",
  );
}

function values({ number: position, finding, image, series }: Reported): Values {
  const { density, location, perpendicular_mm: short, mean_diameter_mm: mean, volume_mm3: volume } = finding.attributes;
  return {
    number: String(position),
    density: isType(density) ? TYPES[density] : "",
    side: location ? SIDES[location.side] : "",
    third: location?.third ? THIRDS[location.third] : "",
    mean: text(mean),
    long: text(finding.diameter_mm),
    short: text(short),
    volume: text(volume, 0),
    image: image === null ? "" : String(image),
    series: series === null ? "" : String(series),
    comment: finding.assessment?.comment ?? "",
  };
}

function text(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? "" : number(value, digits);
}
