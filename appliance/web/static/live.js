// A page that keeps itself up to date says whether it does: silence is told in words, never shown as the present.
const SILENCE_MS = 2500;
const ENDS_WITHIN_MS = 300;
const region = document.querySelector("[data-live-region]");
const sign = document.querySelector("#live");
let heard = performance.now(); // the last message
let tried = heard; // the last connection, or attempt at one

function show(state, words) {
  if (region.dataset.live === state) return;
  region.dataset.live = state;
  const said = document.createElement("span");
  said.className = "state";
  said.dataset.state = state;
  said.textContent = words;
  sign.replaceChildren(said);
}

// A new connection, whatever the old one hangs in: silence, a request without an answer, a swap that never ends. The old
// one is told to end and not to come back by itself; if it cannot hear that, it is forgotten.
function reconnect() {
  tried = performance.now();
  const old = region._htmx?.sse;
  if (old) {
    old.config.reconnect = false;
    old.reader?.cancel();
    old.abortController?.abort();
  }
  setTimeout(() => {
    if (region._htmx) delete region._htmx.sse;
    region.dispatchEvent(new Event("reconnect"));
  }, ENDS_WITHIN_MS);
}

region.addEventListener("htmx:sse:after:connection", () => { tried = performance.now(); });
region.addEventListener("htmx:sse:before:message", () => {
  heard = performance.now();
  show("live", "live");
});
region.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401) location.reload();
});
document.addEventListener("visibilitychange", () => { heard = tried = performance.now(); });
// A stream that stays silent although the page can be had: then the page is read again, now and then, until it speaks.
async function readAgain() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(SILENCE_MS) });
    const page = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page && page.querySelector("[data-live-region]");
    if (now && performance.now() - heard > SILENCE_MS) region.replaceChildren(...now.childNodes);
    if (now) htmx.process(region);
  } catch {
    // nobody answers at all: the sign says so already
  }
}

setInterval(() => {
  const now = performance.now();
  if (document.hidden || now - heard < SILENCE_MS) return;
  const at = new Date(Date.now() - (now - heard)).toLocaleTimeString();
  show("lost", `connection lost: this is how it was at ${at}; trying again`);
  if (now - tried > SILENCE_MS) {
    reconnect();
    if (now - heard > 2 * SILENCE_MS) readAgain();
  }
}, 500);
