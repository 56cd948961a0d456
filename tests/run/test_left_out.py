"""What `validate`, `plan` and a run say about files: those left out, those that are not there, those nearly black."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from augment.errors import AugmentError, ConfigError
from augment.run.config import fingerprint, job_sources, load_expand_config
from augment.run.dry_run import dry_run
from augment.run.expand import expand
from augment.run.validate import validate
from tests.cli.invoke import invoke


def picture(path: Path, colour: tuple[int, int, int] = (200, 90, 7), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path, path.suffix[1:].upper().replace("JPG", "JPEG"), **options)


def job(root: Path, path: str = "data", format: str = "imagefolder", **more: Any) -> Path:
    grid = {"templates": ["a picture of {a_class}"], "attributes": {}}
    (root / "prompts.yaml").write_text(yaml.safe_dump(grid))
    section = {"path": str(root / path), "format": format, "image_size": 64, **more}
    content = {"input": section, "output": {"path": str(root / "out")}, "prompts": "prompts.yaml"}
    content |= {"variants_per_image": 1, "editing": {"num_steps": 2}, "run": {"executor": "local"}}
    (root / "job.yaml").write_text(yaml.safe_dump(content))
    return root / "job.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images, one of them behind a linked folder, and what is none."""
    for name, colour in (("fox/a.png", (200, 9, 7)), ("owl/b.jpg", (9, 200, 7)), ("fox/c.jpg", (9, 7, 200))):
        picture(tmp_path / "data" / name, colour)
    (tmp_path / "data/fox/c.jpg").rename(tmp_path / "data/fox/c.jfif")
    picture(tmp_path / "elsewhere/e.png", (70, 80, 90))
    (tmp_path / "data/fox/more").symlink_to(tmp_path / "elsewhere")
    for name in ("fox/notes.txt", "owl/.hidden.png", "fox/1.json"):
        (tmp_path / "data" / name).write_bytes(b"{}")
    return tmp_path


def test_validate_and_plan_count_what_is_left_out(root: Path) -> None:
    path = job(root)
    found = validate(path)
    assert (found.problems, found.warnings, found.sources, found.classes) == ((), (), 4, 2)
    assert list(found.left_out.items()) == [("text", 2), ("hidden", 1)]
    assert found.lines() == ["ok: 4 images of 2 classes, 4 edits", "left out: 2 text, 1 hidden"]
    plan = dry_run(load_expand_config(path))
    assert plan.lines()[1] == "left out        2 text, 1 hidden"
    for command in ("validate", "plan"):
        content = json.loads(invoke(command, path, "--json").stdout)
        assert content["left_out"] == {"text": 2, "hidden": 1}
    assert "left out: 2 text, 1 hidden\n" in invoke("validate", path).stdout


def test_what_may_have_been_meant_is_a_warning(root: Path) -> None:
    (root / "data/fox/gone.png").symlink_to(root / "nowhere.png")
    (root / "data/owl/1.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (warning,) = validate(job(root)).warnings
    assert "left out: 1 broken link, 1 image format that is not read. Mend, convert or rename them" in warning


def test_a_manifest_whose_files_are_all_gone_stops_everything(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["fox/a.png", "owl/b.jpg"]
    (root / "rows.csv").write_text("path,label\n" + "".join(f"data\\{n[:3]}\\{n[4:]},{n[:3]}\n" for n in names))
    path = job(root, "rows.csv", "manifest")
    (problem,) = validate(path).problems
    assert problem.startswith("input.path: 2 of 2 files are not there, the first is ")
    assert problem.endswith("it has backslashes, as on Windows. Write the paths with slashes")
    for refuses in (dry_run, expand):
        with pytest.raises(ConfigError, match="2 of 2 files are not there"):
            refuses(load_expand_config(path))
    assert invoke("validate", path).exit_code == invoke("plan", path).exit_code == AugmentError.exit_code == 2
    assert not (root / "out").exists()
    (root / "rows.csv").write_text("path,label,split\ndata/fox/a.png,fox,a\ndata/owl/gone.jpg,owl,a\nx.png,eel,b\n")
    found = validate(job(root, "rows.csv", "manifest", split="a"))
    assert found.problems == () and found.left_out == {"row of another split": 1}
    (warning,) = found.warnings
    assert warning.startswith("input.path: 1 of 2 files are not there, the first is ")
    with caplog.at_level(logging.WARNING, "augment.run.expand"), pytest.raises(AugmentError, match="no worker here"):
        expand(load_expand_config(root / "job.yaml"), make_worker=_no_worker)
    assert [record.getMessage() for record in caplog.records] == [f"warning: {warning}"]


def _no_worker(config: Any) -> Any:
    raise AugmentError("no worker here")


def test_pictures_that_are_nearly_black_are_pointed_out(root: Path) -> None:
    ramp = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(root / "data/owl/12.png")
    (warning,) = validate(job(root)).warnings
    assert warning.startswith("input: 1 of 5 pictures looked at are nearly black, the first is ")
    assert "/owl/12.png. If they hold 12 bits in 16" in warning
    (root / "data/owl/12.png").unlink()
    Image.fromarray(ramp).save(root / "data/owl/12.tif", tiffinfo={281: 4095})
    assert validate(job(root)).warnings == ()


def test_the_colour_switch_is_part_of_what_must_not_change(root: Path) -> None:
    def settings(**more: Any) -> dict[str, Any]:
        from augment.config import load_config
        from augment.prompts import PromptConfig

        config = load_expand_config(job(root, **more))
        found = job_sources(config)
        return fingerprint(config, load_config(config.prompts, PromptConfig), found.sources, found.class_names)

    default, ignored = settings(), settings(colour="ignore")
    assert default == settings(colour="srgb")
    assert {key: ignored[key] for key in ignored if ignored[key] != default.get(key)} == {"input.colour": "ignore"}
    with pytest.raises(ConfigError, match=r"input\.colour"):
        settings(colour="p3")
