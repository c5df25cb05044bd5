"""Workers of a cluster on this machine, and what they do in processes of their own."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def run_workers(call: str, count: int = 2, timeout: float = 300.0) -> list[tuple[int, str, str]]:
    """Call a function of this file in each of `count` workers.

    Args:
      call: Python, such as `train('folder')`.
      count: number of workers.
      timeout: seconds until they are killed.

    Returns:
      Exit status, standard output and standard error of each.
    """
    reserved = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in reserved]
    for server in reserved:
        server.close()
    processes = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        own = {"TF_CONFIG": json.dumps(config), "PATH": "", "OMP_NUM_THREADS": "1"}
        path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        command = [
            sys.executable,
            "-c",
            f"import worker_processes as p; p.main(lambda w: (p.{call}))",
        ]
        processes.append(
            subprocess.Popen(
                command,
                env={**os.environ, **own, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def main(do) -> None:
    """Join the other workers, call `do` with this one, and print the result as JSON."""
    from sat_tf import flags

    def command(_):
        flags.import_tensorflow()
        from sat_tf import workers

        workers._LINGER = 0.0  # of two, nobody else needs to be told
        print(json.dumps(do(workers.join_workers("tf_config", timeout=60.0))))

    sys.argv = sys.argv[:1]
    flags.run(command, "")


def exchange(worker) -> dict:
    """What one worker learns from the others."""
    from sat_tf.errors import UserError

    def error(body):
        try:
            body()
        except UserError as caught:
            return str(caught)

    def fail_on_one():
        with worker.together():
            if worker.index == 1:
                raise UserError("captions.json: no such file")

    def fail_on_all():
        with worker.together():
            raise UserError("captions.json: no such file")

    odd = {"--seed": str(worker.index), "dev split": str(worker.index) * 64, "weights": "same"}
    return {
        "gathered": worker.gather({"index": worker.index, "text": "x" * worker.index}),
        "from chief": worker.from_chief(worker.index + 5),
        "any": [worker.any(worker.index == 1), worker.any(False)],
        "shared": worker.share(range(7)[worker.index :: worker.count]),
        "one fails": error(fail_on_one),
        "all fail": error(fail_on_all),
        "differ": error(lambda: worker.compare(odd)),
        "agree": error(lambda: worker.compare({"weights": "same"})),
        "steps": steps(worker),
    }


def steps(worker) -> dict:
    """The losses and the weights of two steps: soft, hard, self-critical, a trained encoder."""
    import keras_models
    import numpy as np
    import tensorflow as tf

    from sat_tf.config import from_flat
    from sat_tf.data.records import Record
    from sat_tf.model.losses import CaptionLoss
    from sat_tf.training.self_critical import SelfCriticalLoss
    from sat_tf.vocabulary import SPECIAL, Vocabulary

    training = keras_models.TRAINING
    words = [f"word{i}" for i in range(keras_models.V - len(SPECIAL))]
    vocabulary = Vocabulary.build([words])
    records = [Record(str(i), "", (" ".join(words[i:]),)) for i in range(5)]
    rewarded = from_flat(
        {"dataset": "shapes", "max_length": 4, "self_critical": "bleu_4", "start_from": "RUN"}
    )

    always_sampled = CaptionLoss.from_training(
        dataclasses.replace(training, sampling_probability=1.0)
    )

    def as_images(batch):
        features = batch["features"]
        rest = {name: value for name, value in batch.items() if name != "features"}
        return {**rest, "images": tf.cast(features, tf.float32)}

    def train(loss=None, images=False, of_images=False, **changes):
        with worker.strategy.scope():
            model = keras_models.make_model(dropout=0.0, **changes)
            model.compile(
                keras_models.make_optimizer(training),
                loss or CaptionLoss.from_training(training),
                clip_norm=training.clip_norm,
                weight_decay=training.weight_decay,
            )
        batches = worker.strategy.distribute_datasets_from_function(
            lambda context: keras_models.captions_dataset(context, of_images=of_images).map(
                as_images if images else dict
            )
        )
        (sums,) = keras_models.run_loop(model, 1, batches, worker.strategy, eager=True)
        weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
        return {"sums": sums, "weights": weights.tolist()}

    return {
        "soft": train(),
        "hard": train(always_sampled, attention="hard"),
        "self-critical": train(SelfCriticalLoss(vocabulary, records, rewarded), of_images=True),
        "trained encoder": train(trainable_encoder=True, images=True),
    }


def train(worker, folder: str, killed_after: int | None = None) -> dict:
    """Train or resume a run with hard attention over cached features.

    Args:
      worker: this one.
      folder: of data, cache and run.
      killed_after: this many steps the second worker is killed; the first one goes on.
    """
    import tiny_run

    config = tiny_run.tiny_config(
        Path(folder) / "data",
        finetune_from="",
        cache_features=True,
        cache_dir=f"{folder}/cache",
        attention="hard",
        dropout=0.0,
        batch_size=6,
        max_caption_words=6,
        save_freq=2,
        log_every=1,
    )
    run = tiny_run.train_observed(
        config,
        Path(folder) / "run",
        interrupt_after=killed_after if worker.index == 1 else None,
        number=signal.SIGKILL,
        eager=True,
        workers=worker,
    )
    return {"finished": run.finished, "losses": run.losses, "saved_at": run.saved_at}
