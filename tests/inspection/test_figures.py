"""Upsampling, blending and figures of attention."""

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sat_tf.errors import UserError
from sat_tf.inspection.figures import (
    ATTENDED,
    FULL,
    SIGMA,
    UNATTENDED,
    _report_missing_glyphs,
    attention_figure,
    blend_attention,
    check_figure_path,
    render,
    save_figure,
    upsample_attention,
)

SIZES = [((8, 8), (64, 64)), ((14, 14), (224, 224)), ((3, 5), (60, 40)), ((4, 7), (30, 45))]


def hot(grid: tuple[int, int], row: int, column: int) -> np.ndarray:
    alpha = np.zeros(grid)
    alpha[row, column] = 1
    return alpha


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_upsample_without_smoothing_covers_the_pixels_of_a_cell(grid, size):
    image = np.zeros((*size, 3), np.uint8)
    row, column = 1, grid[1] - 1
    weights = upsample_attention(image, hot(grid, row, column), smooth=False)
    expected = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            cell = int((y + 0.5) / size[0] * grid[0]), int((x + 0.5) / size[1] * grid[1])
            expected[y, x] = cell == (row, column)
    np.testing.assert_array_equal(weights, expected)


def test_upsample_known_pixels():
    weights = upsample_attention(np.zeros((12, 20, 3)), hot((3, 5), 1, 3), smooth=False)
    assert weights.shape == (12, 20)
    assert (weights[4:8, 12:16] == 1).all()
    assert weights.sum() == 4 * 4


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_smoothing_keeps_the_peak_in_its_cell(grid, size):
    row, column = grid[0] // 2, grid[1] // 2
    weights = upsample_attention(np.zeros((*size, 3)), hot(grid, row, column))
    y, x = np.unravel_index(weights.argmax(), weights.shape)
    assert int((y + 0.5) / size[0] * grid[0]) == row
    assert int((x + 0.5) / size[1] * grid[1]) == column


def test_smoothing_is_the_papers_gaussian():
    # A cell of one pixel far from the edges becomes the Gaussian itself.
    side, centre = 225, 112
    weights = upsample_attention(np.zeros((side, side, 3)), hot((side, side), centre, centre))
    sigma = SIGMA * side
    for distance in (0, 7, 20, 41):
        expected = np.exp(-0.5 * (distance / sigma) ** 2)
        assert weights[centre, centre + distance] / weights[centre, centre] == pytest.approx(
            expected, rel=1e-3
        )
        assert weights[centre + distance, centre] == pytest.approx(
            weights[centre, centre + distance]
        )
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    assert pytest.approx(20, abs=0.1) == sigma


@pytest.mark.parametrize("smooth", [True, False])
def test_uniform_attention_stays_uniform(smooth):
    weights = upsample_attention(np.zeros((30, 45, 3)), np.full((4, 7), 1 / 28), smooth)
    np.testing.assert_allclose(weights, 1 / 28)


def test_blend_highlights_the_attended_cell_and_darkens_the_rest():
    image = np.full((40, 40, 3), (40, 160, 200), np.uint8)
    blended = blend_attention(image, hot((4, 4), 1, 2), smooth=False)
    assert blended.dtype == np.uint8
    assert (blended[10:20, 20:30] > image[10:20, 20:30]).all()
    outside = np.ones((40, 40), bool)
    outside[10:20, 20:30] = False
    assert (blended[outside] < image[outside]).all()
    dark = blend_attention(np.zeros_like(image), hot((4, 4), 1, 2), smooth=False)
    assert dark[15, 25, 0] > 50 > dark[0, 0, 0]


def test_brightness_is_linear_in_attention_relative_to_uniform():
    ratios = np.array([[0, 0.5, 1, 2], [3, FULL, 7, 13.5]])
    blended = blend_attention(np.full((2, 4, 3), 100), ratios / 8, smooth=False)
    light = np.minimum(1, ratios / FULL)
    expected = UNATTENDED * 100 + ((ATTENDED - UNATTENDED) * 100 + (1 - ATTENDED) * 255) * light
    np.testing.assert_allclose(blended[..., 0], expected, atol=0.5)


@pytest.mark.parametrize("smooth", [True, False])
def test_a_flat_map_looks_flat(smooth):
    alpha = np.random.default_rng(0).uniform(0.9, 1.1, (14, 14)) / 196
    blended = blend_attention(np.full((64, 64, 3), 128), alpha, smooth)
    assert np.ptp(blended) <= 6


def test_blend_of_zero_attention():
    assert blend_attention(np.zeros((8, 8, 3)), np.zeros((2, 2))).max() == 0


def make_figure(words, size=(48, 64), betas=True):
    rng = np.random.default_rng(0)
    alphas = rng.dirichlet(np.ones(15), len(words)).reshape(-1, 3, 5)
    image = rng.uniform(-20, 275, (*size, 3))  # bicubic resizing overshoots 0..255
    return attention_figure(image, words, alphas, rng.random(len(words)) if betas else None)


def test_figure_has_a_panel_for_the_image_and_one_for_each_word():
    figure = make_figure(["a", "dog", "runs"])
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["", "a", "dog", "runs"]
    notes = [axis.get_xlabel() for axis in figure.axes if axis.get_visible()]
    assert notes[0] == "dark: 0, bright: ≥ 5× uniform"
    assert all(re.fullmatch(r"β 0\.\d\d   entropy \d\d%", note) for note in notes[1:])
    assert figure.axes[0].get_images()[0].get_array().shape == (48, 64, 3)


def test_figure_without_betas_has_entropies():
    alphas = np.stack([np.full((2, 3), 1 / 6), hot((2, 3), 1, 1), np.zeros((2, 3))])
    figure = attention_figure(np.zeros((8, 8, 3)), ["flat", "one", "none"], alphas)
    notes = [axis.get_xlabel() for axis in figure.axes[1:4]]
    assert notes == ["entropy 100%", "entropy 0%", "entropy –"]


def test_figure_of_an_empty_caption_shows_the_image():
    (axis,) = make_figure([]).axes
    assert axis.get_visible()
    assert axis.get_xlabel() == ""  # no scale of nothing


@pytest.mark.parametrize(
    ("count", "size"), [(1, (64, 48)), (5, (48, 64)), (6, (64, 48)), (15, (48, 64))]
)
def test_panels_and_text_are_neither_clipped_nor_overlapping(count, size):
    words = ["an", "incomprehensible", "$\\oops$", "donaudampfschifffahrtsgesellschaft"] * 8
    figure = make_figure(words[:count], size)
    renderer = FigureCanvasAgg(figure).get_renderer()
    visible = [axis for axis in figure.axes if axis.get_visible()]
    assert len(visible) == count + 1
    boxes = [axis.get_tightbbox(renderer) for axis in visible]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_figure_needs_a_map_for_each_word():
    with pytest.raises(ValueError, match="2 words"):
        attention_figure(np.zeros((8, 8, 3)), ["a", "b"], np.ones((1, 2, 2)))


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".PNG"])
def test_save_figure_writes_the_format_of_the_suffix(tmp_path, suffix):
    path = tmp_path / "new" / f"attention{suffix}"
    save_figure(make_figure(["a"]), path)
    beginnings = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert path.read_bytes().startswith(beginnings[suffix.lower()])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["attention.docx", "attention"])
def test_save_figure_rejects_an_unknown_suffix(tmp_path, name):
    with pytest.raises(UserError, match=rf"--figure=.*{name}.*\.png"):
        save_figure(make_figure(["a"]), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError):
        check_figure_path(name)


def test_figures_need_no_display():
    code = "import sys, sat_tf.inspection.figures\nassert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("grid", [(14, 14), (3, 5), (13, 13)])
@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(60, 150), (150, 60), (90, 90), (400, 30)])
def test_upsampled_cell_matches_the_encoder_input(size, resize, grid):
    """Pixels of a cell, marked in the original, fill exactly this cell of the encoder's input."""
    from sat_tf.config import ImageConfig
    from sat_tf.data.images import crop_box, resize_and_crop

    side = 210
    config = ImageConfig(image_size=side, shorter_side=side + 30, resize=resize)
    box = tuple(crop_box(np.asarray(size), config).numpy().tolist())
    large = np.zeros((size[0] * 10, size[1] * 10, 3), np.uint8)  # fine enough for small cells
    for row, column in [(0, 0), (1, grid[1] - 1), (grid[0] - 1, 2)]:
        weights = upsample_attention(large, hot(grid, row, column), smooth=False, box=box)
        marked = np.where(weights[..., None] > 0, np.uint8(255), large)
        square = resize_and_crop(marked, config).numpy()[..., 0] / 255
        rows, columns = np.indices(square.shape)
        inside = (rows * grid[0] // side == row) & (columns * grid[1] // side == column)
        assert square[inside].mean() > 0.85
        assert square[~inside].mean() < 0.01


def test_weights_are_zero_outside_the_box():
    box = (0.25, 0.5, 0.75, 1.0)
    for smooth in (False, True):
        weights = upsample_attention(np.zeros((40, 80, 3)), np.full((4, 4), 1 / 16), smooth, box)
        np.testing.assert_allclose(weights[10:30, 40:], 1 / 16)
        assert weights.sum() == pytest.approx(20 * 40 / 16)
    image = np.full((40, 80, 3), 200, np.uint8)
    blended = blend_attention(image, np.full((4, 4), 1 / 16), box=box)
    assert blended[0, 0, 0] == round(UNATTENDED * 200) < blended[20, 60, 0]


def test_render_returns_pixels():
    pixels = render(make_figure(["a", "dog"]))
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert np.ptp(pixels) > 100


def test_missing_glyphs_are_reported_once(tmp_path, capsys):
    _report_missing_glyphs.cache_clear()
    figure = make_figure(["\u72d7", "\u732b"])
    with warnings.catch_warnings(record=True) as caught:
        render(figure)
        save_figure(figure, tmp_path / "figure.png")
    assert not caught
    assert capsys.readouterr().err.count("warning: figures show boxes") == 1
