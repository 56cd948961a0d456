"""The benchmark on a GPU, on a CPU at toy size: its rows, what it skips, and what it makes of a full memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest
import torch

from augment.models.random_weights import random_model
from augment.tiny.networks import build_tokenizer
from jobs import benchmark_gpu
from jobs.benchmark_gpu import main, network_flops
from tests.variants import variants

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' Euler-ancestral, with numpy 2

VARIANTS = 2


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command at toy size, and returns its report."""
    monkeypatch.setattr(benchmark_gpu, "REPEATS", 1)
    monkeypatch.setattr(benchmark_gpu, "VARIANTS", VARIANTS)

    def run(*arguments: str) -> dict[str, Any]:
        fixed = ["--shapes", "toy_xl", "--size", "32", "--device", "cpu", "--dtype", "float32"]
        monkeypatch.setattr(sys, "argv", ["benchmark_gpu", *fixed, "--output", str(tmp_path), *arguments])
        main()
        return json.loads((tmp_path / "report.json").read_text())

    return run


def test_the_rows_and_the_page(report: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = report("--batches", "2", "1")
    assert [(row["batch"], row["status"], row["note"]) for row in found["rows"]] == [(1, "ok", ""), (2, "ok", "")]
    for row in found["rows"]:
        seconds = row["seconds"]
        assert row["iterations_per_step"] == 4.0  # of every step, though no weights were trained
        assert row["images_per_second"]["invert"] == pytest.approx(row["batch"] / seconds["invert"])
        assert row["edits_per_second"]["end_to_end"] == pytest.approx(VARIANTS * row["images_per_second"]["end_to_end"])
        assert all(seconds[stage] > 0 for stage in benchmark_gpu.STAGES)
        assert 0 < row["invert_mfu"] < 1 and row["peak_gib"] is None
    editing = found["shapes"]["toy_xl"]["editing"]
    assert (editing["sampler"], editing["num_steps"], editing["stop"]["tolerance"]) == ("euler_ancestral", 4, 0.0)

    page = tmp_path / "gpu.md"
    arguments = ["--render", str(page), "--report", str(tmp_path / "report.json")]
    monkeypatch.setattr(sys, "argv", ["benchmark_gpu", *arguments])
    main()
    text = page.read_text()
    assert all(part in text for part in ("### toy_xl", "| 1 |", "| 2 |", "--batches 2 1", found["date"], "floor: at"))


def test_without_time_everything_is_skipped(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_gpu, "random_model", None)  # it would fail if anything were built
    found = report("--batches", "1", "2", "--seconds", "0")
    assert [(row["status"], row["note"]) for row in found["rows"]] == [("skipped", "no time was left")] * 2


def test_after_a_batch_that_is_too_large_none_is_tried(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = benchmark_gpu.edit

    def limited(model: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if len(images) > 1:
            raise torch.cuda.OutOfMemoryError("tried to allocate 80 GiB")
        return edit(model, images, *args, **kwargs)

    monkeypatch.setattr(benchmark_gpu, "edit", limited)
    found = report("--batches", "1", "2", "4")
    assert [row["status"] for row in found["rows"]] == ["ok", "out of memory", "skipped"]
    assert [row["note"] for row in found["rows"][1:]] == [
        "OutOfMemoryError: tried to allocate 80 GiB",
        "batch 2: out of memory",
    ]


@pytest.mark.parametrize(
    ("shape", "parameters", "gflop"),
    variants([("sd15", 859_520_964, 803), ("sdxl_turbo", 2_567_463_684, 1589)], kept=[("sd15", 859_520_964, 803)]),
)
def test_the_sizes_are_the_published_ones(shape: str, parameters: int, gflop: int) -> None:
    tokenizer = build_tokenizer(["a"])
    tokenizer.model_max_length = 77
    model = random_model(shape, tokenizer, device="meta")
    assert sum(p.numel() for p in model.network.parameters()) == parameters
    assert sum(p.numel() for p in model.vae.parameters()) == 83_653_863
    assert network_flops(shape, tokenizer, 512) / 1e9 == pytest.approx(gflop, rel=1e-3)


def test_random_weights_are_the_same_every_time() -> None:
    tokenizer = build_tokenizer(["a"])
    a, b = (random_model("toy", tokenizer, device="cpu", dtype=torch.float32) for _ in range(2))
    image = torch.zeros(1, 3, 32, 32)
    latents = a.encode(image)
    assert torch.isfinite(latents).all() and torch.equal(latents, b.encode(image))
    assert torch.equal(a.embed(["a a"]).tokens, b.embed(["a a"]).tokens)


def test_it_needs_no_ray() -> None:
    """A machine with a GPU may have torch and diffusers only."""
    graph = grimp.build_graph("augment", "jobs", include_external_packages=True, cache_dir=None)
    assert graph.find_shortest_chain("jobs.benchmark_gpu", "augment.models.load") is not None
    assert graph.find_shortest_chain("jobs.benchmark_gpu", "ray") is None
