// The study as it is known, and changes that overtake an answer of the server.
import { describe, expect, test } from "vitest";
import { isHeld, StudyRecord } from "../src/viewer/study_record";
import type { Study } from "../src/viewer/types";
import { finding, seriesItem } from "./records";

const study = (values: Partial<Study> = {}) =>
  ({ state: "analysed", reasons: [], series: [], findings: [], ...values }) as unknown as Study;
const ids = (record: StudyRecord) => record.findings.map(({ id }) => id);

function recordOf(values: Partial<Study> = {}): StudyRecord {
  const record = new StudyRecord();
  record.study = study(values);
  return record;
}

describe("findings", () => {
  const [low, high] = [
    finding({ id: "low", malignancy_probability: 0.1 }),
    finding({ id: "high", malignancy_probability: 0.9 }),
  ];

  test("a new one is put in order", () => {
    const record = recordOf({ findings: [low] });
    record.add(high);
    expect(ids(record)).toEqual(["high", "low"]);
  });
  test("one is replaced, one removed", () => {
    const record = recordOf({ findings: [high, low] });
    record.replace({ ...low, verdict: "accept" });
    record.remove(high);
    expect(record.findings).toEqual([{ ...low, verdict: "accept" }]);
  });
  test("of readers only, while the model's are hidden", () => {
    const mark = finding({ id: "mark", origin: "reader" });
    const record = recordOf({ findings: [high, mark] });
    expect(record.shown(true)).toEqual([mark]);
    expect(record.shown(false)).toEqual([high, mark]);
  });
  test("none of no study", () => {
    const record = new StudyRecord();
    record.replace(low);
    expect([record.findings, record.largestSeries, record.series("1.2")]).toEqual([[], null, null]);
  });
});

test("the series with the most images", () => {
  const record = recordOf({
    series: [
      seriesItem({ series_instance_uid: "1", instance_count: 3 }),
      seriesItem({ series_instance_uid: "2", instance_count: 9 }),
    ],
  });
  expect(record.largestSeries).toBe("2");
  expect(record.series("1")?.instance_count).toBe(3);
});

describe("refresh", () => {
  test.each([
    ["settled", "analysing", "analysed", true],
    ["still in progress", "queued", "analysing", false],
    ["settled before", "analysed", "analysed", false],
  ] as const)("%s", async (_name, before, after, isSettled) => {
    const record = recordOf({ state: before });
    const news = await record.refresh(async () => study({ state: after, accession_number: "A-1" } as Partial<Study>));
    expect(news?.isSettled).toBe(isSettled);
    expect(record.study?.state).toBe(after);
  });
  test("no news", async () => {
    const record = recordOf();
    expect(await record.refresh(async () => study())).toBeNull();
  });
  test("an answer that a change overtook is dropped", async () => {
    const record = recordOf();
    const news = await record.refresh(async () => {
      record.add(finding({ id: "new" }));
      return study({ state: "failed" });
    });
    expect(news).toBeNull();
    expect(ids(record)).toEqual(["new"]);
  });
  test("of two answers the later request counts", async () => {
    const record = recordOf();
    const answers: ((study: Study) => void)[] = [];
    const read = () => new Promise<Study>((resolve) => answers.push(resolve));
    const [first, second] = [record.refresh(read), record.refresh(read)];
    answers[1]?.(study({ state: "failed" }));
    answers[0]?.(study({ state: "queued" }));
    expect([await first, (await second)?.study.state]).toEqual([null, "failed"]);
    expect(record.study?.state).toBe("failed");
  });
});

test.each([
  ["held", "not_analysed", "scanner_held", true],
  ["another reason", "not_analysed", "not_ct", false],
  ["another state", "analysed", "scanner_held", false],
] as const)("scanner held: %s", (_name, state, code, expected) => {
  expect(isHeld(study({ state, reasons: [{ code, text: "" }] }))).toBe(expected);
});
