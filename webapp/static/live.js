// Listens to the server's events and calls back whenever the worklist changed.

/**
 * @param {() => void} onChange
 * @param {(isOn: boolean) => void} [onState]
 */
export function listen(onChange, onState = () => {}) {
  /** @type {number | null} */
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

/** @param {EventTarget | null} target */
export function isTyping(target) {
  const field = 'input:not([type="radio"]):not([type="checkbox"]):not([type="range"]), textarea, select';
  return (target instanceof Element && target.matches(field)) || document.querySelector("dialog[open]") !== null;
}

export function installHelp() {
  const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("[data-help]"));
  const show = () => dialog.showModal();
  document.querySelector("[data-help-open]")?.addEventListener("click", show);
  return show;
}
