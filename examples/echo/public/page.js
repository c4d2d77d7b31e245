// The page of echo.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "./perigee.js";

const LINES = 200; // kept on the page
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const log = element("log");
const line = element("line");

function show(mark, text) {
  const entry = document.createElement("p");
  const what = document.createElement("b");
  const said = document.createElement("span");
  what.textContent = mark;
  said.textContent = text;
  entry.append(what, said);
  log.append(entry);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

const link = connect("echo", { json: false });

link.on("state", (state) => {
  document.body.dataset.state = state;
  element("status").textContent = STATES[state];
});

link.on("raw", (data) => show("←", typeof data === "string" ? data : `${data.byteLength} bytes`));

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.value === "" || !link.sendRaw(line.value)) return link.retryNow();
  show("→", line.value);
  line.value = "";
});
