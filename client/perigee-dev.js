// The note of development: what became of a save, in a corner of the page. A host that is run by
// `perigee serve --dev`, or at a terminal, serves it and has its /perigee.js load it. In production
// neither this nor what it listens to is there.

/**
 * @typedef {object} News
 * @property {string} script
 * @property {"none" | "done" | "failed" | "reverted" | "gone"} what became of its rules
 * @property {number} generation that serves now; 0: none
 * @property {string} file where it went wrong; "" where the message says so
 * @property {number} line 0: of no one line
 * @property {string} message
 */

const SHOWN_MS = 5000; // good news

const STYLE = `
  :host { all: initial !important } /* or what a page says of all its elements would win */
  .note {
    position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483647; box-sizing: border-box;
    display: flex; gap: .75rem; align-items: start;
    max-width: min(30rem, calc(100vw - 2rem)); max-height: 50vh; overflow: auto; padding: .7rem .9rem;
    color: #1c1f26; background: #fff; border: 1px solid #c9ced8; border-left: .3rem solid #2a7d4f;
    border-radius: .4rem; box-shadow: 0 .2rem 1rem #0003;
    font: .875rem/1.45 system-ui, sans-serif;
  }
  .note[hidden] { display: none }
  .note.failed { border-left-color: #c4302b }
  p { margin: 0 }
  .item + .item { margin-top: .6rem }
  .title { font-weight: 600 }
  .place, .message { font: .8125rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
  .message { white-space: pre-wrap }
  .place { color: #555d6b }
  button {
    all: unset; cursor: pointer; padding: 0 .3rem; border-radius: .2rem; font-size: 1.1rem;
    line-height: 1.2; color: #555d6b;
  }
  button:hover { color: inherit }
  button:focus-visible { outline: 2px solid currentcolor }
  @media (prefers-color-scheme: dark) {
    .note { color: #e8eaef; background: #22262e; border-color: #454c59; border-left-color: #4fbf83 }
    .note.failed { border-left-color: #ff7b72 }
    .place, button { color: #a9b1bf }
  }
`;

/**
 * @param {string} name
 * @param {string} className
 * @param {string} [text]
 */
function make(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text; // whatever a message holds, it is text
  return element;
}

/** @param {News} news */
function title({ script, what, generation }) {
  if (what === "reverted") return `${script}: taken back, generation ${generation} serves`;
  if (what === "gone") return `${script}: the file is gone`;
  if (what === "done") return `${script}: generation ${generation} serves`;
  return generation > 0
    ? `${script}: not loaded, generation ${generation} goes on`
    : `${script}: not loaded, its route answers 503`;
}

class Note {
  /** @type {Map<string, News>} what has failed, until it is mended */
  #failed = new Map();
  /** @type {Map<string, number>} */
  #generations = new Map();
  /** @type {Set<string>} */
  #dismissed = new Set();
  /** @type {News | null} good news, for some seconds */
  #good = null;
  #timer = 0;
  #host = document.createElement("perigee-note");
  #box = make("div", "note");
  #text = make("div", "");

  constructor() {
    const root = this.#host.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet(); // which a page's policy for styles allows
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style];
    this.#text.setAttribute("role", "status");
    const button = make("button", "", "×");
    button.setAttribute("type", "button");
    button.setAttribute("aria-label", "Dismiss");
    button.addEventListener("click", () => this.#dismiss());
    this.#box.append(this.#text, button);
    this.#box.hidden = true;
    root.append(this.#box);
    document.documentElement.append(this.#host); // where no page's layout is
  }

  /** @param {{ scripts: News[] }} state how things are: what is told only afterwards builds on it */
  begin({ scripts }) {
    this.#host.toggleAttribute("listens", true);
    this.#failed.clear();
    for (const news of scripts) {
      this.#generations.set(news.script, news.generation);
      if (news.what === "failed" || news.what === "reverted") this.#failed.set(news.script, news);
    }
    this.#show();
  }

  /** @param {News} news */
  hear(news) {
    const { script, what, generation } = news;
    const mended = this.#failed.delete(script);
    if (what === "failed" || what === "reverted") {
      this.#failed.set(script, news);
      this.#dismissed.delete(JSON.stringify([script, news.message]));
    } else if (what === "gone" || mended || generation !== this.#generations.get(script)) {
      this.#good = news; // else a probation is over
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#forget(), SHOWN_MS);
    }
    this.#generations.set(script, generation);
    this.#show();
  }

  #forget() {
    this.#good = null;
    this.#show();
  }

  #dismiss() {
    for (const { script, message } of this.#failed.values()) {
      this.#dismissed.add(JSON.stringify([script, message]));
    }
    this.#forget();
  }

  #show() {
    const bad = [...this.#failed.values()].filter(
      ({ script, message }) => !this.#dismissed.has(JSON.stringify([script, message])),
    );
    const all = this.#good ? [...bad, this.#good] : bad;
    this.#box.hidden = all.length === 0;
    this.#box.classList.toggle("failed", bad.length > 0);
    this.#text.replaceChildren(...all.map((news) => this.#item(news)));
  }

  /** @param {News} news */
  #item(news) {
    const item = make("div", "item");
    item.append(make("p", "title", title(news)));
    if (news.what === "failed" || news.what === "reverted") {
      if (news.file) {
        item.append(make("p", "place", news.line > 0 ? `${news.file}:${news.line}` : news.file));
      }
      item.append(make("p", "message", news.message));
    } else if (news.what === "done" && news.message) {
      item.append(make("p", "message", news.message));
    }
    return item;
  }
}

const note = new Note();
/** @type {EventSource | undefined} */
let source;

/** A browser gives few connections to a host: only pages that are seen take one. */
function follow() {
  if (document.hidden || source?.readyState === EventSource.CLOSED) {
    source?.close();
    source = undefined;
  }
  if (document.hidden || source) return;
  source = new EventSource(new URL("dev", import.meta.url));
  source.addEventListener("state", ({ data }) => note.begin(JSON.parse(data)));
  source.addEventListener("news", ({ data }) => note.hear(JSON.parse(data)));
}

document.addEventListener("visibilitychange", follow);
follow();
