// Entry of the viewer's page.
import { listen } from "../shared/live";
import { Viewer } from "../viewer/viewer";

const viewer = new Viewer();
const report = (error: Error) => viewer.pane.say(error.message);

viewer.start().catch(report);
listen(() => {
  viewer.refresh().catch(report);
});
