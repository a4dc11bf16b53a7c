// Accepted findings as lines of a report, in the site's template or in ours in the page's language.
import { _, number } from "../shared/i18n";
import { SIDES, THIRDS } from "../viewer/finding_terms";
import { sizesOf } from "../viewer/sizes";
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
function ownTemplate(finding: Finding): string {
  if (sizesOf(finding).meanMm === null)
    return _(
      "Finding {number}: nodule[, {density}][, {side}][, {third}][, longest diameter {long} mm][, image {image}].",
    );
  return _(
    "Finding {number}: nodule[, {density}][, {side}][, {third}], {mean} mm[ ({long} × {short} mm)]" +
      "[, volume {volume} mm³][, image {image}].",
  );
}

function values({ number: position, finding, image, series }: Reported): Values {
  const { density, location } = finding.attributes;
  const { longMm, shortMm, meanMm, volumeMm3 } = sizesOf(finding);
  return {
    number: String(position),
    density: isType(density) ? TYPES[density] : "",
    side: location ? SIDES[location.side] : "",
    third: location?.third ? THIRDS[location.third] : "",
    mean: text(meanMm),
    long: text(longMm),
    short: text(shortMm),
    volume: text(volumeMm3, 0),
    image: image === null ? "" : String(image),
    series: series === null ? "" : String(series),
    comment: finding.assessment?.comment ?? "",
  };
}

function text(value: number | null, digits = 1): string {
  return value === null ? "" : number(value, digits);
}
