"""Export a run as one SavedModel, from image files to captions and attention."""

from pathlib import Path

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError, in_current_folder
from sat_tf.storage import check_target, is_pattern, split_paths

USAGE = """python -m sat_tf.export --workdir=RUN --export_dir=OUT [--precision=bfloat16]

Writes a SavedModel that needs TensorFlow alone: image decoding, encoder, vocabulary and search
are inside, the search with the settings of the run or the flags. Before OUT appears, the model
captions a sample of images in a fresh process, and the captions are compared with the run's."""


def main(argv: list[str]) -> None:
    """Export, verify what was written, and print how to inspect it."""
    options = flags.FLAGS
    # Before the work, so that a mistake costs none of it.
    check_target(options.export_dir, "export_dir", "new folder")
    overrides = flags.overrides()
    if is_pattern(Path(options.export_dir).absolute()):
        raise UserError(
            f"--export_dir={options.export_dir}{in_current_folder(options.export_dir)}: TensorFlow "
            "takes [ ] \\ * ? in a path for a pattern, and could not load a model from there: name "
            "another folder"
        )
    if len(split_paths(options.workdir)) > 1:
        raise UserError(f"--workdir={options.workdir}: an export holds one run")
    override(Config.load(options.workdir), **overrides)
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner
    from sat_tf.progress import activity
    from sat_tf.serving.saved_model import export

    with activity(f"loading {options.workdir}"):
        captioner = Captioner.load(options.workdir, **overrides)
    card = export(
        captioner, options.workdir, options.export_dir, options.precision, options.max_pixels
    )
    check = card["check"]
    size = sum(file.stat().st_size for file in Path(options.export_dir).rglob("*"))
    print(
        f"{check['equal']} of {check['images']} captions are those of the run; loaded in "
        f"{check['seconds_to_load']:.1f} s, first caption after "
        f"{check['seconds_to_first_caption']:.1f} s more\n"
        f"{options.export_dir}: {size / 1e6:.0f} MB; inspect it with\n"
        f"  saved_model_cli show --all --dir {options.export_dir}"
    )


if __name__ == "__main__":
    flags.define_command_flags("workdir", "export_dir", "precision", "max_pixels")
    flags.define_settings("export")
    flags.run(main, USAGE)
