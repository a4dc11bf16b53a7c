// From study to study: back to the worklist as it was left, or on to what is to be read next in it.
import type { Worklist } from "../shared/api";
import { getJson, postJson } from "../shared/http";
import { remembered } from "../shared/tab_storage";
import { nextStudy, unreadQuery } from "./next_study";

// Query of the worklist when it was left (`pages/worklist.ts`).
const leftAt = (): URLSearchParams => new URLSearchParams(remembered("worklist") ?? "");

export function goBack(): void {
  const search = leftAt().toString();
  location.assign(search ? `/worklist?${search}` : "/worklist");
}

// This study is dealt with: on to the next one that is to be read, in the order and by the filters of the worklist.
export async function finish(studyUid: string): Promise<void> {
  await postJson(`/api/v1/studies/${studyUid}/review`, { reviewed: true });
  const { items } = await getJson<Worklist>(`/api/v1/worklist?${unreadQuery(leftAt())}`);
  const next = nextStudy(items, studyUid);
  if (next) location.assign(`/studies/${next.study_instance_uid}`);
  else goBack();
}
