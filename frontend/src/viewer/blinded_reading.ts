// "Hide the model until I have read": the choice, and the log of reading times for the audit trail.
import type { ReadingEvent } from "../shared/api";
import { askForModel, postJson } from "../shared/http";
import { setReadFirst } from "../shared/preferences";
import { remembered } from "../shared/tab_storage";
import { VisibleTime } from "./visible_time";

export class BlindedReading {
  isHidden: boolean;
  private readonly time = new VisibleTime();

  constructor(
    private readonly studyUid: string,
    private readonly mayDecide: boolean,
    isHidden: boolean,
  ) {
    this.isHidden = isHidden && remembered(`revealed ${studyUid}`) !== "yes";
    askForModel(!this.isHidden);
    document.addEventListener("visibilitychange", () => this.time.setVisible(!document.hidden, performance.now()));
    addEventListener("pagehide", () => this.log("closed"));
  }

  // The first image is on the screen: the reading begins.
  begin(): void {
    if (this.time.hasStarted) return;
    this.time.start(performance.now(), !document.hidden);
    this.log("opened");
  }

  // The reader has read without the model, and asks for it now.
  reveal(): void {
    this.log("revealed");
    this.isHidden = false;
    askForModel();
    remembered(`revealed ${this.studyUid}`, "yes");
  }

  // Choose for this and all later studies.
  choose(isHidden: boolean): void {
    setReadFirst(isHidden);
    if (this.isHidden && !isHidden) this.reveal();
    else this.isHidden = isHidden;
    askForModel(!this.isHidden);
    if (isHidden) remembered(`revealed ${this.studyUid}`, "no");
  }

  private log(event: ReadingEvent): void {
    if (!this.mayDecide || !this.time.hasStarted) return;
    const seconds = this.time.seconds(performance.now());
    postJson(
      `/api/v1/studies/${this.studyUid}/readings`,
      { event, model_hidden: this.isHidden, seconds },
      { keepalive: event === "closed" },
    ).catch(() => undefined); // the reader reads on; what cannot be logged is no reason to stop
  }
}
