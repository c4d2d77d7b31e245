// The chat page. Names and texts reach the document through textContent only: whatever they
// contain, it stays text.

import { connect } from "./perigee.js"; // the host's own

const DEFAULT_ROOM = "lobby";
const LOG_LENGTH = 500; // entries kept on the page
const SAME_S = 300; // messages of one person this close together share a heading
const ANSWER_S = 15; // a line sent this shortly before the connection broke may be lost

const element = (id) => document.getElementById(id);
const log = element("log");
const line = element("line");

// What the browser remembers; a private window may refuse.
function remembered(key) {
  try {
    return localStorage.getItem(`perigee-chat-${key}`) ?? "";
  } catch {
    return "";
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(`perigee-chat-${key}`, value);
  } catch {
    // Then it is asked for again next time.
  }
}

// The room

// A room is one segment of the URL's path, so it can't be everything.
function roomFrom(text) {
  const room = Array.from(text.trim().replace(/^#/, "").replace(/[/\p{Cc}\p{Cs}]/gu, "-"))
    .slice(0, 48).join("").trim();
  return room === "" || room === "." || room === ".." ? DEFAULT_ROOM : room;
}

function roomInAddress() {
  try {
    const hash = decodeURIComponent(location.hash.slice(1));
    return roomFrom(hash || new URLSearchParams(location.search).get("room") || "");
  } catch {
    return DEFAULT_ROOM; // not percent-encoded text
  }
}

// The log

let unread = 0;
let last = {}; // who spoke last and since when, while nothing came in between

function atBottom() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

function toBottom() {
  log.scrollTop = log.scrollHeight;
  element("newest").hidden = true;
}

function showTitle() {
  document.title = `${unread > 0 ? `(${unread}) ` : ""}#${room} · perigee chat`;
}

// The style sheet lets each text find its own direction.
function make(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// Whoever has scrolled up to read stays there.
function append(entry, { own = false } = {}) {
  const follow = own || atBottom();
  log.append(entry);
  while (log.childElementCount > LOG_LENGTH) log.firstElementChild.remove();
  if (follow) toBottom();
  else element("newest").hidden = false;
}

// parts: strings, and {name: ...} for names, which are kept apart from the text around them.
function note(parts, kind = "") {
  last = {};
  const entry = make("p", `note ${kind}`, "");
  for (const part of [parts].flat()) {
    entry.append(typeof part === "string" ? part : make("bdi", "", part.name));
  }
  append(entry);
}

// The same name has the same colour everywhere.
function hueOf(name) {
  let hash = 0;
  for (const character of String(name)) hash = (hash * 31 + character.codePointAt(0)) % 3600;
  return hash / 10;
}

// Who spoke and when stands above the first of several messages in a row.
function said(from, text) {
  const own = from === me;
  const now = new Date();
  const same = last.from === from && now - last.at < SAME_S * 1000;
  const time = make("time", "", now.toLocaleTimeString([], { hour: "numeric", minute: "2-digit" }));
  time.dateTime = now.toISOString();

  const head = make("p", "head", "");
  head.append(make("bdi", "name", from), " ", time);
  const entry = make("div", `message${own ? " own" : ""}${same ? " same" : ""}`, "");
  entry.style.setProperty("--hue", hueOf(from));
  entry.append(head, make("p", "text", text));
  append(entry, { own });
  last = { from, at: same ? last.at : now };
  countUnread();
}

function did(from, text) {
  note([{ name: from }, " ", { name: text }], "deed");
  countUnread();
}

function countUnread() {
  if (!document.hidden) return;
  unread += 1;
  showTitle();
}

// Who is here

let me = null; // the name the room knows us by
let people = [];

function showPeople() {
  element("me").textContent = me ?? "…";
  element("people-count").textContent = people.length;
  element("people-title").textContent = `${people.length} here`;
  element("people-list").replaceChildren(...people.map((name) => {
    const item = document.createElement("li");
    item.append(make("bdi", "", name));
    if (name === me) item.append(make("span", "you", " (you)"));
    return item;
  }));
}

// What the script says

// Lines sent and not yet answered: the script answers each one, in order.
let unanswered = [];

const heard = {
  welcome({ name, names, text_length }) {
    const back = me !== null;
    me = name;
    people = names;
    line.maxLength = text_length;
    setState("online");
    showPeople();
    note(back
      ? ["You are back, as ", { name }, ". What was said meanwhile is not shown."]
      : ["You are in ", { name: `#${room}` }, " as ", { name }, "."]);
    if (!back && !wantedName) note("To choose a name, use the button at the top, or /nick.");
  },
  said({ from, text }) {
    if (from === me) unanswered.shift();
    said(from, text);
  },
  did({ from, text }) {
    if (from === me) unanswered.shift();
    did(from, text);
  },
  joined({ name }) {
    people.push(name);
    showPeople();
    note([{ name }, " is here."]);
  },
  left({ name }) {
    people = people.filter((other) => other !== name);
    showPeople();
    note([{ name }, " left."]);
  },
  renamed({ from, name }) {
    people = people.map((other) => (other === from ? name : other));
    if (from === me) {
      unanswered.shift();
      me = wantedName = name;
      remember("name", name);
    }
    showPeople();
    note([{ name: from }, " is now ", { name }, "."]);
  },
  here({ names }) {
    unanswered.shift();
    people = names;
    showPeople();
    note(["Here: ", ...names.flatMap((name, i) => [i > 0 ? ", " : "", { name }]), "."], "answer");
  },
  note({ text }) {
    unanswered.shift();
    note(text, "answer");
  },
  refused({ text }) {
    const refused = unanswered.shift();
    note(refused ? `Not sent. ${text}` : text, "answer");
    if (refused) giveBack(refused.text);
  },
};

// A changed script may say what this page has not heard of: what has a text is shown.
function hear(message) {
  const known = Object.hasOwn(heard, message?.type) && heard[message.type];
  if (known) return known(message);
  if (typeof message?.text !== "string") return note(JSON.stringify(message));
  return note(message.from ? [{ name: String(message.from) }, ": ", message.text] : message.text);
}

// The connection

let room = null;
let wantedName = remembered("name");
let link = null; // to the room
let timer = 0; // counts down to the next try

const STATES = { connecting: "Connecting", online: "Online", waiting: "Offline" };

function setState(state) {
  document.body.dataset.state = state;
  if (element("status").textContent !== STATES[state]) element("status").textContent = STATES[state];
  showNotice();
}

// The line above the input while there is no connection. It counts down, so no screen reader
// follows it: the status at the top is what is read out.
function showNotice() {
  const { state } = document.body.dataset;
  const seconds = Math.max(1, Math.ceil((link.retryAt - Date.now()) / 1000));
  element("notice").hidden = state === "online" || (state === "connecting" && link.tries === 0);
  element("notice-text").textContent = state === "waiting"
    ? `Not connected. Next try in ${seconds} s. What you write stays here.`
    : "Connecting. What you write stays here.";
  element("retry").hidden = state !== "waiting";
}

function address() {
  const url = new URL(`chat/${encodeURIComponent(room)}`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const name = wantedName || me;
  if (name) url.searchParams.set("name", name);
  return url;
}

// Who is in the room is online: that is when the script's welcome has come.
function followLink(state) {
  clearInterval(timer);
  if (state === "connecting") setState("connecting");
  if (state !== "waiting") return;
  setState("waiting");
  timer = setInterval(showNotice, 250);
}

function ended({ code, reason, tries }) {
  if (reason && code !== 1006 && tries === 1) note(reason, "answer");
  const since = Date.now() - ANSWER_S * 1000;
  const lost = unanswered.filter(({ at }) => at > since).map(({ text }) => text);
  unanswered = [];
  if (lost.length > 0) {
    note("Your last message may not have arrived.", "answer");
    giveBack(lost.join("\n"));
  }
}

function connectNow() {
  link.retryNow();
}

function enterRoom() {
  const next = roomInAddress();
  if (next === room) return;
  room = next;
  const old = link;
  link = null;
  old?.close();
  unanswered = [];
  me = null;
  people = [];
  last = {};
  log.replaceChildren();
  element("newest").hidden = true;
  element("place-room").textContent = `#${room}`;
  showTitle();
  showPeople();
  const current = connect(address, { retry: () => true });
  link = current;
  const wants = { state: followLink, message: hear, raw: (data) => note(String(data)), close: ended };
  for (const [name, fn] of Object.entries(wants)) {
    current.on(name, (detail) => { if (link === current) fn(detail); });
  }
  followLink("connecting");
}

// Writing

function fitLine() {
  const follow = atBottom();
  line.style.height = "auto";
  line.style.height = `${line.scrollHeight + 2}px`;
  if (follow) toBottom();
}

// A line that didn't arrive goes back where it was written; what is being written stays.
function giveBack(text) {
  line.value = line.value === "" ? text : `${text}\n${line.value}`;
  fitLine();
}

function send(text) {
  if (document.body.dataset.state !== "online" || !link.sendRaw(text)) return false;
  unanswered.push({ text, at: Date.now() });
  return true;
}

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.value.trim() === "") return;
  if (!send(line.value)) return connectNow();
  line.value = "";
  fitLine();
  toBottom();
});

line.addEventListener("input", fitLine);
line.addEventListener("keydown", (event) => {
  const composing = event.isComposing || event.keyCode === 229; // an input method's Enter
  if (event.key !== "Enter" || event.shiftKey || composing) return;
  event.preventDefault();
  element("composer").requestSubmit();
});

// A tap on Send must not take the keyboard away.
element("send").addEventListener("mousedown", (event) => event.preventDefault());

// Buttons

const settings = element("settings");
const peopleButton = element("people-button");

element("place").addEventListener("click", () => {
  const online = document.body.dataset.state === "online";
  element("settings-name").value = (online ? me : wantedName || me) ?? "";
  element("settings-room").value = room;
  settings.showModal();
});

element("settings-cancel").addEventListener("click", () => settings.close());

element("settings-form").addEventListener("submit", () => {
  const name = element("settings-name").value.trim();
  const nextRoom = roomFrom(element("settings-room").value);
  const moves = nextRoom !== room;
  if (name !== "" && name !== me) {
    if (moves || !send(`/nick ${name}`)) {
      wantedName = name;
      remember("name", name);
    }
  }
  if (moves) location.hash = encodeURIComponent(nextRoom);
});

function openPeople(open) {
  element("people").classList.toggle("open", open);
  peopleButton.setAttribute("aria-expanded", open);
}

peopleButton.addEventListener("click", (event) => {
  event.stopPropagation();
  openPeople(peopleButton.getAttribute("aria-expanded") !== "true");
});

document.addEventListener("click", (event) => {
  if (!element("people").contains(event.target)) openPeople(false);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") openPeople(false);
});

element("newest").addEventListener("click", toBottom);
element("retry").addEventListener("click", connectNow);
log.addEventListener("scroll", () => {
  if (atBottom()) element("newest").hidden = true;
});

// The window

window.addEventListener("hashchange", enterRoom);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
});

// A phone's keyboard covers the page in some browsers and shrinks it in others: either way the
// input stays above it, and the newest message in sight.
let atNewest = true;
log.addEventListener("scroll", () => { atNewest = atBottom(); });
new ResizeObserver(() => { if (atNewest) toBottom(); }).observe(log);

function fitKeyboard() {
  const { scale, height, offsetTop } = window.visualViewport;
  if (scale > 1.01) return; // zoomed in to read
  document.documentElement.style.setProperty("--height", `${height}px`);
  document.documentElement.style.setProperty("--top", `${offsetTop}px`);
}

if (window.visualViewport) {
  window.visualViewport.addEventListener("resize", fitKeyboard);
  window.visualViewport.addEventListener("scroll", fitKeyboard);
}

if (matchMedia("(hover: hover) and (pointer: fine)").matches) line.focus();
enterRoom();
