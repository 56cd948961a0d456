"""A job whose dataset grows: the job, and the changes to it with the counts that each should have."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from augment.run.config import load_expand_config
from augment.run.dry_run import dry_run
from augment.run.expand import expand
from augment.run.finalize import Summary
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from tests.run.runs import published

PROMPTS = {
    "templates": ["a picture of {a_class} {place} {weather}"],
    "attributes": {
        "place": [{"name": name, "text": f"on {name}"} for name in ("snow", "grass", "sand", "rock")],
        "weather": [{"name": name, "text": f"in {name}"} for name in ("fog", "rain", "sun")],
    },
}
CLASSES = {"fox": 14, "owl": 13, "car": 13}


class GrowingJob:
    """A dataset, its config and its output, in one folder, which may hold them already."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.images, self.out = folder, folder / "images", folder / "out"
        self.prompts = yaml.safe_load(yaml.safe_dump(PROMPTS))
        self.options: dict[str, object] = {"variants_per_image": 4, "run.unit_size": 4, "run.batch_size": 3}

    def add_all(self) -> None:
        for number, (name, count) in enumerate(CLASSES.items()):
            for i in range(count):
                self.add(name, f"{i:03}", 100 * number + i)

    def add(self, class_name: str, stem: str, seed: int) -> None:
        path = self.images / class_name / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)

    def overrides(self, out: Path) -> list[str]:
        (self.folder / "prompts.yaml").write_text(yaml.safe_dump(self.prompts))
        config = {
            "input": {"path": str(self.images), "format": "imagefolder", "image_size": 8},
            "prompts": "prompts.yaml",
            "output": {"path": "out"},
            "run": {"executor": "local"},
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        return [f"output.path={out}", *(f"{name}={value}" for name, value in self.options.items())]

    def load(self, out: Path):  # type: ignore[no-untyped-def]
        overrides = self.overrides(out)  # writes the file
        return load_expand_config(self.folder / "config.yaml", overrides)

    def expand(self, out: Path | None = None, **more: object) -> Summary:
        make = more.pop("make_worker", partial(Worker, make_editor=SimulatedEditor))
        return expand(self.load(out or self.out), make_worker=make, **more)  # type: ignore[arg-type]

    def counts(self) -> tuple[int, int, int]:
        """What `plan` says: new, kept, dropped."""
        report = dry_run(self.load(self.out)).as_dict()
        return report["new"], report["kept"], report["dropped"]

    def fresh(self) -> dict[str, str]:
        """What a run into a new folder publishes."""
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        self.expand(self.folder / "fresh")
        return published(self.folder / "fresh")


def more_images(job: GrowingJob) -> tuple[int, int, int]:
    job.add("fox", "new", 1001)
    job.add("owl", "another", 1002)
    return 8, 160, 0


def fewer_images(job: GrowingJob) -> tuple[int, int, int]:
    (job.images / "fox" / "003.png").unlink()
    return 0, 156, 4


def more_variants(job: GrowingJob) -> tuple[int, int, int]:
    job.options["variants_per_image"] = 6
    return 80, 160, 0


def fewer_variants(job: GrowingJob) -> tuple[int, int, int]:
    job.options["variants_per_image"] = 3
    return 0, 120, 40


def replaced_image(job: GrowingJob) -> tuple[int, int, int]:
    before = (job.images / "car" / "005.png").stat().st_size
    image = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    image.save(job.images / "car" / "005.png")
    assert (job.images / "car" / "005.png").stat().st_size != before
    return 4, 156, 4


def renamed_class(job: GrowingJob) -> tuple[int, int, int]:
    """Its edits are made anew, and all others are scored anew: they are compared with another word."""
    job.options["input.class_names"] = "{fox: arctic fox, owl: owl, car: car, ant: ant}"
    return 14 * 4, 26 * 4, 14 * 4


def new_class(job: GrowingJob) -> tuple[int, int, int]:
    """It comes first, so every other class has another label."""
    job.add("ant", "000", 1003)
    job.add("ant", "001", 1004)
    return 8, 160, 0


def other_unit_size(job: GrowingJob) -> tuple[int, int, int]:
    job.options["run.unit_size"] = 7
    return 0, 160, 0


def other_scores(job: GrowingJob) -> tuple[int, int, int]:
    job.options["clip.label_templates"] = "['a {class}']"
    return 0, 160, 0


CHANGES = (
    more_images,
    fewer_images,
    more_variants,
    fewer_variants,
    replaced_image,
    renamed_class,
    new_class,
    other_unit_size,
    other_scores,
)
