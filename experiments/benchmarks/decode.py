"""Time captioning: the search on features, and an export from JPEG bytes.

    python experiments/benchmarks/decode.py [--seconds=3] [--no-export] [--against=FOLDER]

L=196, D=A=H=E=512, V=10,000. All captions have T=16 steps, since random weights would end them
anywhere. Variants alternate in each round, so that a change of the machine's speed affects all of
them. The export has a VGG16 with random weights and reads JPEG files of 500x375.

--against=FOLDER runs the searches of another checkout's script in turn with these and prints
medians and ratios. Runs on a GPU unchanged.
"""

import argparse
import dataclasses
import json
import re
import statistics
import tempfile
import time

from versions import compare, device, peak_memory, run_script, seconds_per_call

GRID, SIZE, V, T = (14, 14), 512, 10_000, 16
BEAMS, BATCHES, ROUNDS = (1, 3, 10), (1, 16, 64), 2
EXPORT_BATCHES = (1, 16)


def make_run(encoder, beam_size: int):
    """Return a run with random weights whose captions all have T words."""
    from sat_tf.captioner import Run
    from sat_tf.config import Config, DecodingConfig
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.vocabulary import SPECIAL, Vocabulary

    decoding = DecodingConfig(beam_size=beam_size, max_length=T, min_length=T)
    config = dataclasses.replace(Config(), decoding=decoding)
    words = (*SPECIAL, *(f"word{i}" for i in range(V - len(SPECIAL))))
    model = CaptionModel(encoder, config.decoder, V)
    return Run(config, Vocabulary(words, (1,) * V), model)


def time_searches(least: float) -> None:
    """Print captions per second from features, for each beam and batch."""
    from sat_tf.flags import import_tensorflow

    import_tensorflow()  # with the options of the commands
    import keras
    import tensorflow as tf

    grid = keras.Input((*GRID, SIZE))
    run = make_run(keras.Model(grid, grid), 1)
    features = tf.cast(tf.random.uniform([max(BATCHES), *GRID, SIZE]), tf.float16)
    calls = {}
    for beam in BEAMS:
        decoding = dataclasses.replace(run.config.decoding, beam_size=beam)
        for batch in BATCHES:
            inputs = {"features": features[:batch]}
            calls[beam, batch] = lambda i=inputs, d=decoding: run.model.generate(
                i, d
            ).scores.numpy()
            calls[beam, batch]()  # compiles
    for number in range(ROUNDS):
        for (beam, batch), call in calls.items():
            seconds, processor = seconds_per_call(call, least)
            print(
                f"round {number + 1}  K={beam:<2}  batch {batch:<2}  "
                f"{1000 * seconds / batch:7.1f} ms an image  "
                f"{1000 * processor / batch:7.1f} processor ms  "
                f"{batch / seconds:7.1f} captions/s",
                flush=True,
            )
    print(f"peak memory {peak_memory():.1f} GB on {device()}")


def costs(output: str) -> dict[str, float]:
    """Return time and processor time an image of each search printed, and the peak memory."""
    found: dict[str, list[float]] = {}
    for line in output.splitlines():
        if search := re.search(r"K=\d+ +batch \d+", line):
            name = " ".join(search[0].split())
            for value, unit in re.findall(r"([\d.]+) (ms an image|processor ms)", line):
                found.setdefault(f"{name} {unit}", []).append(float(value))
        elif memory := re.search(r"peak memory ([\d.]+) GB", line):
            found["peak memory GB"] = [float(memory[1])]
    return {name: statistics.median(values) for name, values in found.items()}


def time_export(least: float) -> None:
    """Write an export, and time it in new processes."""
    from sat_tf.config import MOST_PIXELS, EncoderConfig
    from sat_tf.model.encoder import build_encoder
    from sat_tf.serving.saved_model import write_saved_model

    config = EncoderConfig(
        encoder="vgg16", encoder_weights="none", finetune_from="all", cache_features=False
    )
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(make_run(build_encoder(config, 224), 3), folder, MOST_PIXELS)
        for number in range(ROUNDS):
            output = run_script(__file__, [f"--only={folder}", f"--seconds={least}"])
            figures = json.loads(output.splitlines()[-1])
            shown = "  ".join(f"{name} {value:.1f}" for name, value in figures.items())
            print(f"round {number + 1}  export, K=3  {shown}", flush=True)


def measure_export(folder: str, least: float) -> dict[str, float]:
    """Return the time to load an export, to its first caption, and per image after it."""
    import numpy as np
    import tensorflow as tf

    small = np.random.default_rng(0).integers(0, 255, [12, 16, 3]).astype(np.uint8)
    pixels = tf.cast(tf.image.resize(small, [375, 500]), tf.uint8)
    file = tf.io.encode_jpeg(pixels)
    started = time.monotonic()
    caption = tf.saved_model.load(folder).signatures["serving_default"]
    loaded = time.monotonic()
    caption(image_bytes=file[tf.newaxis])
    figures = {
        "ms_to_load": 1000 * (loaded - started),
        "ms_to_first_caption": 1000 * (time.monotonic() - loaded),
    }
    for batch in EXPORT_BATCHES:
        files = tf.fill([batch], file)
        call = lambda f=files: caption(image_bytes=f)["scores"].numpy()  # noqa: E731
        call()
        seconds, processor = seconds_per_call(call, least)
        figures[f"ms_an_image_at_batch_{batch}"] = 1000 * seconds / batch
        figures[f"processor_ms_at_batch_{batch}"] = 1000 * processor / batch
    figures["peak_gb"] = peak_memory()
    return figures


def main() -> None:
    """Print each figure as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-export", action="store_true")
    parser.add_argument("--against", metavar="FOLDER", help="another checkout of the package")
    parser.add_argument("--rounds", type=int, default=3, help="of --against")
    parser.add_argument("--only", metavar="SAVED_MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure_export(options.only, options.seconds)))
        return
    if options.against:
        runs = {"search": ["--no-export", f"--seconds={options.seconds}"]}
        compare(__file__, options.against, runs, costs, options.rounds)
        return
    time_searches(options.seconds)
    if not options.no_export:
        time_export(options.seconds)


if __name__ == "__main__":
    main()
