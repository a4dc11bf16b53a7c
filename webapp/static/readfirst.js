// "Hide the model until I have read": a choice for all studies. The server reads it, so that nothing is sent to be hidden.
const YEAR_S = 31_536_000;

/** @param {boolean} isChosen */
export function readFirst(isChosen) {
  document.cookie = `lungnode_hide_model=${isChosen ? "yes" : "no"}; path=/; max-age=${YEAR_S}; SameSite=Strict`;
}
