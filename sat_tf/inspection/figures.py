"""Pictures of attention: word by word, where the model looked (section 5.4 of the paper)."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sat_tf.errors import UserError
from sat_tf.storage import atomic_path

# The paper smooths with a Gaussian of 20 pixels on images of 224.
SIGMA_SHARE = 20 / 224
# Where the model did not look, so much of the image is left; where it did, so much, and white for
# the rest: dark images show the place too, and colours stay what they are.
UNSEEN, SEEN = 0.28, 0.72

# Top, left, bottom and right of a part of an image, as fractions of its height and width.
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_FRAMES_IN_A_ROW = 6
_FRAME_INCHES = 1.9
_GAP_INCHES = 0.12
_WORD_INCHES, _BETA_INCHES = 0.36, 0.26  # above a frame for its word, below it for its beta
_BACKGROUND, _WORD_COLOUR, _BETA_COLOUR = "#16181d", "#f2f2ee", "#9a9da6"
_WORD_POINTS, _BETA_POINTS = 13, 9
_LETTER_WIDTH = 0.62  # of a letter, as a share of its height
_DOTS_PER_INCH = 150
_POINTS_PER_INCH = 72


def upsample_attention(
    image: np.ndarray, alpha: np.ndarray, smooth: bool = True, box: Box = WHOLE
) -> np.ndarray:
    """Alpha enlarged to the image: each pixel has the weight of the cell that covers it.

    Smoothing keeps to the part that the grid covers: at its edges the Gaussian is normalised
    anew, so that uniform attention stays uniform. Its width scales with each side of that part.

    Args:
      image: [H, W, ...], asked for its size only.
      alpha: [rows, columns].
      smooth: whether to smooth with the paper's Gaussian.
      box: the part that the grid covers, see `sat_tf.data.images.crop_box`; zero outside.

    Returns:
      float [H, W].
    """
    height, width = image.shape[:2]
    rows, columns = alpha.shape
    top, left, bottom, right = box
    down = _spread(height, rows, smooth, top, bottom)  # [H, rows]
    across = _spread(width, columns, smooth, left, right)  # [W, columns]
    return down @ alpha @ across.T  # [H, W]


def _spread(pixels: int, cells: int, smooth: bool, start: float, end: float) -> np.ndarray:
    """How much each cell of one axis adds to each pixel: float [pixels, cells].

    Rows sum to 1 from `start` to `end`, shares of the axis, and to 0 outside.
    """
    places = (np.arange(pixels) + 0.5) / pixels
    inside = (start <= places) & (places < end)
    cell_of_pixel = np.floor((places - start) * cells / (end - start)).astype(int)
    covers = ((cell_of_pixel[:, None] == np.arange(cells)) & inside[:, None]).astype(float)
    if not smooth:
        return covers
    distance = (places[:, None] - places[None, :]) / (SIGMA_SHARE * (end - start))
    gaussian = np.exp(-0.5 * distance**2) * inside * inside[:, None]
    total = np.maximum(gaussian.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return (gaussian / total) @ covers


def blend_attention(
    image: np.ndarray, alpha: np.ndarray, smooth: bool = True, box: Box = WHOLE
) -> np.ndarray:
    """The image, bright where the model looked and dark elsewhere.

    Args:
      image: [H, W, 3], 0..255.
      alpha: [rows, columns]; the largest value of its map becomes the brightest.
      smooth: as in `upsample_attention`.
      box: as in `upsample_attention`.

    Returns:
      uint8 [H, W, 3].
    """
    look = upsample_attention(image, alpha, smooth, box)
    light = look / max(look.max(), np.finfo(float).tiny)
    kept = UNSEEN + (SEEN - UNSEEN) * light[..., None]  # [H, W, 1]
    mixed = kept * image.astype(float) + (1 - SEEN) * 255 * light[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def attention_figure(
    image: np.ndarray,
    words: Sequence[str],
    alphas: np.ndarray,
    betas: np.ndarray | None = None,
    smooth: bool = True,
    box: Box = WHOLE,
) -> Figure:
    """The image, then a frame for each word with where the model looked.

    Args:
      image: uint8 or float [H, W, 3], 0..255.
      words: T words.
      alphas: [T, rows, columns].
      betas: [T], shown beneath the frames; or None.
      smooth: as in `upsample_attention`.
      box: as in `upsample_attention`.
    """
    if len(alphas) != len(words) or (betas is not None and len(betas) != len(words)):
        raise ValueError(f"{len(words)} words need as many maps and betas")
    frames = 1 + len(words)
    rows = math.ceil(frames / _FRAMES_IN_A_ROW)
    columns = math.ceil(frames / rows)
    below = _GAP_INCHES if betas is None else _BETA_INCHES
    figure, axes = _frames(rows, columns, _FRAME_INCHES * image.shape[0] / image.shape[1], below)
    _show(axes[0], np.clip(image, 0, 255).astype(np.uint8))
    for step, (word, alpha) in enumerate(zip(words, alphas, strict=True)):
        axis = axes[1 + step]
        _show(axis, blend_attention(image, alpha, smooth, box))
        axis.set_title(
            word, color=_WORD_COLOUR, fontsize=_word_points(word), pad=5, parse_math=False
        )
        if betas is not None:
            axis.set_xlabel(
                f"β {betas[step]:.2f}", color=_BETA_COLOUR, fontsize=_BETA_POINTS, labelpad=3
            )
    for axis in axes[frames:]:
        axis.set_visible(False)
    return figure


def _frames(
    rows: int, columns: int, frame_height: float, below: float
) -> tuple[Figure, list[Axes]]:
    """A figure and its frames, row by row; lengths in inches, `below` each frame for its beta."""
    cell_width, cell_height = _FRAME_INCHES + _GAP_INCHES, _WORD_INCHES + frame_height + below
    width, height = columns * cell_width + _GAP_INCHES, rows * cell_height + _GAP_INCHES
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor=_BACKGROUND)
    axes = []
    for row in range(rows):
        for column in range(columns):
            left = _GAP_INCHES + column * cell_width
            bottom = height - row * cell_height - _WORD_INCHES - frame_height
            shares = left / width, bottom / height, _FRAME_INCHES / width, frame_height / height
            axes.append(figure.add_axes(shares))
    return figure, axes


def _show(axis: Axes, pixels: np.ndarray) -> None:
    axis.imshow(pixels, interpolation="bicubic")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _word_points(word: str) -> float:
    """A font size at which the word is no wider than its frame."""
    fitting = _FRAME_INCHES * _POINTS_PER_INCH / (_LETTER_WIDTH * max(1, len(word)))
    return min(_WORD_POINTS, fitting)


def render(figure: Figure) -> np.ndarray:
    """The figure's pixels: uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def check_figure_path(path: str | os.PathLike[str]) -> None:
    """Raises `UserError` if a figure can't be saved under that name, for its suffix."""
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in known:
        raise UserError(
            f"--figure={path}: pictures are written as "
            f"{', '.join('.' + suffix for suffix in sorted(known))}"
        )


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of the path's suffix.

    Raises:
      UserError: the suffix is not that of a picture.
    """
    check_figure_path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
