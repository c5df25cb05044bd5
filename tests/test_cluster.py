"""The place of a process among the workers."""

import json

import pytest

from sat_tf import cluster
from sat_tf.cluster import Task, find_workers
from sat_tf.errors import UserError

PLACE = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
# Task 3 of a step of 3, 3 and 1 tasks.
SLURM = {
    "STEP_NODELIST": "n[8-10]",
    "STEP_TASKS_PER_NODE": "3(x2),1",
    "PROCID": "3",
    "NODEID": "1",
    "LOCALID": "0",
    "JOB_ID": "500",
}


@pytest.fixture
def step(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.setattr(cluster, "_scontrol", lambda *_: "n8\nn9\nn10\n")


def test_workers_of_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(PLACE))
    assert find_workers("tf_config") == ((Task("worker", 0, "a:1"), Task("worker", 1, "b:1")), 1)


def test_the_chief_is_first(monkeypatch):
    jobs = {"worker": ["b:1"], "chief": ["a:1"]}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": jobs, "task": PLACE["task"] | {"index": 0}})
    )
    assert find_workers("tf_config") == ((Task("chief", 0, "a:1"), Task("worker", 0, "b:1")), 1)


@pytest.mark.parametrize(
    "changes",
    [
        "no JSON",
        [],
        {"cluster": {"worker": "a:1"}},
        {"cluster": {"worker": ["a", "b"]}},
        {"task": {"type": "worker", "index": 2}},
        {"task": {"type": "worker"}},
        {"task": {}},
        {"cluster": 3},
    ],
)
def test_a_wrong_tf_config_is_an_error(monkeypatch, changes):
    value = {**PLACE, **changes} if isinstance(changes, dict) else changes
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(UserError, match=r"^TF_CONFIG: must be JSON such as"):
        find_workers("tf_config")


def test_other_jobs_are_an_error(monkeypatch):
    jobs = {"worker": ["a:1", "b:1"], "ps": ["c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({**PLACE, "cluster": jobs}))
    with pytest.raises(UserError, match="no use for the job 'ps'"):
        find_workers("tf_config")


@pytest.mark.parametrize("value", [None, "", json.dumps({"cluster": {}, "task": PLACE["task"]})])
def test_a_process_without_others(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value or "")
    if value is None:
        monkeypatch.delenv("TF_CONFIG")
    assert find_workers("tf_config") == ((), 0)


def test_workers_of_a_slurm_step(step):
    tasks, index = find_workers("slurm")
    hosts = ["n8"] * 3 + ["n9"] * 3 + ["n10"]
    ports = [20000 + 64 * (500 % 192) + local for local in (0, 1, 2, 0, 1, 2, 0)]
    expected = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
    assert [task.address for task in tasks] == expected
    assert index == 3


@pytest.mark.parametrize(("name", "value"), [("NODEID", "2"), ("LOCALID", "1")])
def test_slurm_tasks_must_be_in_blocks(step, monkeypatch, name, value):
    monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(UserError, match="--distribution=block"):
        find_workers("slurm")


@pytest.mark.parametrize("name", SLURM)
def test_slurm_needs_a_job_step(step, monkeypatch, name):
    monkeypatch.delenv(f"SLURM_{name}")
    with pytest.raises(UserError, match=r"^--cluster=slurm: .*srun"):
        find_workers("slurm")
