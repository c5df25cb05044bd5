// The image and its layers: attention of a word, values of the cells, objects, and the cursor.

import { cellsOf, upsampleAttention, weightAt } from "./attention.js";

// As in ../figures.py: the attention relative to uniform that is brightest; fraction of the image
// that remains under no attention, under full brightness.
export const FULL = 5;
const UNATTENDED = 0.28;
const ATTENDED = 0.72;
/** The layer over the image, from no to full brightness. CSS interpolates it as `#drawOverlay`. */
export const LAYER_GRADIENT = "linear-gradient(to right, " +
  `rgb(0 0 0 / ${1 - UNATTENDED}), rgb(255 255 255 / ${1 - ATTENDED}))`;
const CELL_WIDTH = 30; // on the screen, in pixels: smaller cells show no value
const CELL_HEIGHT = 13;

/** Makes an element with a role, by which styles and tests find it. */
export function make(tag, role, properties = {}, ...children) {
  const node = document.createElement(tag);
  node.dataset.role = role;
  node.className = `sat-${role}`;
  Object.assign(node, properties);
  node.append(...children);
  return node;
}

export const clamp = (number, low, high) => Math.min(high, Math.max(low, number));

/** Formats a fraction: 83%, 5.2%, 0% */
export const percent = (fraction) => {
  if (fraction === null) return "–";
  return `${(100 * fraction).toFixed(fraction >= 0.0005 && fraction < 0.0995 ? 1 : 0)}%`;
};

/** Formats attention relative to uniform: 12×, 3.2×, 0.0× */
export const times = (ratio) => `${ratio.toFixed(ratio < 9.95 ? 1 : 0)}×`;

/** Returns the brightness, 0 to 1, of attention relative to uniform. */
export const brightness = (ratio) => Math.min(1, ratio / FULL);

/** Positions an element over a part of the image: top, left, bottom, right as fractions. */
function position(node, [top, left, bottom, right]) {
  const sides = { top, left, height: bottom - top, width: right - left };
  for (const [side, value] of Object.entries(sides)) node.style[side] = `${100 * value}%`;
}

export class Stage {
  smooth = true; // or the raw cells
  #record = null;
  #word = null; // the word whose attention is drawn
  #cursor = null; // row and column as fractions of the box; null outside it

  /** Calls `onCursor()` when the cursor moves, `onBroken()` if the image can't be decoded. */
  constructor(onCursor, onBroken) {
    this.onCursor = onCursor;
    this.picture = make("img", "picture", { alt: "", draggable: false });
    this.picture.addEventListener("error", onBroken);
    this.cropped = make("div", "cropped", { title: "Cropped: not part of the model's input" });
    this.canvas = make("canvas", "overlay", { ariaHidden: "true" });
    this.values = make("div", "values", { ariaHidden: "true" });
    this.objects = make("div", "objects");
    this.peak = make("div", "peak");
    this.cursor = make("div", "cursor", { hidden: true });
    this.node = make("div", "stage", { tabIndex: 0, role: "application" },
      this.picture, this.cropped, this.canvas, this.values, this.objects, this.cursor);
    this.#listen();
    this.resized = new ResizeObserver(() => this.#drawValues());
    this.resized.observe(this.node);
  }

  /** Shows the image of a document, its box and its objects. */
  show(record) {
    const { image, box, objects, image_id: name } = record;
    const [top, left, bottom, right] = box.map((side) => clamp(side, 0, 1));
    this.#record = record;
    this.#word = null;
    this.picture.src = `data:image/jpeg;base64,${image.jpeg}`;
    this.picture.alt = name;
    this.node.ariaLabel = `${name}. Arrow keys move a cursor over the cells, and list the words that attend to them`;
    this.node.style.setProperty("--ratio", image.width / image.height);
    this.canvas.width = Math.max(1, Math.round((right - left) * image.width));
    this.canvas.height = Math.max(1, Math.round((bottom - top) * image.height));
    for (const node of [this.canvas, this.values]) position(node, [top, left, bottom, right]);
    // Half a pixel into the box: else a bright line remains where the edges fall between pixels.
    const [l, t] = [left, top].map((side) => `calc(${100 * side}% + 0.5px)`);
    const [r, b] = [right, bottom].map((side) => `calc(${100 * side}% - 0.5px)`);
    this.cropped.style.clipPath = "polygon(evenodd, 0 0, 100% 0, 100% 100%, 0 100%, 0 0, " +
      `${l} ${t}, ${l} ${b}, ${r} ${b}, ${r} ${t}, ${l} ${t})`;
    this.cropped.hidden = top === 0 && left === 0 && bottom === 1 && right === 1;
    this.objects.replaceChildren(...objects.map((object) => {
      const node = make("div", "object", {}, make("span", "name", {}, object.name));
      position(node, object.box);
      return node;
    }), this.peak);
  }

  /** Draws the attention of a word (null: none). */
  draw(word, opacity) {
    this.#word = word;
    this.canvas.style.opacity = opacity;
    this.canvas.classList.toggle("sat-raw", !this.smooth);
    this.#drawOverlay();
    this.#drawValues();
    this.#drawObjects();
  }

  /** Returns the attention of a word at the cursor, relative to uniform; null without a cursor. */
  attentionAtCursor({ attention }) {
    if (!this.#cursor) return null;
    const y = Math.floor(this.#cursor[0] * this.canvas.height);
    const x = Math.floor(this.#cursor[1] * this.canvas.width);
    return weightAt(attention, ...this.#sizes(), this.smooth, y, x);
  }

  /** Moves the cursor by so many cells. */
  moveCursor(down, right) {
    const { rows, columns } = this.#record;
    const [y, x] = this.#cursor ?? [0.5, 0.5];
    const step = (side, by, cells) =>
      (clamp(Math.floor(side * cells) + by, 0, cells - 1) + 0.5) / cells;
    this.#setCursor([step(y, down, rows), step(x, right, columns)]);
  }

  destroy() {
    this.resized.disconnect();
  }

  #sizes() {
    const { rows, columns } = this.#record;
    return [rows, columns, this.canvas.height, this.canvas.width];
  }

  #listen() {
    const point = (event) => {
      const area = this.canvas.getBoundingClientRect();
      const x = (event.clientX - area.left) / area.width;
      const y = (event.clientY - area.top) / area.height;
      this.#setCursor(x >= 0 && x < 1 && y >= 0 && y < 1 ? [y, x] : null);
    };
    this.node.addEventListener("pointermove", point);
    this.node.addEventListener("pointerdown", point);
    this.node.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.#setCursor(null); // a finger always leaves
    });
    this.node.addEventListener("blur", () => this.#setCursor(null));
  }

  #setCursor(cursor) {
    this.#cursor = cursor;
    this.cursor.hidden = cursor === null;
    if (cursor) {
      const [top, left, bottom, right] = this.#record.box;
      this.cursor.style.top = `${100 * (top + cursor[0] * (bottom - top))}%`;
      this.cursor.style.left = `${100 * (left + cursor[1] * (right - left))}%`;
    }
    this.onCursor();
  }

  /** Draws a translucent layer with the result of `blend_attention` in ../figures.py. */
  #drawOverlay() {
    const { height, width } = this.canvas;
    // Drawn pixel by pixel, which is faster in main memory than on the graphics card.
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, width, height);
    if (!this.#word) return;
    const pixels = context.createImageData(width, height);
    const { attention } = this.#word;
    upsampleAttention(attention, ...this.#sizes(), this.smooth).forEach((ratio, pixel) => {
      const light = brightness(ratio);
      const opacity = 1 - UNATTENDED - (ATTENDED - UNATTENDED) * light;
      const white = (255 * (1 - ATTENDED) * light) / opacity;
      pixels.data.set([white, white, white, 255 * opacity], 4 * pixel);
    });
    context.putImageData(pixels, 0, 0);
  }

  /** Writes the values of raw cells, if they are large enough. */
  #drawValues() {
    if (!this.#record) return;
    const { rows, columns } = this.#record;
    const { clientWidth, clientHeight } = this.values;
    const fits = clientWidth / columns >= CELL_WIDTH && clientHeight / rows >= CELL_HEIGHT;
    const cells = fits && !this.smooth && this.#word ? this.#word.attention : [];
    this.values.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
    this.values.replaceChildren(...Array.from(cells, (ratio) =>
      make("span", "cell", { textContent: times(ratio) })));
  }

  /** Marks the objects that the word may name, and the cell of its largest weight. */
  #drawObjects() {
    const { box: [top, left, bottom, right], rows, columns, objects } = this.#record;
    const word = this.#word;
    objects.forEach((_, index) =>
      this.objects.children[index].classList.toggle("sat-named", !!word?.objects.includes(index)));
    const cell = word ? cellsOf(word).indexOf(255) : -1;
    this.peak.hidden = cell < 0;
    const [height, width] = [(bottom - top) / rows, (right - left) / columns];
    const y = top + Math.floor(cell / columns) * height;
    const x = left + (cell % columns) * width;
    position(this.peak, [y, x, y + height, x + width]);
  }
}
