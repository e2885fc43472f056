// A batch as of one seq: a letter a task, and a head. A delta is taken only if it begins where the picture stands.

export const NOTHING = -1;

export class Picture {
  seq = NOTHING;
  head = null;
  cells = new Uint8Array(0); // the code of each task's letter; task 1 is at 0
  #changed = new Set();

  // Take a snap or a delta; false if it does not fit, and the whole has to be asked for again.
  take(frame) {
    if (frame.t === "snap") this.#takeWhole(frame);
    else if (frame.from === this.seq && this.seq !== NOTHING) this.#takeChanges(frame);
    else return false;
    const { t, seq, n, states, from, to, c, ...head } = frame;
    this.head = head;
    return true;
  }

  letter(number) {
    return String.fromCharCode(this.cells[number - 1]);
  }

  // How many tasks differ from what was last drawn.
  get waiting() {
    return this.#changed.size;
  }

  // What is to be drawn since this was last asked, as a set of numbers.
  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  #takeWhole(frame) {
    this.seq = frame.seq;
    if (this.cells.length !== frame.n) this.cells = new Uint8Array(frame.n);
    for (let index = 0; index < frame.n; index += 1) this.#put(index, frame.states.charCodeAt(index));
  }

  #takeChanges(frame) {
    this.seq = frame.to;
    for (const [number, letter] of frame.c) this.#put(number - 1, letter.charCodeAt(0));
  }

  #put(index, code) {
    if (this.cells[index] === code) return;
    this.cells[index] = code;
    this.#changed.add(index + 1);
  }
}
