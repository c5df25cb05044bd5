"""Convert a model of arctic-captions into a run."""

import shlex
from collections.abc import Sequence
from typing import Any

from sat_tf import flags
from sat_tf.config import Config, from_flat, settings, to_arguments
from sat_tf.errors import UserError
from sat_tf.storage import check_target
from sat_tf.vocabulary import SPECIAL, tokenize

USAGE = """python -m sat_tf.import_arctic --npz=MODEL.npz --options=MODEL.npz.pkl \\
         --dictionary=dictionary.pkl --encoder=vgg19 --workdir=RUN [--SETTING=VALUE ...]

Converts a model of arctic-captions, the Theano code of the paper's authors, into a run for
captioning, scoring, export and further training. The model's files do not say which encoder
computed its features, from which part of the images, nor whether it had a null location: flags
do, and where its data set is. Other settings keep the defaults of training."""


def main(argv: list[str]) -> None:
    """Write the run and print how to use it."""
    options = flags.FLAGS
    # Before the work, so that a mistake costs none of it.
    check_target(options.workdir, "workdir", "new folder")
    given = flags.overrides()
    if "encoder" not in given:
        raise UserError(
            "--encoder must be given: the network that computed the features the model was trained "
            "on (vgg19 in the paper)"
        )
    from sat_tf.importers.arctic_files import read_arctic_model

    model = read_arctic_model(options.npz, options.options, options.dictionary)
    config = given_config(given, model.options.dataset)
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.importers.arctic_model import write_run

    words = model.vocabulary.words[len(SPECIAL) :]
    print(describe_run(write_run(model, config, options.workdir), options.workdir, words))


def given_config(given: dict[str, Any], dataset: str | None) -> Config:
    """Return the settings given, of the model's data set if there is a folder but no name."""
    if "data_dir" in given and dataset in settings()["dataset"].choices:
        given = {"dataset": dataset, **given}
    return from_flat(given)


def describe_run(config: Config, workdir: str, words: Sequence[str]) -> str:
    """Return what was written, and the commands that use it."""
    lines = []
    if foreign := [word for word in words if tokenize(word) != [word]]:
        lines.append(
            f"{len(foreign):,} of its {len(words):,} words, {foreign[0]!r} the first of them, are "
            "not words of this package, which splits captions in another way: they occur in "
            "generated captions, but not in those that are read"
        )
    run = shlex.quote(workdir)
    lines += [
        f"{workdir}: a run of {config.decoder.attention} attention and {len(words):,} words",
        f"  python -m sat_tf.caption --workdir={run} IMAGE ...",
        f"  python -m sat_tf.train --start_from={run} --workdir=NEW "
        f"{shlex.join(to_arguments(config))}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    flags.define_command_flags("workdir", "npz", "options", "dictionary")
    flags.define_settings("import_arctic")
    flags.run(main, USAGE)
