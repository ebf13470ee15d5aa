// A log that goes on: new lines at the bottom, held back while paused, the oldest forgotten.
const MOST = 1000;
const list = document.querySelector("#lines");
const said = document.querySelector("#following");
const button = document.querySelector("#pause");
let held = null; // lines that came while paused

function add(html) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.insertAdjacentHTML("beforeend", html);
  while (list.children.length > MOST) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

const { follow, level, text, after } = list.dataset;
const source = new EventSource(`${follow}?${new URLSearchParams({ level, text, after })}`);
source.onopen = () => { said.textContent = "following"; };
source.onerror = () => { said.textContent = "connection lost, reconnecting"; };
source.onmessage = (event) => {
  if (!held) return add(event.data);
  held.push(event.data);
  if (held.length > MOST) held.shift();
  button.textContent = `Resume (${held.length} new)`;
};
button.hidden = false;
button.addEventListener("click", () => {
  const waiting = held;
  held = waiting ? null : [];
  button.textContent = held ? "Resume" : "Pause";
  button.setAttribute("aria-pressed", String(Boolean(held)));
  waiting?.forEach(add);
});
list.scrollTop = list.scrollHeight;
