// Packs a day times years, to a tenth; null where an entry is no number or the product is negative.
export function packYears(packs: string, years: string): number | null {
  const product = Number(packs) * Number(years);
  return Number.isFinite(product) && product >= 0 ? Math.round(product * 10) / 10 : null;
}
