"""Exports a run as one SavedModel, from image bytes to captions and attention."""

import base64
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sat_tf
from sat_tf import flags
from sat_tf.config import MOST_PIXELS, Config, override
from sat_tf.errors import UserError
from sat_tf.storage import atomic_path, check_new_folder, read_json, write_json
from sat_tf.workdir import SCORES_FILE

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner, Run

USAGE = """python -m sat_tf.export --workdir=RUN --export_dir=OUT [--precision=bfloat16]

Writes a SavedModel that captions image files by itself: preprocessing, encoder, vocabulary and
search are inside, the search as the run or the flags have it. Before OUT appears, the model
captions a sample of images in a fresh process, and the captions are compared with the run's."""

MODEL_CARD = "model_card.json"
_SAMPLE = 64  # images of the check
_WARM_UP_BATCHES = (1, 4, 16)
_NO_IMAGE = b"no image"
# Two ways to run the same float32 graph differ by rounding; anything else by much more.
_SCORE_TOLERANCE = 0.01
_PACKAGES = ("tensorflow", "keras", "numpy")
_CHECK = Path(__file__).with_name("check_export.py")


def main(argv: list[str]) -> None:
    """Exports, checks what was written, and says how to use it."""
    options = flags.FLAGS
    # Before the work, so that a mistake costs none of it.
    check_new_folder(options.export_dir, "export_dir")
    changes = flags.overrides()
    if "," in options.workdir:
        raise UserError(f"--workdir={options.workdir}: an export holds one run")
    override(Config.load(options.workdir), **changes)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner

    captioner = Captioner.load(options.workdir, **changes)
    card = export(
        captioner, options.workdir, options.export_dir, options.precision, options.max_pixels
    )
    check = card["check"]
    size = sum(file.stat().st_size for file in Path(options.export_dir).rglob("*"))
    print(
        f"{check['equal']} of {check['images']} captions are those of the run; loaded in "
        f"{check['seconds_to_load']:.1f} s, first caption after "
        f"{check['seconds_to_first_caption']:.1f} s more\n"
        f"{options.export_dir}: {size / 1e6:.0f} MB; look at it with\n"
        f"  saved_model_cli show --all --dir {options.export_dir}"
    )


def export(
    captioner: "Captioner",
    workdir: str | os.PathLike[str],
    export_dir: str | os.PathLike[str],
    precision: str = "float32",
    max_pixels: int = MOST_PIXELS,
) -> dict[str, Any]:
    """Writes a SavedModel, its warm-up requests and its model card, once they are checked.

    Args:
      captioner: of one run, whose settings say how to search.
      workdir: the run's folder.
      export_dir: appears whole or not at all.
      precision: "float32", or "bfloat16" of half the size.
      max_pixels: images of more are refused before they are decoded.

    Returns:
      The model card.

    Raises:
      UserError: what was written does not caption as the run does.
    """
    from sat_tf.serving.signatures import write_saved_model, write_warm_up

    (run,) = captioner.runs
    half = precision == "bfloat16"
    images, origin = _sample(run.config)
    with atomic_path(export_dir) as folder:
        print(f"writing {export_dir}", flush=True)
        write_saved_model(run.in_bfloat16() if half else run, folder, max_pixels)
        # Drawn: an export may go to people who may not have the run's images.
        write_warm_up(_draw(run.config), _WARM_UP_BATCHES, folder)
        print(f"captioning {len(images)} images of {origin} in a fresh process", flush=True)
        check = {"images_from": origin, **_check(captioner, folder, images, half)}
        exported = {"precision": precision, "max_pixels": max_pixels}
        card = {**_model_card(run, Path(workdir)), **exported, "check": check}
        write_json(folder / MODEL_CARD, card)
    return card


def _sample(config: Config) -> tuple[list[bytes], str]:
    """Image files to try the export on, and where they are from."""
    import numpy as np

    from sat_tf.data.images import read_image
    from sat_tf.datasets import load_splits

    if config.data.dataset == "shapes":
        return _draw(config), "the embedded data set"  # no need to write all of it first
    try:
        records = load_splits(config.data, ("dev",), objects_for=())["dev"]
        places = np.linspace(0, len(records) - 1, min(_SAMPLE, len(records))).astype(int)
        return [read_image(records[i].image) for i in places], "the validation split"
    except UserError:
        # The run may have come from another machine; any image shows whether the export works.
        return _draw(config), "the embedded data set (the run's own is not at hand)"


def _draw(config: Config) -> list[bytes]:
    """Image files of drawn scenes."""
    import tensorflow as tf

    from sat_tf.shapes.scenes import draw_scene, make_scene

    scenes = (make_scene(0, index, config.data.shapes_size) for index in range(_SAMPLE))
    return [tf.io.encode_png(draw_scene(scene)).numpy() for scene in scenes]


def _check(captioner: "Captioner", folder: Path, images: list[bytes], half: bool) -> dict[str, Any]:
    """Captions `images` with the SavedModel, and compares.

    Raises:
      UserError: it does not run, or captions otherwise than the run by more than rounding.
    """
    found = _caption_in_fresh_process(folder, [*images, _NO_IMAGE])
    expected = captioner.caption_images([captioner.read_image(image) for image in images])
    if found["decoded"] != [True] * len(images) + [False]:
        raise UserError(
            "the export takes images of the sample for broken, or what is none for an image; not "
            "written (is --max_pixels less than they have?)"
        )
    is_exact = not half and captioner.models[0].encoder.output.dtype == "float32"
    furthest = max(
        abs(score - captions[0].score)
        for score, captions in zip(found["scores"][:-1], expected, strict=True)
    )
    if is_exact and furthest > _SCORE_TOLERANCE:
        raise UserError(
            f"a caption's score in the export is {furthest:.3g} from the run's; not written"
        )
    equal = sum(
        text == captions[0].text
        for text, captions in zip(found["captions"][:-1], expected, strict=True)
    )
    if 2 * equal < len(images):
        raise UserError(
            f"only {equal} of {len(images)} captions are those of the run: more than rounding; "
            "not written"
        )
    seconds = {name: found[name] for name in ("seconds_to_load", "seconds_to_first_caption")}
    return {"images": len(images), "equal": equal, "furthest_score": furthest, **seconds}


def _caption_in_fresh_process(folder: Path, images: list[bytes]) -> dict[str, Any]:
    """What `check_export.py` finds."""
    with tempfile.TemporaryDirectory() as scratch:
        sample, result = Path(scratch) / "images.json", Path(scratch) / "result.json"
        sample.write_text(json.dumps([base64.b64encode(image).decode() for image in images]))
        command = [sys.executable, "-I", str(_CHECK), str(folder), str(sample), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not result.exists():
            reason = done.stderr.strip().rpartition("\n")[2] or "it says nothing"
            raise UserError(f"the export does not run in a fresh process: {reason}; not written")
        return json.loads(result.read_text())


def _model_card(run: "Run", workdir: Path) -> dict[str, Any]:
    """What one must know of a run: how it was trained, how it searches, what it scored."""
    scores = workdir / SCORES_FILE
    return {
        "format_version": 1,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": workdir.absolute().name,
        "vocabulary": {"fingerprint": run.vocabulary.fingerprint, "size": len(run.vocabulary)},
        "grid": list(run.model.grid),
        "settings": dataclasses.asdict(run.config),
        "scores": read_json(scores, "the scores of a run") if scores.exists() else None,
        "versions": {
            "sat_tf": sat_tf.__version__,
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
    }


if __name__ == "__main__":
    flags.define_command_flags("workdir", "export_dir", "precision", "max_pixels")
    flags.define_overrides("export")
    flags.run(main, USAGE)
