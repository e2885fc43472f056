// All tasks of a batch on one canvas, a cell each: only cells that have changed are drawn, pixel by pixel from one small
// picture a state, which takes a few milliseconds for 10,000. Pointing and the arrow keys move a ring over it; what it
// stands on is said beside the grid.

import { sprites } from "./cells.js";

const SIZES = [[1_000, 14], [5_000, 12], [Infinity, 8]]; // up to so many tasks: pixels of a cell
const NARROW = 480; // on less than so many pixels cells are smaller, rather than the page some screens long …
const TALL = 480; // … so that the grid is at most so high …
const SMALLEST = 6; // … if cells of this size still allow it

const gapOf = (cell) => (cell > 10 ? 2 : 1);

function columnsOf(width, cell, gap) {
  const fitting = Math.max(1, Math.floor((width + gap) / (cell + gap)));
  const step = fitting >= 50 ? 10 : fitting >= 10 ? 5 : 1; // tens or fives in a row: places can be counted
  return Math.floor(fitting / step) * step;
}

const FEW = 400; // changed cells that are put on the canvas one by one; more of them all at once

export class Grid {
  #canvas;
  #context;
  #picture;
  #looks;
  #wrong;
  #on;
  #ring;
  #cell = 14;
  #pitch = 16;
  #columns = 1;
  #scale = 1;
  #sprites = null;
  #side = 14; // of a cell, and from one to the next, in pixels of the screen
  #stride = 16;
  #image = null;
  #pixels = null; // the image's, one number each
  #places = null; // number of the task at each place, when they are not in the order of their numbers
  #placeOf = null;
  #order = "number";
  #filter = null;
  #current = 0;

  // `on.point(number)` when the ring has moved, `on.open(number)` when a task is to be opened.
  constructor(canvas, { picture, looks, wrong, on }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#picture = picture;
    this.#looks = looks;
    this.#wrong = new Set([...wrong].map((letter) => letter.charCodeAt(0)));
    this.#on = on;
    this.#ring = document.createElement("div");
    this.#ring.className = "ring";
    this.#ring.hidden = true;
    canvas.parentElement.append(this.#ring);
    new ResizeObserver(() => this.layout()).observe(canvas.parentElement);
    document.addEventListener("themechange", () => this.#again());
    canvas.addEventListener("pointermove", (event) => this.#point(this.#at(event)));
    canvas.addEventListener("click", (event) => this.#at(event) && this.#on.open(this.#at(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#point(this.#current || this.#numberAt(0)));
  }

  get current() {
    return this.#current;
  }

  // Draw the tasks in `changed` (a set of numbers). One that fails moves to the front, if those are to come first.
  draw(changed) {
    if (!this.#sprites) return this.layout();
    if (this.#order === "failed" && [...changed].some((number) => this.#wrong.has(this.#picture.cells[number - 1]))) {
      return this.#again();
    }
    const few = changed.size <= FEW;
    for (const number of changed) this.#drawTask(number, few);
    if (!few) this.#context.putImageData(this.#image, 0, 0);
    if (changed.has(this.#current)) this.#on.point(this.#current);
    return undefined;
  }

  // Show in this order ("number" or "failed"), with all but `letter` faint; null: none faint.
  arrange(order, letter) {
    if (order === this.#order && letter === this.#filter) return;
    this.#order = order;
    this.#filter = letter;
    this.#again();
  }

  // Put the ring on a task, wherever it stands.
  point(number) {
    this.#point(number);
  }

  layout() {
    const width = this.#canvas.parentElement.clientWidth - 20;
    const count = this.#picture.cells.length;
    if (width <= 0 || !count) return; // the tab is hidden: it is laid out when it is shown
    let [, cell] = SIZES.find(([most]) => count <= most);
    const rowsOf = (size) => Math.ceil(count / columnsOf(width, size, gapOf(size)));
    if (width < NARROW) while (cell > SMALLEST && rowsOf(cell) * (cell + gapOf(cell)) > TALL) cell -= 2;
    const gap = gapOf(cell);
    const scale = devicePixelRatio || 1;
    this.#columns = Math.min(count, columnsOf(width, cell, gap));
    // Whole pixels of the screen, so that no cell is blurred; what that is in CSS pixels may be a fraction.
    [this.#side, this.#stride] = [Math.round(cell * scale), Math.round((cell + gap) * scale)];
    [this.#cell, this.#pitch, this.#scale] = [this.#side / scale, this.#stride / scale, scale];
    const rows = Math.ceil(count / this.#columns);
    this.#canvas.width = (this.#columns - 1) * this.#stride + this.#side;
    this.#canvas.height = (rows - 1) * this.#stride + this.#side;
    this.#canvas.style.width = `${this.#canvas.width / scale}px`;
    this.#canvas.style.height = `${this.#canvas.height / scale}px`;
    this.#image = this.#context.createImageData(this.#canvas.width, this.#canvas.height);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
    this.#again();
  }

  #again() {
    if (!this.#canvas.parentElement.clientWidth || !this.#pixels) return;
    this.#sprites = sprites(this.#looks, this.#cell, this.#side);
    this.#sort();
    this.#pixels.fill(0);
    for (let number = 1; number <= this.#picture.cells.length; number += 1) this.#drawTask(number, false);
    this.#context.putImageData(this.#image, 0, 0);
    this.#moveRing();
  }

  #sort() {
    this.#places = this.#placeOf = null;
    if (this.#order !== "failed") return;
    const { cells } = this.#picture;
    const [first, rest] = [[], []];
    for (let index = 0; index < cells.length; index += 1) (this.#wrong.has(cells[index]) ? first : rest).push(index + 1);
    this.#places = Int32Array.from([...first, ...rest]);
    this.#placeOf = new Int32Array(cells.length + 1);
    this.#places.forEach((number, place) => (this.#placeOf[number] = place));
  }

  #place(number) {
    return this.#placeOf ? this.#placeOf[number] : number - 1;
  }

  #numberAt(place) {
    if (place < 0 || place >= this.#picture.cells.length) return 0;
    return this.#places ? this.#places[place] : place + 1;
  }

  #drawTask(number, shown) {
    const place = this.#place(number);
    const x = (place % this.#columns) * this.#stride;
    const y = Math.floor(place / this.#columns) * this.#stride;
    const letter = this.#picture.letter(number);
    const { plain, faint } = this.#sprites.get(letter);
    const sprite = this.#filter && letter !== this.#filter ? faint : plain;
    const [side, wide] = [this.#side, this.#canvas.width];
    for (let row = 0, from = 0, to = y * wide + x; row < side; row += 1, to += wide - side) {
      for (let column = 0; column < side; column += 1) this.#pixels[to++] = sprite[from++];
    }
    if (shown) this.#context.putImageData(this.#image, 0, 0, x, y, side, side);
  }

  #at(event) {
    const box = this.#canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.#pitch);
    const row = Math.floor((event.clientY - box.top) / this.#pitch);
    if (column < 0 || column >= this.#columns || row < 0) return 0;
    return this.#numberAt(row * this.#columns + column);
  }

  #point(number) {
    if (!number || number > this.#picture.cells.length) return;
    this.#current = number;
    this.#moveRing();
    this.#on.point(number);
  }

  #moveRing() {
    this.#ring.hidden = !this.#current;
    if (!this.#current) return;
    const place = this.#place(this.#current);
    const [x, y] = [(place % this.#columns) * this.#pitch, Math.floor(place / this.#columns) * this.#pitch];
    this.#ring.style.width = this.#ring.style.height = `${this.#cell + 6}px`;
    this.#ring.style.transform = `translate(${this.#canvas.offsetLeft + x - 3}px, ${this.#canvas.offsetTop + y - 3}px)`;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = this.#place(this.#current || 1);
    const last = this.#picture.cells.length - 1;
    const page = this.#columns * 10;
    const moves = {
      ArrowLeft: place - 1, ArrowRight: place + 1, ArrowUp: place - this.#columns, ArrowDown: place + this.#columns,
      PageUp: place - page, PageDown: place + page, Home: 0, End: last,
    };
    if (event.key === "Enter" && this.#current) this.#on.open(this.#current);
    else if (!(event.key in moves)) return;
    else if (moves[event.key] >= 0 && moves[event.key] <= last) this.#point(this.#numberAt(moves[event.key]));
    event.preventDefault();
  }
}
