"""What attention does, measured on any data set; scores of words do not see it."""

from collections.abc import Sequence

import numpy as np


def attention_change(alphas: Sequence[np.ndarray]) -> float:
    """How much of alpha moves from one word to the next, in percent of its mass.

    1/2 sum_i |alpha_t,i - alpha_{t-1},i|, the total variation, averaged over the captions' steps:
    0 for attention that is dead (the same map for every word), 100 if it looks elsewhere each time.

    Args:
      alphas: of each caption, float32 [words, rows, columns]; those of one word count for nothing.
    """
    changes = [np.abs(np.diff(alpha, axis=0)).sum(axis=(1, 2)) / 2 for alpha in alphas]
    moves = np.concatenate([np.zeros(0), *changes])
    return 100.0 * float(moves.mean()) if moves.size else 0.0
