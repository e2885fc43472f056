// The live page of one batch: frames from the server, drawn into the page that the server rendered.
// The frames are described in coordination/live/frames.py. Everything is written as text, never as markup.

import { Link } from "./link.js";
import { Picture } from "./picture.js";

const root = document.getElementById("live");
const page = JSON.parse(root.dataset.page);
const picture = new Picture();

const rows = new Map();
for (const row of document.querySelectorAll("#tasks tr[data-number]")) {
  rows.set(Number(row.dataset.number), row);
}
const counts = new Map();
for (const item of root.querySelectorAll(".counts li")) {
  counts.set(item.dataset.letter, item);
}

const CONTRADICTED_OR_FAILED = "xCB?";
const ERRORS_EVERY = 1000; // milliseconds between two looks at what failed tasks said

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- the picture ---------------------------------------------------------------------------------------------------

let scheduled = false;

function changed() {
  if (scheduled) return;
  scheduled = true;
  // A hidden tab has no animation frames, but its title is seen.
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  drawHead(picture.head);
  let failed = false;
  for (const [number, letter] of picture.takeChanged()) {
    failed = failed || CONTRADICTED_OR_FAILED.includes(letter);
    drawTask(number, letter);
  }
  if (failed) fetchErrors();
}

function drawHead(head) {
  const [like, mark, word, words] = page.batchLooks[head.state];
  document.getElementById("banner").dataset.state = like;
  say(document.getElementById("batch-mark"), mark);
  say(document.getElementById("batch-words"), words);
  say(document.getElementById("why"), head.why);
  const asked = document.getElementById("asked");
  say(asked, head.asked);
  asked.hidden = !head.asked;
  const cancel = document.getElementById("cancel");
  if (cancel) cancel.hidden = Boolean(head.decision) || head.ended;
  for (const [letter, item] of counts) {
    const count = head.counts[letter] || 0;
    say(item.querySelector(".count"), String(count));
    item.hidden = !count;
  }
  document.title = `${mark} ${word} · ${root.dataset.name}`;
}

function drawTask(number, letter) {
  const row = rows.get(number);
  if (!row) return;
  const [state, mark, word] = page.looks[letter];
  row.dataset.state = state;
  say(row.querySelector(".mark"), mark);
  say(row.querySelector(".word"), word);
}

// --- what failed tasks said ----------------------------------------------------------------------------------------

let looking = false;
let lookAgain = false;

async function fetchErrors() {
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  try {
    const answer = await fetch(page.errors, { headers: { Accept: "application/json" } });
    if (answer.ok) {
      drawErrors((await answer.json()).errors);
    }
  } catch {
    // The link says that the server is away; the errors come with the next change or a reload.
  }
  setTimeout(() => {
    looking = false;
    if (lookAgain) {
      lookAgain = false;
      fetchErrors();
    }
  }, ERRORS_EVERY);
}

function drawErrors(errors) {
  for (const [number, text] of errors) {
    const row = rows.get(number);
    if (row) say(row.querySelector(".error"), text);
  }
  const section = document.getElementById("errors");
  section.hidden = errors.length === 0;
  const list = section.querySelector("ol");
  list.replaceChildren(...errors.slice(0, page.errorsListed).map(errorItem));
}

function errorItem([number, text]) {
  const item = document.createElement("li");
  const task = document.createElement("strong");
  task.textContent = `Task ${number}`;
  const words = document.createElement("span");
  words.className = "words";
  words.textContent = text;
  item.append(task, " ", words);
  return item;
}

// --- the link ------------------------------------------------------------------------------------------------------

const stale = document.getElementById("stale");

function clock(moment) {
  const two = (number) => String(number).padStart(2, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

const link = new Link({
  page,
  picture,
  onChange: changed,
  onLive: () => {
    stale.hidden = true;
    root.classList.remove("is-stale");
  },
  onStale: (since) => {
    say(stale, `Not live — last update ${clock(since)}, reconnecting`);
    stale.hidden = false;
    root.classList.add("is-stale");
  },
  onEnd: (code) => {
    stale.replaceChildren();
    if (code === 4401) {
      const anchor = document.createElement("a");
      anchor.href = page.signIn;
      anchor.textContent = "Sign in again";
      stale.append("Not live — you are signed out. ", anchor);
    } else {
      stale.append("Not live — this batch is not there any more, or no longer yours to see.");
    }
    stale.hidden = false;
    root.classList.add("is-stale");
  },
});
link.start();
