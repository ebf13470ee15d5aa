// A page that keeps itself up to date says whether it does: silence is told in words, never shown as the present.
const SILENCE_MS = 2500;
const region = document.querySelector("[data-live-region]");
const sign = document.querySelector("#live");
let heard = performance.now(); // the last message
let tried = heard; // the last connection, or attempt at one
let connection = null;
let cancelled = null; // the reader that was given up last

function show(state, words) {
  if (region.dataset.live === state) return;
  region.dataset.live = state;
  const said = document.createElement("span");
  said.className = "state";
  said.dataset.state = state;
  said.textContent = words;
  sign.replaceChildren(said);
}

function reconnect() {
  tried = performance.now();
  // A silent connection and one that never opened: neither ends by itself. One that was given up, and no other came
  // after it, is as good as none.
  if (connection?.reader && connection.reader !== cancelled) {
    cancelled = connection.reader;
    cancelled.cancel();
  } else region.dispatchEvent(new Event("reconnect"));
}

region.addEventListener("htmx:sse:after:connection", (event) => {
  connection = event.detail.connection;
  tried = performance.now();
});
region.addEventListener("htmx:sse:before:message", () => {
  heard = performance.now();
  show("live", "live");
});
region.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401) location.reload();
});
document.addEventListener("visibilitychange", () => { heard = tried = performance.now(); });
setInterval(() => {
  const now = performance.now();
  if (document.hidden || now - heard < SILENCE_MS) return;
  const at = new Date(Date.now() - (now - heard)).toLocaleTimeString();
  show("lost", `connection lost: this is how it was at ${at}; trying again`);
  if (now - tried > SILENCE_MS) reconnect();
}, 500);
