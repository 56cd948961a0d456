"""Slurm, Ray Jobs and Grafana: scripts are run by bash, with programs that note what they are called with, and those
words are read by Ray's own command line and our own.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from augment.distribute.metrics import METRICS, exported_name
from tests.jobs.cluster_files import CLUSTER, assert_fits_a_cluster, validated

CALLS = "ray-calls"  # a file: one JSON list of arguments per call


def program(folder: Path, name: str, text: str) -> None:
    """An executable script in a folder that is to be on the PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def recording_ray(out: Path) -> str:
    """A `ray` that notes its arguments, and runs what stands after `--`."""
    return f"""#!{sys.executable}
import json, os, sys
with open({str(out / CALLS)!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if sys.argv[1] == "symmetric-run":
    command = sys.argv[sys.argv.index("--") + 1 :]
    os.execvp(command[0], command)
"""


def ray_calls(out: Path) -> list[list[str]]:
    return [json.loads(line) for line in (out / CALLS).read_text().splitlines()]


@pytest.mark.parametrize("name", ["Dockerfile", "rayjob.yaml", "slurm.sbatch", "submit.sh"])
def test_every_file_opens_with_what_to_do_with_it(name: str) -> None:
    lines = (CLUSTER / name).read_text().splitlines()
    comment = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    for word in ("command", "hardware", "change", "expected"):
        assert f"\n# {word}:" in comment
    assert f"`{name}`" in (CLUSTER / "README.md").read_text()


# --- Slurm -----------------------------------------------------------------------------------------------------------

SBATCH = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",  # one Ray per node
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"(\w+:)?\d+",
    "exclusive": "",
    "time": r"(\d+-)?\d\d:\d\d:\d\d",
    "requeue": "",
    "signal": r"B:USR1@\d+",
    "output": r"[\w-]*%j\.out",
    "open-mode": "append",
}


def test_slurm_reads_its_directives() -> None:
    lines = (CLUSTER / "slurm.sbatch").read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == [line for line in lines[:first_command] if line.startswith("#SBATCH")]  # Slurm stops there
    options = dict((line.removeprefix("#SBATCH --") + "=").split("=")[:2] for line in directives)
    assert len(options) == len(directives)
    assert all(re.fullmatch(SBATCH[name], value) for name, value in options.items()), options
    assert {"requeue", "signal", "exclusive"} <= options.keys()


@pytest.fixture
def slurm_job(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Starts the batch script in `tmp_path`, with a Slurm of one node and a Ray that run what they are given."""
    bin_ = tmp_path / "bin"
    program(bin_, "srun", '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    program(bin_, "scontrol", f'#!/bin/bash\n[ "$1" = show ] && echo node1 || echo "$@" >>{tmp_path}/requeued\n')
    program(bin_, "ray", recording_ray(tmp_path))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()

    def begin(augment: str) -> subprocess.Popen[str]:
        program(bin_, "augment", f"#!/bin/bash\n{augment}\n")
        names = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "4", "SLURM_CPUS_PER_TASK": "32"}
        environment = {"PATH": f"{bin_}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node[1-4]", **names}
        environment["TMPDIR"] = str(tmp_path)
        return subprocess.Popen(
            ["bash", CLUSTER / "slurm.sbatch"], cwd=tmp_path, env=environment, text=True, stdout=subprocess.DEVNULL
        )

    return begin


def test_slurm_gives_ray_and_augment_a_command_they_understand(
    slurm_job: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    from ray.scripts.scripts import get_auth_token, start
    from ray.scripts.symmetric_run import symmetric_run

    assert slurm_job("exit 3").wait(30) == 3
    (token, *token_options), (run, *arguments) = ray_calls(tmp_path)
    assert (token, run) == ("get-auth-token", "symmetric-run")
    get_auth_token.make_context(token, token_options)
    separator = arguments.index("--")
    params = symmetric_run.make_context(run, arguments[:separator]).params
    assert (params["address"], params["min_nodes"]) == ("node1:6379", 4)
    assert start.make_context("start", list(params["ray_args_and_entrypoint"])).params["num_cpus"] == 32
    config = validated(arguments[arguments.index("augment") :])
    assert_fits_a_cluster(config)
    (lead,) = re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", (CLUSTER / "slurm.sbatch").read_text(), re.MULTILINE)
    assert int(lead) >= config.run.drain_seconds + 60  # to stop a Ray takes its time, too
    assert not (tmp_path / "requeued").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "bin", CALLS]


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGUSR1, "requeue 7\n"), (signal.SIGTERM, "")])
def test_slurm_passes_a_signal_on_to_augment_and_comes_back_only_when_time_was_up(
    slurm_job: Callable[[str], subprocess.Popen[str]], tmp_path: Path, sent: signal.Signals, requeued: str
) -> None:
    job = slurm_job(f"trap 'kill $!; exit 143' TERM; sleep 60 & touch {tmp_path}/at-work; wait")
    deadline = time.monotonic() + 30
    while not (tmp_path / "at-work").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(sent)
    assert job.wait(30) == 143
    assert ((tmp_path / "requeued").read_text() if requeued else "") == requeued
    assert (tmp_path / "requeued").exists() == bool(requeued)


# --- Ray Jobs --------------------------------------------------------------------------------------------------------


def test_a_submission_is_a_command_that_ray_and_augment_understand(tmp_path: Path) -> None:
    from ray.scripts.scripts import cli

    program(tmp_path / "bin", "ray", recording_ray(tmp_path))
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    subprocess.run([CLUSTER / "submit.sh", "--no-wait", "--submission-id", "mine"], env=environment, check=True)
    ((job, submit, *arguments),) = ray_calls(tmp_path)
    params = cli.commands[job].commands[submit].make_context(submit, arguments).params
    assert (params["no_wait"], params["submission_id"], params["working_dir"]) == (True, "mine", ".")
    config = validated(params["entrypoint"])
    assert_fits_a_cluster(config)
    assert config.output.path.startswith("s3://")
    runtime_env = json.loads(params["runtime_env_json"])
    assert runtime_env.keys() == {"excludes", "env_vars"}
    assert int(runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= config.run.drain_seconds + 15


# --- Grafana ---------------------------------------------------------------------------------------------------------


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((CLUSTER / "grafana.json").read_text())
    tags = {exported_name(name): {*metric.tags, "SessionName"} for name, metric in METRICS.items()}
    shown: set[str] = set()
    for panel in dashboard["panels"]:
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            expression = target["expr"]
            names = re.findall(r"\bray_\w+", expression)
            assert names and set(names) <= tags.keys()
            shown |= set(names)
            for name, labels in re.findall(r"(ray_\w+)\{([^}]*)\}", expression):
                assert set(re.findall(r"(\w+)=~?\"", labels)) <= tags[name]
            grouped = set(re.findall(r"\bby \((\w+)\)", expression))
            assert grouped <= tags[names[0]]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == grouped
            # A counter is looked at through its rate, or its last value per series, and a gauge as it is.
            for name in names:
                counted = re.search(rf"\b(rate|max_over_time)\({name}\b", expression)
                assert bool(counted) == name.endswith("_total")
    assert shown == tags.keys()


def test_the_dashboard_fits_together() -> None:
    dashboard = json.loads((CLUSTER / "grafana.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24  # Grafana's columns
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
    assert used - {"__range"} == variables
