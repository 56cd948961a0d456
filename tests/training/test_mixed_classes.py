"""Real pictures and edits as one: classes that are compared by folder or by word, and pictures that come upright."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from timm.data import create_dataset
from torchvision.datasets import ImageFolder

from augment.errors import InputError
from augment.inputs.images import decode_image, upright
from augment.inputs.readers import list_sources
from augment.training.edited_images import EditedImages, folders_of_labels
from augment.training.mixed_images import MixedImages
from tests.training.output import write_output
from tests.training.toy import picture

FOLDERS = {"1": "red", "10": "green", "2": "blue"}  # as `input.class_names` has it


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder for each class, called by a number, with pictures in folders of their own."""
    for label, name in enumerate(FOLDERS):
        for number in range(2):
            path = tmp_path / "photos" / name / "studio" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(label, number, "train"))
    return tmp_path / "photos"


def edits_of(photos: Path, out: Path) -> EditedImages:
    """Edits of these pictures, whose records have the keys that a run gives."""
    sources = list_sources(photos, "imagefolder", FOLDERS).sources
    write_output(out, [b"x"])
    index = pq.read_table(out / "index.parquet")
    first = {source.label: source.key for source in reversed(sources)}
    keys = [first[label] for label in index["label"].to_pylist()]
    place = index.column_names.index("source_key")
    pq.write_table(index.set_column(place, "source_key", pa.array(keys)), out / "index.parquet")
    return EditedImages(out)


def flat(photos: Path) -> Path:
    """The same pictures without the inner folder, whose name timm takes for the class."""
    for path in photos.glob("*/studio/*.png"):
        path.rename(path.parent.parent / path.name)
    for path in photos.glob("*/studio"):
        path.rmdir()
    return photos


def test_numbered_folders_with_words_of_their_own_are_compared_by_folder(photos: Path, tmp_path: Path) -> None:
    edits = edits_of(photos, tmp_path / "out")
    assert edits.class_folders == {"1": 0, "10": 1, "2": 2} and edits.class_names == dict(enumerate(FOLDERS.values()))
    MixedImages(ImageFolder(photos), edits)
    with pytest.raises(InputError, match=r"2 classes have another label .* such as '10': 1 there, 2 here"):
        MixedImages(create_dataset("", flat(photos)), edits)
    names = tmp_path / "classes.txt"
    names.write_text("1\n10\n2\n")
    MixedImages(create_dataset("", photos, class_map=str(names)), edits)


def test_where_no_name_meets_another_there_is_a_warning(photos: Path, tmp_path: Path) -> None:
    edits = EditedImages(write_output(tmp_path / "out", [b"x"]))  # keys without a folder
    with pytest.warns(UserWarning, match=r"no class .* \('1', '10', '2' here, 'blue', 'green', 'red' there\), so it"):
        MixedImages(create_dataset("", flat(photos)), edits)
    real = ImageFolder(photos)
    real.class_to_idx = {"red": 0, "1": 1}
    MixedImages(real, edits)  # one name meets


def test_folders_are_compared_as_keys_have_them() -> None:
    real, edits = _Some(), _Some()
    real.class_to_idx = {"a dog": 0, "b.cat": 1, "c d": 2, "c_d": 3}
    edits.class_folders = {"a_dog": 0, "b_cat": 1, "c_d": 9}  # the last may be the one or the other
    MixedImages(real, edits)
    edits.class_folders = {"a_dog": 1, "b_cat": 0}
    with pytest.raises(InputError, match="2 classes have another label"):
        MixedImages(real, edits)


def test_folders_of_classes_are_the_outermost_that_tell_them_apart() -> None:
    assert folders_of_labels(["fox/a/1", "owl/a/1", "fox/b/1"], [0, 1, 0]) == {"fox": 0, "owl": 1}
    assert folders_of_labels(["train/fox/1", "train/owl/1"], [0, 1]) == {"fox": 0, "owl": 1}
    assert folders_of_labels(["00/1", "00/2", "01/3"], [0, 1, 1]) == {}  # folders of shards
    assert folders_of_labels(["train/1", "train/2"], [3, 3]) == {}
    assert folders_of_labels(["fox/1", "2"], [0, 1]) == {} == folders_of_labels([], [])


class _Some:
    """A dataset with what it is given."""

    class_to_idx: dict[str, int]
    class_folders: dict[str, int]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> tuple[int, int]:
        return 0, 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_cameras_come_upright_as_edits_of_them_do(tmp_path: Path, orientation: int) -> None:
    pixels = np.add.outer(np.arange(0, 160, 4), np.arange(0, 90, 1)).astype(np.uint8)
    path = tmp_path / "photos" / "fox" / "0.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path, exif=_turned(orientation), quality=95)
    edited_from = decode_image(path.read_bytes())
    assert upright(edited_from) is edited_from  # it says no more how it was turned
    for real in (ImageFolder(tmp_path / "photos"), create_dataset("", tmp_path / "photos")):
        mixed = MixedImages(real, real, ratio=0)
        image, _ = mixed[0]
        assert np.array_equal(np.asarray(image), np.asarray(edited_from))
        assert MixedImages(mixed, mixed, ratio=0)[0][0].size == edited_from.size  # not twice


def test_a_damaged_orientation_is_no_error() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG", exif=_turned(6))
    data = buffer.getvalue().replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert upright(Image.open(io.BytesIO(data)).convert("RGB")).size == (6, 4)


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
