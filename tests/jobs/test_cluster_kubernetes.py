"""The image, and the RayJob that runs it: read as Docker and Kubernetes read them, as far as that can be had here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tests.jobs.cluster_files import (
    CLUSTER,
    PROJECT,
    ROOT,
    assert_fits_a_cluster,
    validated,
)

# --- Dockerfile ------------------------------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, with what is set by ARG put in."""
    text = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", (CLUSTER / "Dockerfile").read_text(), flags=re.MULTILINE))
    arguments: dict[str, str] = {}
    found = []
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        rest = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], rest)
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        found.append((name, rest))
    return found


def test_the_image_has_what_the_package_is_made_of() -> None:
    steps = dockerfile()
    assert {name for name, _ in steps} <= {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}
    (base,) = (rest for name, rest in steps if name == "FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim-bookworm", base)
    assert version and SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    copied: set[str] = set()
    at_install: set[str] = set()
    for name, rest in steps:
        if name == "COPY":
            *sources, target = rest.split()
            copied |= set(sources)
            # A folder under its own name, or files into the folder at hand.
            assert target == "./" or sources == [target]
        if name == "RUN" and "--no-deps" in rest:
            at_install = set(copied)
            (extras,) = re.findall(r"'\.\[([\w,]+)\]'", rest)
            assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert all((ROOT / source).exists() for source in copied)
    # What the package is built from, and nothing that it does not install.
    assert at_install == {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "augment"}
    assert copied == at_install | {"configs"}


def test_the_image_installs_the_dependencies_of_the_project(tmp_path: Path) -> None:
    (step,) = (rest for name, rest in dockerfile() if name == "RUN" and "requirements.txt" in rest)
    listing, _, install = step.partition("&&")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", listing], cwd=tmp_path, env={"PATH": path}, check=True)
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["s3"]]
    assert (tmp_path / "requirements.txt").read_text().splitlines() == wanted
    pinned = Requirement(shlex.split(install)[-1])
    (ray,) = (Requirement(text) for text in wanted if Requirement(text).name == "ray")
    ((_, version),) = ((spec.operator, spec.version) for spec in pinned.specifier)
    assert (pinned.name, pinned.extras) == (ray.name, ray.extras)
    assert ray.specifier.contains(version)
    assert version == kubernetes().spec.ray_cluster_spec.ray_version


def test_the_image_runs_as_a_user_with_a_home() -> None:
    steps = dockerfile()
    made = [re.findall(r"useradd --create-home --uid (\d+) (\w+)", rest) for name, rest in steps if name == "RUN"]
    ((uid, user),) = next(filter(None, made))
    assert int(uid) > 0
    assert [rest for name, rest in steps if name == "USER"] == [f"{uid}:{uid}"]
    assert [rest for name, rest in steps if name == "WORKDIR"][-1] == f"/home/{user}"


# --- Kubernetes ------------------------------------------------------------------------------------------------------


class Strict(BaseModel):
    """Neither unknown fields nor conversions: the cluster's API server has none either."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Container(Strict):
    name: str
    image: str
    ports: list[dict[str, Any]]
    env_from: list[dict[str, Any]]
    resources: dict[Literal["requests", "limits"], dict[str, str]]
    volume_mounts: list[dict[str, str]]


class PodSpec(Strict):
    termination_grace_period_seconds: int
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    security_context: dict[str, Any]
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, str]] = []
    containers: list[Container]
    volumes: list[dict[str, Any]]


class Template(Strict):
    spec: PodSpec


class Head(Strict):
    ray_start_params: dict[str, str]
    template: Template


class Group(Head):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int


class Cluster(Strict):
    ray_version: str
    auth_options: dict[Literal["mode"], Literal["token", "disabled"]]
    head_group_spec: Head
    worker_group_specs: list[Group]


class JobSpec(Strict):
    entrypoint: str
    runtime_env: str = Field(alias="runtimeEnvYAML")
    backoff_limit: int
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: int
    ray_cluster_spec: Cluster


class RayJob(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: dict[Literal["name"], str]
    spec: JobSpec


class UniqueKeys(yaml.SafeLoader):
    """YAML as Kubernetes reads it, but for keys given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in line {node.start_mark.line + 1}: {keys}"
        return super().construct_mapping(node, deep)


def kubernetes() -> RayJob:
    return RayJob.model_validate(yaml.load((CLUSTER / "rayjob.yaml").read_text(), UniqueKeys))


def test_the_rayjob_runs_a_command_of_ours_and_gives_it_time_to_stop() -> None:
    spec = kubernetes().spec
    config = validated(shlex.split(spec.entrypoint))
    assert_fits_a_cluster(config)
    assert config.output.path.startswith("s3://")
    wait = yaml.load(spec.runtime_env, UniqueKeys)["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
    assert int(wait) >= config.run.drain_seconds + 15  # for the workers' last words
    assert spec.backoff_limit > 0 and spec.shutdown_after_job_finishes


def test_the_rayjob_has_gpus_on_preemptible_nodes_only() -> None:
    from ray.scripts.scripts import start

    cluster = kubernetes().spec.ray_cluster_spec
    (group,) = cluster.worker_group_specs
    assert 0 < group.min_replicas <= group.replicas <= group.max_replicas
    assert cluster.head_group_spec.ray_start_params["num-cpus"] == "0"
    for node, gpus in ((cluster.head_group_spec, None), (group, "1")):
        pod = node.template.spec
        (container,) = pod.containers
        assert container.resources["limits"].get("nvidia.com/gpu") == gpus
        tolerated = {each["key"] for each in pod.tolerations}
        assert bool(pod.node_selector) == bool(gpus) and pod.node_selector.keys() <= tolerated
        assert ("nvidia.com/gpu" in tolerated) == bool(gpus)
        assert pod.security_context["runAsNonRoot"] is True
        assert [mount["name"] for mount in container.volume_mounts] == [volume["name"] for volume in pod.volumes]
        start.make_context("start", [f"--{key}={value}" for key, value in node.ray_start_params.items()])
        ports = {port["name"]: port["containerPort"] for port in container.ports}
        assert str(ports["metrics"]) == node.ray_start_params["metrics-export-port"]
        assert container.image == f"augment:{PROJECT['version']}"
