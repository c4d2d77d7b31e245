// The page of broadcast.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "./perigee.js";

const LINES = 200; // kept on the page
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const log = element("log");
const line = element("line");
let me = null;

function show(from, text, className = "") {
  const entry = document.createElement("p");
  const who = document.createElement("b");
  const said = document.createElement("span");
  who.textContent = from === me ? "you" : from;
  said.textContent = text;
  entry.className = className;
  entry.append(who, said);
  log.append(entry);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

const link = connect("broadcast");

link.on("state", (state) => {
  document.body.dataset.state = state;
  element("status").textContent = STATES[state];
  if (state !== "open") me = null;
});

// The first to join, as a connection sees it, is itself.
link.on("message", ({ joined, from, text, left }) => {
  if (joined && me === null) {
    me = joined;
    element("me").textContent = me;
  }
  if (joined) show(joined, "joined", "note");
  if (from) show(from, text);
  if (left) show(left, "left", "note");
});

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  // The script takes a line of text as it is.
  if (line.value === "" || !link.sendRaw(line.value)) return link.retryNow();
  line.value = "";
});
