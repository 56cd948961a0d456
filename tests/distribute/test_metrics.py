"""The metrics as Prometheus would find them: scraped from the agent of a real local Ray."""

from __future__ import annotations

import resource
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from augment.distribute.metrics import (
    METRICS,
    WorkerMetrics,
    exported_name,
    memory_bytes,
)
from augment.types import UnitReport
from tests.local_ray import start_ray
from tests.peak_memory import peak_bytes

FIRST = UnitReport(
    unit_id="u000000",
    pixels="p",
    part="parts/a.tar",
    sha256="",
    planned=8,
    edited=5,
    failed=3,
    seconds={"read": 0.5, "model": 4.0, "write": 0.0},
    psnr_sum=60.0,
    vae_psnr_sum=61.5,
    inverted=2,
    failed_by_stage={"decode": 2, "edit": 1},
    provisional={"accepted": 4, "label_probability": 1},
    batch_size=4,
)
# Nothing was inverted and no batch was tried: the gauges keep what they had.
SECOND = UnitReport(
    unit_id="u000001",
    pixels="p",
    part="parts/b.tar",
    sha256="",
    planned=2,
    edited=0,
    failed=2,
    seconds={"read": 0.25},
    failed_by_stage={"decode": 2},
)

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]  # exported name, our labels -> value


@pytest.fixture
def ray_session() -> Iterator[Any]:
    ray = start_ray(num_cpus=1, _system_config={"metrics_report_interval_ms": 1000})  # 10 s otherwise
    yield ray
    ray.shutdown()


def scrape(address: str) -> tuple[Series, dict[str, str]]:
    """Our series on a metrics page, and the type of each metric."""
    from prometheus_client.parser import text_string_to_metric_families  # Ray brings it

    series: Series = {}
    types = {}
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}/metrics") as page:
        text = page.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_augment_"):
                ours = {k: v for k, v in sample.labels.items() if k in ("status", "stage", "verdict", "kind")}
                series[sample.name, frozenset(ours.items())] = sample.value
                types[sample.name] = family.type
    return series, types


def of(metric: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return metric, frozenset(labels.items())


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(90)
def test_an_actors_figures_are_on_the_metrics_page_of_its_node(ray_session: Any) -> None:
    class Observer:
        def __init__(self) -> None:
            self.metrics = WorkerMetrics()

        def observe(self, reports: list[UnitReport]) -> None:
            for report in reports:
                self.metrics.observe(report)
            self.metrics.observe_memory()

    actor = ray_session.remote(Observer).remote()
    ray_session.get(actor.observe.remote([FIRST, SECOND]))
    (node,) = ray_session.nodes()
    expected = {
        of("ray_augment_units_total"): 2,
        of("ray_augment_edits_total", status="edited", stage=""): 5,
        of("ray_augment_edits_total", status="failed", stage="decode"): 4,
        of("ray_augment_edits_total", status="failed", stage="edit"): 1,
        of("ray_augment_provisional_total", verdict="accepted"): 4,
        of("ray_augment_provisional_total", verdict="label_probability"): 1,
        of("ray_augment_seconds_total", stage="read"): 0.75,
        of("ray_augment_seconds_total", stage="model"): 4,
        of("ray_augment_psnr_db"): 30,
        of("ray_augment_psnr_gap_db"): 0.75,
        of("ray_augment_batch_size"): 4,
    }
    rss = of("ray_augment_memory_bytes", kind="rss")
    deadline = time.monotonic() + 60
    while True:
        series, types = scrape(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}")
        memory = series.pop(rss, 0)
        if series == expected or time.monotonic() > deadline:
            break
        time.sleep(0.1)  # the worker reports to the agent once a second
    assert series == expected
    assert 10 * 2**20 < memory < 10 * 2**30
    assert types == {exported_name(name): metric.kind for name, metric in METRICS.items()}


def test_memory_without_a_gpu_is_that_of_the_process() -> None:
    before = memory_bytes()
    assert before.keys() == {"rss"} or torch.cuda.is_initialized()
    assert before["rss"] <= peak_bytes() * 1.01
    block = bytearray(64 * 2**20)
    block[:: resource.getpagesize()] = b"1" * len(block[:: resource.getpagesize()])
    assert memory_bytes()["rss"] - before["rss"] >= 60 * 2**20


@pytest.mark.gpu
def test_memory_of_a_gpu() -> None:
    block = torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
    allocated = memory_bytes()
    del block
    freed = memory_bytes()
    assert allocated["cuda_allocated"] - freed["cuda_allocated"] == 64 * 2**20
    assert freed["cuda_peak"] >= allocated["cuda_allocated"]
    assert allocated["cuda_reserved"] >= allocated["cuda_allocated"]
