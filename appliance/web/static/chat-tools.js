// Calls of tools in a turn, and what its user is asked about them. Everything that comes from a model becomes text nodes.

const WORDS = {
  running: "at work", asked: "asks you", unknown: "unknown outcome", denied: "not called", failed: "failed",
  done: "done", stopped: "stopped",
};

export function showTool(item, tool) {
  const list = item.querySelector(".tools");
  list.hidden = false;
  let line = list.querySelector(`[data-tool="${tool.no}"]`);
  if (!line) {
    line = document.getElementById("tool-template").content.firstElementChild.cloneNode(true);
    line.dataset.tool = tool.no;
    list.append(line);
  }
  line.dataset.state = tool.state;
  put(line, "name", tool.name);
  put(line, "doing", WORDS[tool.state] || tool.state);
  put(line, "agent", tool.agent);
  put(line, "seconds", tool.seconds ? `${tool.seconds.toFixed(1)} s` : "");
  put(line, "input", JSON.stringify(tool.input));
  put(line, "found", tool.text || "");
}

export function showQuestion(item, question, conversation) {
  const place = item.querySelector(".questions");
  if (place.querySelector(`[data-question="${CSS.escape(question.id)}"]`)) return;
  const made = document.getElementById(`question-template-${question.about ? 1 : 0}`).content.firstElementChild.cloneNode(true);
  made.dataset.question = question.id;
  made.action = `/c/${conversation}/questions/${question.id}`;
  put(made, "name", question.tool);
  put(made, "input", JSON.stringify(question.input));
  place.append(made);
}

export function closeQuestions(item) {
  item.querySelector(".questions").replaceChildren();
}

function put(within, name, words) {
  const place = within.querySelector(`.${name}`);
  if (place.textContent !== words) place.textContent = words;
}
