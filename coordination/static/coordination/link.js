// The link to the server: a socket while there is one, and asking every few seconds while there is none.
// It calls onLive when a frame comes over a socket, onStale(since) when none has come for a while or the socket is
// gone, onChange when the picture has changed, onEnd(code) when there is nothing to wait for any more.

import { NOTHING } from "./picture.js";

const STALE_AFTER = 25_000; // milliseconds without a frame
const FIRST_DELAY = 500; // milliseconds before the first reconnect, at most
const LAST_DELAY = 30_000; // the longest wait between two
const POLL_EVERY = 3_000;
const SLEEP_AFTER = 60_000; // milliseconds that a page may be hidden before its socket is closed
const FINAL = new Set([4401, 4404]);

export class Link {
  #page;
  #picture;
  #on;
  #socket = null;
  #tries = 0;
  #updated; // Date of the last word from the server about this batch
  #heard = 0; // when the socket was opened or last brought a frame
  #live = false;
  #ended = false;
  #polling = false;
  #asleep = false;
  #bedtime = 0;

  constructor({ page, picture, ...on }) {
    this.#page = page;
    this.#picture = picture;
    this.#on = on;
    this.#updated = new Date(page.readAt);
  }

  start() {
    this.#connect();
    setInterval(() => this.#watch(), 1_000);
    addEventListener("online", () => this.#drop());
    document.addEventListener("visibilitychange", () => this.#seen(!document.hidden));
  }

  // A page that nobody looks at costs the server nothing; one that is looked at again says hello at once.
  #seen(visible) {
    clearTimeout(this.#bedtime);
    if (visible && this.#asleep) {
      this.#asleep = false;
      if (this.#ended) return;
      this.#stale();
      this.#connect();
    } else if (!visible) {
      this.#bedtime = setTimeout(() => this.#sleep(), SLEEP_AFTER);
    }
  }

  #sleep() {
    this.#asleep = true;
    this.#live = false;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #connect() {
    if (this.#ended || this.#asleep || this.#socket) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.#page.socket}`);
    this.#socket = socket;
    this.#heard = Date.now();
    socket.onopen = () => this.#hello();
    socket.onmessage = (event) => this.#receive(socket, JSON.parse(event.data));
    socket.onclose = (event) => this.#closed(socket, event.code);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #hello(have = this.#picture.seq) {
    this.#send({ t: "hello", batch: this.#page.batch, have });
  }

  #receive(socket, frame) {
    if (socket !== this.#socket) return;
    if (frame.t === "bye") {
      if (FINAL.has(frame.code)) this.#end(frame.code);
      return;
    }
    this.#heard = Date.now();
    if (frame.t === "resync") {
      this.#hello(NOTHING);
    } else if (frame.t === "hb") {
      if (frame.seq === this.#picture.seq) this.#fresh();
      else this.#hello();
    } else if (this.#picture.take(frame)) {
      this.#fresh();
      this.#on.onChange();
    } else {
      this.#hello(NOTHING);
    }
    this.#send({ t: "have", seq: this.#picture.seq });
  }

  #fresh() {
    this.#updated = new Date();
    this.#tries = 0;
    if (this.#live) return;
    this.#live = true;
    this.#on.onLive();
  }

  // A socket that is open but silent is as good as none, and the browser may take minutes to notice.
  #watch() {
    if (this.#ended || !this.#socket) return;
    if (Date.now() - this.#heard > STALE_AFTER) this.#drop();
  }

  #drop() {
    const socket = this.#socket;
    if (!socket) return;
    socket.close();
    this.#closed(socket, 0);
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    if (FINAL.has(code)) this.#end(code);
    if (this.#ended) return;
    this.#stale();
    // Full jitter: after a restart of the server its pages do not all come back at once.
    const most = Math.min(LAST_DELAY, FIRST_DELAY * 2 ** this.#tries);
    this.#tries += 1;
    setTimeout(() => this.#connect(), Math.random() * most);
    if (!this.#polling) this.#poll();
  }

  #stale() {
    this.#live = false;
    this.#on.onStale(this.#updated);
  }

  #end(code) {
    if (this.#ended) return;
    this.#ended = true;
    this.#live = false;
    this.#on.onEnd(code);
  }

  // Ask for the state until a socket brings frames again. The page goes on saying that it is not live.
  async #poll() {
    this.#polling = true;
    while (!this.#live && !this.#ended && !this.#asleep) {
      await new Promise((wake) => setTimeout(wake, POLL_EVERY * (0.5 + Math.random())));
      if (this.#live || this.#ended || this.#asleep) break;
      await this.#ask();
    }
    this.#polling = false;
  }

  async #ask() {
    let answer;
    try {
      answer = await fetch(`${this.#page.state}?since=${this.#picture.seq}`, {
        headers: { Accept: "application/json" },
        signal: AbortSignal.timeout(10_000),
      });
      if (answer.status === 401) this.#end(4401);
      if (answer.status === 404) this.#end(4404);
      if (!answer.ok) return;
      const frame = await answer.json();
      if (this.#live || this.#ended || !this.#picture.take(frame)) return;
    } catch {
      return; // the server is away; the line says since when
    }
    this.#updated = new Date();
    this.#on.onStale(this.#updated);
    this.#on.onChange();
  }
}
