// The page of lobby.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "./perigee.js";

const GAME = "chess"; // who waits for another game is never met
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Not connected" };

const element = (id) => document.getElementById(id);
const log = element("log");
const line = element("line");
let link = null;

function show(from, text) {
  const entry = document.createElement("p");
  const who = document.createElement("b");
  const said = document.createElement("span");
  who.textContent = from;
  said.textContent = text;
  entry.append(who, said);
  log.append(entry);
  log.scrollTop = log.scrollHeight;
}

// What is on the table: "waiting", "paired" or "nobody".
function lay(what, title) {
  const wrote = document.activeElement === line;
  element("where").textContent = title;
  element("wait").hidden = what !== "waiting";
  log.hidden = element("composer").hidden = what !== "paired";
  element("again").hidden = what !== "nobody";
  if (wrote && what !== "paired") element("leave").focus(); // what is hidden loses the focus
}

let partner = "";

const heard = {
  waiting: ({ seconds }) => lay("waiting", `Looking for a partner, for ${seconds} s`),
  nobody: () => lay("nobody", "Nobody came. Wait again?"),
  paired({ with: name }) {
    partner = name;
    log.replaceChildren();
    lay("paired", `You play with ${name}`);
    line.focus();
  },
  said: ({ text }) => show(partner, text),
  left() {}, // the next message says that one waits again
};

function enter(name) {
  link = connect(`lobby/${GAME}?name=${encodeURIComponent(name)}`);
  link.on("state", (state) => {
    document.body.dataset.state = state;
    element("status").textContent = STATES[state];
    if (state === "waiting") lay("waiting", "The host is away. Coming back");
  });
  link.on("message", (message) => {
    if (Object.hasOwn(heard, message?.type)) heard[message.type](message);
  });
  lay("waiting", "Connecting");
  element("enter").hidden = true;
  element("table").hidden = false;
}

element("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(element("name").value);
  element("leave").focus();
});

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.value === "" || !link.send({ text: line.value })) return;
  show("you", line.value);
  line.value = "";
});

element("again").addEventListener("click", () => {
  link.send({ again: true });
  element("leave").focus();
});

element("leave").addEventListener("click", () => {
  link.close();
  element("table").hidden = true;
  element("enter").hidden = false;
  element("name").focus();
});
