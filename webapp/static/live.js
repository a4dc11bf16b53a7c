// Listens to the server's events and calls back whenever the worklist changed.
export function listen(onChange, onState = () => {}) {
  let version = null;
  const source = new EventSource("/events");
  source.addEventListener("worklist", (event) => {
    const latest = JSON.parse(event.data).version;
    if (version !== null && latest !== version) onChange();
    version = latest;
    onState(true);
  });
  source.addEventListener("open", () => onState(true));
  source.addEventListener("error", () => onState(source.readyState !== EventSource.CLOSED && version !== null));
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

export function isTyping(target) {
  return target.matches?.('input:not([type="radio"]):not([type="checkbox"]):not([type="range"]), textarea, select') || document.querySelector("dialog[open]") !== null;
}

export function installHelp() {
  const dialog = document.querySelector("[data-help]");
  document.querySelector("[data-help-open]")?.addEventListener("click", () => dialog.showModal());
  return () => dialog.showModal();
}
