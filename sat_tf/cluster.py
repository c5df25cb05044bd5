"""Where a process stands among the workers of a training: TF_CONFIG, or a Slurm job step."""

import json
import os
import subprocess
from typing import Any, NamedTuple

from sat_tf.errors import UserError

_SLURM = ("STEP_NODELIST", "STEP_TASKS_PER_NODE", "PROCID", "NODEID", "LOCALID", "JOB_ID")


class Task(NamedTuple):
    """A process of the cluster: its job, its number there, and its address."""

    job: str
    number: int
    address: str


def find_workers(cluster: str) -> tuple[tuple[Task, ...], int]:
    """Return the workers of this training, the chief first, and which of them this process is.

    Args:
      cluster: where they are found: "tf_config", the environment variable TF_CONFIG, or "slurm",
        the tasks of the job step, from which TF_CONFIG is set.

    Returns:
      The tasks, none for a process that works alone, and an index.

    Raises:
      UserError: the cluster is not described as it should be.
    """
    if cluster == "slurm":
        os.environ["TF_CONFIG"] = json.dumps(slurm_config())
    value = os.environ.get("TF_CONFIG")
    if not value:
        os.environ.pop("TF_CONFIG", None)  # TensorFlow does not take an empty one
        return (), 0
    try:
        config = json.loads(value)
        jobs = config.get("cluster") or {}
        tasks = tuple(
            Task(job, number, str(address))
            for job in ("chief", "worker")
            for number, address in enumerate(list(jobs.get(job, [])))
        )
        own = config["task"]["type"], config["task"]["index"]
        index = [(task.job, task.number) for task in tasks].index(own) if tasks else 0
        if not all(task.address.rpartition(":")[2].isdecimal() for task in tasks):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            "TF_CONFIG: must be JSON such as "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    if other := sorted(set(jobs) - {"chief", "worker"}):
        raise UserError(f"TF_CONFIG: there is no use for the job {other[0]!r}: give workers only")
    return tasks, index


def slurm_config() -> dict[str, Any]:
    """Return what TF_CONFIG would be for this task of a Slurm job step.

    TensorFlow's `SlurmClusterResolver` needs GPUs, and orders nodes by name, where Slurm numbers
    tasks in an order of its own (node8 before node10).

    Raises:
      UserError: this is no task of a job step, or its tasks are not distributed in blocks.
    """
    try:
        nodes, counts, *numbers, job = (os.environ[f"SLURM_{name}"] for name in _SLURM)
        rank, node, local = map(int, numbers)
        hosts = _scontrol("show", "hostnames", nodes).split()
        nodes_and_tasks = [
            (index, task)
            for index, count in enumerate(_expand_counts(counts))
            for task in range(count)
        ]
        # Jobs that share a node must not share ports.
        port = 20_000 + 64 * (int(job) % 192)
        addresses = [f"{hosts[index]}:{port + task}" for index, task in nodes_and_tasks]
    except (KeyError, ValueError, IndexError, OSError, subprocess.CalledProcessError):
        raise UserError("--cluster=slurm: this is no task of a Slurm job step: use srun") from None
    if nodes_and_tasks[rank] != (node, local):
        raise UserError("--cluster=slurm: start the tasks with srun --distribution=block")
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _expand_counts(text: str) -> list[int]:
    """Return the numbers in a list of Slurm's, such as "3(x2),1"."""
    counts: list[int] = []
    for each in text.split(","):
        count, _, times = each.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts
