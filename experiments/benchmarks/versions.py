"""Benchmarks in new processes, and two versions of the package in turn."""

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

# Of this file's version of the package.
CHECKOUT = Path(__file__).resolve().parents[2]


def run_script(script: str, arguments: Iterable[str], checkout: Path = CHECKOUT) -> str:
    """Return what a benchmark of a checkout prints in a new process."""
    name = f"experiments/benchmarks/{Path(script).name}"
    done = subprocess.run(
        [sys.executable, checkout / name, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"error: {checkout / name} {' '.join(arguments)} failed")
    return done.stdout


def compare(
    script: str,
    against: str,
    runs: Mapping[str, Sequence[str]],
    figures_of: Callable[[str], Mapping[str, float]],
    rounds: int,
) -> None:
    """Run the script and that of another checkout in turn; print medians and ratios.

    Figures that one of them does not print are left out.

    Args:
      script: file name of the benchmark.
      against: folder of the other checkout.
      runs: arguments of each run, by the name that it is printed with.
      figures_of: figures in what the script prints, by name.
      rounds: processes for each version and run.
    """
    theirs = Path(against).resolve()
    if not (theirs / "sat_tf").is_dir():
        sys.exit(f"error: --against={against}: is not a checkout of sat_tf")
    found: dict[tuple[str, Path], list[Mapping[str, float]]] = {}
    for _ in range(rounds):
        for name, arguments in runs.items():
            for checkout in (CHECKOUT, theirs):
                figures = figures_of(run_script(script, arguments, checkout))
                found.setdefault((name, checkout), []).append(figures)
    for name in runs:
        ours, other = found[name, CHECKOUT], found[name, theirs]
        for figure in [figure for figure in ours[0] if figure in other[0]]:
            here, there = (statistics.median(one[figure] for one in all_) for all_ in (ours, other))
            print(
                f"{name:<9} {figure:<32} {here:9.2f}  theirs {there:9.2f}  "
                f"theirs / ours {there / here:.2f}",
                flush=True,
            )


def seconds_per_call(call: Callable[[], object], least: float) -> tuple[float, float]:
    """Return a call's mean time and processor time, repeated for at least `least` seconds."""
    started, processor, calls = time.monotonic(), time.process_time(), 0
    while not calls or time.monotonic() - started < least:
        call()
        calls += 1
    return (time.monotonic() - started) / calls, (time.process_time() - processor) / calls


def device() -> str:
    """Return the name of the device that TensorFlow computes on."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    return f"{os.cpu_count()} cores of {platform.machine()}"


def peak_memory() -> float:
    """Return the most memory that was in use, in GB: the GPU's, or this process's without one."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
