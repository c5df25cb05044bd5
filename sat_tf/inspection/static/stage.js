// The picture, and what is laid over it: where a word looked, the values of cells, objects, and the
// place that is pointed at.

import { overlay, weightAt } from "./attention.js";

// As in ../overlays.py: how much of the image is left where the model did not look, where it did.
const UNSEEN = 0.28;
const SEEN = 0.72;
const CELL_WIDTH = 30; // on the screen, in pixels: smaller cells have no room for their value
const CELL_HEIGHT = 13;

/** An element with a role, by which styles and tests find it. */
export function make(tag, role, properties = {}, ...children) {
  const node = document.createElement(tag);
  node.dataset.role = role;
  node.className = `sat-${role}`;
  Object.assign(node, properties);
  node.append(...children);
  return node;
}

export const clamp = (number, low, high) => Math.min(high, Math.max(low, number));

/** 83%, 5.2%, 0% */
export const percent = (share) => {
  if (share === null) return "–";
  return `${(100 * share).toFixed(share >= 0.0005 && share < 0.0995 ? 1 : 0)}%`;
};

/** Lays an element over a part of the picture: top, left, bottom, right as fractions. */
function place(node, [top, left, bottom, right]) {
  const sides = { top, left, height: bottom - top, width: right - left };
  for (const [side, share] of Object.entries(sides)) node.style[side] = `${100 * share}%`;
}

export class Stage {
  smooth = true; // or the raw cells
  #inspection = null;
  #word = null; // the word that is drawn
  #point = null; // row and column as fractions of the box, if the mouse is there

  /** Calls `onPoint()` when another place is pointed at, `onBroken()` if there is no picture. */
  constructor(onPoint, onBroken) {
    this.onPoint = onPoint;
    this.picture = make("img", "picture", { alt: "", draggable: false });
    this.picture.addEventListener("error", onBroken);
    this.unseen = make("div", "unseen", { title: "The model does not see this part" });
    this.canvas = make("canvas", "overlay", { ariaHidden: "true" });
    this.values = make("div", "values", { ariaHidden: "true" });
    this.objects = make("div", "objects");
    this.peak = make("div", "peak");
    this.cross = make("div", "cross", { hidden: true });
    this.node = make("div", "stage", { tabIndex: 0, role: "application" },
      this.picture, this.unseen, this.canvas, this.values, this.objects, this.cross);
    this.#listen();
    this.resized = new ResizeObserver(() => this.#drawValues());
    this.resized.observe(this.node);
  }

  /** Shows the picture of a document, its box and its objects. */
  show(inspection) {
    const { image, box, objects, image_id: name } = inspection;
    const [top, left, bottom, right] = box.map((side) => clamp(side, 0, 1));
    this.#inspection = inspection;
    this.#word = null;
    this.picture.src = `data:image/jpeg;base64,${image.jpeg}`;
    this.picture.alt = name;
    this.node.ariaLabel = `${name}. Arrow keys point at a place and tell which words looked there`;
    this.node.style.setProperty("--ratio", image.width / image.height);
    this.canvas.width = Math.max(1, Math.round((right - left) * image.width));
    this.canvas.height = Math.max(1, Math.round((bottom - top) * image.height));
    for (const node of [this.canvas, this.values]) place(node, [top, left, bottom, right]);
    // Half a pixel into the box: else a bright line remains where the two meet between pixels.
    const [l, t] = [left, top].map((share) => `calc(${100 * share}% + 0.5px)`);
    const [r, b] = [right, bottom].map((share) => `calc(${100 * share}% - 0.5px)`);
    this.unseen.style.clipPath = "polygon(evenodd, 0 0, 100% 0, 100% 100%, 0 100%, 0 0, " +
      `${l} ${t}, ${l} ${b}, ${r} ${b}, ${r} ${t}, ${l} ${t})`;
    this.unseen.hidden = top === 0 && left === 0 && bottom === 1 && right === 1;
    this.objects.replaceChildren(...objects.map((object) => {
      const node = make("div", "object", {}, make("span", "name", {}, object.name));
      place(node, object.box);
      return node;
    }), this.peak);
  }

  /** Draws where a word looked (null: none), `brightest` being the weight drawn brightest. */
  draw(word, brightest, opacity) {
    this.#word = word;
    this.canvas.style.opacity = opacity;
    this.canvas.classList.toggle("sat-raw", !this.smooth);
    this.#drawOverlay(brightest);
    this.#drawValues();
    this.#drawObjects();
  }

  /** The word's map, enlarged to the box. */
  look({ alpha }) {
    return overlay(alpha, ...this.#sizes(), this.smooth);
  }

  /** Its weight at the place that is pointed at; null if none is. */
  lookAtPoint({ alpha }) {
    if (!this.#point) return null;
    const y = Math.floor(this.#point[0] * this.canvas.height);
    const x = Math.floor(this.#point[1] * this.canvas.width);
    return weightAt(alpha, ...this.#sizes(), this.smooth, y, x);
  }

  /** Moves the place that is pointed at by so many cells. */
  walk(down, right) {
    const { rows, columns } = this.#inspection;
    const [y, x] = this.#point ?? [0.5, 0.5];
    const step = (share, by, cells) =>
      (clamp(Math.floor(share * cells) + by, 0, cells - 1) + 0.5) / cells;
    this.#pointAt([step(y, down, rows), step(x, right, columns)]);
  }

  destroy() {
    this.resized.disconnect();
  }

  #sizes() {
    const { rows, columns } = this.#inspection;
    return [rows, columns, this.canvas.height, this.canvas.width];
  }

  #listen() {
    const point = (event) => {
      const area = this.canvas.getBoundingClientRect();
      const x = (event.clientX - area.left) / area.width;
      const y = (event.clientY - area.top) / area.height;
      this.#pointAt(x >= 0 && x < 1 && y >= 0 && y < 1 ? [y, x] : null);
    };
    this.node.addEventListener("pointermove", point);
    this.node.addEventListener("pointerdown", point);
    this.node.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.#pointAt(null); // a finger always leaves
    });
    this.node.addEventListener("blur", () => this.#pointAt(null));
  }

  #pointAt(where) {
    this.#point = where;
    this.cross.hidden = where === null;
    if (where) {
      const [top, left, bottom, right] = this.#inspection.box;
      this.cross.style.top = `${100 * (top + where[0] * (bottom - top))}%`;
      this.cross.style.left = `${100 * (left + where[1] * (right - left))}%`;
    }
    this.onPoint();
  }

  /** Over a pixel of light l, a veil that leaves of it what `lay_over` leaves. */
  #drawOverlay(brightest) {
    const { height, width } = this.canvas;
    // Drawn pixel by pixel, it had better stay off the graphics card.
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, width, height);
    if (!this.#word) return;
    const pixels = context.createImageData(width, height);
    this.look(this.#word).forEach((weight, pixel) => {
      const light = Math.min(1, weight / brightest);
      const veil = 1 - UNSEEN - (SEEN - UNSEEN) * light;
      const white = (255 * (1 - SEEN) * light) / veil;
      pixels.data.set([white, white, white, 255 * veil], 4 * pixel);
    });
    context.putImageData(pixels, 0, 0);
  }

  /** The values of raw cells as text, where there is room. */
  #drawValues() {
    if (!this.#inspection) return;
    const { rows, columns } = this.#inspection;
    const { clientWidth, clientHeight } = this.values;
    const room = clientWidth / columns >= CELL_WIDTH && clientHeight / rows >= CELL_HEIGHT;
    const alpha = room && !this.smooth && this.#word ? this.#word.alpha : [];
    this.values.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
    this.values.replaceChildren(...Array.from(alpha, (weight) =>
      make("span", "cell", { textContent: percent(weight) })));
  }

  /** Marks the objects that the word may name, and the cell it looked at most. */
  #drawObjects() {
    const { box: [top, left, bottom, right], rows, columns, objects } = this.#inspection;
    const word = this.#word;
    objects.forEach((_, index) =>
      this.objects.children[index].classList.toggle("sat-named", !!word?.objects.includes(index)));
    const cell = word ? word.alpha.indexOf(word.peak) : -1;
    this.peak.hidden = cell < 0;
    const [height, width] = [(bottom - top) / rows, (right - left) / columns];
    const y = top + Math.floor(cell / columns) * height;
    const x = left + (cell % columns) * width;
    place(this.peak, [y, x, y + height, x + width]);
  }
}
