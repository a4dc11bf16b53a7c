// The study to read next: the first unread one, in the order and by the filters of the worklist.
import type { WorklistItem } from "../shared/api";

export type ListedStudy = Pick<WorklistItem, "study_instance_uid" | "state">;

const LIMIT = 10; // studies that are still being received are passed over
// Parameters of the worklist that filter or order it; the API refuses any other.
const FILTERS = ["q", "state", "reviewed", "date_from", "date_to", "min_probability", "max_probability", "sort"];

// The API's query for the unread studies that a worklist page shows.
export function unreadQuery(page: URLSearchParams): URLSearchParams {
  const query = new URLSearchParams([...page].filter(([name]) => FILTERS.includes(name)));
  query.set("reviewed", "no");
  query.set("limit", String(LIMIT));
  return query;
}

// The first study other than this one that is received completely; null where there is none.
export function nextStudy(studies: ListedStudy[], studyUid: string): ListedStudy | null {
  return (
    studies.find(({ study_instance_uid, state }) => study_instance_uid !== studyUid && state !== "receiving") ?? null
  );
}
