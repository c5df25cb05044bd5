"""Time the training step on one worker and on several, of one core each.

    python experiments/benchmarks/workers.py [--workers=2] [--size=large] [--batches=10]

Prints milliseconds per step of 64 captions over all workers, and of the all-reduce of the gradients
alone, which each step has one of; in float32, on the loopback interface. Each measurement runs in
new processes, pinned to a core each; those of one worker and of several alternate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from train_step import SIZES, B, make_step


def measure(size_name: str, batches: int) -> dict[str, float]:
    """Return the figures of this worker."""
    from sat_tf.flags import import_tensorflow

    import_tensorflow()
    from sat_tf.workers import join_workers

    workers = join_workers("tf_config", 300.0)
    import tensorflow as tf

    strategy, share = workers.strategy, B // workers.count
    step, batch, model = make_step("float32", SIZES[size_name], "likelihood", strategy, share)
    batch["captions"] = tf.constant(float(B))

    def ms(function: Any) -> float:
        function()  # traced
        started = time.monotonic()
        for _ in range(batches):
            function()
        return 1000 * (time.monotonic() - started) / batches

    figures = {"ms_per_step": ms(lambda: float(step(batch)["captions"]))}
    gradients = [tf.zeros(weight.shape) for weight in model.trainable_variables]

    @tf.function(autograph=False)
    def all_reduce() -> tf.Tensor:
        def of_replica() -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)[-1]

        return strategy.experimental_local_results(strategy.run(of_replica))[0]

    if workers.count > 1:
        figures["ms_of_all_reduce"] = ms(lambda: all_reduce().numpy())
    workers.barrier()
    return figures


def run(count: int, options: argparse.Namespace) -> dict[str, float]:
    """Run a measurement in `count` processes; return the first one's figures."""
    addresses = [f"127.0.0.1:{28_470 + index}" for index in range(count)]
    processes = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "CORE": str(index)}
        command = [sys.executable, __file__, "--only", f"--size={options.size}"]
        command.append(f"--batches={options.batches}")
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    outputs = [process.communicate()[0] for process in processes]
    return dict(json.loads(outputs[0].splitlines()[-1]))


def main() -> None:
    """Run the measurements in turn and print them, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        os.sched_setaffinity(0, {int(os.environ["CORE"])})
        print(json.dumps(measure(options.size, options.batches)))
        return
    found: dict[int, list[dict[str, float]]] = {1: [], options.workers: []}
    for _ in range(options.rounds):
        for count, figures in found.items():
            figures.append(run(count, options))
            print(count, figures[-1], flush=True)
    medians = {
        count: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for count, figures in found.items()
    }
    one, several = medians[1]["ms_per_step"], medians[options.workers]
    share = several["ms_of_all_reduce"] / several["ms_per_step"]
    print(
        f"{options.workers} workers: {several['ms_per_step']:.0f} ms a step, "
        f"{one / several['ms_per_step']:.2f} times as fast as one ({one:.0f} ms); "
        f"all-reduce {several['ms_of_all_reduce']:.0f} ms ({share:.0%})"
    )


if __name__ == "__main__":
    main()
