"""Pictures of many aspects through the whole job, on the embedded model; of quality nothing is claimed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.dataset.index import read_index
from augment.dataset.overview import KEPT_SOURCES
from augment.dataset.parts import read_samples
from augment.dataset.record import edit_key
from augment.dataset.verify import verify
from augment.errors import ModelError
from augment.inputs.fit import Fit, FitName
from augment.inputs.images import decode_image
from augment.inputs.readers import read_bytes
from augment.inputs.tensors import to_images
from augment.ledger.ledger import Ledger
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.run.batch import DecodedImage, RawEdits
from augment.run.config import load_expand_config
from augment.run.editor import DiffusionEditor, load_scorer
from augment.run.expand import expand
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.scoring import psnr
from augment.scoring.edit_scores import EditScorer
from augment.storage.tar import iter_tar
from augment.types import PlannedSource, Unit, UnitReport, UnitTask
from tests.run.runs import CONFIG
from tests.run.workers import SOURCES, make_worker, planned, worker_config

# What stands at one end: a picture of emoji world, and two more of its size in its own colour.
SHAPES = {"wide": (192, 64), "high": (64, 192), "square": (64, 64)}
EXPECTED: dict[FitName, dict[str, tuple[int, int]]] = {
    "crop": dict.fromkeys(SHAPES, (64, 64)),
    "stretch": dict.fromkeys(SHAPES, (64, 64)),
    "pad": {"wide": (64, 21), "high": (21, 64), "square": (64, 64)},
    "bucket": {"wide": (112, 40), "high": (40, 112), "square": (64, 64)},
}


def picture(index: int, shape: str) -> Image.Image:
    own = decode_image(read_bytes(SOURCES[index]))
    colour = own.getpixel((1, 1))
    assert isinstance(colour, tuple)
    whole = Image.new("RGB", SHAPES[shape], colour)
    whole.paste(own)
    return whole


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index, shape in enumerate(("wide", "high", "square", "wide")):
        path = folder / SOURCES[index].class_name / f"{shape}{index}.png"
        path.parent.mkdir(exist_ok=True)
        picture(index, shape).save(path)
    return folder


def correlation(made: Image.Image, wanted: Image.Image) -> float:
    """Of the two pictures' values, once they have one size."""
    a, b = (np.asarray(p.resize((32, 32)), np.float64).ravel() for p in (made, wanted))
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("fit", [pytest.param(f, marks=[pytest.mark.slow] * (f != "bucket")) for f in EXPECTED])
def test_a_run(photos: Path, tmp_path: Path, fit: FitName) -> None:
    settings = ("model.name=embedded", "variants_per_image=1", "editing.num_steps=2", "editing.strength=0.5")
    run = ("run.executor=local", "run.batch_size=2", f"output.path={tmp_path}")
    given = (f"input.path={photos}", "input.format=imagefolder", f"input.fit={fit}")
    expand(load_expand_config(CONFIG, [*given, *settings, *run]))
    assert verify(tmp_path, ("contact_sheet.png", "report.html")).problems == []
    rows = list(read_index(tmp_path / "index.parquet"))
    assert len(rows) == 4
    ledger = Ledger(tmp_path)
    kept = {name.rpartition("-")[0]: files["png"] for name, files in iter_tar(tmp_path / KEPT_SOURCES)}
    samples = dict(sample for unit in ledger.units() for sample in read_samples(ledger, ledger.report_of(unit.unit_id)))
    for row in rows:
        shape = str(re.search(r"wide|high|square", row["source_key"])[0])  # type: ignore[index]
        edit, reconstruction = (
            decode_image(samples[key]["png"]) for key in (row["key"], f"{row['source_key']}-reconstruction")
        )
        assert edit.size == reconstruction.size == EXPECTED[fit][shape]
        assert decode_image(kept[row["source_key"]]).size == edit.size
        assert row["reconstruction_psnr"] > 18.0
        index = int(row["source_key"][-1])
        # The end where the object is: kept by all but the crop, which shows what is next to it.
        width, height = (round(side * 64 / own) for side, own in zip(edit.size, SHAPES[shape], strict=True))
        end = reconstruction.crop((0, 0, width, height))
        alike = [correlation(end, picture(i, "square")) for i in range(len(rows))]
        if fit != "crop" or shape == "square":
            assert alike.index(max(alike)) == index and alike[index] > 0.6
        else:
            assert alike[index] < 0.3


@dataclass(frozen=True)
class Loaded:
    """The embedded models, loaded once."""

    model: LatentDiffusion
    scorer: EditScorer

    def worker(self, out: Path, fit: FitName) -> Worker:
        config = fitted(out, fit)
        editor = DiffusionEditor(config, self.model, self.scorer)
        return make_worker(config, lambda _: editor)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    config = worker_config(tmp_path_factory.mktemp("models"))
    loaded = Loaded(load_model(config.model), load_scorer(config))
    loaded.model.rows = loaded.scorer.clip.rows = config.batch_size
    return loaded


def fitted(out: Path, fit: FitName) -> WorkerConfig:
    config = worker_config(out)
    editing = config.editing.model_copy(update={"num_steps": 2})
    return config.model_copy(update={"fit": fit, "editing": editing})


def pictures_of(folder: Path, *shapes: str) -> tuple[PlannedSource, ...]:
    """Files of these shapes, with two edits planned of each."""
    sources = []
    for index, shape in enumerate(shapes):
        path = folder / f"{index}.png"
        picture(index, shape).save(path)
        sources.append(planned(index, key=f"{shape}{index}", locator=str(path), size=path.stat().st_size))
    return tuple(sources)


def run_unit(worker: Worker, sources: Sequence[PlannedSource], number: int = 0) -> UnitReport:
    return worker.run_unit(UnitTask(Unit(f"u{number:06d}", tuple(sources))))


def made(worker: Worker, sources: Sequence[PlannedSource], number: int = 0) -> dict[str, dict[str, bytes]]:
    """The samples of a unit by key."""
    return dict(read_samples(Ledger(worker.config.output), run_unit(worker, sources, number)))


@pytest.mark.parametrize("fit", [pytest.param("bucket", marks=pytest.mark.slow), "pad"])
def test_what_shares_a_batch_or_a_unit_changes_no_byte(fit: FitName, loaded: Loaded, tmp_path: Path) -> None:
    worker = loaded.worker(tmp_path, fit)
    a, b, c, d = pictures_of(tmp_path, "wide", "high", "wide", "square")
    together = made(worker, (a, b, c, d))
    assert [key for key in together if key.endswith("-v01")] == [edit_key(p.source.key, 1) for p in (a, b, c, d)]
    assert together == made(worker, (c, b), 1) | made(worker, (d,), 2) | made(worker, (a,), 3)


def test_scores_and_reconstruction_are_of_the_picture_without_its_padding(loaded: Loaded, tmp_path: Path) -> None:
    (source,) = pictures_of(tmp_path, "wide")
    found = made(loaded.worker(tmp_path, "pad"), (source,))
    record = json.loads(found["wide0-v00"]["json"])
    wanted = np.asarray(decode_image((tmp_path / "0.png").read_bytes(), Fit("pad", 64)))
    given, again = (
        to_images(np.stack([pixels])) for pixels in (wanted, pixels_of(found["wide0-reconstruction"]["png"]))
    )
    assert record["reconstruction_psnr"] == pytest.approx(float(psnr(again, given)), abs=0.05)  # it is kept in 8 bits
    scores = loaded.scorer.score(
        given,
        to_images(np.stack([pixels_of(found[f"wide0-v0{v}"]["png"]) for v in (0, 1)])),
        owners=[0, 0],
        labels=[source.source.label] * 2,
        prompts=[variant.prompt for variant in source.variants],
    )
    assert scores[0] == {name: pytest.approx(record[name], abs=1e-6) for name in scores[0]}


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(decode_image(png))


def test_the_hash_of_an_edit_knows_the_fit(loaded: Loaded, tmp_path: Path) -> None:
    ids = set()
    for fit in EXPECTED:
        found = made(loaded.worker(tmp_path / fit, fit), pictures_of(tmp_path, "square"))
        ids |= {json.loads(found[f"square0-v0{v}"]["json"])["aug_id"] for v in (0, 1)}
    assert len(ids) == 2 * len(EXPECTED)


def test_an_editor_refuses_buckets_that_its_model_cannot_take(loaded: Loaded, tmp_path: Path) -> None:
    config = fitted(tmp_path, "bucket").model_copy(update={"image_size": 32})
    with pytest.raises(ModelError, match="gives buckets with sides such as 20"):
        DiffusionEditor(config, loaded.model, loaded.scorer)


class Sizes(SimulatedEditor):
    """Notes the sizes of the pictures of every batch, and takes only those of one size together, as models do."""

    def __init__(self, config: WorkerConfig) -> None:
        super().__init__(config)
        self.fit = Fit(config.fit, config.image_size)
        self.batches: list[list[tuple[int, ...]]] = []

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        np.stack([self.fit.padded(image.pixels) for image in batch])
        self.batches.append([image.pixels.shape[1::-1] for image in batch])
        return super().edit(batch)


def simulated(config: WorkerConfig, sources: Sequence[PlannedSource]) -> tuple[Sizes, UnitReport]:
    editor = Sizes(config)
    return editor, run_unit(make_worker(config, lambda _: editor), sources)


def test_batches_are_of_one_bucket_and_records_in_the_order_of_the_plan(tmp_path: Path) -> None:
    sources = pictures_of(tmp_path, "wide", "high", "wide", "square")
    editor, report = simulated(fitted(tmp_path, "bucket"), sources)
    assert editor.batches == [[(112, 40), (112, 40)], [(40, 112)], [(64, 64)]]
    keys = [key for key, _ in read_samples(Ledger(tmp_path), report)]
    assert [key for key in keys if key.endswith("-v00")] == [edit_key(p.source.key, 0) for p in sources]
    editor, _ = simulated(fitted(tmp_path / "pad", "pad"), sources)
    assert editor.batches == [[(64, 21), (21, 64), (64, 21), (64, 64)]]  # the editor pads them to one size


def test_what_is_no_picture_fails_alone(tmp_path: Path) -> None:
    sources = pictures_of(tmp_path, "wide", "high", "wide", "square")
    (tmp_path / "0.png").write_bytes(b"no picture at all")
    editor, report = simulated(fitted(tmp_path, "bucket"), sources)
    assert (report.edited, report.failed_by_stage) == (6, {"decode": 2})
    assert editor.batches == [[(40, 112)], [(112, 40)], [(64, 64)]]


def test_a_size_that_is_not_in_the_header_costs_its_batch_and_no_edit(tmp_path: Path) -> None:
    """The orientation of this PNG stands behind its pixels, where only decoding finds it."""
    first, second = pictures_of(tmp_path, "wide", "wide")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(0, "wide").save(buffer, "PNG", exif=exif)
    data = buffer.getvalue()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    (tmp_path / "0.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    editor, report = simulated(fitted(tmp_path, "bucket"), (first, second))
    assert (report.edited, report.failed) == (4, 0)
    assert editor.batches == [[(40, 112)], [(112, 40)]]
