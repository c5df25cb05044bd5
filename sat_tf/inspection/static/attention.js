// Validation of a document (see `AttentionRecord.document` in ../attention_record.py), and upsampling
// of its attention to pixels. Independent of the page.

const FORMAT_VERSION = 2;
const SIGMA = 20 / 224; // width of the paper's Gaussian, as in ../figures.py
const MAX_CELLS = 512; // along one side of the grid
const MAX_MATRICES = 64; // kept in memory

/** Upsamples alpha to height x width pixels, row by row, as `upsample_attention` in ../figures.py. */
export function upsampleAttention(alpha, rows, columns, height, width, smooth) {
  const vertical = interpolationMatrix(height, rows, smooth);
  const horizontal = interpolationMatrix(width, columns, smooth);
  const weights = new Float32Array(height * width);
  const line = new Float64Array(columns);
  for (let y = 0; y < height; y++) {
    for (let c = 0; c < columns; c++) {
      line[c] = 0;
      for (let r = 0; r < rows; r++) line[c] += vertical[y * rows + r] * alpha[r * columns + c];
    }
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += line[c] * horizontal[x * columns + c];
      weights[y * width + x] = sum;
    }
  }
  return weights;
}

/** Returns one pixel of `upsampleAttention`. */
export function weightAt(alpha, rows, columns, height, width, smooth, y, x) {
  const vertical = interpolationMatrix(height, rows, smooth);
  const horizontal = interpolationMatrix(width, columns, smooth);
  const factor = (cell) =>
    vertical[y * rows + Math.floor(cell / columns)] * horizontal[x * columns + (cell % columns)];
  return alpha.reduce((sum, weight, cell) => sum + weight * factor(cell), 0);
}

const matrices = new Map();

/** Returns the weight of each cell in each pixel of one axis: [pixels, cells], rows sum to 1. */
function interpolationMatrix(pixels, cells, smooth) {
  const key = `${pixels} ${cells} ${smooth}`;
  if (!matrices.has(key)) {
    if (matrices.size === MAX_MATRICES) matrices.clear();
    matrices.set(key, makeMatrix(pixels, cells, smooth));
  }
  return matrices.get(key);
}

function makeMatrix(pixels, cells, smooth) {
  const cellOf = Array.from({ length: pixels }, (_, p) => Math.trunc(((p + 0.5) * cells) / pixels));
  const sigma = SIGMA * pixels;
  const gaussian = cellOf.map((_, distance) => Math.exp(-0.5 * (distance / sigma) ** 2));
  const matrix = new Float64Array(pixels * cells);
  for (let p = 0; p < pixels; p++) {
    if (!smooth) {
      matrix[p * cells + cellOf[p]] = 1;
      continue;
    }
    let sum = 0;
    for (let q = 0; q < pixels; q++) sum += gaussian[Math.abs(p - q)];
    for (let q = 0; q < pixels; q++) {
      matrix[p * cells + cellOf[q]] += gaussian[Math.abs(p - q)] / sum;
    }
  }
  return matrix;
}

/** Throws an Error that names what is wrong with a document, if it is not valid. */
export function check(record) {
  const need = (right, what) => {
    if (!right) throw new Error(what);
  };
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const isCount = (value, max) => Number.isInteger(value) && value >= 1 && value <= max;
  const isNumber = (value) => value === null || Number.isFinite(value); // null: NaN or infinite
  const isBox = (box) =>
    Array.isArray(box) && box.length === 4 && box.every(Number.isFinite) &&
    box[0] < box[2] && box[1] < box[3] && Math.min(...box) > -0.01 && Math.max(...box) < 1.01;

  need(isObject(record), "it is not an attention record");
  const { format_version: version, image, box, rows, columns } = record;
  const { references, objects, captions } = record;
  need(version === FORMAT_VERSION, `its format has version ${version}, not ${FORMAT_VERSION}`);
  need(typeof record.image_id === "string", "it has no image_id");
  need(isObject(image) && isCount(image.width, 8192) && isCount(image.height, 8192) &&
    /^[A-Za-z0-9+/]+=*$/.test(image.jpeg), "it has no image");
  need(isBox(box), "its box is not four fractions of the image");
  need(isCount(rows, MAX_CELLS) && isCount(columns, MAX_CELLS), "its grid has no size");
  need(Array.isArray(references) && references.every((one) => typeof one === "string"),
    "its references are not strings");
  need(Array.isArray(objects) &&
    objects.every((one) => isObject(one) && typeof one.name === "string" && isBox(one.box)),
    "its objects are not named boxes");
  need(Array.isArray(captions) && captions.length > 0, "it has no captions");
  captions.forEach((caption, k) => {
    const at = `caption ${k + 1}`;
    need(isObject(caption) && isNumber(caption.score) && isNumber(caption.log_probability) &&
      Array.isArray(caption.words), `${at} is incomplete`);
    caption.words.forEach((word, n) => {
      need(isObject(word) && typeof word.word === "string" &&
        typeof word.content === "boolean" && isNumber(word.probability) && isNumber(word.beta) &&
        isNumber(word.entropy) && Number.isFinite(word.peak) &&
        Array.isArray(word.objects) && word.objects.every((one) => one in objects) &&
        [null, true, false].includes(word.hit), `word ${n + 1} of ${at} is incomplete`);
      need(cellsOf(word)?.length === rows * columns,
        `word ${n + 1} of ${at} has no attention of ${rows} x ${columns} cells`);
    });
  });
}

/** Returns alpha as bytes, square roots with 255 at the peak; null if it can't be decoded. */
export function cellsOf(word) {
  try {
    return Uint8Array.from(atob(word.alpha), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}
