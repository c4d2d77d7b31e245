// The page of auction.lua. Texts reach the document through textContent only: they stay text.
import { connect } from "./perigee.js";

const LINES = 200; // kept on the page
const LAST_S = 8; // when it becomes exciting
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const log = element("log");
const bid = element("bid");
let me = null;
let sale = null; // as the script told it last, with `endsAt` by our own clock
let longest = 1;

function write(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function note(text) {
  const entry = document.createElement("p");
  entry.textContent = text;
  log.append(entry);
  while (log.childElementCount > LINES) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

function answer(text, won = false) {
  document.body.toggleAttribute("data-won", won);
  write("answer", text);
}

const who = (name) => (name === me ? "you" : name);

function showTime() {
  const seconds = sale?.open ? Math.max(0, (sale.endsAt - performance.now()) / 1000) : 0;
  write("left", sale?.open ? `${Math.ceil(seconds)} s` : "–");
  element("rest").style.transform = `scaleX(${seconds / longest})`;
  document.body.toggleAttribute("data-last", seconds < LAST_S);
}

const link = connect(() => {
  const name = new URLSearchParams(location.search).get("name") ?? me;
  return name ? `auction?name=${encodeURIComponent(name)}` : "auction";
});

link.on("state", (state) => {
  document.body.dataset.state = state;
  write("status", STATES[state]);
});

const heard = {
  welcome({ name }) {
    me = name;
    write("me", name);
  },
  lot(told) {
    const next = told.number !== sale?.number;
    sale = { ...told, endsAt: performance.now() + told.seconds * 1000 };
    longest = next ? Math.max(told.seconds, 1) : Math.max(longest, told.seconds);
    write("number", String(told.number));
    write("lot", told.lot);
    write("price", told.name ? String(told.price) : "–");
    write("leader", told.name ? who(told.name) : "nobody yet");
    bid.placeholder = `${told.least} or more`;
    if (next) {
      note(`Lot ${told.number}: ${told.lot}.`);
      answer("");
    } else if (told.name) {
      note(`${who(told.name)}: ${told.price}`);
    }
    showTime();
  },
  sold({ lot, price, name }) {
    sale.open = false;
    note(name ? `Sold: ${lot}, for ${price}, to ${who(name)}.` : `${lot}: nobody wanted it.`);
    showTime();
  },
  won: ({ lot, price }) => answer(`It is yours: ${lot}, for ${price}.`, true),
  refused: ({ text }) => answer(text),
};

link.on("message", (message) => {
  if (Object.hasOwn(heard, message?.type)) heard[message.type](message);
});

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const sum = Number.parseInt(bid.value, 10);
  if (!Number.isSafeInteger(sum)) return answer("A bid is a whole number.");
  if (!link.send({ bid: sum })) return link.retryNow();
  answer("");
  bid.value = "";
});

setInterval(showTime, 200);
