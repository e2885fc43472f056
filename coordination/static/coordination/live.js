// The live page of one batch: frames from the server, drawn into the page that the server rendered. The frames are
// described in coordination/live/frames.py. This file joins the others together.

import { Address } from "./address.js";
import { Grid } from "./grid.js";
import { HeadView, say } from "./head.js";
import { listen } from "./keys.js";
import { Link } from "./link.js";
import { Parts, atMostEvery, makeCopyable, swap } from "./parts.js";
import { Picture } from "./picture.js";
import "./popovers.js";
import { Table } from "./table.js";
import { clock, clockwork } from "./times.js";

const REFRESH_EVERY = 1_500; // milliseconds between two times that a tab is asked for because tasks have changed

const byId = (id) => document.getElementById(id);
const root = byId("live");
const page = JSON.parse(root.dataset.page);
const picture = new Picture();
picture.take(JSON.parse(root.dataset.frame));
clockwork.skew = Date.parse(page.readAt) - Date.now();

const panels = new Map(["grid", "table", "errors", "timeline", "journal"].map((name) => [name, byId(`panel-${name}`)]));
const letterOf = new Map(Object.entries(page.looks).map(([letter, [state]]) => [state.toLowerCase(), letter]));
const head = new HeadView(root, page);
const table = new Table(panels.get("table"), page.looks);
const parts = new Parts(page.parts, ended);
const grid = new Grid(byId("grid"), {
  picture,
  looks: page.looks,
  wrong: page.wrong,
  on: { point: readOut, open: (number) => address.change({ task: String(number) }) },
});
// What was posted is answered at an address that nothing can be got from.
if (location.pathname !== page.page) history.replaceState(null, "", page.page);
const address = new Address(root, show);

// --- what is looked at ---------------------------------------------------------------------------------------------

let opener = null; // what had the focus before a task was opened
let shown = null; // the parameters that the open tab was last asked for with

function show(params, how) {
  const tab = panels.has(params.get("tab")) ? params.get("tab") : "grid";
  for (const [name, panel] of panels) {
    panel.hidden = name !== tab;
    delete panel.dataset.spare;
  }
  for (const link of byId("tabs").querySelectorAll("a")) current(link, link.dataset.tab === tab, "page");
  for (const item of byId("counts").children) {
    const link = item.querySelector("a");
    current(link, link.dataset.filter === params.get("state"), "true");
    item.hidden = !picture.head.counts[item.dataset.letter] && !link.hasAttribute("aria-current");
  }
  const order = params.get("order") === "failed" ? "failed" : "number";
  for (const link of root.querySelectorAll("[data-order]")) current(link, link.dataset.order === order, "true");
  address.refresh();
  grid.arrange(order, letterOf.get(params.get("state")) || null);
  if (tab === "grid") grid.layout();
  if (shown !== null && shown !== tabParams(params)) loadTab(true);
  shown = tabParams(params);
  showTask(Number(params.get("task")) || 0, how);
}

function current(link, is, value) {
  if (is) link.setAttribute("aria-current", value);
  else link.removeAttribute("aria-current");
}

function tabParams(params) {
  const own = new URLSearchParams(params);
  own.delete("task");
  own.delete("order");
  return own.toString();
}

async function loadTab(moved = false) {
  const name = address.tab;
  if (name === "grid") return;
  const fragment = await parts.get(name, address.now);
  if (!fragment || address.tab !== name) return;
  const panel = panels.get(name);
  if (name === "table") table.take(fragment, moved);
  else swap(panel, fragment);
  if (moved && panel.getBoundingClientRect().top < 0) panel.scrollIntoView(); // it was turned over at its lower end
  table.current(address.task);
  address.refresh();
}

// --- one task ------------------------------------------------------------------------------------------------------

let opened = 0;

async function showTask(number, how) {
  const aside = byId("task");
  if (number === opened) return;
  if (!opened && number) opener = document.activeElement;
  opened = number;
  table.current(number);
  if (!number) {
    byId("views").classList.remove("with-task");
    aside.hidden = true;
    if (how !== "history") (opener?.isConnected ? opener : byId("grid")).focus({ preventScroll: true });
    return;
  }
  grid.point(number);
  await loadTask();
  if (how !== "start") byId("task-title")?.focus({ preventScroll: true });
}

async function loadTask() {
  const number = opened;
  if (!number) return;
  const fragment = await parts.get("task", address.now);
  if (number !== opened) return;
  const aside = byId("task");
  if (fragment) swap(aside, fragment);
  else aside.textContent = `Task ${number} cannot be shown.`;
  aside.setAttribute("aria-label", `Task ${number}`);
  aside.hidden = false;
  byId("views").classList.add("with-task");
  address.refresh();
  if (aside.getBoundingClientRect().top < 0 || aside.getBoundingClientRect().top > innerHeight * 0.7) {
    aside.scrollIntoView({ block: "nearest" });
  }
}

function readOut(number) {
  const [, mark, word] = page.looks[picture.letter(number)];
  say(byId("readout"), `Task ${number}  ${mark} ${word}`);
}

// The next or previous task that went wrong, from the open one or the ring.
function neighbour(step) {
  const from = opened || grid.current || (step > 0 ? 0 : picture.cells.length + 1);
  for (let number = from + step; number >= 1 && number <= picture.cells.length; number += step) {
    if (page.wrong.includes(picture.letter(number))) return address.change({ task: String(number) });
  }
  return undefined;
}

// --- the picture ---------------------------------------------------------------------------------------------------

let scheduled = false;
let paused = false;
let before = "";

const refreshTab = atMostEvery(REFRESH_EVERY, () => loadTab());
const refreshTask = atMostEvery(REFRESH_EVERY, loadTask);

function changed() {
  if (paused) return sayLive();
  if (scheduled) return undefined;
  scheduled = true;
  // A hidden tab has no animation frames, but its title is seen.
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
  return undefined;
}

function draw() {
  scheduled = false;
  if (paused) return;
  const fresh = picture.takeChanged();
  head.draw(picture.head, picture.cells.length);
  grid.draw(fresh);
  const inTable = table.paint(fresh, picture);
  if (fresh.has(opened)) refreshTask();
  const { state, asked } = picture.head;
  const turned = before && before !== `${state} ${asked}`;
  before = `${state} ${asked}`;
  if (news(fresh, inTable) || (turned && address.tab !== "grid")) refreshTab();
}

// Whether the open tab shows something else now that the tasks in `fresh` have changed.
function news(fresh, inTable) {
  switch (address.tab) {
    case "table":
      return inTable;
    case "errors":
      return [...fresh].some((number) => page.wrong.includes(picture.letter(number)));
    case "timeline":
      return fresh.size > 0;
    default:
      return false;
  }
}

function pause() {
  paused = !paused;
  root.classList.toggle("is-paused", paused);
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(paused));
  say(button, paused ? "Go on" : "Pause");
  clockwork.running = !paused && !root.classList.contains("is-stale");
  if (!paused) changed();
  sayLive();
}

function sayLive() {
  const held = picture.waiting;
  const words = paused ? `Paused, ${held.toLocaleString("en")} ${held === 1 ? "change" : "changes"} held back` : "Live";
  say(root.querySelector(".live-word"), root.classList.contains("is-stale") ? "Not live" : words);
}

// --- the link ------------------------------------------------------------------------------------------------------

const stale = byId("stale");

function notLive(...words) {
  stale.replaceChildren(...words);
  stale.hidden = false;
  root.classList.add("is-stale");
  clockwork.running = false;
  sayLive();
}

function ended(code) {
  if (code === 4401) {
    const anchor = document.createElement("a");
    anchor.href = page.signIn;
    anchor.textContent = "Sign in again";
    notLive("Not live — you are signed out. ", anchor);
  } else {
    notLive("Not live — this batch is not there any more, or no longer yours to see.");
  }
}

let staleWords = "";

const link = new Link({
  page,
  picture,
  onChange: changed,
  onLive: () => {
    staleWords = "";
    stale.hidden = true;
    root.classList.remove("is-stale");
    clockwork.running = !paused;
    sayLive();
  },
  onStale: (since) => {
    const words = `Not live — last update ${clock(since)}, reconnecting`;
    if (words !== staleWords) notLive((staleWords = words));
  },
  onEnd: ended,
});

// --- begin ---------------------------------------------------------------------------------------------------------

byId("live-state").hidden = false;
byId("pause").addEventListener("click", pause);
makeCopyable(root);
opened = byId("task").hidden ? 0 : address.task;
draw();
show(address.now, "start");
if (opened) grid.point(opened);
link.start();
listen({
  tabs: [...panels.keys()].map((name) => () => address.change({ tab: name, page: "" })),
  search: () => {
    if (address.tab !== "table") address.change({ tab: "table" });
    waitFor("#search");
  },
  failedOnly: () => address.change({ state: address.now.get("state") === "failed" ? "" : "failed", page: "" }),
  neighbour,
  close: () => opened && address.change({ task: "" }),
  pause,
});

// The search box may have to be fetched first.
function waitFor(selector, tries = 40) {
  const found = panels.get("table").querySelector(selector);
  if (found) found.focus();
  else if (tries) setTimeout(() => waitFor(selector, tries - 1), 50);
}
