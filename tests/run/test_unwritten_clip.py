"""Plans of earlier versions, which do not say which weights of a CLIP in a folder scored their edits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from augment.errors import InputError
from augment.models.config import ClipConfig, folder_digest
from augment.tiny.packaged import WEIGHTS
from tests.run.growing import GrowingJob
from tests.run.runs import published
from tests.run.workers import worker_config


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GrowingJob:
    """A finished job of an earlier version, by a manifest."""
    job = GrowingJob(tmp_path)
    clip = shutil.copytree(WEIGHTS / "clip", tmp_path / "clip")
    job.options |= {"clip.name": str(clip), "variants_per_image": 2}
    for i in range(4):
        job.add(("fox", "owl")[i % 2], f"{i}", i)
    rows = [f"{path},{path.parent.name}" for path in sorted(job.images.rglob("*.png"))]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    job.options |= {"input.format": "manifest", "input.path": str(tmp_path / "all.csv")}
    with monkeypatch.context() as earlier:
        earlier.setattr(ClipConfig, "identity", lambda clip: clip.model_dump(mode="json", exclude={"revision"}))
        assert job.expand().edits_made == 8
    return job


def planned(job: GrowingJob) -> dict[str, object]:
    found = json.loads((job.out / "plan/plan.json").read_text())["fingerprint"]
    assert isinstance(found, dict)
    return found


def test_with_all_images_edits_are_scored_anew_and_why_is_said(
    job: GrowingJob, caplog: pytest.LogCaptureFixture
) -> None:
    assert "clip.revision" not in planned(job)
    digest = folder_digest(job.folder / "clip")
    assert job.expand().edits_made == 0
    why = "all edits are scored anew, because settings have changed: clip.revision: (absent) in the plan, "
    assert f"{why}{digest!r} now" in caplog.text
    assert planned(job)["clip.revision"] == digest
    caplog.clear()
    job.expand()
    assert "anew" not in caplog.text


def test_while_images_are_away_edits_stay_as_they_are(job: GrowingJob, caplog: pytest.LogCaptureFixture) -> None:
    before, plan = published(job.out), planned(job)
    (job.images / "fox").rename(job.folder / "away")
    assert job.expand().edits_made == 0
    assert "does not say which weights" in caplog.text
    assert "2 image(s) that have edits are not there now" in caplog.text
    assert (published(job.out), planned(job)) == (before, plan)
    (job.folder / "away").rename(job.images / "fox")
    assert job.expand().edits_made == 0
    assert planned(job)["clip.revision"] == folder_digest(job.folder / "clip")


def test_if_more_has_changed_that_is_refused_by_name(job: GrowingJob) -> None:
    plan = planned(job)
    (job.images / "fox").rename(job.folder / "away")
    job.options["clip.label_templates"] = "['a {class}']"
    with pytest.raises(InputError, match=r"Changed since then: clip\.label_templates: .*; clip\.revision: \(absent\)"):
        job.expand()
    assert planned(job) == plan


def test_ids_are_those_of_a_plan_without_a_revision(tmp_path: Path) -> None:
    config = worker_config(tmp_path).model_copy(update={"clip": ClipConfig(name="b", revision="1")})
    assert config.known_clip().revision == "1"
    known = config.model_copy(update={"known_as": {"clip": {"name": "a"}}}).known_clip()
    assert (known.name, known.revision) == ("a", "")
