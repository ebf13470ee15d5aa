// Requests that outlive the agent they were sent to: asked again, of whoever is alive, until one is answered.
const FIRST_PATIENCE_MS = 700;
const LONGEST_PATIENCE_MS = 10_000;
const LONGEST_PAUSE_MS = 4000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// A frozen agent accepts a request and never answers: the first one waits for it briefly, later ones longer.
const patience = (tries) => Math.min(LONGEST_PATIENCE_MS, FIRST_PATIENCE_MS * 2 ** tries);
const pause = (tries) => new Promise((done) => setTimeout(done, Math.min(LONGEST_PAUSE_MS, 250 * 2 ** tries)));

// Return the answer to a request; only 4xx (but 429) ends the tries: it throws Refused with the server's sentence.
export async function untilAnswered(url, options, saying = () => {}) {
  for (let tries = 0; ; tries++) {
    let why = "Nexus does not answer.";
    try {
      const answer = await fetch(url(tries), { ...options, signal: AbortSignal.timeout(patience(tries)) });
      if (answer.ok) return answer;
      const problem = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
      why = problem.detail || problem.title || why;
      if (answer.status < 500 && answer.status !== 429) throw new Refused(answer.status, why);
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    saying(why);
    await pause(tries);
  }
}

// Return a piece of HTML the server rendered, or null when there is none (any more). `HX-Request` makes a signed-out
// browser get a 401 instead of the login page.
export async function readUntilAnswered(url) {
  try {
    const answer = await untilAnswered(url, { headers: { Accept: "text/html", "HX-Request": "true" } });
    const made = document.createElement("template");
    made.innerHTML = await answer.text();
    return made.content;
  } catch {
    return null;
  }
}
