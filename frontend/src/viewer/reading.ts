// "Hide the model until I have read": the choice, and the log of reading times for the audit trail.
import { postJson } from "../../../webapp/static/http.js";
import { remembered } from "./dom";

const COOKIE = "lungnode_hide_model";
const YEAR_S = 31_536_000;

type Happened = "opened" | "revealed" | "closed";

export class Reading {
  isHidden: boolean;
  private startedAt: number | null = null;
  private seen = 0; // milliseconds on the screen before the page was last hidden

  constructor(private readonly studyUid: string, private readonly mayDecide: boolean, isHidden: boolean) {
    this.isHidden = isHidden && remembered(`revealed ${studyUid}`) !== "yes";
    document.addEventListener("visibilitychange", () => this.onVisibility());
    addEventListener("pagehide", () => this.log("closed"));
  }

  // The first image is on the screen: the reading begins.
  begin(): void {
    if (this.startedAt !== null) return;
    this.startedAt = performance.now();
    this.log("opened");
  }

  // The reader has read without the model, and asks for it now.
  reveal(): void {
    this.log("revealed");
    this.isHidden = false;
    remembered(`revealed ${this.studyUid}`, "yes");
  }

  // Choose for this and all later studies. The server reads the cookie, so that nothing is sent to be hidden.
  choose(isHidden: boolean): void {
    document.cookie = `${COOKIE}=${isHidden ? "yes" : "no"}; path=/; max-age=${YEAR_S}; SameSite=Strict`;
    if (this.isHidden && !isHidden) this.reveal();
    else this.isHidden = isHidden;
    if (isHidden) remembered(`revealed ${this.studyUid}`, "no");
  }

  private get seconds(): number {
    return (this.seen + (this.startedAt === null || document.hidden ? 0 : performance.now() - this.startedAt)) / 1000;
  }

  private onVisibility(): void {
    if (this.startedAt === null) return;
    if (document.hidden) this.seen += performance.now() - this.startedAt;
    else this.startedAt = performance.now();
  }

  private log(event: Happened): void {
    if (!this.mayDecide || this.startedAt === null) return;
    const seconds = Math.round(this.seconds * 10) / 10;
    postJson(`/api/v1/studies/${this.studyUid}/readings`, { event, model_hidden: this.isHidden, seconds }, { keepalive: event === "closed" })
      .catch(() => undefined); // the reader reads on; what cannot be logged is no reason to stop
  }
}
