"""A small benchmark report without running one."""

from __future__ import annotations

from typing import Any

BOUND = 29.0


def inversion_row(solver: str, *, psnr: float, evaluations: float, **changes: Any) -> dict[str, Any]:
    return {
        "max_steps": 2,
        "first_max_steps": 0,
        "tolerance": 0.0,
        "model": "teacher",
        "solver": solver,
        "settings": {},
        "warm_start": "none",
        "sampler": "ddim",
        "match_noise": None,
        "num_steps": 10,
        "guidance_scale": 1.0,
        "batch_size": 16,
        "evaluations_per_step": evaluations,
        "calls": 10 * evaluations,
        "psnr": psnr,
        "gap": BOUND - psnr,
        "latent_error": 0.05,
        "z_std": 0.98,
        "z_autocorrelation": 0.02,
        "seconds_per_image": evaluations * 0.03,
        "seconds_min": evaluations * 0.02,
        "seconds_max": evaluations * 0.04,
        "peak_bytes": 12_000_000,
        "statuses": {"converged": 1, "max_steps": 5},
    } | changes


def editing_row(method: str, distance: float, alignment: float, **changes: Any) -> dict[str, Any]:
    return {
        "method": method,
        "solver": {"name": method},
        "sampler": "ddim",
        "num_steps": 10,
        "strength": 0.7,
        "guidance_scale": 3.0,
        "background_reached": 1.0,
        "object_kept": 0.5,
        "text_alignment": alignment,
        "structure_distance": distance,
        "structure_metric": "clip_patch_distance",
        "evaluations_per_step": 2.0,
        "seconds_per_edit": 0.1,
    } | changes


def throughput_row(solver: str, batch_size: int, checkpointed: int | None = None) -> dict[str, Any]:
    return {
        "max_steps": 2,
        "first_max_steps": 0,
        "tolerance": 0.0,
        "solver": solver,
        "settings": {},
        "warm_start": "none",
        "num_steps": 10,
        "batch_size": batch_size,
        "images_per_second": 20.0,
        "ratio_to_released_batch1": 2.0,
        "seconds_per_image": 0.05,
        "seconds_min": 0.04,
        "seconds_max": 0.06,
        "peak_bytes": 1_000_000 * batch_size,
        "peak_bytes_checkpointed": checkpointed,
    }


def report() -> dict[str, Any]:
    rows = [
        inversion_row("ddim", psnr=27.0, evaluations=1.0),
        inversion_row("fixed_point", psnr=28.6, evaluations=2.0),
        inversion_row("fixed_point", psnr=28.9, evaluations=4.0, max_steps=4),
        inversion_row("fixed_point", psnr=28.7, evaluations=1.7, max_steps=1, first_max_steps=8),
        inversion_row("plain_newton", psnr=-3.2, evaluations=4.0),
        inversion_row("anderson", psnr=28.95, evaluations=1.7, warm_start="extrapolated"),
        inversion_row("anderson", psnr=28.9, evaluations=1.7, settings={"memory": 2}),
        inversion_row("ddim", psnr=24.0, evaluations=1.0, num_steps=4, sampler="lcm", match_noise=False),
    ]
    editing = [
        editing_row("ddim", 0.30, 0.93),
        editing_row("anderson", 0.25, 0.95),
        editing_row("anderson", 0.28, 0.96, guidance_scale=6.0),
    ]
    throughput = [
        *(throughput_row("rnri_released", size) for size in (1, 4)),
        *(throughput_row("rnri", size, 400_000 * size) for size in (1, 4)),
    ]
    return {
        "bound_psnr": BOUND,
        "n": 6,
        "split": "val",
        "rows": rows,
        "editing": editing,
        "throughput": throughput,
    }
