"""Whether a place in the image is the same place in the grid of annotations."""

import numpy as np

from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext

_IMAGES = 4
_PLACES = 3  # across and down
_MOST_OFF = 0.1  # of the side; networks are 0.02 off, rows in place of columns 0.3, mirrored 0.4


def grid_order(patient: RunContext) -> CheckResult:
    """A bright patch that is moved in the image moves the right annotation.

    Looked at are the locations that the decoder reads, L in a row, as alpha is drawn over the
    image: row by row.
    """
    model = patient.run.model
    if model.grid == (1, 1):
        return not_needed("there is one annotation an image")
    images = patient.train.image_batch[:_IMAGES]
    size = images.shape[1]
    centres = (np.arange(_PLACES) + 0.5) / _PLACES
    half = max(size // (4 * _PLACES), 1)
    still, cells = model.flatten_grid(patient.train.annotations[:_IMAGES]), np.prod(model.grid)
    off = []
    for down in centres:
        for across in centres:
            top, left = round(down * size) - half, round(across * size) - half
            patched = images.copy()
            patch = patched[:, top : top + 2 * half, left : left + 2 * half]
            # Bright, but black on what is bright itself.
            patch[:] = np.where(patch.mean(axis=(1, 2, 3), keepdims=True) > 127, 0.0, 255.0)
            moved = model.flatten_grid(patient.encode(patched)) - still
            change = np.linalg.norm(moved[:, :cells], axis=2).mean(axis=0)  # over D, images -> [L]
            found = _centre(change.reshape(model.grid))
            # Within half a cell is within the cell.
            off.append(np.maximum(np.abs(found - (down, across)) - 0.5 / np.array(model.grid), 0))
    rows, columns = np.mean(off, axis=0)
    return judge(
        max(rows, columns) > _MOST_OFF,
        f"a patch moved to {_PLACES}x{_PLACES} places of {len(images)} images changes annotations "
        f"{rows:.2f} of the side away in rows and {columns:.2f} in columns",
        "the encoder's output is not [images, rows, columns, channels]: look for a layer that "
        "reshapes or transposes in it, or a network that has channels first",
        rows=float(rows),
        columns=float(columns),
    )


def _centre(change: np.ndarray) -> np.ndarray:
    """Where the largest change is: [rows, columns] -> row and column, 0 to 1."""
    where = np.unravel_index(int(change.argmax()), change.shape)
    return (np.asarray(where) + 0.5) / change.shape
