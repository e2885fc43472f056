// Parts of the page that the server renders: a tab, or one task. Asked for when they are looked at and when what they
// show has changed; the latest answer wins.

import { localize } from "./times.js";

export class Parts {
  #base;
  #asking = new Map();
  #onEnd;

  constructor(base, onEnd) {
    this.#base = base;
    this.#onEnd = onEnd;
  }

  // The part as a fragment for these parameters; null if it is not to be had, or no longer wanted.
  async get(name, params) {
    this.#asking.get(name)?.abort();
    const stop = new AbortController();
    this.#asking.set(name, stop);
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(15_000)]);
    try {
      const answer = await fetch(`${this.#base}${name}?${params}`, { signal });
      if (answer.status === 401) this.#onEnd(4401);
      if (!answer.ok) return null;
      return fragmentOf(await answer.text());
    } catch {
      return null; // superseded, or the server is away, which the page says already
    }
  }
}

function fragmentOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html; // our own templates, which escape what people wrote
  localize(template.content);
  makeCopyable(template.content);
  return template.content;
}

export function makeCopyable(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2_000);
    });
  }
}

// Put a fragment into its place, with what was open in there left open and the focus where it was.
export function swap(place, fragment) {
  const open = new Set([...place.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent));
  const key = focusIn(place);
  place.replaceChildren(fragment);
  for (const summary of place.querySelectorAll("details > summary")) {
    if (open.has(summary.textContent)) summary.parentElement.open = true;
  }
  if (key) place.querySelector(key)?.focus({ preventScroll: true });
}

// A selector that finds what has the focus in there again; null if nothing has.
function focusIn(place) {
  const active = document.activeElement;
  if (!place.contains(active)) return null;
  const column = active.closest("thead th");
  if (active.id) return `#${CSS.escape(active.id)}`;
  if (active.dataset.task) return `[data-task="${active.dataset.task}"]`;
  if (active.rel) return `[rel="${active.rel}"], .scroll`;
  return column ? `thead .${column.classList[0]} a` : null;
}

// `work` at once, and then at most once in so many milliseconds however often it is asked for.
export function atMostEvery(milliseconds, work) {
  let waiting = false;
  let again = false;
  return function ask() {
    if (waiting) {
      again = true;
      return;
    }
    waiting = true;
    work();
    setTimeout(() => {
      waiting = false;
      if (again) {
        again = false;
        ask();
      }
    }, milliseconds);
  };
}
