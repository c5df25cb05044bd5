// Shows one captioned image and where each of its words looked. What it is given is the JSON of
// `Inspection.document` in ../inspections.py. Text is only ever set as text, never as HTML.

import { cellsOf, check } from "./attention.js";
import { Stage, clamp, make, percent } from "./stage.js";

const SETTINGS = { opacity: 1, smooth: true, shared: false, boxes: false };
const PLAY_MILLISECONDS = 900;

/**
 * Fills `host` with an empty viewer.
 *
 * options.compact: the picture, words and references alone, for a card in a gallery.
 *
 * A viewer has
 *   show(inspection): shows a document, or says what is wrong with it. The held word and the beam
 *     stay when the next document is of the same image (another training step, say).
 *   message(text): shows a text in place of the picture.
 *   configure(settings): sets some of `opacity` (0..1), `smooth`, `shared`, `boxes`.
 *   settings: those it has.
 *   destroy(): empties the host.
 * `host` gets a `change` event when the word shown or a setting changes; its detail has `caption`,
 * `word` and `held` (indices; null: none) and `settings`.
 */
export function mount(host, options = {}) {
  return new Viewer(host, options);
}

const fixed = (number, digits) => (number === null ? "–" : number.toFixed(digits));

class Viewer {
  settings = { ...SETTINGS };
  #inspection = null;
  #caption = 0;
  #words = []; // of the caption: their document, `alpha` as numbers and `button`
  #hovered = null;
  #held = null;
  #timer = null;
  #peaks = new Map(); // of `#tallest`, by word and smoothing
  #reported = "";

  constructor(host, { compact = false }) {
    this.host = host;
    this.root = make("section", "viewer", { ariaLabel: "Caption and attention" });
    this.root.classList.toggle("sat-compact", compact);
    this.#build();
    this.root.append(this.note, this.body);
    host.replaceChildren(this.root);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    // Those of the controls; the viewer has a `change` event of its own.
    this.root.addEventListener("change", (event) => event.stopPropagation());
    this.message("Nothing to show yet");
  }

  show(inspection) {
    const before = this.#inspection;
    try {
      check(inspection);
    } catch (error) {
      this.message(`This can't be shown: ${error.message}.`);
      return;
    }
    const same = before?.image_id === inspection.image_id;
    if (!same) this.#stop();
    this.#inspection = inspection;
    this.note.hidden = true;
    this.body.hidden = false;
    this.stage.show(inspection);
    this.controls.boxes.parentNode.hidden = inspection.objects.length === 0;
    this.references.replaceChildren(
      ...inspection.references.map((text) => make("li", "reference", {}, text)));
    this.references.parentNode.hidden = inspection.references.length === 0;
    this.#choose(same && this.#caption < inspection.captions.length ? this.#caption : 0,
      same ? this.#held : null);
  }

  message(text) {
    this.#stop();
    this.#inspection = null;
    this.note.textContent = text;
    this.note.hidden = false;
    this.body.hidden = true;
  }

  configure(settings) {
    for (const name of Object.keys(SETTINGS)) {
      if (name in settings) this.settings[name] = settings[name];
    }
    this.controls.opacity.value = 100 * this.settings.opacity;
    for (const name of ["smooth", "shared", "boxes"]) {
      this.controls[name].checked = this.settings[name];
    }
    this.#refresh();
  }

  destroy() {
    this.#stop();
    this.stage.destroy();
    this.root.remove();
  }

  #build() {
    this.note = make("p", "message", { role: "status" });
    this.stage = new Stage(() => this.#shadeWords(),
      () => this.message("The picture can't be read."));
    this.play = make("button", "play", { type: "button", textContent: "Play" });
    this.play.addEventListener("click", () => (this.#timer ? this.#stop() : this.#start()));
    const range = { type: "range", min: 0, max: 100, value: 100 };
    this.controls = { opacity: make("input", "opacity", range) };
    this.controls.opacity.addEventListener("input", (event) =>
      this.#set("opacity", event.target.value / 100));
    const bar = make("div", "controls", {}, this.play,
      make("label", "label", {}, "Opacity", this.controls.opacity));
    const boxes = { smooth: "Smooth", shared: "One scale for all words", boxes: "Objects" };
    for (const [name, text] of Object.entries(boxes)) {
      const input = make("input", name, { type: "checkbox", checked: this.settings[name] });
      input.addEventListener("input", () => this.#set(name, input.checked));
      this.controls[name] = input;
      bar.append(make("label", "label", {}, input, text));
    }
    this.controls.boxes.parentNode.dataset.role = "boxes-label";

    this.row = make("div", "words", { role: "group", ariaLabel: "Caption" });
    this.legend = make("p", "legend", {}, make("span", "key-probability", {}, "probability"),
      make("span", "key-beta", {}, "β, how much the picture counts"));
    this.beams = make("div", "beams", { role: "group", ariaLabel: "Captions found" });
    this.references = make("ul", "references", { ariaLabel: "Captions by people" });
    this.spoken = make("p", "spoken", { role: "status" });
    this.body = make("div", "body", {},
      make("div", "left", {}, this.stage.node, bar),
      make("div", "right", {}, this.row, this.legend,
        make("section", "beams-part", {}, make("h3", "heading", {}, "Beams"), this.beams),
        make("section", "references-part", {}, make("h3", "heading", {}, "People say"),
          this.references), this.spoken));
  }

  /** Shows one of the captions, a word of it held if it has so many. */
  #choose(caption, held) {
    const { captions, rows, columns } = this.#inspection;
    this.#caption = caption;
    this.#hovered = null;
    this.#peaks.clear();
    this.#words = captions[caption].words.map((word, index) => ({
      ...word,
      alpha: Float64Array.from(cellsOf(word), (byte) => (byte / 255) * word.peak),
      button: this.#wordButton(word, index, rows, columns),
    }));
    this.#held = held < this.#words.length ? held : null;
    this.row.replaceChildren(...this.#words.map((word) => word.button));
    if (!this.#words.length) this.row.append(make("em", "empty", {}, "a caption without words"));
    this.beams.replaceChildren(...captions.map((one, index) => {
      const text = one.words.map((word) => word.word).join(" ");
      const logProbability = fixed(one.log_probability, 3);
      const title = `score ${fixed(one.score, 3)}, log probability ${logProbability}`;
      const ariaPressed = index === caption;
      const button = make("button", "beam", { type: "button", title, ariaPressed },
        make("span", "beam-text", {}, text || "(no words)"),
        make("span", "beam-score", {}, fixed(one.log_probability, 2)));
      button.addEventListener("click", () => {
        this.#stop();
        this.#choose(index, null);
        this.beams.children[index].focus();
      });
      return button;
    }));
    this.beams.parentNode.hidden = captions.length === 1;
    this.#refresh();
  }

  #wordButton(word, index, rows, columns) {
    const peak = cellsOf(word).indexOf(255);
    const where = peak < 0 ? "" : `; most at row ${Math.floor(peak / columns) + 1} of ${rows}, ` +
      `column ${(peak % columns) + 1} of ${columns}`;
    const hit = { true: "; its peak lies in the right box", false: "; its peak lies elsewhere" };
    const title = `probability ${percent(word.probability)}, β ${fixed(word.beta, 2)}, ` +
      `entropy ${fixed(word.entropy, 2)} nats${where}${hit[word.hit] ?? ""}`;
    const button = make("button", "word",
      { type: "button", title, ariaLabel: `${word.word}: ${title}`, tabIndex: index ? -1 : 0 },
      make("span", "text", {}, word.word),
      make("span", "probability"), make("span", "beta"), make("span", "value"));
    if (word.hit !== null) {
      button.append(make("span", word.hit ? "hit" : "miss", {}, word.hit ? "✓" : "✗"));
    }
    button.style.setProperty("--probability", clamp(word.probability ?? 0, 0, 1));
    button.style.setProperty("--beta", clamp(word.beta ?? 0, 0, 1));
    const hover = (on) => {
      this.#hovered = on ? index : null;
      this.#refresh();
    };
    for (const [type, on] of [["pointerenter", true], ["pointerleave", false]]) {
      button.addEventListener(type, (event) => event.pointerType === "mouse" && hover(on));
    }
    button.addEventListener("focus", () => button.matches(":focus-visible") && hover(true));
    button.addEventListener("blur", () => hover(false));
    button.addEventListener("click", () => {
      this.#stop();
      this.#held = this.#held === index ? null : index;
      this.#refresh();
    });
    return button;
  }

  #set(name, value) {
    this.settings[name] = value;
    this.#refresh();
  }

  #start() {
    const next = () => {
      this.#held = this.#held === null ? 0 : this.#held + 1;
      if (this.#held >= this.#words.length) {
        this.#held = null;
        this.#stop();
      }
      this.#refresh();
    };
    this.#hovered = null;
    this.#timer = setInterval(next, PLAY_MILLISECONDS);
    this.play.textContent = "Pause";
    next();
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.play.textContent = "Play";
  }

  #key(event) {
    if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const [down, right] = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    }[event.key] ?? [0, 0];
    const onStage = event.target === this.stage.node;
    if (onStage && (down || right)) this.#walkStage(down, right);
    else if (right && this.#words.length) this.#walkWords(right);
    else return;
    event.preventDefault();
  }

  #walkWords(by) {
    this.#stop();
    const last = this.#words.length - 1;
    const from = this.shown ?? (by > 0 ? -1 : last + 1);
    const to = clamp(from + by, 0, last);
    this.#words[to].button.focus();
    this.#hovered = to;
    if (this.#held !== null) this.#held = to;
    this.#refresh();
  }

  #walkStage(down, right) {
    this.stage.walk(down, right);
    const looks = this.#words.map((word) => [word.word, this.stage.lookAtPoint(word)]);
    const most = looks.sort((a, b) => b[1] - a[1]).slice(0, 3);
    this.spoken.textContent = most.map(([word, look]) => `${word} ${percent(look)}`).join(", ");
  }

  /** The word that is laid over the picture: the one under the mouse, else the one held. */
  get shown() {
    return this.#hovered ?? this.#held;
  }

  /** The largest weight in a word's enlarged map. */
  #tallest(index) {
    const key = `${index} ${this.settings.smooth}`;
    if (!this.#peaks.has(key)) {
      const look = this.stage.look(this.#words[index]);
      this.#peaks.set(key, look.reduce((a, b) => Math.max(a, b), Number.MIN_VALUE));
    }
    return this.#peaks.get(key);
  }

  #tallestOfAll() {
    return Math.max(...this.#words.map((_, index) => this.#tallest(index)));
  }

  #refresh() {
    if (!this.#inspection) return;
    const { shown } = this;
    this.root.classList.toggle("sat-boxes-on", this.settings.boxes);
    this.#words.forEach(({ button }, index) => {
      button.ariaPressed = index === this.#held;
      button.classList.toggle("sat-shown", index === shown);
      button.tabIndex = index === (shown ?? 0) ? 0 : -1;
    });
    this.#drawStage(shown);
    this.#shadeWords();
    const state = { caption: this.#caption, word: shown, held: this.#held };
    state.settings = { ...this.settings };
    if (JSON.stringify(state) === this.#reported) return;
    this.#reported = JSON.stringify(state);
    this.host.dispatchEvent(new CustomEvent("change", { detail: state }));
  }

  #drawStage(shown) {
    const { smooth, shared, opacity } = this.settings;
    this.stage.smooth = smooth;
    if (shown === null) {
      this.stage.draw(null, 1, opacity);
    } else {
      const brightest = shared ? this.#tallestOfAll() : this.#tallest(shown);
      this.stage.draw(this.#words[shown], brightest, opacity);
    }
  }

  /** The other way round: how much each word looked at the place that is pointed at. */
  #shadeWords() {
    this.#words.forEach((word) => {
      const look = this.stage.lookAtPoint(word);
      this.root.classList.toggle("sat-pointing", look !== null);
      const shade = look === null ? 0 : Math.min(1, look / this.#tallestOfAll());
      word.button.style.setProperty("--looked", shade.toFixed(3));
      word.button.querySelector(".sat-value").textContent = percent(look ?? word.probability);
    });
  }
}
