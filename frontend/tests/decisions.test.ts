// Verdicts on their way to the server, and drafts until it has them.
import { beforeEach, describe, expect, test } from "vitest";
import { DraftStore } from "../src/shared/drafts";
import { type Decision, Decisions } from "../src/viewer/decisions";
import type { Assessment, Finding } from "../src/viewer/types";
import { finding } from "./records";

interface Request {
  id: string;
  decision: Decision;
  answer(): void;
  fail(message: string): void;
}

const accept: Decision = { verdict: "accept", reason: "Nodule", comment: "" };
const assessment = (values: Partial<Assessment> = {}): Assessment => ({
  ...accept,
  reader: "anna",
  reader_name: "Anna",
  created_at: "2026-01-01T00:00:00.000Z",
  size: null,
  ...values,
});

let requests: Request[];
let saved: string[];
let failures: string[];
let drafts: DraftStore;
let decisions: Decisions;

// A server that answers when the test says so.
function save(id: string, decision: Decision): Promise<Finding> {
  return new Promise((resolve, reject) => {
    requests.push({
      id,
      decision,
      answer: () => resolve(finding({ id, verdict: decision.verdict })),
      fail: (message) => reject(new Error(message)),
    });
  });
}

const turn = () => new Promise((resolve) => setTimeout(resolve)); // all that is due has run
const sent = () => requests.map(({ id, decision }) => `${id} ${decision.verdict} ${decision.comment}`.trim());

beforeEach(() => {
  [requests, saved, failures] = [[], [], []];
  drafts = new DraftStore("1.2", "anna", null);
  decisions = new Decisions(drafts, {
    save,
    changed: ({ id }) => saved.push(id),
    failed: ({ message }) => failures.push(message),
    redraw: () => undefined,
  });
});

describe("sending", () => {
  test("a verdict is a draft until the server has it", async () => {
    const done = decisions.send("f1", accept, "");
    expect(decisions.draft("f1")).toMatchObject({ verdict: "accept", isPending: true });
    await turn();
    requests[0]?.answer();
    await done;
    expect([decisions.unsaved, saved]).toEqual([[], ["f1"]]);
  });

  test("verdicts go one after the other, in their order", async () => {
    void decisions.send("f1", accept, "");
    void decisions.send("f2", { ...accept, verdict: "reject" }, "");
    await turn();
    expect(sent()).toEqual(["f1 accept"]);
    requests[0]?.answer();
    await turn();
    expect(sent()).toEqual(["f1 accept", "f2 reject"]);
  });

  test("a refusal keeps the draft with its reason, and the next one is sent", async () => {
    void decisions.send("f1", accept, "");
    void decisions.send("f2", accept, "");
    await turn();
    requests[0]?.fail("no network");
    await turn();
    requests[1]?.answer();
    await decisions.settled;
    expect(decisions.draft("f1")).toMatchObject({ error: "no network", isPending: false });
    expect([failures, saved, decisions.unsaved]).toEqual([["no network"], ["f2"], ["f1"]]);
  });

  test.each([
    ["answered", (request: Request) => request.answer()],
    ["refused", (request: Request) => request.fail("too late")],
  ])("an earlier verdict that is %s takes nothing from a later one", async (_name, finish) => {
    void decisions.send("f1", accept, "");
    void decisions.send("f1", { ...accept, verdict: "unsure" }, "");
    await turn();
    finish(requests[0] as Request);
    await turn();
    expect(decisions.draft("f1")).toMatchObject({ verdict: "unsure", error: "", isPending: true });
  });

  test("a comment that was typed meanwhile stays unsaved", async () => {
    const done = decisions.send("f1", accept, "");
    await turn();
    decisions.type("f1", "spiculated", null);
    requests[0]?.answer();
    await done;
    expect(decisions.draft("f1")).toMatchObject({ comment: "spiculated", error: "", isPending: false });
  });

  test("saving waits for what is on its way and sends the comment", async () => {
    void decisions.send("f1", accept, "");
    await turn();
    decisions.type("f1", "spiculated", null);
    const done = decisions.save("f1");
    await turn();
    expect(sent()).toEqual(["f1 accept"]);
    requests[0]?.answer();
    await turn();
    expect(sent()).toEqual(["f1 accept", "f1 accept spiculated"]);
    requests[1]?.answer();
    await done;
    expect(decisions.unsaved).toEqual([]);
  });

  test("nothing to save sends nothing", async () => {
    await decisions.save("f1");
    expect(requests).toEqual([]);
  });
});

describe("typing", () => {
  test.each<[string, Assessment | null, string, string | null]>([
    ["no verdict yet: nothing to comment on", null, "text", null],
    ["a comment on a verdict", assessment(), "text", "text"],
    ["the comment that the server has", assessment({ comment: "text" }), "text", null],
    ["an emptied comment", assessment({ comment: "text" }), "", ""],
  ])("%s", (_name, own, comment, expected) => {
    decisions.type("f1", comment, own);
    expect(decisions.draft("f1")?.comment ?? null).toBe(expected);
  });

  test.each([
    ["as the server has it", assessment(), []],
    ["another verdict", assessment({ verdict: "reject" }), ["f1"]],
    ["another comment", assessment({ comment: "more" }), ["f1"]],
    ["none", null, ["f1"]],
  ])("a draft is compared with the server's: %s", (_name, own, unsaved) => {
    drafts.put("f1", { ...accept, error: "no network", isPending: false });
    decisions.compare("f1", own);
    expect(decisions.unsaved).toEqual(unsaved);
  });

  test.each<[string, Assessment | null, string | null, Partial<Decision>]>([
    ["to a finding without a verdict", null, null, { verdict: "accept", comment: "lost" }],
    [
      "after the comment that is there",
      assessment({ verdict: "reject", reason: "Scar", comment: "old" }),
      null,
      { verdict: "reject", reason: "Scar", comment: "old lost" },
    ],
    ["after the comment that is being written", assessment(), "typed", { comment: "typed lost" }],
  ])("a comment is moved %s", (_name, own, typed, expected) => {
    drafts.put("old", { ...accept, reason: "", comment: "lost", error: "", isPending: false });
    if (typed) decisions.type("f1", typed, own);
    decisions.move("old", "f1", own);
    expect(decisions.draft("f1")).toMatchObject(expected);
    expect(decisions.unsaved).toEqual(["f1"]);
  });
});
