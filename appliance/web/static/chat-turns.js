// The turns of a conversation on the page. Model text only ever becomes text nodes; rich text comes rendered and
// sanitised from the server once the answer is committed.
import { readUntilAnswered } from "./chat-fetch.js";
import { showChild, showNote, showPlan } from "./chat-team.js";
import { closeQuestions, showQuestion, showTool } from "./chat-tools.js";

const OPENING = new Set(["accepted", "started", "attempt_restarted"]);
const ENDING = new Set(["done", "cancelled", "failed"]);
const UNFINISHED = '[data-state="running"], [data-state="queued"], [data-state="waiting"]';
const NEAR_THE_END_PX = 120;

export class Turns {
  // `tries` says which agent is asked: the one whose stream is heard, never a frozen one.
  constructor(list, conversation, tries) {
    this.list = list;
    this.conversation = conversation;
    this.tries = tries;
    this.attempts = new Map();
    this.ended = new Map();
    this.held = null;
  }

  find(turn) {
    return this.list.querySelector(`[data-turn="${CSS.escape(turn)}"]`);
  }

  unfinished() {
    return [...this.list.querySelectorAll(UNFINISHED)];
  }

  // A message that is on its way: shown at once, adopted by its turn when the server has committed it.
  sending(words) {
    const item = build("", words, "sending");
    work(item, "Sending…");
    this.list.append(item);
    scrollTo({ top: document.body.scrollHeight });
    return item;
  }

  accept(item, accepted) {
    if (item.dataset.turn) return; // its stream was faster
    if (this.find(accepted.turn)) {
      item.remove();
      return;
    }
    adopt(item, accepted.turn, accepted.state);
    if (accepted.state !== "running") work(item, this.waitingWords(item));
  }

  ensure(turn, words) {
    const found = this.find(turn);
    if (found) return found;
    const sent = [...this.list.querySelectorAll('[data-state="sending"]')];
    const item = sent.find((it) => it.querySelector(".user .text").textContent === words);
    return item ? adopt(item, turn, "running") : this.list.appendChild(build(turn, words, "running"));
  }

  waitingWords(item) {
    return this.unfinished()[0] === item ? "Waiting for a free slot…" : "Waiting for the answer before it…";
  }

  apply(event) {
    if (this.held) this.held.push(event);
    else if (event.turn) this.applyToTurn(event);
    else if (event.type === "snapshot") this.reload();
  }

  applyToTurn(event) {
    if (event.attempt < (this.attempts.get(event.turn) || 0)) return;
    this.attempts.set(event.turn, event.attempt);
    const item = this.ensure(event.turn, OPENING.has(event.type) ? event.text : "");
    if (ENDING.has(event.type)) this.finish(event, item);
    else if (!item.dataset.message) keepingTheEnd(() => this[event.type]?.(event, item));
  }

  accepted(event, item) {
    item.dataset.state = event.queued ? "queued" : "running";
    work(item, event.queued ? this.waitingWords(item) : "Thinking…");
  }

  started(event, item) {
    this.begin(item, `${event.agent} is thinking…`);
  }

  begin(item, words) {
    item.dataset.state = "running";
    textOf(item).textContent = "";
    work(item, words);
  }

  attempt_restarted(event, item) {
    closeQuestions(item);
    if (event.answered) {
      this.begin(item, `${event.agent} goes on…`);
      return;
    }
    const partial = textOf(item).textContent;
    const gap = (Math.max(0, event.gap_ms) / 1000).toFixed(1);
    const line = !event.from || event.from === event.agent
      ? `${event.agent} began again, ${gap} s`
      : `${event.from} lost, ${event.agent} took over, ${gap} s`;
    item.querySelector(".losses").append(partial ? folded(line, partial) : plain("p", "loss", line));
    this.begin(item, `${event.agent} is answering anew…`);
  }

  route(event, item) {
    if (event.reason) work(item, event.reason);
  }

  plan(event, item) {
    showPlan(item, event.children, event.note);
    work(item, "Sub-agents are at work…");
  }

  child(event, item) {
    showChild(item, event);
  }

  limit(event, item) {
    showNote(item, event.note);
  }

  // Texts and sources come with the committed answer: what was erased meanwhile is in no event.
  recalled(event, item) {
    const used = (event.memories || []).length;
    const place = item.querySelector(".memories");
    place.hidden = !used;
    place.querySelector("summary").textContent = `Used ${used} ${used === 1 ? "memory" : "memories"}`;
  }

  tool(event, item) {
    showTool(item, event);
    if (event.state === "running") work(item, `${event.name} is at work…`);
  }

  question(event, item) {
    item.dataset.state = "waiting";
    showQuestion(item, event, this.conversation);
    work(item, "Waiting for your choice…");
  }

  answered(event, item) {
    closeQuestions(item);
    work(item, "Going on…");
  }

  token(event, item) {
    textOf(item).append(event.text);
    work(item, "");
  }

  snapshot(event, item) {
    textOf(item).textContent = event.text;
  }

  retrying(event, item) {
    work(item, `${event.reason} Trying again in ${event.delay_s} s…`);
  }

  // The stream's text is compared with the committed one; either way the page then shows the committed one.
  async finish(event, item) {
    if (item.dataset.message && item.dataset.message === event.message_id) return;
    this.ended.set(event.turn, event);
    const same = !event.message_id || (await matches(textOf(item).textContent, event));
    const page = await readUntilAnswered((n) => `/c/${this.conversation}/turns/${event.turn}?try=${this.tries() + n}`);
    const now = page?.querySelector(".turn");
    const old = this.find(event.turn);
    if (!now || !old) return;
    const losses = old.querySelector(".losses");
    if (losses.childElementCount) now.querySelector(".losses").replaceWith(losses);
    now.dataset.streamed = same ? "same" : "differed";
    this.decorate(now);
    keepingTheEnd(() => old.replaceWith(now));
  }

  // Events that come meanwhile are held and told afterwards, so nothing is written into a list that is thrown away.
  async reload() {
    this.held = [];
    const page = await readUntilAnswered((n) => `/c/${this.conversation}/transcript?try=${this.tries() + n}`);
    const sending = this.list.querySelectorAll('[data-state="sending"]');
    if (page) this.list.replaceChildren(page, ...sending);
    this.decorate(this.list);
    const held = this.held;
    this.held = null;
    for (const event of held) this.apply(event);
    for (const item of this.unfinished()) {
      const end = this.ended.get(item.dataset.turn);
      if (end) this.finish(end, item);
    }
  }

  decorate(within) {
    for (const block of within.querySelectorAll(".rich pre:not(.code > pre)")) {
      const frame = plain("div", "code", "");
      block.replaceWith(frame);
      frame.append(block, plain("button", "copy", "Copy"));
    }
  }
}

async function matches(text, event) {
  if ([...text].length !== event.length) return false;
  if (!globalThis.crypto?.subtle) return true;
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.startsWith(event.checksum);
}

// A reader at the end stays at the end; one who scrolled up is left alone.
function keepingTheEnd(change) {
  const atEnd = innerHeight + scrollY > document.body.scrollHeight - NEAR_THE_END_PX;
  change();
  if (atEnd) scrollTo({ top: document.body.scrollHeight });
}

function textOf(item) {
  return item.querySelector(".assistant .text");
}

function work(item, words) {
  const note = item.querySelector(".working-text");
  if (note && note.textContent !== words) note.textContent = words;
}

function adopt(item, turn, state) {
  item.id = `turn-${turn}`;
  item.dataset.turn = turn;
  item.dataset.state = state;
  work(item, "Thinking…");
  return item;
}

function plain(tag, name, words) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = words;
  return made;
}

function folded(line, partial) {
  const made = document.createElement("details");
  made.className = "loss";
  made.append(plain("summary", "", line), plain("div", "partial", partial));
  return made;
}

function build(turn, words, state) {
  const item = document.getElementById("turn-template").content.firstElementChild.cloneNode(true);
  item.querySelector(".user .text").textContent = words;
  return adopt(item, turn, state);
}
