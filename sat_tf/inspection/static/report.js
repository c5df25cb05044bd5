// The page of the report: a gallery of cards to search and sort, and an enlarged one. The document
// of each image is a block of JSON in the page, parsed when its card first comes into view.

import { makeLegend, mount } from "./viewer.js";

const MARGIN = "800px"; // cards are filled when they are this close to the screen
const ORIGINAL_ORDER = "original order";

const find = (role, within = document) => within.querySelector(`[data-role="${role}"]`);
const blocks = document.querySelectorAll('[data-role="document"]');
const { images, sort_by: first } = JSON.parse(find("summary").textContent);
const gallery = find("gallery");
find("bar").append(makeLegend());
const read = (index) => JSON.parse(blocks[index].textContent);
const shortened = (number) => (number === null ? "–" : number.toFixed(3));

const cards = images.map(makeCard);
let order = { by: first ?? ORIGINAL_ORDER, descending: false };
let settings = {};

function add(parent, tag, role, text = "") {
  const node = parent.appendChild(document.createElement(tag));
  node.dataset.role = role;
  node.className = `report-${role}`;
  node.textContent = text;
  return node;
}

function addButton(parent, role, text, act) {
  const button = add(parent, "button", role, text);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

function makeCard(summary, index) {
  const node = document.createElement("article");
  node.className = "report-card";
  node.dataset.role = "card";
  const head = add(node, "header", "head");
  add(head, "h2", "name", summary.image_id).title = summary.image_id;
  const card = { ...summary, index, node, viewer: null };
  const button = addButton(head, "enlarge", "Enlarge", () => enlarge(card));
  button.ariaLabel = `Enlarge ${summary.image_id}`;
  card.host = add(node, "div", "host");
  const scores = add(node, "dl", "scores");
  for (const [name, value] of Object.entries(summary.scores)) {
    const pair = add(scores, "div", "score");
    pair.dataset.name = name;
    add(pair, "dt", "score-name", name);
    add(pair, "dd", "score-value", shortened(value));
  }
  card.text = [summary.image_id, summary.caption, ...summary.references].join("\n").toLowerCase();
  return card;
}

// Fills a card when it comes close to the screen.
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    const card = cards.find(({ node }) => node === target);
    card.viewer = mount(card.host, { compact: true });
    card.viewer.configure(settings);
    card.viewer.show(read(card.index));
  }
}, { rootMargin: MARGIN });

// Order and search

const orderBar = find("order");
const names = [ORIGINAL_ORDER, ...new Set(images.flatMap(({ scores }) => Object.keys(scores)))];
const orderButtons = names.map((name) => addButton(orderBar, "sort", name, () => {
  order = { by: name, descending: order.by === name && name !== ORIGINAL_ORDER && !order.descending };
  arrange();
}));

function arrange() {
  const { by, descending } = order;
  const value = ({ scores }) => scores[by] ?? null;
  const sorted = [...cards].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    const missing = (left === null) - (right === null); // last in both directions
    return missing || (descending ? right - left : left - right) || a.index - b.index;
  });
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of sorted) card.node.hidden = !words.every((word) => card.text.includes(word));
  gallery.replaceChildren(...sorted.map(({ node }) => node));
  orderButtons.forEach((button, index) => {
    const chosen = names[index] === by;
    button.ariaPressed = chosen;
    button.textContent = names[index];
    if (names[index] === ORIGINAL_ORDER) return;
    if (chosen) button.textContent += descending ? " ↓" : " ↑";
    button.title = chosen && descending ? "highest first" : "lowest first; again: highest first";
  });
  for (const score of gallery.querySelectorAll(".report-score")) {
    score.classList.toggle("report-chosen", score.dataset.name === by);
  }
  const seen = cards.filter(({ node }) => !node.hidden).length;
  const all = `${cards.length} images`;
  find("count").textContent = seen === cards.length ? all : `${seen} of ${all}`;
}

find("search").addEventListener("input", arrange);

// One card enlarged

const dialog = find("dialog");
const large = mount(find("large"));
let enlarged = null;

function enlarge(card) {
  enlarged = card;
  find("title", dialog).textContent = card.image_id;
  if (!dialog.open) dialog.showModal();
  large.show(read(card.index));
}

function turn(by) {
  const visible = [...gallery.children].filter((node) => !node.hidden);
  const next = visible[visible.indexOf(enlarged.node) + by];
  if (next) enlarge(cards.find(({ node }) => node === next));
}

find("previous").addEventListener("click", () => turn(-1));
find("next").addEventListener("click", () => turn(1));
find("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  large.message("");
  enlarged.node.scrollIntoView({ block: "nearest" });
  find("enlarge", enlarged.node).focus({ preventScroll: true });
});
find("large").addEventListener("change", ({ detail }) => {
  settings = detail.settings;
  for (const { viewer } of cards) viewer?.configure(settings);
});

arrange();
for (const { node } of cards) watcher.observe(node);
