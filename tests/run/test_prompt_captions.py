"""Captions in the table of prompts, by a real model at toy size that knows captions of some colours by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from augment.errors import ConfigError, ModelError
from augment.ledger.ledger import Ledger
from augment.models.captioner import Captioner
from augment.run.prompt_stage import make_prompts
from tests.caption_models import llava
from tests.run.growing import GrowingJob
from tests.run.prompt_jobs import make, rows

KNOWN = {"red": "a fox on snow.", "blue": "an owl.", "white": "a fox. An owl.", "lime": "a fox at noon. It is warm"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llava(tmp_path_factory.mktemp("llava"), KNOWN, "Say")


@pytest.fixture
def job(tmp_path: Path, model: Path) -> GrowingJob:
    """A red, a blue, a white and a lime fox, and a blue owl."""
    made = GrowingJob(tmp_path)
    made.options["variants_per_image"] = 2
    for name in ("red", "blue", "white", "lime"):
        add(made, "fox", name)
    add(made, "owl", "blue")
    made.prompts["caption"] = {"model": str(model), "instructions": "Say", "max_tokens": 20}
    return made


def add(job: GrowingJob, class_name: str, colour: str, stem: str = "") -> None:
    path = job.images / class_name / f"{stem or colour}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)


def captions(job: GrowingJob) -> dict[str, str]:
    return {row["key"]: row["source_prompt"] for row in rows(job)}


def test_captions_that_pass_are_source_prompts_and_the_others_have_the_template(job: GrowingJob) -> None:
    with pytest.raises(ConfigError, match=r"caption: no prompts are in .*/out/prompts yet"):
        job.expand()
    report = make(job)
    assert captions(job) == {
        "fox/red": "a fox on snow.",
        "fox/blue": "a picture of a fox",
        "fox/white": "a picture of a fox",
        "fox/lime": "a fox at noon.",  # the rest ran into the limit
        "owl/blue": "an owl.",
    }
    costs = report.captions.costs
    assert (report.captions.wanted, report.captions.cached, costs.requests) == (5, 0, 4)  # "Say" to one blue picture
    assert report.captions.shortened == 1
    assert costs.refused == {"class word lost": 1, "another class": 1}
    assert costs.prompt_tokens == 4 * (4 + len("Say:"))
    shown = "\n".join(report.lines())
    assert "captions        3 of 5 images without one, 1 shortened, 0 cached" in shown
    assert "source_template 2 images, whose captions were refused: another class 1, class word lost 1" in shown
    content = report.as_dict()["caption"]
    assert json.loads(json.dumps(content))["refused"] == costs.refused
    job.expand()
    units = Ledger(job.out).units()
    assert {p.source.key: p.source_prompt for unit in units for p in unit.sources} == captions(job)


def test_nothing_is_asked_twice(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    add(job, "fox", "red", "same")  # the same bytes, and a question that does not name the class
    report = make(job)
    assert (report.captions.wanted, report.captions.costs.requests) == (6, 4)
    before = captions(job)
    add(job, "owl", "green")
    report = make(job)
    assert (report.captions.cached, report.captions.costs.requests) == (6, 1)
    assert captions(job).items() >= before.items()
    with monkeypatch.context() as patch:  # no model is loaded where nothing is to be asked
        patch.setattr("augment.run.prompt_stage.load_described", lambda config: pytest.fail("loaded"))
        assert make(job).captions.cached == 7
        job.prompts["blocklist"] = ["snow"]  # other guards judge the same answers
        del job.prompts["attributes"]["place"][0]
        assert make(job).captions.costs.refused["blocklist"] == 2
    job.prompts["caption"]["prefix"] = "{a_class}"  # another question, and another one for each class
    assert (make(job).captions.cached, make(job).captions.cached) == (0, 7)


def test_an_interrupted_one_goes_on(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    describe, count = Captioner.describe, 0

    def breaks_down(self: Captioner, *arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return describe(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Captioner, "describe", breaks_down)
    with pytest.raises(KeyboardInterrupt):
        make(job)
    report = make(job)
    assert report.captions.costs.requests == 1
    assert make(job).captions.costs.requests == 0


def test_what_a_person_has_changed_stays(job: GrowingJob) -> None:
    make(job)
    table = job.out / "prompts" / "prompts.csv"
    table.write_text(table.read_text().replace("a fox on snow.", "my red fox"))
    assert make(job).edited == 2
    assert captions(job)["fox/red"] == "my red fox"


def test_pictures_that_are_none_are_counted(job: GrowingJob) -> None:
    (job.images / "fox" / "red.png").write_bytes((job.images / "fox" / "red.png").read_bytes()[:40])
    report = make(job)
    assert report.captions.costs.refused["picture not readable"] == 1
    assert captions(job)["fox/red"] == "a picture of a fox"


def test_a_model_that_knows_nothing_has_every_caption_refused(job: GrowingJob, tmp_path: Path) -> None:
    job.prompts["caption"]["model"] = str(llava(tmp_path / "random"))
    report = make(job)
    assert sum(report.captions.costs.refused.values()) == report.captions.wanted == 5
    assert set(captions(job).values()) == {"a picture of a fox", "a picture of an owl"}
    assert len(rows(job)) == 10


def test_captions_of_scenes_name_no_class(job: GrowingJob) -> None:
    caption = job.prompts["caption"]
    job.prompts = {"templates": ["a picture on snow"], "source_template": "a picture", "scene_only": True}
    job.prompts["caption"] = caption
    report = make(job)
    assert set(captions(job).values()) == {"a picture"}
    assert report.captions.costs.refused == {"class named": 4, "another class": 1}


def test_images_with_a_caption_are_not_described(job: GrowingJob) -> None:
    lines = ["path,label,prompt", "fox/red.png,fox,mine", "fox/lime.png,fox,"]
    (job.images / "list.csv").write_text("\n".join(lines) + "\n")
    job.options |= {"input.path": str(job.images / "list.csv"), "input.format": "manifest"}
    report = make(job)
    assert (report.captions.wanted, report.captions.costs.requests) == (1, 1)
    assert "mine" in captions(job).values()


def test_a_model_that_is_not_there_is_named(job: GrowingJob) -> None:
    job.prompts["caption"]["model"] = str(job.folder / "nowhere")
    with pytest.raises(ModelError, match=r"caption.model .*nowhere': no such folder, and no Hugging Face id"):
        make(job)
    job.prompts["caption"] |= {"revision": "0123", "model": str(job.folder / "images")}
    with pytest.raises(ModelError, match=r"caption.model .* revision '0123' was asked for"):
        make_prompts(job.load(job.out))
