// The live half of the chat page. The page works without it; with it, answers stream and survive the death of an agent.
import { Stream } from "./chat-stream.js";
import { Turns } from "./chat-turns.js";

const chat = document.getElementById("chat");
const composer = document.getElementById("composer");
const text = document.getElementById("text");
const banner = document.getElementById("banner");
const conversation = chat.dataset.conversation;
const csrf = composer.elements._csrf.value;
const draft = `draft:${"fresh" in chat.dataset ? "new" : conversation}`;
const turns = new Turns(document.getElementById("turns"), conversation, () => stream.tries);

const stream = new Stream(conversation, {
  event: (event) => {
    document.dispatchEvent(new CustomEvent("nexus:event", { detail: event }));
    if (event.type === "waiting_for_store") say(`Waiting for ${event.store}: what you sent is kept.`);
    else if (event.type === "store_back") say("");
    else turns.apply(event);
  },
  connected: (yes) => say(yes ? "" : "Connection lost, reconnecting…"),
});

function say(words, bad = false) {
  banner.textContent = words;
  banner.hidden = !words;
  banner.classList.toggle("bad", bad);
}

// Sending: the same client_id however often it is tried, so it is one message. Only 4xx ends the tries.
async function post(words, clientId) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await fetch(`/api/v1/conversations/${conversation}/messages?try=${stream.tries + tries}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": csrf },
        body: JSON.stringify({ text: words, client_id: clientId, create: "fresh" in chat.dataset }),
      });
      const body = await answer.json();
      if (answer.ok) return body;
      if (answer.status < 500 && answer.status !== 429) throw new Refused(body.detail || body.title);
      say(`${body.detail || body.title} Trying again…`);
    } catch (error) {
      if (error instanceof Refused) throw error;
      say("Nexus does not answer. Your message is kept and sent again…");
    }
    await new Promise((done) => setTimeout(done, Math.min(4000, 300 * 2 ** tries)));
  }
}

class Refused extends Error {}

async function send(words) {
  const clientId = composer.elements.client_id.value;
  composer.elements.client_id.value = crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`;
  text.value = "";
  grow();
  try {
    const accepted = await post(words, clientId);
    say("");
    localStorage.removeItem(draft);
    turns.ensure(accepted.turn, words, accepted.state);
    if ("fresh" in chat.dataset) {
      delete chat.dataset.fresh;
      document.getElementById("empty")?.remove();
      history.replaceState(null, "", `/c/${conversation}`);
      htmx.ajax("GET", `/c/${conversation}/listing`, { target: "#listing", swap: "outerHTML" });
    }
    if (!stream.open) stream.connect(accepted.cursor);
    window.scrollTo({ top: document.body.scrollHeight });
  } catch (error) {
    text.value = words;
    grow();
    say(error.message, true);
  }
}

function stopFirst() {
  const turn = turns.firstUnfinished();
  if (!turn) return;
  const url = `/api/v1/conversations/${conversation}/turns/${turn}/cancel?try=${stream.tries}`;
  fetch(url, { method: "POST", headers: { "X-CSRFToken": csrf } }).catch(() => say("Stop did not get through; try again."));
}

function grow() {
  text.rows = Math.min(12, text.value.split("\n").length);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (text.value.trim()) send(text.value);
  else say("The message is empty; write something first.", true);
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
text.addEventListener("input", () => {
  grow();
  localStorage.setItem(draft, text.value);
});
document.addEventListener("keydown", (event) => event.key === "Escape" && stopFirst());
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches(".stop")) {
    event.preventDefault();
    stopFirst();
  } else if (form.matches(".again")) {
    event.preventDefault();
    send(form.elements.text.value);
  }
});
document.addEventListener("click", (event) => {
  const example = event.target.closest(".example");
  if (example) send(example.dataset.text);
  const copy = event.target.closest(".copy");
  if (copy) navigator.clipboard?.writeText(copy.parentElement.querySelector("code").textContent);
});

text.value ||= localStorage.getItem(draft) || "";
grow();
turns.decorate(document);
if (!("fresh" in chat.dataset)) {
  stream.connect(chat.dataset.cursor);
  scrollTo({ top: document.body.scrollHeight });
}
