// The page of news.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "./perigee.js";

const LINES = 200; // kept on the page
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const log = element("log");

element("command").textContent =
  `curl -H "Authorization: Bearer change-me" -d '{"text": "It works."}' ${new URL("hook", location.href)}`;

const link = connect("news");

link.on("state", (state) => {
  document.body.dataset.state = state;
  element("status").textContent = STATES[state];
});

link.on("message", ({ text, at }) => {
  const entry = document.createElement("p");
  const time = document.createElement("b");
  const said = document.createElement("span");
  time.textContent = new Date(at * 1000).toLocaleTimeString();
  said.textContent = text;
  entry.append(time, said);
  log.append(entry);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
});
