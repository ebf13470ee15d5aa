// One conversation's events over whatever agents are alive (PROTOCOLS 6.6, 8): the cursor says what was seen, `try` picks
// the agent. Only silence, a failed connection or an agent that is being stopped raises `try`, so a healthy conversation
// stays where it is.
const SILENCE_MS = 2500;
// A healthy agent answers a new connection at once; a frozen one accepts it and never does.
const OPENING_MS = 400;
const RECONNECT_MS = 100;
const SHOW_AFTER_MS = 700;
const ASK_WHY_AFTER = 4;
const TYPES = ["accepted", "started", "attempt_restarted", "route", "token", "snapshot", "retrying", "done", "cancelled",
  "failed", "plan", "child", "limit", "recalled", "tool", "question", "answered", "waiting_for_store", "store_back", "moving", "ping"];

export class Stream {
  constructor(conversation, handlers) {
    this.conversation = conversation;
    this.handlers = handlers;
    this.cursor = "";
    this.tries = Number(new URLSearchParams(location.search).get("try") || 0);
    this.source = null;
    this.heard = 0;
    this.lostAt = 0;
    this.delay = RECONNECT_MS;
    this.failures = 0;
    this.patience = SILENCE_MS;
    this.wanted = false;
    setInterval(() => this.watch(), 100);
    document.addEventListener("visibilitychange", () => this.wanted && this.connect());
  }

  get open() {
    return this.wanted;
  }

  close() {
    this.wanted = false;
    this.lostAt = 0;
    this.hangUp();
  }

  hangUp() {
    this.source?.close();
    this.source = null;
  }

  // Over plain http a browser has six connections for all tabs, so a tab nobody sees holds none: the cursor keeps its place.
  connect(cursor) {
    if (cursor !== undefined) this.cursor = cursor;
    this.wanted = true;
    this.hangUp();
    if (document.hidden) return;
    const query = new URLSearchParams({ cursor: this.cursor, try: this.tries });
    const source = new EventSource(`/c/${this.conversation}/events?${query}`);
    this.source = source;
    this.heard = performance.now();
    let opened = false;
    source.onopen = () => {
      opened = true;
      if (source !== this.source) return;
      this.heard = performance.now();
      this.patience = SILENCE_MS;
      this.lostAt = 0;
      this.handlers.connected(true);
    };
    source.onerror = () => {
      if (source !== this.source) return;
      source.close();
      if (!opened) {
        this.tries += 1;
        this.delay = Math.min(2000, this.delay * 2);
        // EventSource does not say why: signed out and gone look like an agent that is away.
        if (++this.failures % ASK_WHY_AFTER === 0) this.handlers.refused();
      }
      this.lost();
      setTimeout(() => source === this.source && this.connect(), this.delay);
    };
    for (const type of TYPES) source.addEventListener(type, (event) => source === this.source && this.receive(type, event));
  }

  receive(type, message) {
    this.heard = performance.now();
    this.delay = RECONNECT_MS;
    this.failures = 0;
    if (type === "ping") return;
    if (type === "moving") {
      this.tries += 1;
      this.connect(); // nothing was lost, so nothing is said
      return;
    }
    const event = JSON.parse(message.data);
    if (event.cursor && !this.after(event.cursor)) return;
    this.cursor = event.cursor || this.cursor;
    this.handlers.event(event);
  }

  // An event at or before the cursor was seen already; another generation begins again.
  after(cursor) {
    const [generation, ...id] = cursor.split("-");
    const [seen, ...last] = this.cursor.split("-");
    if (generation !== seen) return true;
    const [a, b] = id.map(Number);
    const [c, d] = last.map(Number);
    return a > c || (a === c && b > d);
  }

  watch() {
    if (!this.source) return;
    const now = performance.now();
    if (this.lostAt && now - this.lostAt > SHOW_AFTER_MS) this.handlers.connected(false);
    if (now - this.heard < this.patience) return;
    this.tries += 1;
    this.lost();
    // Each unanswered connection is given longer, so that agents which are merely slow are not asked in circles.
    this.patience = this.patience === SILENCE_MS ? OPENING_MS : Math.min(SILENCE_MS - 1, this.patience * 1.5);
    this.connect();
  }

  lost() {
    this.lostAt ||= performance.now();
  }
}
