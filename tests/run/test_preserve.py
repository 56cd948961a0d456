"""Masks from the dataset to the edits: what a worker makes of them, and what is said before a run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.dataset.parts import read_part
from augment.dataset.record import EditRecord
from augment.editing import EditConfig
from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources
from augment.ledger.ledger import Ledger
from augment.models.segmentation import load_segmenter
from augment.models.segmentation_files import SegmentationConfig, pinned_segmentation
from augment.run.editor import load_editor
from augment.run.validate import validate
from augment.storage.tar import iter_tar, write_tar
from augment.tiny.dataset import split_path
from augment.types import PlannedSource, Unit, UnitTask, Variant
from tests.run.test_findings import config, dataset
from tests.run.workers import make_worker, worker_config
from tests.segmentation_models import clipseg, segformer


def mask_of(left: int, right: int, size: int = 64) -> bytes:
    mask = np.zeros((size, size), np.uint8)
    mask[:, left:right] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def edited(
    tmp_path: Path, masks: list[bytes | None], preserve: str, segmentation: SegmentationConfig | None = None
) -> tuple[dict[int, EditRecord], dict[int, np.ndarray]]:
    """Records and edits of some pictures of the embedded split, by place, each with a mask or none."""
    tmp_path.mkdir()
    samples = [sample for _, sample in zip(masks, iter_tar(split_path("val")), strict=False)]
    files = [
        (f"{i:04d}", {name: data for name, data in own.items() if name in ("png", "cls", "txt", "json")})
        for i, (_, own) in enumerate(samples)
    ]
    for (_, own), mask in zip(files, masks, strict=True):
        own |= {} if mask is None else {"mask.png": mask}
    write_tar(tmp_path / "in.tar", files)
    sources = list_sources(tmp_path / "in.tar", "webdataset", masks=preserve == "mask").sources
    planned = [
        PlannedSource(s, s.caption, (Variant(0, f"a picture of a {s.class_name} on snow at night"),)) for s in sources
    ]
    editing = EditConfig.model_validate({"num_steps": 4, "preserve": preserve, "preserve_until": 1.0})
    job = worker_config(tmp_path).model_copy(update={"editing": editing, "segmentation": segmentation})
    worker = make_worker(job, load_editor)
    report = worker.run_unit(UnitTask(Unit("u000000", tuple(planned))))
    found, edits = {}, {}
    for record, picture in read_part(Ledger(tmp_path), report):
        place = int(record.source_key)
        found[place] = record
        if picture:
            edits[place] = np.asarray(decode_image(picture), int)
    return found, edits


def test_what_is_white_in_a_mask_is_kept(tmp_path: Path) -> None:
    masks = [mask_of(0, 64), mask_of(0, 32), None, mask_of(0, 0)]
    plain, without = edited(tmp_path / "none", masks, "none")
    found, edits = edited(tmp_path / "mask", masks, "mask")
    assert {r.status for r in found.values()} == {"edited"}
    assert all(found[i].aug_id != plain[i].aug_id for i in range(4))
    for place in (2, 3):
        np.testing.assert_array_equal(edits[place], without[place])
    assert found[0].source_similarity > 0.9 > plain[0].source_similarity
    own = [np.asarray(decode_image(files["png"]), int) for _, files in iter_tar(tmp_path / "mask" / "in.tar")]
    change = {name: np.abs(made[1] - own[1]).mean(axis=(0, 2)) for name, made in (("m", edits), ("n", without))}
    assert change["m"][:24].mean() < 0.7 * change["n"][:24].mean()


def test_pictures_without_a_mask_get_that_of_the_segmentation_model(tmp_path: Path) -> None:
    model = pinned_segmentation(SegmentationConfig(name=str(clipseg(tmp_path / "model"))))
    own = mask_of(0, 32)
    found, edits = edited(tmp_path / "seen", [own, None], "mask", model)
    samples = list(iter_tar(tmp_path / "seen" / "in.tar"))
    pixels, class_name = np.asarray(decode_image(samples[1][1]["png"])), found[1].class_name
    buffer = io.BytesIO()
    Image.fromarray(load_segmenter(model).mask(pixels, class_name)[..., 0]).save(buffer, "PNG")
    given, expected = edited(tmp_path / "given", [own, buffer.getvalue()], "mask")
    plain, nothing = edited(tmp_path / "nothing", [own, None], "mask")
    for place in (0, 1):
        np.testing.assert_array_equal(edits[place], expected[place])
    assert np.abs(edits[1] - nothing[1]).max() > 1
    assert len({found[1].aug_id, given[1].aug_id, plain[1].aug_id}) == 3


@pytest.mark.slow
def test_another_mask_is_another_edit(tmp_path: Path) -> None:
    first, _ = edited(tmp_path / "a", [mask_of(0, 32)], "mask")
    same, _ = edited(tmp_path / "b", [mask_of(0, 32)], "mask")
    other, _ = edited(tmp_path / "c", [mask_of(8, 32)], "mask")
    assert first[0].aug_id == same[0].aug_id != other[0].aug_id
    assert first[0].source_sha256 == other[0].source_sha256


def test_a_mask_that_does_not_fit_fails_the_edits_of_its_picture(tmp_path: Path) -> None:
    found, _ = edited(tmp_path / "in", [mask_of(0, 8, 32), b"no picture", mask_of(0, 8)], "mask")
    assert [found[i].status for i in range(3)] == ["failed", "failed", "edited"]
    assert found[0].stage == found[1].stage == "decode"
    assert found[0].reason.startswith("its mask is 32x32 pixels, the picture 64x64")
    assert found[1].reason.startswith("its mask: not an image")


def test_masks_are_looked_for_before_a_run(tmp_path: Path) -> None:
    dataset(tmp_path)
    (problem,) = validate(config(tmp_path, editing__preserve="mask")).problems
    assert problem.startswith("editing.preserve: mask: the format 'imagefolder' has no masks. List the images")
    picture = (tmp_path / "data" / "fox" / "1.png").read_bytes()
    samples = [(f"{i}", {"png": picture, "cls": b"%d" % i}) for i in range(2)]
    write_tar(tmp_path / "in.tar", samples)
    names = {"0": "fox", "1": "owl"}
    tar = {"input__path": str(tmp_path / "in.tar"), "input__format": "webdataset", "input__class_names": names}
    (problem,) = validate(config(tmp_path, editing__preserve="mask", **tar)).problems
    assert "no sample has a member mask.png" in problem
    write_tar(tmp_path / "in.tar", [samples[0], ("1", samples[1][1] | {"mask.png": mask_of(0, 8)})])
    found = validate(config(tmp_path, editing__preserve="mask", **tar))
    assert found.ok
    (warning,) = [w for w in found.warnings if "preserve" in w]
    assert "1 of 2 images have no mask, the first is " in warning and warning.endswith("nothing of them is kept")
    assert not [w for w in validate(config(tmp_path, **tar)).warnings if "preserve" in w]
    rows = tmp_path / "rows.csv"
    rows.write_text("path,label\ndata/fox/1.png,fox\ndata/owl/1.png,owl\n")
    manifest = {"input__path": str(rows), "input__format": "manifest"}
    (problem,) = validate(config(tmp_path, editing__preserve="mask", **manifest)).problems
    assert "no row has a mask" in problem


def test_a_segmentation_model_is_looked_at_before_a_run(tmp_path: Path) -> None:
    dataset(tmp_path)
    named = {"segmentation__name": str(segformer(tmp_path / "model"))}
    found = validate(config(tmp_path, editing__preserve="mask", **named))
    (warning,) = [w for w in found.warnings if "segmentation" in w]
    assert found.ok and "has no label for 1 of 2 classes: 'owl'; nothing of their pictures is kept" in warning
    named["segmentation__words"] = {"owl": "tree"}
    found = validate(config(tmp_path, editing__preserve="mask", **named))
    assert found.ok and not [w for w in found.warnings if "segmentation" in w]
    found = validate(config(tmp_path, **named))
    (warning,) = [w for w in found.warnings if "segmentation" in w]
    assert found.ok and warning == "segmentation: is not read, because editing.preserve is none; set it to mask"
    (problem,) = validate(config(tmp_path, editing__preserve="mask", segmentation__name=str(tmp_path))).problems
    assert problem.startswith("segmentation.name ") and "config.json" in problem


@pytest.mark.parametrize("preserve", ["attention", "difference"])
def test_other_modes_need_no_masks(tmp_path: Path, preserve: str) -> None:
    dataset(tmp_path)
    assert validate(config(tmp_path, editing__preserve=preserve)).ok


def test_an_unknown_mode_is_named(tmp_path: Path) -> None:
    dataset(tmp_path)
    (problem,) = validate(config(tmp_path, editing__preserve="masks")).problems
    assert "editing.preserve" in problem and "'masks'" in problem
