// A batch as of one seq: a letter a task, and a head. A delta is taken only if it begins where the picture stands.

export const NOTHING = -1;

export class Picture {
  seq = NOTHING;
  head = null;
  #letters = [];
  #changed = new Map();

  // Take a snap or a delta; false if it does not fit, and the whole has to be asked for again.
  take(frame) {
    if (frame.t === "snap") this.#takeWhole(frame);
    else if (frame.from === this.seq && this.seq !== NOTHING) this.#takeChanges(frame);
    else return false;
    const { state, decision, counts, why, asked, ended } = frame;
    this.head = { state, decision, counts, why, asked, ended };
    return true;
  }

  // What is to be drawn since this was last asked, as [number, letter] pairs.
  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Map();
    return changed;
  }

  #takeWhole(frame) {
    this.seq = frame.seq;
    for (let index = 0; index < frame.n; index += 1) {
      if (this.#letters[index] !== frame.states[index]) this.#put(index + 1, frame.states[index]);
    }
    this.#letters.length = frame.n;
  }

  #takeChanges(frame) {
    this.seq = frame.to;
    for (const [number, letter] of frame.c) this.#put(number, letter);
  }

  #put(number, letter) {
    this.#letters[number - 1] = letter;
    this.#changed.set(number, letter);
  }
}
