// The live half of the chat page. The page works without it; with it, answers stream and survive the death of an agent.
import { Refused, readUntilAnswered, untilAnswered } from "./chat-fetch.js";
import { Stream } from "./chat-stream.js";
import { Turns } from "./chat-turns.js";

const chat = document.getElementById("chat");
const composer = document.getElementById("composer");
const text = document.getElementById("text");
const banner = document.getElementById("banner");
const conversation = chat.dataset.conversation;
const csrf = composer.elements._csrf.value;
const draft = () => `draft:${isFresh() ? "new" : conversation}`;
const turns = new Turns(document.getElementById("turns"), conversation, () => stream.tries);
// What the banner could say; the first that has words is shown, so a sent message does not hide that Redis is away.
const news = { refused: "", sending: "", connection: "", store: "" };
let sent = Promise.resolve();

const stream = new Stream(conversation, {
  event: (event) => {
    document.dispatchEvent(new CustomEvent("nexus:event", { detail: event }));
    if (event.type === "waiting_for_store") say("store", `Waiting for ${event.store}: what you sent is kept.`);
    else if (event.type === "store_back") say("store", "");
    else turns.apply(event);
    if (event.type === "done") showReminders(event.turn);
  },
  connected: (yes) => {
    say("connection", yes ? "" : "Connection lost, reconnecting…");
    if (yes) say("store", ""); // an agent that cannot reach it says so again
  },
  refused: async () => {
    try {
      await untilAnswered(() => `/api/v1/conversations/${conversation}?try=${stream.tries}`);
    } catch (error) {
      stream.close();
      const signedOut = "You are signed out. Your draft is kept; sign in and open this page again.";
      say("refused", error.status === 401 ? signedOut : error.message);
    }
  },
});

// They come and go with turns: with commands, and with any turn while there are some.
async function showReminders(turn) {
  const list = document.getElementById("reminders");
  const asked = turns.find(turn)?.querySelector(".user .text").textContent || "";
  if (!list.childElementCount && !asked.startsWith("/")) return;
  const page = await readUntilAnswered(() => `/reminders?conversation=${conversation}&try=${stream.tries}`);
  if (page) list.replaceChildren(page);
}

function isFresh() {
  return "fresh" in chat.dataset;
}

function say(what, words) {
  news[what] = words;
  const now = Object.values(news).find(Boolean) || "";
  banner.textContent = now;
  banner.hidden = !now;
  banner.classList.toggle("bad", Boolean(news.refused));
}

function newId() {
  return globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

function post(path, body, saying) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": csrf };
  const url = (tries) => `/api/v1/conversations/${conversation}/${path}?try=${stream.tries + tries}`;
  return untilAnswered(url, { method: "POST", headers, body: JSON.stringify(body) }, saying);
}

// One message after the other, each with the same client_id however often it is tried, so it is one message.
function send(words) {
  say("refused", "");
  const clientId = composer.elements.client_id.value;
  composer.elements.client_id.value = newId();
  keepDraft({ text: words, clientId });
  write("");
  document.getElementById("empty")?.setAttribute("hidden", "");
  const item = turns.sending(words);
  sent = sent.then(() => deliver(words, clientId, item));
}

async function deliver(words, clientId, item) {
  try {
    const body = { text: words, client_id: clientId, create: isFresh() };
    const answer = await post("messages", body, (why) => say("sending", `${why} Your message is kept and sent again…`));
    const accepted = await answer.json();
    if (!text.value) localStorage.removeItem(draft());
    turns.accept(item, accepted);
    if (isFresh()) settle();
    if (!stream.open) stream.connect(accepted.cursor);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    item.remove();
    if (isFresh()) document.getElementById("empty")?.removeAttribute("hidden");
    if (!text.value) write(words);
    say("refused", error.message);
  } finally {
    say("sending", "");
  }
}

// The first message made this a conversation: its address, its place in the list and its title.
async function settle() {
  delete chat.dataset.fresh;
  localStorage.removeItem("draft:new");
  if (text.value) keepDraft({ text: text.value });
  document.getElementById("empty")?.remove();
  history.replaceState(null, "", `/c/${conversation}`);
  const page = await readUntilAnswered(() => `/c/${conversation}?try=${stream.tries}`);
  if (!page) return;
  document.getElementById("listing").replaceWith(page.getElementById("listing"));
  document.getElementById("turns").before(page.querySelector(".thread-head"));
  document.title = page.querySelector("title").textContent;
}

function stop(turn) {
  if (!turn) return;
  post(`turns/${turn}/cancel`, {}, (why) => say("sending", `${why} Stopping is tried again…`))
    .catch((error) => say("refused", error.message))
    .finally(() => say("sending", ""));
}

function answer(form, button) {
  for (const it of form.querySelectorAll("button")) it.disabled = true;
  post(`questions/${form.dataset.question}`, { answer: button.value }, (why) => say("sending", `${why} Your choice is sent again…`))
    .then(() => form.remove())
    .catch((error) => say("refused", error.message))
    .finally(() => say("sending", ""));
}

function keepDraft(value) {
  try {
    localStorage.setItem(draft(), JSON.stringify(value));
  } catch {
    // no room, or none allowed: the text is still in the page
  }
}

function restoreDraft() {
  try {
    const kept = JSON.parse(localStorage.getItem(draft())) || {};
    text.value ||= kept.text || "";
    if (kept.clientId) composer.elements.client_id.value = kept.clientId;
  } catch {
    localStorage.removeItem(draft());
  }
}

function write(words) {
  text.value = words;
  grow();
}

// The clipboard API exists only over https and on localhost; a selection can be copied everywhere.
function copyCode(button, code) {
  getSelection().selectAllChildren(code);
  button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
}

function grow() {
  text.rows = Math.min(12, text.value.split("\n").length);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (text.value.trim()) send(text.value);
  else say("refused", "The message is empty; write something first.");
});
// On a phone's keyboard there is no Shift+Enter: there Enter is a new line and the button sends.
const byFinger = matchMedia("(pointer: coarse)");
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !byFinger.matches) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
text.addEventListener("input", () => {
  grow();
  // Other words are another message.
  composer.elements.client_id.value = newId();
  keepDraft({ text: text.value });
});
document.addEventListener("keydown", (event) => event.key === "Escape" && stop(turns.unfinished()[0]?.dataset.turn));
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches(".stop, .again, .question")) return;
  event.preventDefault();
  if (form.matches(".question")) return answer(form, event.submitter);
  if (form.matches(".stop")) stop(form.closest(".turn").dataset.turn);
  else send(form.elements.text.value);
});
document.addEventListener("click", (event) => {
  const example = event.target.closest(".example");
  if (example) send(example.dataset.text);
  const copy = event.target.closest(".copy");
  if (copy) copyCode(copy, copy.parentElement.querySelector("code"));
});

restoreDraft();
grow();
turns.decorate(document);
if (!isFresh()) {
  stream.connect(chat.dataset.cursor);
  scrollTo({ top: document.body.scrollHeight });
}
