"""The worked files of docs/cluster/, with programs in place of Slurm, ssh and the training."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "cluster"

# Adds its TF_CONFIG to a file, and ends as the arguments say for its index and start.
WORKER = """
import json, os, pathlib, signal, sys
config = os.environ.get("TF_CONFIG", "{}")
index = json.loads(config)["task"]["index"] if config != "{}" else os.environ["SLURM_PROCID"]
path = pathlib.Path(f"worker-{index}")
starts = path.read_text().splitlines() if path.exists() else []
path.write_text("\\n".join([*starts, config]))
status = json.loads(sys.argv[1])[len(starts)][int(path.name[-1])]
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
PROGRAMS = {
    # Options, the name of the machine and the command.
    "ssh": 'while [ "$1" = -o ]; do shift 2; done; exec sh -c "$2"',
    "scontrol": "touch requeued",
    # Runs two tasks, and returns the highest status.
    "srun": """
while [ "${1#--}" != "$1" ]; do shift; done
SLURM_PROCID=0 "$@" & first=$!
SLURM_PROCID=1 "$@" & second=$!
wait "$first"; first=$?
wait "$second"; second=$?
exit $((first > second ? first : second))
""",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs a worked file, with the statuses of each worker at each start.

    It returns the exit status.
    """
    for name, program in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        # Not sh: some do not pass on functions that bash has exported.
        path.write_text(f"#!/bin/bash\n{program}\n")
        path.chmod(0o755)
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1234567")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")

    def run_script(name, *statuses):
        command = shlex.join([sys.executable, "-S", "worker.py", json.dumps(statuses)])
        changes = {
            r"(?<=^hosts=\()[^)]*": "node1 node2",
            r"(?<=^folder=).*": shlex.quote(str(tmp_path)),
            r"(?<=^cd )\S+": shlex.quote(str(tmp_path)),
            r"(?<=^command=\()[^)]*": command,
            r"(?<=^max_restarts=).*": "2",
            r"(?<=sleep )\d+": "0",
        }
        script = (FOLDER / name).read_text(encoding="utf-8")
        for pattern, value in changes.items():
            script = re.sub(pattern, lambda _, value=value: value, script, flags=re.MULTILINE)
        (tmp_path / name).write_text(script)
        return subprocess.run(["bash", name], timeout=60, check=False).returncode

    return run_script


def configs(index):
    """TF_CONFIG of each start of a worker."""
    return [json.loads(line) for line in Path(f"worker-{index}").read_text().splitlines()]


SCRIPTS = pytest.mark.parametrize("name", ["ssh.sh", "slurm.sbatch"])
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


def test_each_worker_is_told_its_place(run):
    assert run("ssh.sh", [0, 0]) == 0
    cluster = {"worker": ["node1:8470", "node2:8470"]}
    for index in range(2):
        (config,) = configs(index)
        assert config == {"cluster": cluster, "task": {"type": "worker", "index": index}}


@SCRIPTS
def test_all_are_restarted(run, name):
    assert run(name, [-9, 75], [75, -9], [0, 0]) == 0
    assert len(configs(0)) == len(configs(1)) == 3


@SCRIPTS
def test_restarts_are_counted(run, name):
    assert run(name, *[[75, 75]] * 9) == 75
    assert len(configs(0)) == len(configs(1)) == 3


@SCRIPTS
@pytest.mark.parametrize("status", [1, 2])
def test_a_mistake_is_not_tried_again(run, name, status):
    assert run(name, [status, status]) == status
    assert len(configs(0)) == len(configs(1)) == 1


@pytest.mark.parametrize("status", [130, 143])
def test_slurm_queues_the_job_again_at_its_time_limit(run, status):
    assert run("slurm.sbatch", [status, status]) == 0
    assert len(configs(0)) == 1
    assert Path("requeued").exists()


def test_the_pods_are_the_workers_of_the_cluster():
    yaml = pytest.importorskip("yaml")
    text = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    service, job = yaml.safe_load_all(text)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    config = json.loads(values["TF_CONFIG"].replace("$(INDEX)", "1"))
    name, port = job["metadata"]["name"], container["ports"][0]["containerPort"]
    assert config["task"] == {"type": "worker", "index": 1}
    assert config["cluster"]["worker"] == [
        f"{name}-{index}.{pod['subdomain']}:{port}" for index in range(spec["completions"])
    ]
    assert spec["parallelism"] == spec["completions"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    rule = spec["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert (rule["containerName"], rule["values"]) == (container["name"], [1, 2])
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
