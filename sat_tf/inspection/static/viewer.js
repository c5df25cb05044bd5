// Shows a captioned image and the attention of each word: a document of `AttentionRecord.document`
// in ../attention_record.py. Text is only ever set as text, never as HTML.

import { cellsOf, check } from "./attention.js";
import { FULL, LAYER_GRADIENT, Stage, brightness, clamp, make, percent, times } from "./stage.js";

const SETTINGS = { opacity: 1, smooth: true, boxes: false };
const PLAY_MILLISECONDS = 900;

/**
 * Fills `host` with an empty viewer.
 *
 * options.compact: only the image, words and references, for a card in a gallery.
 *
 * A viewer has
 *   show(record): shows a document, or a message if it is not valid. The first content word is
 *     selected; the reader's own choice of word and beam is kept if the next document is of the same
 *     image (at another training step, say).
 *   message(text): shows a text instead of the image.
 *   configure(settings): sets some of `opacity` (0..1), `smooth`, `boxes`.
 *   settings: the current ones.
 *   destroy(): empties the host.
 * `host` gets a `change` event when the word shown or a setting changes; its detail has `caption`,
 * `word` and `selected` (indices; null: none) and `settings`.
 */
export function mount(host, options = {}) {
  return new Viewer(host, options);
}

const fixed = (number, digits) => (number === null ? "–" : number.toFixed(digits));

/** Makes the legend of the scale of brightness and of the marks below each word. */
export function makeLegend() {
  const uniform = make("span", "scale-uniform", {}, "1× uniform");
  uniform.style.marginLeft = `${100 / FULL}%`;
  const bar = make("span", "scale-bar", {}, uniform);
  bar.style.background = `${LAYER_GRADIENT}, gray`;
  return make("p", "legend", {},
    make("span", "scale", { title: "α relative to uniform attention" },
      "α: 0", bar, `${FULL}× and more`),
    make("span", "key-probability", {}, "probability"),
    make("span", "key-beta", {}, "β, gate of the context"),
    make("span", "key-entropy", {}, "H, entropy of α (100%: uniform)"));
}

class Viewer {
  settings = { ...SETTINGS };
  #record = null;
  #caption = 0;
  #words = []; // of the caption: their document, `attention` relative to uniform, and `button`
  #hovered = null;
  #selected = null;
  #chosen = false; // whether the reader made the selection
  #timer = null;
  #reported = "";

  constructor(host, { compact = false }) {
    this.host = host;
    this.root = make("section", "viewer", { ariaLabel: "Caption and attention" });
    this.root.classList.toggle("sat-compact", compact);
    this.#build();
    this.root.append(this.note, this.body);
    host.replaceChildren(this.root);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    // The controls' own `change` events, not to be confused with the viewer's.
    this.root.addEventListener("change", (event) => event.stopPropagation());
    this.message("Nothing to show yet");
  }

  show(record) {
    const before = this.#record;
    try {
      check(record);
    } catch (error) {
      this.message(`This can't be shown: ${error.message}.`);
      return;
    }
    const same = before?.image_id === record.image_id;
    if (!same) this.#stop();
    this.#record = record;
    this.note.hidden = true;
    this.body.hidden = false;
    this.stage.show(record);
    this.controls.boxes.parentNode.hidden = record.objects.length === 0;
    this.references.replaceChildren(
      ...record.references.map((text) => make("li", "reference", {}, text)));
    this.references.parentNode.hidden = record.references.length === 0;
    this.#choose(same && this.#caption < record.captions.length ? this.#caption : 0, same);
  }

  message(text) {
    this.#stop();
    this.#record = null;
    this.note.textContent = text;
    this.note.hidden = false;
    this.body.hidden = true;
  }

  configure(settings) {
    for (const name of Object.keys(SETTINGS)) {
      if (name in settings) this.settings[name] = settings[name];
    }
    this.controls.opacity.value = 100 * this.settings.opacity;
    for (const name of ["smooth", "boxes"]) {
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
      () => this.message("The image can't be decoded."));
    this.play = make("button", "play", { type: "button", textContent: "Play" });
    this.play.addEventListener("click", () => (this.#timer ? this.#stop() : this.#start()));
    const range = { type: "range", min: 0, max: 100, value: 100 };
    this.controls = { opacity: make("input", "opacity", range) };
    this.controls.opacity.addEventListener("input", (event) =>
      this.#set("opacity", event.target.value / 100));
    const bar = make("div", "controls", {}, this.play,
      make("label", "label", {}, "Opacity", this.controls.opacity));
    const boxes = { smooth: "Smooth", boxes: "Objects" };
    for (const [name, text] of Object.entries(boxes)) {
      const input = make("input", name, { type: "checkbox", checked: this.settings[name] });
      input.addEventListener("input", () => this.#set(name, input.checked));
      this.controls[name] = input;
      bar.append(make("label", "label", {}, input, text));
    }
    this.controls.boxes.parentNode.dataset.role = "boxes-label";

    this.row = make("div", "words", { role: "group", ariaLabel: "Caption" });
    this.beams = make("div", "beams", { role: "group", ariaLabel: "Candidate captions" });
    this.references = make("ul", "references", { ariaLabel: "References" });
    this.announcement = make("p", "announcement", { role: "status" });
    this.body = make("div", "body", {},
      make("div", "left", {}, this.stage.node, bar),
      make("div", "right", {}, this.row, makeLegend(),
        make("section", "beams-part", {}, make("h3", "heading", {}, "Beams"), this.beams),
        make("section", "references-part", {}, make("h3", "heading", {}, "References"),
          this.references), this.announcement));
  }

  /** Shows one of the captions; `keep`: with the word that the reader selected, if it has so many. */
  #choose(caption, keep) {
    const { captions, rows, columns } = this.#record;
    this.#caption = caption;
    this.#hovered = null;
    this.#words = captions[caption].words.map((word, index) => ({
      ...word,
      attention: Float64Array.from(cellsOf(word),
        (byte) => (byte / 255) ** 2 * word.peak * rows * columns),
      button: this.#wordButton(word, index, rows, columns),
    }));
    if (!keep || !this.#chosen || this.#selected >= this.#words.length) {
      const first = Math.max(0, this.#words.findIndex((word) => word.content));
      this.#selected = this.#words.length ? first : null;
      this.#chosen = false;
    }
    this.row.replaceChildren(...this.#words.map((word) => word.button));
    if (!this.#words.length) this.row.append(make("em", "empty", {}, "caption without words"));
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
        this.#choose(index, false);
        this.beams.children[index].focus();
      });
      return button;
    }));
    this.beams.parentNode.hidden = captions.length === 1;
    this.#refresh();
  }

  #wordButton(word, index, rows, columns) {
    const peak = cellsOf(word).indexOf(255);
    const where = peak < 0 ? "" : `; peak, ${times(word.peak * rows * columns)} uniform, at row ` +
      `${Math.floor(peak / columns) + 1} of ${rows}, column ${(peak % columns) + 1} of ${columns}`;
    const hit = { true: "; inside a matching box", false: "; outside the matching boxes" };
    const title = `probability ${percent(word.probability)}, β ${fixed(word.beta, 2)}, ` +
      `entropy ${percent(word.entropy)}${where}${hit[word.hit] ?? ""}`;
    const button = make("button", "word",
      { type: "button", title, ariaLabel: `${word.word}: ${title}`, tabIndex: index ? -1 : 0 },
      make("span", "text", {}, word.word),
      make("span", "probability"), make("span", "beta"), make("span", "entropy"),
      make("span", "value"), make("span", "entropy-value", {}, `H ${percent(word.entropy)}`));
    if (word.hit !== null) {
      button.append(make("span", word.hit ? "hit" : "miss", {}, word.hit ? "✓" : "✗"));
    }
    for (const name of ["probability", "beta", "entropy"]) {
      button.style.setProperty(`--${name}`, clamp(word[name] ?? 0, 0, 1));
    }
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
      this.#select(this.#selected === index ? null : index);
    });
    return button;
  }

  /** Selects a word (null: none), as chosen by the reader. */
  #select(index) {
    this.#selected = index;
    this.#chosen = true;
    this.#refresh();
  }

  #set(name, value) {
    this.settings[name] = value;
    this.#refresh();
  }

  #start() {
    const next = () => {
      const index = this.#chosen && this.#selected !== null ? this.#selected + 1 : 0;
      const ended = index >= this.#words.length;
      if (ended) this.#stop();
      this.#select(ended ? null : index);
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
    if (onStage && (down || right)) this.#moveCursor(down, right);
    else if (right && this.#words.length) this.#moveWord(right);
    else return;
    event.preventDefault();
  }

  #moveWord(by) {
    this.#stop();
    const last = this.#words.length - 1;
    const from = this.shown ?? (by > 0 ? -1 : last + 1);
    const to = clamp(from + by, 0, last);
    this.#words[to].button.focus();
    this.#hovered = to;
    this.#select(this.#selected === null ? null : to);
  }

  #moveCursor(down, right) {
    this.stage.moveCursor(down, right);
    const ratios = this.#words.map((word) => [word.word, this.stage.attentionAtCursor(word)]);
    const largest = ratios.sort((a, b) => b[1] - a[1]).slice(0, 3);
    this.announcement.textContent =
      largest.map(([word, ratio]) => `${word} ${times(ratio)}`).join(", ");
  }

  /** The word whose attention is shown: the one under the mouse, else the selected one. */
  get shown() {
    return this.#hovered ?? this.#selected;
  }

  #refresh() {
    if (!this.#record) return;
    const { shown } = this;
    this.root.classList.toggle("sat-boxes-on", this.settings.boxes);
    this.#words.forEach(({ button }, index) => {
      button.ariaPressed = index === this.#selected;
      button.classList.toggle("sat-shown", index === shown);
      button.tabIndex = index === (shown ?? 0) ? 0 : -1;
    });
    this.stage.smooth = this.settings.smooth;
    this.stage.draw(this.#words[shown] ?? null, this.settings.opacity);
    this.#shadeWords();
    const state = { caption: this.#caption, word: shown, selected: this.#selected };
    state.settings = { ...this.settings };
    if (JSON.stringify(state) === this.#reported) return;
    this.#reported = JSON.stringify(state);
    this.host.dispatchEvent(new CustomEvent("change", { detail: state }));
  }

  /** Shades each word by its attention at the cursor. */
  #shadeWords() {
    this.#words.forEach((word) => {
      const ratio = this.stage.attentionAtCursor(word);
      this.root.classList.toggle("sat-pointing", ratio !== null);
      word.button.style.setProperty("--attended", brightness(ratio ?? 0).toFixed(3));
      word.button.querySelector(".sat-value").textContent =
        ratio === null ? percent(word.probability) : times(ratio);
    });
  }
}
