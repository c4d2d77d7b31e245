// The page of members.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "/perigee.js";

const LINES = 200; // kept on the page
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const log = element("log");
const line = element("line");

// From here on the token is in this page only: not in the address, and not in the history.
const token = new URLSearchParams(location.search).get("token") ?? "";
history.replaceState(null, "", location.pathname);
const address = `/members?token=${encodeURIComponent(token)}`;

function show(from, text, className = "") {
  const entry = document.createElement("p");
  const who = document.createElement("b");
  const said = document.createElement("span");
  who.textContent = from;
  said.textContent = text;
  entry.className = className;
  entry.append(who, said);
  log.append(entry);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

const link = connect(address);

link.on("state", (state) => {
  document.body.dataset.state = state;
  element("status").textContent = STATES[state];
});

link.on("message", ({ welcome, joined, from, text, left }) => {
  if (welcome) element("me").textContent = welcome;
  if (joined) show(joined, "joined", "note");
  if (from) show(from, text);
  if (left) show(left, "left", "note");
});

// A browser does not say why it got no connection; plain HTTP does.
link.on("close", async ({ opened }) => {
  if (opened) return;
  const { status } = await fetch(address, { method: "HEAD" }).catch(() => ({}));
  if (status !== 401) return;
  link.close();
  element("denied").hidden = false;
});

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.value === "" || !link.sendRaw(line.value)) return link.retryNow();
  line.value = "";
});
