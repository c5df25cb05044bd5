"""Attention figures: the attention of each word over the image (section 5.4 of the paper)."""

import contextlib
import functools
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from sat_tf.data.objects import WHOLE, Box
from sat_tf.errors import UserError
from sat_tf.metrics.attention import normalized_entropy
from sat_tf.storage import atomic_path

# Width of the Gaussian as a fraction of the side: the paper smooths images of 224 pixels by 20.
SIGMA = 20 / 224
# The attention, relative to uniform attention, that is brightest; brightness is linear up to it.
# One scale for all maps: scaled by its own maximum, a flat map would look like a focused one.
FULL = 5
# Fraction of the image that remains under no attention and under full brightness. The rest under
# full brightness is white, so that dark regions are highlighted too and hues are kept.
UNATTENDED, ATTENDED = 0.28, 0.72

_PANELS_PER_ROW = 6
_PANEL_INCHES, _GAP_INCHES = 1.9, 0.12
_WORD_INCHES, _NOTE_INCHES = 0.36, 0.26  # above a panel for its word, below it for its numbers
_BACKGROUND, _WORD_COLOUR, _NOTE_COLOUR = "#16181d", "#f2f2ee", "#9a9da6"
_WORD_POINTS, _NOTE_POINTS = 13, 9
_LETTER_WIDTH = 0.62  # of a letter, as a fraction of the font size
_DOTS_PER_INCH, _POINTS_PER_INCH = 150, 72


def upsample_attention(
    image: np.ndarray, alpha: np.ndarray, smooth: bool = True, box: Box = WHOLE
) -> np.ndarray:
    """Upsample attention weights to the pixels of an image.

    Without smoothing, a pixel has the weight of the cell that covers it. The Gaussian is limited to
    the box and renormalised at its edges, so that uniform attention stays uniform; its width is a
    fraction of each side of the box.

    Args:
      image: [H, W, ...]; only its size is used.
      alpha: [rows, columns].
      smooth: whether to apply the paper's Gaussian.
      box: part of the image that the grid covers, see `sat_tf.data.images.crop_box`.

    Returns:
      float [H, W], zero outside the box.
    """
    height, width = image.shape[:2]
    rows, columns = alpha.shape
    top, left, bottom, right = box
    vertical = _interpolation_matrix(height, rows, smooth, top, bottom)  # [H, rows]
    horizontal = _interpolation_matrix(width, columns, smooth, left, right)  # [W, columns]
    return vertical @ alpha @ horizontal.T  # [H, W]


def _interpolation_matrix(
    pixels: int, cells: int, smooth: bool, start: float, end: float
) -> np.ndarray:
    """Return the weight of each cell in each pixel of one axis: float [pixels, cells].

    Rows sum to 1 from `start` to `end`, fractions of the axis, and to 0 outside.
    """
    positions = (np.arange(pixels) + 0.5) / pixels
    inside = (start <= positions) & (positions < end)
    cell_of_pixel = np.floor((positions - start) * cells / (end - start)).astype(int)
    nearest = ((cell_of_pixel[:, None] == np.arange(cells)) & inside[:, None]).astype(float)
    if not smooth:
        return nearest
    distance = (positions[:, None] - positions[None, :]) / (SIGMA * (end - start))
    gaussian = np.exp(-0.5 * distance**2) * inside * inside[:, None]  # [pixels, pixels]
    total = np.maximum(gaussian.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return (gaussian / total) @ nearest


def blend_attention(
    image: np.ndarray, alpha: np.ndarray, smooth: bool = True, box: Box = WHOLE
) -> np.ndarray:
    """Highlight the attended part of an image, [H, W, 3], 0..255, and darken the rest.

    Brightness is linear in alpha relative to uniform attention, alpha_i L, from 0 to `FULL`.
    Uniform attention lights the whole image at 1 / `FULL`. Other arguments are those of
    `upsample_attention`.

    Returns:
      uint8 [H, W, 3].
    """
    relative = alpha.size * upsample_attention(image, alpha, smooth, box)
    light = np.minimum(1, relative / FULL)[..., None]  # [H, W, 1]
    kept = UNATTENDED + (ATTENDED - UNATTENDED) * light
    blended = kept * image.astype(float) + (1 - ATTENDED) * 255 * light
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def attention_figure(
    image: np.ndarray,
    words: Sequence[str],
    alphas: np.ndarray,
    betas: np.ndarray | None = None,
    box: Box = WHOLE,
) -> Figure:
    """Draw the image, then a panel for each word with its attention.

    Below the image stands the scale of brightness, below a word beta and the normalized entropy of
    its attention (100%: uniform).

    Args:
      image: uint8 or float [H, W, 3], 0..255.
      words: T words.
      alphas: [T, rows, columns].
      betas: [T]; or None.
      box: see `upsample_attention`.
    """
    if len(alphas) != len(words) or (betas is not None and len(betas) != len(words)):
        raise ValueError(f"{len(words)} words need as many maps and betas")
    panels = 1 + len(words)
    rows = math.ceil(panels / _PANELS_PER_ROW)
    aspect = image.shape[0] / image.shape[1]
    figure, axes = _make_panels(rows, math.ceil(panels / rows), _PANEL_INCHES * aspect)
    axes[0].imshow(np.clip(image, 0, 255).astype(np.uint8), interpolation="bicubic")
    if words:
        _set_note(axes[0], f"dark: 0, bright: ≥ {FULL}× uniform")
    for step, (axis, word) in enumerate(zip(axes[1:], words, strict=False)):
        axis.imshow(blend_attention(image, alphas[step], box=box), interpolation="bicubic")
        # A long word is set smaller, to be no wider than its panel.
        fitting = _PANEL_INCHES * _POINTS_PER_INCH / (_LETTER_WIDTH * max(1, len(word)))
        size = min(_WORD_POINTS, fitting)
        axis.set_title(word, color=_WORD_COLOUR, fontsize=size, pad=5, parse_math=False)
        beta = "" if betas is None else f"β {betas[step]:.2f}   "
        entropy = normalized_entropy(alphas[step])
        _set_note(axis, beta + ("entropy –" if math.isnan(entropy) else f"entropy {entropy:.0%}"))
    for axis in axes[panels:]:
        axis.set_visible(False)
    return figure


def _set_note(axis: Axes, text: str) -> None:
    axis.set_xlabel(text, color=_NOTE_COLOUR, fontsize=_NOTE_POINTS, labelpad=3)


def _make_panels(rows: int, columns: int, panel_height: float) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its panels, row by row; `panel_height` is in inches."""
    column_width = _PANEL_INCHES + _GAP_INCHES
    row_height = _WORD_INCHES + panel_height + _NOTE_INCHES
    width, height = columns * column_width + _GAP_INCHES, rows * row_height + _GAP_INCHES
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor=_BACKGROUND)
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        subplot_kw={"frame_on": False, "xticks": [], "yticks": []},
        gridspec_kw={
            "left": _GAP_INCHES / width,
            "right": 1 - _GAP_INCHES / width,
            "top": 1 - _WORD_INCHES / height,
            "bottom": (_GAP_INCHES + _NOTE_INCHES) / height,
            "wspace": _GAP_INCHES / _PANEL_INCHES,
            "hspace": (row_height - panel_height) / panel_height,
        },
    )
    return figure, list(grid.flat)


def render(figure: Figure) -> np.ndarray:
    """Return the pixels of a figure: uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    with _missing_glyphs_reported_once():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def check_figure_path(path: str | os.PathLike[str]) -> None:
    """Raise `UserError` if the path's suffix is not that of an image format."""
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in known:
        suffixes = ", ".join(f".{suffix}" for suffix in sorted(known))
        raise UserError(f"--figure={path}: figures are written as {suffixes}")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the path's suffix, see `check_figure_path`."""
    check_figure_path(path)
    with atomic_path(path) as temporary, _missing_glyphs_reported_once():
        figure.savefig(temporary)


@contextlib.contextmanager
def _missing_glyphs_reported_once() -> Iterator[None]:
    """Report missing glyphs once in a process: Matplotlib warns of each, in each figure."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if str(warning.message).startswith("Glyph "):
            _report_missing_glyphs()
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@functools.cache
def _report_missing_glyphs() -> None:
    tqdm.write(
        "warning: figures show boxes in place of letters that their font lacks; name an installed "
        "font that has them in Matplotlib's file matplotlibrc (font.family: DejaVu Sans, FONT). "
        "Reports and TensorBoard's tab show all",
        file=sys.stderr,
    )
