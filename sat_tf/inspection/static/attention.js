// What there is in an inspection's document (see `Inspection.document` in ../inspections.py), and
// how its attention is laid over pixels. Numbers alone: nothing here knows of the page.

const FORMAT_VERSION = 1;
const SIGMA_SHARE = 20 / 224; // the paper's Gaussian, as in ../overlays.py
const MOST_CELLS = 512; // of one side of the grid
const MOST_SPREADS = 64; // kept in memory

/** Alpha enlarged to height x width pixels, row by row: ../overlays.py's `overlay`. */
export function overlay(alpha, rows, columns, height, width, smooth) {
  const down = spread(height, rows, smooth);
  const across = spread(width, columns, smooth);
  const look = new Float32Array(height * width);
  const strip = new Float64Array(columns);
  for (let y = 0; y < height; y++) {
    for (let c = 0; c < columns; c++) {
      strip[c] = 0;
      for (let r = 0; r < rows; r++) strip[c] += down[y * rows + r] * alpha[r * columns + c];
    }
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += strip[c] * across[x * columns + c];
      look[y * width + x] = sum;
    }
  }
  return look;
}

/** One pixel of `overlay`. */
export function weightAt(alpha, rows, columns, height, width, smooth, y, x) {
  const down = spread(height, rows, smooth);
  const across = spread(width, columns, smooth);
  const share = (cell) =>
    down[y * rows + Math.floor(cell / columns)] * across[x * columns + (cell % columns)];
  return alpha.reduce((sum, weight, cell) => sum + weight * share(cell), 0);
}

const spreads = new Map();

/** How much each cell of one axis adds to each pixel: [pixels, cells], rows sum to 1. */
function spread(pixels, cells, smooth) {
  const key = `${pixels} ${cells} ${smooth}`;
  if (!spreads.has(key)) {
    if (spreads.size === MOST_SPREADS) spreads.clear();
    spreads.set(key, makeSpread(pixels, cells, smooth));
  }
  return spreads.get(key);
}

function makeSpread(pixels, cells, smooth) {
  const cellOf = Array.from({ length: pixels }, (_, p) => Math.trunc(((p + 0.5) * cells) / pixels));
  const sigma = SIGMA_SHARE * pixels;
  const gaussian = cellOf.map((_, distance) => Math.exp(-0.5 * (distance / sigma) ** 2));
  const shares = new Float64Array(pixels * cells);
  for (let p = 0; p < pixels; p++) {
    if (!smooth) {
      shares[p * cells + cellOf[p]] = 1;
      continue;
    }
    let sum = 0;
    for (let q = 0; q < pixels; q++) sum += gaussian[Math.abs(p - q)];
    for (let q = 0; q < pixels; q++) {
      shares[p * cells + cellOf[q]] += gaussian[Math.abs(p - q)] / sum;
    }
  }
  return shares;
}

/** Raises an Error that says what is wrong with a document, if something is. */
export function check(inspection) {
  const need = (right, what) => {
    if (!right) throw new Error(what);
  };
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const isCount = (value, most) => Number.isInteger(value) && value >= 1 && value <= most;
  const isNumber = (value) => value === null || Number.isFinite(value); // null: NaN or infinite
  const isBox = (box) =>
    Array.isArray(box) && box.length === 4 && box.every(Number.isFinite) &&
    box[0] < box[2] && box[1] < box[3] && Math.min(...box) > -0.01 && Math.max(...box) < 1.01;

  need(isObject(inspection), "it is no inspection of an image");
  const { format_version: version, image, box, rows, columns } = inspection;
  const { references, objects, captions } = inspection;
  need(version === FORMAT_VERSION, `its format has version ${version}, not ${FORMAT_VERSION}`);
  need(typeof inspection.image_id === "string", "it has no image_id");
  need(isObject(image) && isCount(image.width, 8192) && isCount(image.height, 8192) &&
    /^[A-Za-z0-9+/]+=*$/.test(image.jpeg), "it has no image");
  need(isBox(box), "its box is not four fractions of the image");
  need(isCount(rows, MOST_CELLS) && isCount(columns, MOST_CELLS), "its grid has no size");
  need(Array.isArray(references) && references.every((one) => typeof one === "string"),
    "its references are no texts");
  need(Array.isArray(objects) &&
    objects.every((one) => isObject(one) && typeof one.name === "string" && isBox(one.box)),
    "its objects are not named boxes");
  need(Array.isArray(captions) && captions.length > 0, "it has no captions");
  captions.forEach((caption, k) => {
    const at = `caption ${k + 1}`;
    need(isObject(caption) && isNumber(caption.score) && isNumber(caption.log_probability) &&
      Array.isArray(caption.words), `${at} is incomplete`);
    caption.words.forEach((word, n) => {
      need(isObject(word) && typeof word.word === "string" && isNumber(word.probability) &&
        isNumber(word.beta) && isNumber(word.entropy) && Number.isFinite(word.peak) &&
        Array.isArray(word.objects) && word.objects.every((one) => one in objects) &&
        [null, true, false].includes(word.hit), `word ${n + 1} of ${at} is incomplete`);
      need(cellsOf(word)?.length === rows * columns,
        `word ${n + 1} of ${at} has no attention of ${rows} x ${columns} cells`);
    });
  });
}

/** Alpha as bytes, 255 at the peak; null if it can't be read. */
export function cellsOf(word) {
  try {
    return Uint8Array.from(atob(word.alpha), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}
