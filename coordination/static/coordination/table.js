// The rows of the table that are on the page: their state at once, the rest when the server has been asked again.

import { swap } from "./parts.js";

const BUSY = "a:focus, button:focus, :focus-visible";

export class Table {
  #panel;
  #looks;
  #rows = new Map();

  constructor(panel, looks) {
    this.#panel = panel;
    this.#looks = looks;
    this.found();
  }

  // The rows have been put there anew.
  found() {
    this.#rows = new Map();
    for (const row of this.#panel.querySelectorAll("tr[data-number]")) this.#rows.set(Number(row.dataset.number), row);
  }

  // Show the states of those tasks in `changed` that have a row here; whether there was any.
  paint(changed, picture) {
    let any = false;
    for (const number of this.#rows.size < changed.size ? this.#rows.keys() : changed) {
      const row = this.#rows.get(number);
      if (!row || !changed.has(number)) continue;
      const [state, mark, word] = this.#looks[picture.letter(number)];
      row.dataset.state = state;
      row.querySelector(".mark").textContent = mark;
      row.querySelector(".word").textContent = word;
      any = true;
    }
    return any;
  }

  current(number) {
    for (const [one, row] of this.#rows) {
      if (one === number) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  // Take over what the server has sent, because other rows are wanted (`moved`) or these have changed. In the latter
  // case they stay where they are while somebody is in one of them, and only what is written in them changes.
  take(fragment, moved) {
    const body = this.#panel.querySelector("tbody");
    if (moved || !body || !body.querySelector(BUSY)) {
      if (!moved && document.activeElement.id === "search") this.#replaceRows(fragment);
      else swap(this.#panel, fragment);
    } else {
      for (const fresh of fragment.querySelectorAll("tr[data-number]")) this.#patch(fresh);
    }
    this.found();
  }

  #replaceRows(fragment) {
    for (const part of ["tbody", ".shown"]) {
      const [old, fresh] = [this.#panel.querySelector(part), fragment.querySelector(part)];
      if (old && fresh) old.replaceWith(fresh);
    }
  }

  #patch(fresh) {
    const row = this.#rows.get(Number(fresh.dataset.number));
    if (!row) return;
    row.dataset.state = fresh.dataset.state;
    [...fresh.cells].forEach((cell, index) => {
      if (!row.cells[index].querySelector(BUSY)) row.cells[index].replaceWith(cell.cloneNode(true));
    });
  }
}
