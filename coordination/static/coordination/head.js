// What the page says of the batch as a whole: the banner, the phases, the counts, the title, and what is read aloud.
// Everything is written as text, never as markup.

import { inLocalTime, localize } from "./times.js";

const SAY_EVERY = 5_000; // milliseconds between two things read aloud

export function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// The same for a sentence, with its times of day in the reader's own; as it came on hover, if that is another.
function sayWords(element, text) {
  const local = inLocalTime(text);
  say(element, local);
  if (local === text) element.removeAttribute("title");
  else if (element.title !== text) element.title = text;
}

const byId = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");

export class HeadView {
  #page;
  #name;
  #counts = new Map();
  #bars = new Map();
  #decision;
  #said = 0;
  #timer = 0;

  constructor(root, page) {
    this.#page = page;
    this.#name = root.dataset.name;
    for (const item of byId("counts").children) this.#counts.set(item.dataset.letter, item);
    for (const item of byId("bar").children) this.#bars.set(item.dataset.letter, item);
  }

  draw(head, tasks) {
    const [like, mark, , words] = this.#page.batchLooks[head.state];
    byId("banner").dataset.state = like;
    say(byId("batch-mark"), mark);
    say(byId("batch-words"), words);
    sayWords(byId("why"), head.why);
    say(byId("left"), head.left);
    sayWords(byId("todo"), head.todo);
    byId("to-errors").hidden = !this.#number(head, this.#page.wrong);
    this.#drawTimes(head);
    this.#drawSteps(head);
    this.#drawAsked(head);
    this.#drawCounts(head, tasks);
    document.title = `${this.#titleOf(head, tasks)} · ${this.#name}`;
    this.#tell(head, tasks, words);
  }

  #drawTimes(head) {
    const took = byId("took");
    byId("since").firstElementChild.dateTime = head.since;
    byId("deadline").hidden = !head.deadline;
    if (head.deadline) byId("deadline").querySelector("time").dateTime = head.deadline;
    if (head.ended) took.dataset.to = head.since;
    localize(byId("live"));
  }

  #drawSteps(head) {
    const here = head.phase === "done" ? this.#page.phases.length : this.#page.phases.indexOf(head.phase);
    const finish = { COMMIT: "Commit", ROLLBACK: "Roll back" }[head.decision] || "Commit or roll back";
    [...byId("steps").children].forEach((step, place) => {
      const now = place === here;
      step.className = place < here ? "done" : now ? "now" : "ahead";
      if (now) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
      if (this.#page.phases[place] === "finish") say(step.firstElementChild, finish);
    });
  }

  #drawAsked(head) {
    sayWords(byId("asked"), head.asked);
    byId("asked").hidden = !head.asked;
    for (const one of document.querySelectorAll("[data-when]")) {
      one.hidden = !one.dataset.when.split(" ").includes(head.state);
    }
    const cancel = byId("cancel");
    if (!cancel) return;
    byId("again-button").classList.toggle("plain", head.state !== "ROLLED_BACK");
    cancel.hidden = Boolean(head.decision) || head.ended;
    cancel.classList.toggle("is-asked", Boolean(head.asked));
    if (head.asked) cancel.open = false;
    say(byId("cancel-button"), head.asked ? "Cancel asked" : "Cancel batch…");
  }

  #drawCounts(head, tasks) {
    for (const [letter, item] of this.#counts) {
      const number = head.counts[letter] || 0;
      say(item.querySelector(".count"), count(number));
      item.hidden = !number && !item.querySelector("[aria-current]");
      const bar = this.#bars.get(letter);
      bar.hidden = !number;
      bar.style.flexGrow = number;
    }
  }

  #number(head, letters) {
    return [...letters].reduce((sum, letter) => sum + (head.counts[letter] || 0), 0);
  }

  // As the server says it: title_prefix in coordination/web/words.py.
  #titleOf(head, tasks) {
    const failed = this.#number(head, this.#page.wrong);
    const [, mark, word] = this.#page.batchLooks[head.state];
    if (failed) return `${this.#page.looks.x[1]} ${count(failed)} failed`;
    return head.state === "ACTIVE" ? `${mark} ${count(this.#number(head, "p"))} of ${count(tasks)}` : `${mark} ${word}`;
  }

  summary(head, tasks) {
    const parts = Object.entries(this.#page.looks)
      .filter(([letter]) => head.counts[letter])
      .map(([letter, [, , word]]) => `${count(head.counts[letter])} ${word.toLowerCase()}`);
    return `${count(tasks)} ${tasks === 1 ? "task" : "tasks"}: ${parts.join(", ")}`;
  }

  // The decision is said at once, how far it is at most each few seconds; nothing when the page has just been opened.
  #tell(head, tasks, words) {
    if (this.#decision !== undefined && this.#decision !== head.decision) say(byId("decided"), `${words}. ${head.why}`);
    this.#decision = head.decision;
    clearTimeout(this.#timer);
    const wait = Math.max(0, this.#said + SAY_EVERY - Date.now());
    this.#timer = setTimeout(() => {
      this.#said = Date.now();
      say(byId("progress"), this.summary(head, tasks));
      byId("grid").setAttribute("aria-label", `${this.summary(head, tasks)}. Arrow keys move, Enter opens a task.`);
    }, wait);
  }
}
