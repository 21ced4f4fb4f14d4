"""Jobs are real processes of this machine; of SLURM itself only what its programs are told is looked at."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oversight.errors import InputError, StepError
from oversight.runs.pools.slurm import read_parameters, submit

pytest.importorskip("submitit", reason="needs submitit")

SHARES_WORK = """
import sys
from pathlib import Path
import numpy as np
from oversight.runs.drive import Drive
from oversight.runs.graph import Graph
from oversight.runs.steps import Kind, Step
from oversight.runs.store import DirectoryStore, Outcome

def run(steps, inputs, env, tick):
    with open(sys.argv[2], "a") as log:
        log.write("".join(f"{step.config['i']}\\n" for step in steps))
    return [Outcome(arrays={"x": np.full(3, float(step.config["i"]))}) for step in steps]

goals = tuple(Step(kind="toy", version=1, config={"i": i}) for i in range(12))
graph = Graph(goals=goals, kinds={"toy": Kind(run=run)}, env_of=lambda step: None)
summary = Drive(graph, store=DirectoryStore(sys.argv[1])).run()
sys.exit(bool(summary.failed))
"""


def programs(folder: Path, **scripts: str) -> Path:
    """Programs of these names, each a shell script."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755 | stat.S_IEXEC)
    return folder


def test_jobs_on_one_store_do_each_step_once(tmp_path: Path) -> None:
    program, log = tmp_path / "shares_work.py", tmp_path / "log"
    program.write_text(SHARES_WORK)
    command = [sys.executable, str(program), str(tmp_path / "store"), str(log)]
    jobs = submit(command, 2, folder=tmp_path / "jobs", cluster="local", parameters={"timeout_min": 5})
    assert len(set(jobs.ids)) == 2
    assert jobs.wait(look_seconds=0.1) == {}
    assert sorted(map(int, log.read_text().split())) == list(range(12))
    assert set(jobs.states().values()) == {"FINISHED"}


def test_a_job_that_fails_is_reported_with_its_exit_code_and_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no such plan', file=sys.stderr); sys.exit(2)"]
    jobs = submit(command, 1, folder=tmp_path / "jobs", cluster="local", parameters={})
    (reason,) = jobs.wait(look_seconds=0.1).values()
    said, _, log = reason.partition("; see ")
    assert said == "exit code 2"
    assert "no such plan" in Path(log).read_text()


def test_a_cancelled_job_ends_with_its_command(tmp_path: Path) -> None:
    running = tmp_path / "running"
    program = f"import os, time; open({str(running)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(600)"
    jobs = submit([sys.executable, "-c", program], 1, folder=tmp_path / "jobs", cluster="local", parameters={})
    while not (running.exists() and running.read_text().endswith(" ")):
        assert set(jobs.states().values()) == {"RUNNING"}
        time.sleep(0.05)
    jobs.cancel()
    while set(jobs.states().values()) == {"RUNNING"}:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(int(running.read_text()), 0)
    assert jobs.cancel_command == f"kill -INT {jobs.ids[0]}"


def test_slurm_is_handed_the_settings_and_one_array_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "submitted"
    folder = programs(tmp_path / "bin", sbatch=f'cp "$1" {kept}\necho Submitted batch job 417', srun="", sacct="")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    settings = read_parameters(["timeout_min=90", "slurm_partition=long", "gpus_per_node=1", "mem_gb=16"])
    jobs = submit(["true"], 3, folder=tmp_path / "jobs", parameters=settings)
    asked = kept.read_text()
    for line in ("--time=90", "--partition=long", "--gpus-per-node=1", "--mem=16GB", "--array=0-2%3"):
        assert f"#SBATCH {line}\n" in asked
    assert jobs.ids == ("417_0", "417_1", "417_2")
    assert jobs.cancel_command == "scancel 417"


def test_what_slurm_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal = "sbatch: error: invalid partition specified: lnog"
    folder = programs(tmp_path / "bin", sbatch=f"echo '{refusal}' >&2\nexit 1", srun="")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(StepError, match=f"not accepted: {refusal}$"):
        submit(["true"], 1, folder=tmp_path / "jobs", parameters={})
    assert capfd.readouterr().err == ""


def test_a_machine_without_slurm_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="found no sbatch on this machine"):
        submit(["true"], 1, folder=tmp_path / "jobs", parameters={})
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("partition=gpu", "Use 'slurm_partition' instead"),
        ("colour=red", "'colour' need to be prefixed"),
        ("slurm_partiton=gpu", "Unknown argument 'partiton'"),
        ("timeout_min=soon", '"timeout_min" expected type'),
        ("colour_of=red", "Unknown executor 'colour'"),
    ],
)
def test_a_setting_that_is_not_known_is_one_line(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        submit(["true"], 1, folder=tmp_path, cluster="local", parameters=read_parameters([setting]))
    assert str(caught.value).startswith("--slurm-set: ")
    assert "\n" not in str(caught.value)


def test_settings_are_read_as_json_where_they_are_json() -> None:
    texts = ["timeout_min=240", "mem_gb=1.5", "slurm_partition=gpu", "slurm_time=04:00:00", 'slurm_setup=["ml a=b"]']
    assert read_parameters(texts) == {
        "timeout_min": 240,
        "mem_gb": 1.5,
        "slurm_partition": "gpu",
        "slurm_time": "04:00:00",
        "slurm_setup": ["ml a=b"],
    }


@pytest.mark.parametrize("texts", [["timeout_min"], ["=3"], ["a b=3"], ["mem_gb=1", "mem_gb=2"]])
def test_what_is_no_setting_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--slurm-set: found"):
        read_parameters(texts)


@pytest.mark.parametrize("n", [0, -1, 5000])
def test_a_senseless_number_of_jobs_is_refused(tmp_path: Path, n: int) -> None:
    with pytest.raises(InputError, match=f"found {n}, expected 1 to 4096 jobs"):
        submit(["true"], n, folder=tmp_path, cluster="local", parameters={})


def test_without_submitit_the_extra_is_named(tmp_path: Path) -> None:
    """In a process of its own, from whose path submitit is hidden."""
    program = (
        "import sys; sys.modules['submitit'] = None\n"
        "from pathlib import Path\n"
        "from oversight.runs.pools.slurm import submit\n"
        f"submit(['true'], 1, folder=Path({str(tmp_path)!r}), cluster='local', parameters={{}})\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr
    assert said.splitlines()[-1].endswith("--slurm needs the package submitit: pip install 'oversight[slurm]'")
