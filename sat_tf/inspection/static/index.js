// TensorBoard's tab Attention: selection of run, image and training step, and runs side by side.
// `viewer.js` shows each document.

import { mount } from "./viewer.js";

const NO_DATA =
  "No attention in these runs yet: train with --log_attention=8, and come back after a validation.";
const JUMP = 100; // images that the back end lists at a time
const EARLIER_KEY = ",";
const LATER_KEY = ".";

// TensorBoard calls this once, when the tab is first opened.
export async function render() {
  for (const name of ["viewer.css", "plugin.css"]) {
    document.head.append(make("link", { rel: "stylesheet", href: address(name) }));
  }
  const page = new Page(document.body);
  listenToReloads(() => page.reload());
  window.focus(); // or the keys would go to TensorBoard's page until a first click
  await page.reload();
}

class Page {
  constructor(body) {
    this.list = { images: [], start: 0, count: 0 }; // the images listed, see the back end
    this.run = make("select", { id: "run", onchange: () => this.listImages() });
    this.image = make("select", { id: "image", onchange: () => this.choose() });
    this.search = make("input", { id: "search", type: "search", placeholder: "search" });
    this.search.setAttribute("aria-label", "search the images by name");
    this.search.oninput = () => this.listImages();
    this.place = make("output", { id: "place" });
    this.back = button("«", () => this.turn(-JUMP), `${JUMP} images back`);
    this.on = button("»", () => this.turn(JUMP), `${JUMP} images on`);
    this.other = make("select", { id: "other", onchange: () => this.choose() });
    this.linked = make("input", { id: "linked", type: "checkbox", checked: true });
    this.linked.onchange = () => this.moved(this.first);
    this.linkedLabel = make("label", { hidden: true }, this.linked, "same step");
    this.message = make("p", { id: "message", role: "status" });
    this.panes = make("main", { hidden: true });
    this.bar = make(
      "header",
      {},
      make("label", {}, "Run", this.run),
      make("span", { className: "group" },
        make("label", {}, "Image", this.image),
        this.back,
        button("‹", () => this.turn(-1), "previous image"),
        button("›", () => this.turn(1), "next image"),
        this.on,
        this.place,
        this.search),
      make("label", {}, "Compare with", this.other),
      this.linkedLabel,
      Object.assign(button("Reload", () => this.reload()), { id: "reload" }),
    );
    this.first = new Pane((pane) => this.moved(pane));
    this.second = new Pane((pane) => this.moved(pane));
    this.panes.append(this.first.root, this.second.root);
    for (const [pane, twin] of [[this.first, this.second], [this.second, this.first]]) {
      // Settings are shared, so that the panes can be compared.
      pane.host.addEventListener("change", () => twin.viewer.configure(pane.viewer.settings));
    }
    body.append(this.bar, this.message, this.panes);
    body.addEventListener("keydown", (event) => this.key(event));
  }

  // Reads the lists of runs and images; selections are kept if they still exist.
  async reload() {
    try {
      offer(this.run, await ask("runs"));
    } catch (error) {
      this.setMessage(error.message);
      return;
    }
    await this.listImages();
  }

  // Lists the images around the selected one, or around the one with this index, and shows it.
  async listImages(index = null) {
    this.listing?.abort();
    const { signal } = (this.listing = new AbortController());
    const run = this.run.value;
    if (!run) {
      this.setMessage(NO_DATA);
      return;
    }
    const place = index === null ? { image: this.image.value } : { start: index };
    try {
      this.list = await ask("images", { run, search: this.search.value, ...place }, signal);
    } catch (error) {
      if (!signal.aborted) this.setMessage(error.message);
      return;
    }
    const { images, start, count } = this.list;
    this.setMessage(count ? "" : `No name of an image has ${this.search.value} in it.`);
    offer(this.image, images);
    if (index !== null) this.image.selectedIndex = index - start;
    await this.choose();
  }

  // Shows the selected run and image.
  async choose() {
    const { images, start, count } = this.list;
    const [run, image] = [this.run.value, this.image.value];
    const fits = images.length === count;
    this.back.hidden = this.on.hidden = fits;
    this.search.hidden = fits && !this.search.value;
    const number = start + this.image.selectedIndex + 1;
    this.place.textContent = `${number.toLocaleString("en")} of ${count.toLocaleString("en")}`;
    if (!count) return;
    const others = [...this.run.options].map(({ value }) => value).filter((name) => name !== run);
    offer(this.other, ["", ...others], ["none", ...others.map(shown)]);
    const other = this.other.value;
    const compares = Boolean(other);
    this.panes.classList.toggle("compares", compares);
    this.second.root.hidden = this.linkedLabel.hidden = !compares;
    await Promise.all([
      this.first.choose(run, image),
      compares ? this.second.choose(other, image) : this.second.clear(),
    ]);
    this.moved(this.first);
  }

  // Shows the image so many places on; after the last one comes the first.
  turn(by) {
    const { images, start, count } = this.list;
    if (!count) return;
    const index = (start + this.image.selectedIndex + by + count) % count;
    if (!(index - start in images)) {
      this.listImages(index);
      return;
    }
    this.image.selectedIndex = index - start;
    this.choose();
  }

  // Called when a pane shows another step: the other pane follows.
  moved(pane) {
    if (!this.linked.checked || this.second.root.hidden) return;
    const follower = pane === this.first ? this.second : this.first;
    follower.follow(pane.step);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === this.search) return;
    const sign = { [EARLIER_KEY]: -1, [LATER_KEY]: 1 }[event.key];
    if (event.target === document.body && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      // The viewer gets keys only when it has the focus; nothing else here uses these.
      this.first.host.querySelector("[data-role=word]")?.focus();
    }
    if (!sign) return;
    event.preventDefault();
    (this.second.root.contains(event.target) ? this.second : this.first).moveBy(sign);
  }

  setMessage(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
    this.panes.hidden = Boolean(text);
  }
}

// One image in one run: its steps, and the viewer of the selected one.
class Pane {
  constructor(onMove) {
    this.onMove = onMove;
    this.title = make("h2");
    this.slider = make("input", { type: "range", min: 0, max: 0, value: 0 });
    this.slider.setAttribute("aria-label", "training step");
    this.slider.oninput = () => this.goTo(Number(this.slider.value));
    this.label = make("output", { className: "step" });
    this.stepper = make("div", { className: "stepper" },
      button("‹", () => this.moveBy(-1), `earlier step (key ${EARLIER_KEY})`),
      this.slider,
      button("›", () => this.moveBy(1), `later step (key ${LATER_KEY})`),
      this.label);
    this.host = make("div", { className: "host" });
    this.root = make("section", { className: "pane" }, this.title, this.stepper, this.host);
    this.viewer = mount(this.host);
    this.steps = [];
    this.at = -1; // which of the steps is shown
    this.clear();
  }

  get step() {
    return this.steps[this.at];
  }

  clear() {
    this.begin();
    this.text = null; // of the document shown
    this.pinned = null; // the step to keep; null: always the last one
  }

  // Shows an image of a run: at the step that was shown before, or at the last one.
  async choose(run, image) {
    const signal = this.begin();
    this.steps = [];
    this.at = -1;
    this.run = run;
    this.image = image;
    this.title.textContent = shown(run);
    await this.attempt(signal, async () => {
      const { images } = await ask("images", { run, image }, signal);
      this.stepper.hidden = !images.includes(image);
      if (this.stepper.hidden) throw new Error(`The image ${image} is not in the run ${shown(run)}.`);
      this.steps = await ask("steps", { run, tag: image }, signal);
      this.at = this.pinned === null ? this.steps.length - 1 : nearest(this.steps, this.pinned);
      await this.show(signal);
    });
  }

  moveBy(sign) {
    this.goTo(Math.min(Math.max(this.at + sign, 0), this.steps.length - 1));
  }

  // Shows the step at this index, selected by the user.
  goTo(at) {
    if (!(at in this.steps) || at === this.at) return;
    this.move(at);
    this.onMove(this);
  }

  // Shows the step nearest to that of the other pane.
  follow(step) {
    const at = nearest(this.steps, step);
    if (at >= 0 && at !== this.at) this.move(at);
  }

  move(at) {
    this.at = at;
    this.pinned = at === this.steps.length - 1 ? null : this.step;
    const signal = this.begin();
    this.attempt(signal, () => this.show(signal));
  }

  // Cancels pending requests.
  begin() {
    this.pending?.abort();
    this.pending = new AbortController();
    return this.pending.signal;
  }

  async attempt(signal, act) {
    try {
      await act();
    } catch (error) {
      if (!signal.aborted) this.fail(error.message);
    }
  }

  async show(signal) {
    this.slider.max = this.steps.length - 1;
    this.slider.value = this.at;
    this.slider.disabled = this.steps.length < 2;
    this.slider.setAttribute("aria-valuetext", `step ${this.step}`);
    this.label.textContent =
      `step ${this.step.toLocaleString("en")} · ${this.at + 1} of ${this.steps.length}`;
    const query = { run: this.run, tag: this.image, step: this.step };
    const record = await ask("record", query, signal);
    const text = JSON.stringify(record);
    if (signal.aborted || text === this.text) return; // a reload keeps the selection and playback
    this.text = text;
    this.viewer.show(record);
  }

  fail(sentence) {
    this.text = null;
    this.viewer.message(sentence);
  }
}

// Returns the answer of the back end; throws an error with a sentence for the page.
async function ask(route, parameters = {}, signal = undefined) {
  const url = address(route);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  let response;
  try {
    response = await fetch(url, { signal });
  } catch {
    throw new Error("TensorBoard does not answer. Is it still running?");
  }
  let content = null;
  try {
    content = await response.json();
  } catch {
    throw new Error(`TensorBoard's answer can't be read (status ${response.status}).`);
  }
  if (!response.ok) throw new Error(content?.error ?? `Status ${response.status}.`);
  return content;
}

// TensorBoard notifies its plugins over a message channel when it has read new data.
function listenToReloads(onReload) {
  const channel = new MessageChannel();
  channel.port1.onmessage = (event) => {
    if (JSON.parse(event.data).type === "experimental.DataReloaded") onReload();
  };
  window.parent.postMessage("experimental.bootstrap", "*", [channel.port2]);
}

// Fills a list of choices, and keeps the selection if it still exists.
function offer(select, values, texts = values.map(shown)) {
  const chosen = select.value;
  select.replaceChildren(
    ...values.map((value, i) => make("option", { value, textContent: texts[i] })),
  );
  select.selectedIndex = Math.max(values.indexOf(chosen), 0);
}

// Returns the index of the step nearest to this one, or -1 if there are none.
function nearest(steps, step) {
  let best = steps.length - 1;
  steps.forEach((other, i) => {
    if (Math.abs(other - step) < Math.abs(steps[best] - step)) best = i;
  });
  return best;
}

// TensorBoard calls the log directory itself ".".
function shown(name) {
  return name === "." ? ". (the log directory itself)" : name;
}

// Returns the address of a file next to this script.
function address(name) {
  return new URL(name, import.meta.url);
}

function button(text, onclick, title = "") {
  return make("button", { type: "button", textContent: text, title, onclick });
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
