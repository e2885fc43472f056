// One small picture for each state of a task: its colour and its shape, as the protocol's table has them, so that no
// state is told by colour alone.

const FAINT = 0.16;

const SHAPES = {
  outline(pen, size, line) {
    pen.strokeRect(line / 2, line / 2, size - line, size - line);
  },
  "lower-half"(pen, size, line) {
    SHAPES.outline(pen, size, line);
    pen.fillRect(0, size / 2, size, size / 2);
  },
  hole(pen, size) {
    pen.fillRect(0, 0, size, size);
    pen.globalCompositeOperation = "destination-out";
    pen.beginPath();
    pen.arc(size / 2, size / 2, size * 0.2, 0, 2 * Math.PI);
    pen.fill();
    pen.globalCompositeOperation = "source-over";
  },
  cross(pen, size, line) {
    pen.fillRect(0, 0, size, size);
    pen.globalCompositeOperation = "destination-out";
    pen.lineWidth = line * 1.4;
    const [near, far] = [size * 0.24, size * 0.76];
    pen.beginPath();
    pen.moveTo(near, near);
    pen.lineTo(far, far);
    pen.moveTo(far, near);
    pen.lineTo(near, far);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  },
  solid(pen, size) {
    pen.fillRect(0, 0, size, size);
  },
  diagonal(pen, size, line) {
    SHAPES.outline(pen, size, line);
    pen.beginPath();
    pen.moveTo(0, 0);
    pen.lineTo(size, size);
    pen.lineTo(0, size);
    pen.fill();
  },
  dash(pen, size, line) {
    pen.fillRect(size * 0.2, size / 2 - line / 2, size * 0.6, line);
  },
  framed(pen, size, line) {
    SHAPES.outline(pen, size, line);
    pen.fillRect(line * 2, line * 2, size - line * 4, size - line * 4);
  },
};

// By letter: { plain, faint }, the pixels of squares of `size` CSS pixels, which are `side` of the screen's. The colours are
// those that the page's own elements with the same data-state have now.
export function sprites(looks, size, side) {
  const made = new Map();
  const sample = document.createElement("span");
  sample.className = "mark";
  document.body.append(sample);
  for (const [letter, [state, , , shape]] of Object.entries(looks)) {
    sample.dataset.state = state;
    const colour = getComputedStyle(sample).color;
    made.set(letter, { plain: one(shape, colour, size, side, 1), faint: one(shape, colour, size, side, FAINT) });
  }
  sample.remove();
  return made;
}

function one(shape, colour, size, side, alpha) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.scale(side / size, side / size);
  pen.fillStyle = pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  pen.lineWidth = Math.max(1, Math.round(size / 8));
  SHAPES[shape](pen, size, pen.lineWidth);
  return new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
}
