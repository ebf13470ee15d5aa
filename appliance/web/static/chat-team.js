// The sub-agents of a `/multi` turn: one line each, which opens to what it was asked and what it found.
const WORDS = { waiting: "waits", queued: "waits for an agent", running: "works", done: "done", dead: "failed", cancelled: "stopped", skipped: "not begun" };
const POLICIES = { continue: "", retry: "or retry", stop: "or stop" };

export function showPlan(item, children, note) {
  showNote(item, note);
  const list = item.querySelector(".team");
  list.replaceChildren(...children.map((child) => fill(blank(), child)));
  list.hidden = false;
}

// What is said of the whole: who planned it, its limits, and which of them ended it.
export function showNote(item, note) {
  const place = item.querySelector(".team-note");
  place.textContent = note;
  place.hidden = !note;
}

export function showChild(item, child) {
  const list = item.querySelector(".team");
  const line = [...list.children].find((it) => it.dataset.child === child.id);
  if (line) fill(line, child);
}

function blank() {
  return document.getElementById("child-template").content.firstElementChild.cloneNode(true);
}

function fill(line, child) {
  line.dataset.child = child.id;
  line.dataset.state = child.state;
  const waits = child.state === "waiting" && child.after.length;
  put(line, "name", child.id);
  put(line, "role", child.role);
  put(line, "policy", POLICIES[child.on_failure]);
  put(line, "try", child.earlier.length ? `try ${child.earlier.length + 1}` : "");
  put(line, "doing", waits ? `waits for ${child.after.join(", ")}` : WORDS[child.state]);
  put(line, "agent", child.agent);
  put(line, "seconds", child.seconds ? `${child.seconds.toFixed(1)} s` : "");
  put(line, "tokens", child.tokens ? `${child.tokens} tokens` : "");
  put(line, "goal", child.goal);
  put(line, "earlier", child.earlier.map(tried).join("\n"));
  put(line, "found", child.text || child.reason);
  return line;
}

function tried(it, number) {
  return `Try ${number + 1} failed${it.agent ? ` on ${it.agent}` : ""}: ${it.reason}`;
}

function put(line, name, words) {
  const place = line.querySelector(`.${name}`);
  if (place.textContent !== words) place.textContent = words;
}
