// The server's events: calls back whenever the worklist has changed.
export function listen(onChange: () => void, onState: (isOn: boolean) => void = () => undefined): void {
  let version: number | null = null;
  const source = new EventSource("/events");
  source.addEventListener("worklist", (event) => {
    const latest: number = JSON.parse(event.data).version;
    if (version !== null && latest !== version) onChange();
    version = latest;
    onState(true);
  });
  source.addEventListener("open", () => onState(true));
  source.addEventListener("error", () => onState(source.readyState !== EventSource.CLOSED && version !== null));
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}
