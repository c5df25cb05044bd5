"""Captions image files with a run."""

import sys
from pathlib import Path

from sat_tf import flags
from sat_tf.errors import UserError
from sat_tf.storage import check_target

USAGE = """python -m sat_tf.caption --workdir=RUN [--figure=FILE] IMAGE [IMAGE ...]

Prints a line for each image: its path, a tab, its caption. An image that can't be read is named
on standard error, and the exit status is then 1. --figure draws, word by word, where it looked;
with several images OUT.png becomes OUT-1.png, OUT-2.png and so on."""


def main(argv: list[str]) -> int:
    """Captions what can be read; exit status 1 if something could not."""
    paths, options = argv[1:], flags.FLAGS
    if not paths:
        raise UserError("no image given: name one file or more after the flags")
    if options.figure:
        # Before the work, so that a wrong suffix costs none of it.
        from sat_tf.inspection.overlays import check_figure_path

        check_target(options.figure, "figure")
        check_figure_path(options.figure)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    import numpy as np

    from sat_tf.captioner import Captioner
    from sat_tf.inspection.overlays import attention_figure, save_figure

    captioner = Captioner.load(options.workdir)
    unreadable = drawn = 0
    for start in range(0, len(paths), options.decode_batch_size):
        images = {}
        for path in paths[start : start + options.decode_batch_size]:
            try:
                images[path] = captioner.read_image(path)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                unreadable += 1
        if images:
            captions = captioner.caption_images(np.stack(list(images.values())))
            for (path, image), caption in zip(images.items(), captions, strict=True):
                print(f"{path}\t{caption}", flush=True)
                if options.figure:
                    drawn += 1
                    figure = attention_figure(image, caption.words, caption.alphas, caption.betas)
                    save_figure(figure, _figure_path(options.figure, drawn, len(paths)))
    return 1 if unreadable else 0


def _figure_path(path: str, number: int, of: int) -> Path:
    """Where the picture of image `number` goes."""
    return Path(path) if of == 1 else Path(path).with_stem(f"{Path(path).stem}-{number}")


if __name__ == "__main__":
    flags.define_command_flags("workdir", "figure", "decode_batch_size")
    flags.run(main, USAGE, takes_arguments=True)
