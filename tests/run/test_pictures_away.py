"""A model's captions of pictures that are away: what was made with them stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from augment.errors import ConfigError
from tests.caption_models import llava
from tests.run.growing import GrowingJob
from tests.run.prompt_jobs import make, rows
from tests.run.runs import published


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    """A red fox and a blue owl by a manifest, with prompts and edits; the fox is away since."""
    model = llava(tmp_path / "llava", {"red": "a fox on snow.", "blue": "an owl."}, "Say")
    made, lines = GrowingJob(tmp_path), ["path,label"]
    for name, colour in (("fox", "red"), ("owl", "blue")):
        path = made.images / name / f"{colour}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16), colour).save(path)
        lines.append(f"images/{name}/{colour}.png,{name}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    made.prompts["caption"] = {"model": str(model), "instructions": "Say", "max_tokens": 20}
    made.options = {"variants_per_image": 2, "input.format": "manifest", "input.path": str(tmp_path / "all.csv")}
    make(made)
    assert made.expand().edits_made == 4
    (made.images / "fox").rename(tmp_path / "away")
    return made


def captions(job: GrowingJob) -> list[str]:
    return [row["source_prompt"] for row in rows(job)]


def test_what_was_made_of_a_picture_that_is_away_stays(job: GrowingJob) -> None:
    before, told = published(job.out), captions(job)
    assert told == ["a fox on snow."] * 2 + ["an owl."] * 2
    for _ in range(2):
        assert job.counts() == (0, 4, 0)
        summary = job.expand()
        assert (summary.edits_made, summary.manifest["failed"]) == (0, 0)
        make(job)
        assert captions(job) == told
    (job.folder / "away").rename(job.images / "fox")
    assert job.expand().edits_made == 0
    assert published(job.out) == before


def test_a_picture_of_another_size_is_described_again(job: GrowingJob) -> None:
    make(job)  # while it is away
    (job.images / "fox").mkdir()
    Image.effect_noise((16, 16), 50).convert("RGB").save(job.images / "fox" / "red.png")
    with pytest.raises(ConfigError, match=r"1 images have another class, .*, or a picture of another size, than"):
        job.expand()
    assert make(job).captions.costs.requests == 1
    assert job.expand().edits_made == 2
