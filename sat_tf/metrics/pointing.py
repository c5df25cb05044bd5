"""Whether words look at the objects that they name, where it is known where those are.

For each word of a caption that names an object that is there, two questions are asked of its alpha:
whether the centre of the cell that it looks at most lies in a box of the object (pointing), and how
much of its mass lies in such cells (attention correctness; Liu et al., 2017). The same is asked of
three maps that know nothing of the word.
"""

from collections.abc import Sequence

import numpy as np

from sat_tf.data.objects import ObjectBoxes
from sat_tf.metrics.attention import Attended
from sat_tf.metrics.metric import Metric, ratio

# Ways to look: by the word's own alpha, and the baselines.
_OWN, _UNIFORM, _CENTRE, _AVERAGE = _LOOKS = ("own", "uniform", "centre", "average")
_POINTING_OF = {_OWN: "pointing_accuracy"} | {look: f"pointing_{look}" for look in _LOOKS[1:]}
_MASS_OF = {_OWN: "attention_correctness"} | {look: f"correctness_{look}" for look in _LOOKS[1:]}


def pointing_measures(
    captions: Sequence[Attended], objects: Sequence[ObjectBoxes | None]
) -> dict[str, Metric]:
    """Pointing and attention correctness, beside those of maps that know nothing of the word.

    What rests on an annotation of zeros is in no box. Where several objects fit a word, the boxes
    of all of them count as one region. Of cells that tie for the peak, the share inside counts.

    Args:
      captions: one an image.
      objects: of each image, None where they are not known.

    Returns:
      Nothing if no image's objects are known. Else each 0 to 100, a mean over words, and 0 where
      no word names an object:

      pointing_accuracy, attention_correctness: by the word's own alpha.
      pointing_uniform, correctness_uniform: by the same weight for each cell.
      pointing_centre, correctness_centre: by weights that fall off linearly from the middle of what
        the encoder sees to its edges, down and across.
      pointing_average, correctness_average: by the mean of alpha over the caption's words.
    """
    if all(known is None for known in objects):
        return {}
    names = [*_POINTING_OF.values(), *_MASS_OF.values()]
    sums = {name: np.zeros(len(captions)) for name in names}
    counts = np.zeros(len(captions))
    for image, (caption, known) in enumerate(zip(captions, objects, strict=True)):
        if known is None or not caption.words:
            continue
        alphas = np.asarray(caption.alphas, np.float64)
        grid = alphas.shape[1:]
        baselines = {
            _UNIFORM: np.full(grid, 1 / (grid[0] * grid[1])),
            _CENTRE: _centred(grid),
            _AVERAGE: alphas.mean(axis=0),  # mean over T -> [rows, columns]
        }
        for word, inside in known.regions(caption.words, grid).items():
            counts[image] += 1
            for look, weights in ({_OWN: alphas[word]} | baselines).items():
                sums[_POINTING_OF[look]][image] += inside[weights == weights.max()].mean()
                sums[_MASS_OF[look]][image] += weights[inside].sum()
    return {name: ratio(of_name.tolist(), counts.tolist(), 100) for name, of_name in sums.items()}


def _centred(grid: tuple[int, int]) -> np.ndarray:
    """Weights that fall off linearly from the middle to the edges; sum to 1, [rows, columns]."""
    # In whole numbers: cells equally near the middle must be equal for a tie.
    down, across = (length - np.abs(2 * np.arange(length) + 1 - length) for length in grid)
    weights = np.outer(down, across)
    return weights / weights.sum()
