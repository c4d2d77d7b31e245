// A WebSocket that comes back, with JSON in and out. One ES module, without dependencies. A perigee
// host serves it at /perigee.js; the package is on its own in client/. What it does is in the
// README beside it.

/**
 * What became of a connection that is no more.
 * @typedef {object} End
 * @property {number} code the Close frame's; 1005 without one, 1006 if there was no close handshake
 * @property {string} reason
 * @property {boolean} opened it had been open, if only for a moment
 * @property {number} tries how many have failed since it last worked, this one included
 */

/**
 * How a dead link is noticed. A page sees neither the host's pings nor that its own answers to them
 * get lost, so the script has to play along: by an answer to `probe`, or by a message of its own at
 * least every `silence` ms.
 * @typedef {object} Watchdog
 * @property {number} silence ms without a message until the link is in doubt
 * @property {unknown} [probe] is sent then, as send() would, for the script to answer
 * @property {number} [answer] ms that any message may then take until the link counts as dead (10 s)
 */

/**
 * @typedef {object} Options
 * @property {boolean} [json] false: text arrives by "raw", none by "message" (true)
 * @property {string | string[]} [protocols] subprotocols to offer
 * @property {number} [firstDelay] ms, the longest wait before the first new try (500)
 * @property {number} [longestDelay] ms, the longest there is: it doubles up to here (30 s)
 * @property {number} [openTimeout] ms until a try counts as failed (10 s)
 * @property {number} [queue] how many messages wait while there is no connection (0: none)
 * @property {Watchdog} [watchdog] off without it
 * @property {(end: End) => boolean} [retry] whether to try again; see `meant`
 */

/** @typedef {"connecting" | "open" | "waiting" | "closed"} State */

const STABLE_MS = 5000; // who was open for this long has not failed: waits begin anew

/**
 * Ends that a script has chosen: trying again would only bring them again.
 * @param {number} code
 */
function meant(code) {
  return code === 1000 || code === 1008 || (code >= 4000 && code <= 4999);
}

/** @param {string | URL | (() => string | URL)} url */
function webSocketUrl(url) {
  const full = new URL(typeof url === "function" ? url() : url, location.href);
  full.protocol = full.protocol.replace(/^http/, "ws");
  full.hash = "";
  return full;
}

/**
 * @param {unknown} data
 * @returns {data is ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob}
 */
function isBinary(data) {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) || data instanceof Blob;
}

/**
 * Events, each with its `detail`:
 *   state    State      it has changed
 *   open                there is a connection, the first or a new one
 *   message  unknown    JSON came, decoded
 *   raw      string | ArrayBuffer   what came and is no JSON
 *   close    End        a connection, or a try to make one, has ended
 */
export class Connection extends EventTarget {
  #url;
  #options;
  /** @type {State} */
  #state = "connecting";
  /** @type {WebSocket | null} */
  #socket = null;
  #tries = 0;
  #openedAt = 0;
  #retryAt = 0;
  #timer = 0; // of the next try, or of one that takes too long
  #watch = 0;
  #asleep = false; // the browser keeps a page that was left
  /** @type {(string | ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob)[]} */
  #queue = [];
  #page = new AbortController(); // what listens to the page

  /**
   * Connects at once.
   * @param {string | URL | (() => string | URL)} url relative to the page; http is as good as ws. A
   *   function is asked before each try.
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    /** @type {(end: End) => boolean} */
    const retry = ({ code }) => !meant(code);
    this.#options = {
      json: true, protocols: [], firstDelay: 500, longestDelay: 30_000, openTimeout: 10_000,
      queue: 0, watchdog: undefined, retry, ...options,
    };
    this.#connect(); // raises for an address that can't be one
    const { signal } = this.#page;
    globalThis.addEventListener("online", () => this.#stir(), { signal });
    globalThis.addEventListener("offline", () => this.#doubt(), { signal });
    globalThis.addEventListener("pageshow", () => this.#wake(), { signal });
    globalThis.addEventListener("pagehide", () => this.#sleep(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#stir(), { signal });
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** When it tries again, as Date.now() has it; 0 while it does not wait. */
  get retryAt() {
    return this.#retryAt;
  }

  /** Tries that have failed since a connection last worked. */
  get tries() {
    return this.#tries;
  }

  /** Bytes that the browser has not given to the network yet. */
  get buffered() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /**
   * Calls fn(detail, event) for each such event.
   * @param {"state" | "open" | "message" | "raw" | "close"} name
   * @param {(detail: any, event: CustomEvent) => void} fn
   * @returns {() => void} stops it
   */
  on(name, fn) {
    /** @param {any} event */
    const listener = (event) => fn(event.detail, event);
    this.addEventListener(name, listener);
    return () => this.removeEventListener(name, listener);
  }

  /**
   * Sends a value as JSON, and bytes as they are.
   * @param {unknown} value
   * @returns {boolean} false: there is no connection, and no place in the queue. True does not say
   *   that it arrives: only an answer of the script does.
   */
  send(value) {
    const data = isBinary(value) ? value : JSON.stringify(value);
    if (data === undefined) throw new TypeError("send: this value can't be JSON");
    return this.sendRaw(data);
  }

  /**
   * Sends text or bytes as they are.
   * @param {string | ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob} data
   * @returns {boolean} as send does
   */
  sendRaw(data) {
    if (this.#state === "open" && this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(data);
      return true;
    }
    if (this.#state === "closed" || this.#queue.length >= this.#options.queue) return false;
    this.#queue.push(data);
    return true;
  }

  /** Tries now instead of waiting any longer. */
  retryNow() {
    if (this.#state === "waiting") this.#connect();
  }

  /**
   * The end: no try follows, and what waits in the queue is dropped.
   * @param {number} [code] 1000, or 3000 to 4999
   * @param {string} [reason] 123 bytes at most
   */
  close(code = 1000, reason = "") {
    if (this.#state === "closed") return;
    const socket = this.#socket;
    socket?.close(code, reason); // raises for a code that it doesn't take, before anything is done
    this.#page.abort();
    this.#forgetTimers();
    this.#queue = [];
    const open = this.#state === "open";
    this.#enter("closed");
    if (!open) this.#ended(socket, code, reason);
  }

  /**
   * @param {string} name
   * @param {unknown} [detail]
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {State} state */
  #enter(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("state", state);
  }

  #forgetTimers() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    this.#retryAt = 0;
  }

  #connect() {
    this.#forgetTimers();
    const socket = new WebSocket(webSocketUrl(this.#url), this.#options.protocols);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#openedAt = 0;
    const late = () => this.#drop(socket, "the host does not answer");
    this.#timer = setTimeout(late, this.#options.openTimeout);
    socket.addEventListener("open", () => this.#opened(socket));
    socket.addEventListener("message", ({ data }) => this.#heard(socket, data));
    socket.addEventListener("close", ({ code, reason }) => this.#ended(socket, code, reason));
    this.#enter("connecting");
  }

  /** @param {WebSocket} socket */
  #opened(socket) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#timer);
    this.#openedAt = Date.now();
    this.#enter("open");
    if (this.#state !== "open") return; // closed by who heard of it
    this.#watchSilence();
    this.#emit("open");
    for (const data of this.#queue.splice(0)) socket.send(data); // none after a close
  }

  /**
   * @param {WebSocket} socket
   * @param {string | ArrayBuffer} data
   */
  #heard(socket, data) {
    if (socket !== this.#socket || this.#state !== "open") return;
    this.#watchSilence();
    let value;
    try {
      if (typeof data !== "string" || !this.#options.json) return this.#emit("raw", data);
      value = JSON.parse(data);
    } catch {
      return this.#emit("raw", data);
    }
    this.#emit("message", value);
  }

  /**
   * @param {WebSocket | null} socket
   * @param {number} code
   * @param {string} reason
   */
  #ended(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#forgetTimers();
    const opened = this.#openedAt > 0;
    if (opened && Date.now() - this.#openedAt >= STABLE_MS) this.#tries = 0;
    this.#tries += 1;
    const end = { code, reason, opened, tries: this.#tries };
    if (this.#state !== "closed" && (this.#asleep || this.#options.retry(end))) {
      this.#wait();
    } else if (this.#state !== "closed") {
      this.#page.abort();
      this.#queue = [];
      this.#enter("closed");
    }
    this.#emit("close", end);
  }

  /** Full jitter: when a host comes back, its pages don't all arrive at once. */
  #wait() {
    const { firstDelay, longestDelay } = this.#options;
    const longest = Math.min(longestDelay, firstDelay * 2 ** (this.#tries - 1));
    const delay = Math.random() * longest;
    if (!this.#asleep) {
      this.#retryAt = Date.now() + delay;
      this.#timer = setTimeout(() => this.#connect(), delay);
    }
    this.#enter("waiting");
  }

  /**
   * Lets go of a socket without the close handshake, which a dead link would never end.
   * @param {WebSocket | null} socket
   * @param {string} reason
   */
  #drop(socket, reason) {
    if (socket !== this.#socket) return;
    this.#ended(socket, 1006, reason);
    socket?.close();
  }

  #watchSilence() {
    clearTimeout(this.#watch);
    const { watchdog } = this.#options;
    if (watchdog) this.#watch = setTimeout(() => this.#doubt(), watchdog.silence);
  }

  /** Two steps, so that messages which came while the page was held up are seen before the end. */
  #doubt() {
    const { watchdog } = this.#options;
    const socket = this.#socket;
    if (!watchdog || this.#state !== "open") return;
    clearTimeout(this.#watch);
    if (watchdog.probe !== undefined) this.send(watchdog.probe);
    const dead = () => this.#drop(socket, "the link is dead");
    this.#watch = setTimeout(dead, watchdog.answer ?? 10_000);
  }

  /** Something has changed for the better: no reason to wait, but one to look at the link. */
  #stir() {
    if (this.#asleep) return;
    if (this.#state === "waiting") this.#connect();
    else this.#doubt();
  }

  /** The page was left. A browser may keep it, its socket included: the host should see it go. */
  #sleep() {
    this.#asleep = true;
    this.#socket?.close();
    clearTimeout(this.#timer);
  }

  #wake() {
    if (!this.#asleep) return;
    this.#asleep = false;
    if (this.#socket) this.#drop(this.#socket, "the page was left");
    this.retryNow();
  }
}

/**
 * Connects, and stays connected.
 * @param {string | URL | (() => string | URL)} url
 * @param {Options} [options]
 */
export function connect(url, options) {
  return new Connection(url, options);
}
