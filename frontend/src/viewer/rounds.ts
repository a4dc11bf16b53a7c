// From study to study: back to the worklist as it was left, or on to what is to be read next in it.
import { getJson, postJson } from "../../../webapp/static/http.js";
import { remembered } from "./dom";

type Listed = { study_instance_uid: string; state: string };

const LOOKED_AT = 10; // studies that are still being received are passed over
// Parameters of the worklist that filter or order it; the API refuses any other.
const FILTERS = ["q", "state", "reviewed", "date_from", "date_to", "min_probability", "max_probability", "sort"];

// What the worklist showed when it was left (`worklist.js`).
const leftAt = (): URLSearchParams => new URLSearchParams(remembered("worklist") ?? "");

export function goBack(): void {
  const search = leftAt().toString();
  location.assign(search ? `/worklist?${search}` : "/worklist");
}

// This study is dealt with: on to the next one that is to be read, in the order and by the filters of the worklist.
export async function finish(studyUid: string): Promise<void> {
  await postJson(`/api/v1/studies/${studyUid}/review`, { reviewed: true });
  const asked = leftAt();
  for (const name of [...asked.keys()]) if (!FILTERS.includes(name)) asked.delete(name);
  asked.set("reviewed", "no");
  asked.set("limit", String(LOOKED_AT));
  const { items } = (await getJson(`/api/v1/worklist?${asked}`)) as { items: Listed[] };
  const next = items.find((item) => item.study_instance_uid !== studyUid && item.state !== "receiving");
  if (next) location.assign(`/studies/${next.study_instance_uid}`);
  else goBack();
}
