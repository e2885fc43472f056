// The pages of customers, live: parts of the page come as markup, made by the templates that made the page, and take
// the place of those that have changed. The frames are described in coordination/web/overview.py.

import { Link } from "./link.js";
import { clock, clockwork, localize } from "./times.js";

const root = document.getElementById("live");
const page = JSON.parse(root.dataset.page);
const list = document.getElementById("parts");
const none = document.getElementById("none");
const stale = document.getElementById("stale");
const said = document.getElementById("said");

const SAY_EVERY = 5_000; // milliseconds between two things said to a screen reader, at least

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- the picture ---------------------------------------------------------------------------------------------------

const picture = {
  seq: -1,
  frame: null,
  take(frame) {
    if (frame.t === "snap") {
      this.seq = frame.seq;
      this.frame = frame;
      return true;
    }
    return frame.from === this.seq && frame.to === this.seq;
  },
};

const drawn = new Map(); // markup by key, as it was last drawn
let ended = root.dataset.ended;
let saidAt = 0;

function draw() {
  const { parts, title } = picture.frame;
  const gone = [...drawn.keys()].filter((key) => !parts.some(([one]) => one === key));
  for (const key of gone) {
    drawn.delete(key);
    part(key)?.remove();
  }
  for (const element of [...list.children]) {
    if (!parts.some(([key]) => key === element.dataset.part)) element.remove();
  }
  parts.forEach(([key, markup], place) => drawPart(key, markup, place));
  none.hidden = parts.length > 0;
  if (page.counts) showCount(parts.filter(([key]) => !/^(attention|blind|gid-.*)$/.test(key)).length);
  document.title = title;
  if (document.getElementById("past") && (gone.length || picture.frame.ended !== ended)) drawPast();
  if (said && picture.frame.ended !== ended && Date.now() - saidAt > SAY_EVERY) {
    saidAt = Date.now();
    say(said, picture.frame.said);
  }
  ended = picture.frame.ended;
}

// On the page of what needs attention the number beside its link follows it.
function showCount(number) {
  const badge = document.getElementById("attention-count");
  badge.lastChild.textContent = number;
  badge.hidden = !number;
  badge.parentElement.classList.toggle("alarming", number > 0);
}

function part(key) {
  return list.querySelector(`:scope > [data-part="${CSS.escape(key)}"]`);
}

function drawPart(key, markup, place) {
  let element = part(key);
  if (drawn.get(key) !== markup) {
    const template = document.createElement("template");
    template.innerHTML = markup;
    const fresh = template.content.firstElementChild;
    if (element) replace(element, fresh);
    else list.append(fresh);
    element = fresh;
    drawn.set(key, markup);
    localize(fresh);
  }
  if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
}

// Put one element in another's place; a link in it that had the focus keeps it.
function replace(old, fresh) {
  const href = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceWith(fresh);
  if (href) fresh.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
}

// --- past batches: as the page would show them now, with the same search -------------------------------------------

let drawingPast = false;
let drawPastAgain = false;

async function drawPast() {
  if (drawingPast) {
    drawPastAgain = true;
    return;
  }
  drawingPast = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const past = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("past");
    const here = document.getElementById("past");
    if (answer.ok && past && !here.contains(document.activeElement)) {
      here.replaceWith(past);
      localize(past);
    }
  } catch {
    // The link says that the server is away; they come with the next one that ends, or a reload.
  }
  drawingPast = false;
  if (drawPastAgain) {
    drawPastAgain = false;
    drawPast();
  }
}

document.querySelector(".find")?.addEventListener("change", (event) => {
  if (event.target.type === "radio") event.currentTarget.requestSubmit();
});

// --- the link ------------------------------------------------------------------------------------------------------

// Nothing ticks on as if all were well.
function goStale() {
  stale.hidden = false;
  root.classList.add("is-stale");
  clockwork.running = false;
}

new Link({
  page,
  picture,
  onChange: () => {
    if (picture.frame) draw();
  },
  onLive: () => {
    stale.hidden = true;
    root.classList.remove("is-stale");
    clockwork.running = true;
  },
  onStale: (since) => {
    say(stale, `Not live — last update ${clock(since)}, reconnecting`);
    goStale();
  },
  onEnd: (code) => {
    stale.replaceChildren();
    if (code === 4401) {
      const anchor = document.createElement("a");
      anchor.href = page.signIn;
      anchor.textContent = "Sign in again";
      stale.append("Not live — you are signed out. ", anchor);
    } else {
      stale.append("Not live — this customer is not there any more, or no longer yours to see.");
    }
    goStale();
  },
}).start();
