// The turns of a conversation on the page. Model text only ever becomes text nodes; rich text comes rendered and
// sanitised from the server once the answer is committed.
const OPENING = new Set(["accepted", "started", "attempt_restarted"]);

export class Turns {
  // `tries` says which agent is asked: the one whose stream is heard, never a frozen one.
  constructor(list, conversation, tries) {
    this.list = list;
    this.conversation = conversation;
    this.tries = tries;
    this.attempts = new Map();
  }

  find(turn) {
    return this.list.querySelector(`[data-turn="${CSS.escape(turn)}"]`);
  }

  firstUnfinished() {
    const open = [...this.list.querySelectorAll('[data-state="running"], [data-state="queued"], [data-state="waiting"]')];
    return open.at(0)?.dataset.turn;
  }

  ensure(turn, words, state = "running") {
    return this.find(turn) || this.list.appendChild(build(turn, words, state));
  }

  apply(event) {
    if (!event.turn) {
      if (event.type === "snapshot") this.reload();
      return;
    }
    if (event.attempt < (this.attempts.get(event.turn) || 0)) return;
    this.attempts.set(event.turn, event.attempt);
    const stay = innerHeight + scrollY > document.body.scrollHeight - 120;
    this[event.type]?.(event, this.ensure(event.turn, OPENING.has(event.type) ? event.text : ""));
    if (stay) scrollTo({ top: document.body.scrollHeight });
  }

  accepted(event, item) {
    if (item.dataset.message) return;
    item.dataset.state = event.queued ? "queued" : "running";
    work(item, event.queued ? "Waiting for a free slot…" : "Thinking…");
  }

  started(event, item) {
    this.begin(item, `${event.agent} is thinking…`);
  }

  begin(item, words) {
    if (item.dataset.message) return;
    item.dataset.state = "running";
    textOf(item).textContent = "";
    work(item, words);
  }

  attempt_restarted(event, item) {
    if (item.dataset.message) return;
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

  token(event, item) {
    if (item.dataset.message) return;
    textOf(item).append(event.text);
    work(item, "");
  }

  snapshot(event, item) {
    if (!item.dataset.message) textOf(item).textContent = event.text;
  }

  retrying(event, item) {
    work(item, `${event.reason} Trying again in ${event.delay_s} s…`);
  }

  done(event, item) {
    this.finish(event, item);
  }

  cancelled(event, item) {
    this.finish(event, item);
  }

  failed(event, item) {
    this.finish(event, item);
  }

  // The stream's text is compared with the committed one; either way the page then shows the committed one.
  async finish(event, item) {
    if (item.dataset.message && item.dataset.message === event.message_id) return;
    const streamed = textOf(item).textContent;
    const same = event.message_id === null || (await matches(streamed, event));
    const losses = item.querySelector(".losses");
    try {
      await htmx.ajax("GET", `/c/${this.conversation}/turns/${event.turn}?try=${this.tries()}`, { target: item, swap: "outerHTML" });
    } catch {
      setTimeout(() => this.finish(event, item), 500);
      return;
    }
    const now = this.find(event.turn);
    if (losses.childElementCount) now?.querySelector(".losses").replaceWith(losses);
    if (now) now.dataset.streamed = same ? "same" : "differed";
    this.decorate(now || document);
  }

  async reload() {
    await htmx.ajax("GET", `/c/${this.conversation}/transcript?try=${this.tries()}`, { target: this.list, swap: "innerHTML" });
    this.decorate(document);
  }

  decorate(within) {
    for (const block of within.querySelectorAll("pre:not(:has(.copy))")) block.prepend(plain("button", "copy", "Copy"));
  }
}

async function matches(text, event) {
  if ([...text].length !== event.length) return false;
  if (!crypto.subtle) return true;
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.startsWith(event.checksum);
}

function textOf(item) {
  return item.querySelector(".assistant .text");
}

function work(item, words) {
  const note = item.querySelector(".working");
  if (!note) return;
  note.querySelector(".working-text").textContent = words;
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
  const item = plain("li", "turn", "");
  item.id = `turn-${turn}`;
  item.dataset.turn = turn;
  item.dataset.state = state;
  const asked = plain("article", "said user", "");
  asked.append(plain("div", "text plain", words));
  const answer = plain("article", "said assistant", "");
  const note = plain("p", "note working", "");
  note.setAttribute("role", "status");
  note.append(plain("span", "pulse", ""), plain("span", "working-text", "Thinking…"));
  const stop = plain("form", "stop", "");
  stop.append(plain("button", "quiet-button", "Stop"));
  answer.append(plain("div", "losses", ""), plain("div", "text plain", ""), note, stop);
  item.append(asked, answer);
  return item;
}
