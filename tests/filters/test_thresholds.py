from __future__ import annotations

import pytest
from pydantic import ValidationError

from augment.filters import FilterConfig, judge_edit

GOOD = {
    "reconstruction_psnr": 25.0,
    "vae_psnr": 27.0,
    "label_probability": 0.9,
    "text_alignment": 0.3,
    "source_similarity": 0.8,
}
ALL = FilterConfig(
    max_psnr_gap=3.0,
    min_label_probability=0.5,
    min_text_alignment=0.2,
    min_source_similarity=0.4,
    max_source_similarity=0.95,
)


def test_a_good_edit_is_kept_without_a_reason() -> None:
    verdict = judge_edit(GOOD, ALL)
    assert (verdict.keep, verdict.reason, verdict.score) == (True, "", 0.9)


@pytest.mark.parametrize(
    ("change", "reason", "score"),
    [
        (
            {"reconstruction_psnr": 23.5},
            "psnr_gap 3.50 dB > 3 dB (reconstruction 23.50 dB, VAE 27.00 dB)",
            3.5,
        ),
        ({"label_probability": 0.25}, "label_probability 0.2500 < 0.5", 0.25),
        ({"text_alignment": 0.1}, "text_alignment 0.1000 < 0.2", 0.1),
        ({"source_similarity": 0.3}, "source_similarity 0.3000 < 0.4", 0.3),
        ({"source_similarity": 0.99}, "source_similarity 0.9900 > 0.95", 0.99),
    ],
)
def test_each_threshold_names_score_value_and_threshold(change: dict[str, float], reason: str, score: float) -> None:
    verdict = judge_edit(GOOD | change, ALL)
    assert (verdict.keep, verdict.reason) == (False, reason)
    assert verdict.score == pytest.approx(score)


def test_a_score_on_the_threshold_passes() -> None:
    edge = {"reconstruction_psnr": 24.0, "label_probability": 0.5, "text_alignment": 0.2, "source_similarity": 0.95}
    assert judge_edit(GOOD | edge, ALL).keep
    assert judge_edit(GOOD | edge | {"source_similarity": 0.4}, ALL).keep


def test_the_first_failing_threshold_is_the_reason() -> None:
    verdict = judge_edit(GOOD | {"reconstruction_psnr": 10.0, "label_probability": 0.0}, ALL)
    assert verdict.reason.startswith("psnr_gap 17.00 dB")


def test_null_switches_a_threshold_off() -> None:
    off = FilterConfig(max_psnr_gap=None, min_label_probability=None)
    assert judge_edit(GOOD | {"reconstruction_psnr": 1.0, "label_probability": 0.0}, off).keep


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_cannot_be_judged(value: float) -> None:
    with pytest.raises(ValueError, match="text_alignment"):
        judge_edit(GOOD | {"text_alignment": value}, ALL)


def test_a_missing_score_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="vae_psnr is None"):
        judge_edit({k: v for k, v in GOOD.items() if k != "vae_psnr"}, ALL)


@pytest.mark.parametrize(
    "values",
    [
        {"min_label_probability": 1.5},
        {"max_psnr_gap": -1.0},
        {"min_label": 0.5},
        {"max_psnr_gap": float("inf")},
        {"min_text_alignment": float("nan")},
    ],
)
def test_thresholds_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FilterConfig(**values)
