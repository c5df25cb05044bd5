"""Makes a run out of a model that arctic-captions trained."""

import shlex

from sat_tf import flags
from sat_tf.config import Config, from_flat, settings, to_arguments
from sat_tf.errors import UserError
from sat_tf.storage import check_new_folder

USAGE = """python -m sat_tf.import_arctic --npz=MODEL.npz --options=MODEL.npz.pkl \\
         --dictionary=dictionary.pkl --encoder=vgg19 --workdir=RUN [--SETTING=VALUE ...]

Makes a run, to be captioned with, scored, exported and trained further, out of a model of
arctic-captions, the Theano code of the paper's authors. The model does not know which network
made its annotations, from what part of the images, nor whether there was an annotation of zeros:
flags say so, and where its data set lies. Config that are not given are those of training."""


def main(argv: list[str]) -> None:
    """Makes the run, and says how to use it."""
    options = flags.FLAGS
    # Before the work, so that a mistake costs none of it.
    check_new_folder(options.workdir, "workdir")
    given = flags.overrides()
    if "encoder" not in given:
        raise UserError(
            "--encoder must be given: the network that made the annotations the model was trained "
            "on (vgg19 in the paper)"
        )
    from sat_tf.importers.arctic_files import read_arctic_model

    model = read_arctic_model(options.npz, options.options, options.dictionary)
    if "data_dir" in given and model.options.dataset in (settings()["dataset"].choices or ()):
        given.setdefault("dataset", model.options.dataset)
    config = from_flat(given)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.importers.arctic_run import write_run

    _tell(write_run(model, config, options.workdir), options.workdir, model.words)


def _tell(config: Config, workdir: str, words: tuple[str, ...]) -> None:
    from sat_tf.vocabulary import tokenize

    foreign = [word for word in words if tokenize(word) != [word]]
    if foreign:
        print(
            f"{len(foreign):,} of its {len(words):,} words, {foreign[0]!r} the first of them, are "
            "none to this package, which takes captions apart otherwise: they come in captions "
            "that are generated, but not in those that are read"
        )
    run = shlex.quote(workdir)
    print(
        f"{workdir}: a run of {config.decoder.attention} attention and {len(words):,} words\n"
        f"  python -m sat_tf.caption --workdir={run} IMAGE ...\n"
        f"  python -m sat_tf.train --start_from={run} --workdir=NEW "
        f"{shlex.join(to_arguments(config))}"
    )


if __name__ == "__main__":
    flags.define_command_flags("workdir", "npz", "options", "dictionary")
    flags.define_overrides("import_arctic")
    flags.run(main, USAGE)
