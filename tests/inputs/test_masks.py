"""Masks beside pictures: where they are listed, what they mean, and what is wrong with some of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image
from augment.inputs.masks import decode_mask
from augment.inputs.readers import list_sources, read_bytes, read_mask
from augment.ledger.plan import cut_units, named_by_content, relocate, sources_digest, unit_from_json, unit_to_json
from augment.storage.tar import write_tar
from augment.types import PlannedSource, Source
from tests.malformed import NOISE, encoded

PNG, NAMES = encoded(NOISE, "PNG"), {0: "fox"}
MASK = encoded(Image.new("L", NOISE.size, 255), "PNG")


def grey(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_sample_in_a_tar_may_have_a_mask(tmp_path: Path) -> None:
    samples = [("a", {"png": PNG, "cls": b"0", "mask.png": MASK}), ("b", {"png": PNG, "cls": b"0", "seg.png": MASK})]
    write_tar(tmp_path / "0.tar", samples)
    plain = list_sources(tmp_path, "webdataset", NAMES)
    assert [s.mask for s in plain.sources] == ["", ""] and plain.left_out == {"further image of a sample": 2}
    listing = list_sources(tmp_path, "webdataset", NAMES, masks=True)
    with_mask, without = listing.sources
    assert listing.left_out == {"further image of a sample": 1}
    assert (read_bytes(with_mask), read_mask(with_mask), read_mask(without)) == (PNG, MASK, b"")
    assert with_mask.mask_size == len(MASK) and without.mask_size == 0
    assert [s.locator for s in listing.sources] == [s.locator for s in plain.sources]


def test_a_mask_alone_is_no_picture(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", {"cls": b"0", "mask.png": MASK})])
    with pytest.raises(InputError, match="no image"):
        list_sources(tmp_path, "webdataset", NAMES, masks=True)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_of_a_manifest_may_have_a_mask(tmp_path: Path, kind: str) -> None:
    rows = [("a.png", "fox", "masks/a.png"), ("b.png", "fox", ""), ("c.png", "fox", "s3://b/c.png")]
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(MASK)
    if kind == "csv":
        text = "\n".join(map(",".join, [("path", "label", "mask"), *rows]))
    else:
        text = "\n".join(json.dumps(dict(zip(("path", "label", "mask"), row, strict=True))) for row in rows)
    (tmp_path / f"rows.{kind}").write_text(text)
    assert not any(s.mask for s in list_sources(tmp_path / f"rows.{kind}", "manifest").sources)
    a, b, c = list_sources(tmp_path / f"rows.{kind}", "manifest", masks=True).sources
    assert (a.mask, a.mask_size, read_mask(a)) == (f"{tmp_path}/masks/a.png", len(MASK), MASK)
    assert (b.mask, b.mask_size, read_mask(b)) == ("", 0, b"")
    assert (c.mask, c.mask_size) == ("s3://b/c.png", 0)


def test_masks_and_further_columns_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("path,label,mask,place\na.png,fox,m.png,snow\nb.png,fox,,city\n")
    found = [
        list_sources(path, "manifest", columns=c, masks=m).sources for c in ((), ("place",)) for m in (False, True)
    ]
    assert [[s.mask.rpartition("/")[2] for s in sources] for sources in found] == [["", ""], ["m.png", ""]] * 2
    assert [s.attributes for s in found[3]] == [{"place": "snow"}, {"place": "city"}] and found[1][0].attributes == {}
    path.write_text("path,label\na.png,fox\n")
    assert list_sources(path, "manifest", masks=True).sources[0].mask == ""


def test_a_mask_is_fitted_as_its_picture_is() -> None:
    picture, mask = Image.new("RGB", (48, 24)), np.zeros((24, 48))
    mask[:, 12:24] = 255
    colours = picture.copy()
    colours.paste((255, 255, 255), (12, 0, 24, 24))
    for name in ("crop", "pad", "stretch", "bucket"):
        fit = Fit(name, 16)  # type: ignore[arg-type]
        fitted = np.asarray(decode_image(encoded(colours, "PNG"), fit))
        found = decode_mask(grey(mask), fit, encoded(picture, "PNG"))
        assert found.dtype == np.uint8 and found.shape == (*fitted.shape[:2], 1)
        np.testing.assert_array_equal(found[..., 0], fitted[..., 0])
        assert fit.padded(found).shape[:2] == fit.padded(fitted).shape[:2]


def test_a_mask_belongs_to_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    standing = np.zeros((8, 4))
    standing[:4] = 255
    found = decode_mask(grey(standing), Fit("stretch", 8), lying)
    assert found[0, 0, 0] == 255 and found[-1, 0, 0] == 0
    with pytest.raises(ImageError, match="its mask is 8x4 pixels, the picture 4x8"):
        decode_mask(grey(standing.T), Fit("stretch", 8), lying)


def test_masks_of_two_colours_and_of_other_modes() -> None:
    one_bit = encoded(Image.fromarray(np.eye(4, dtype=bool)), "PNG")
    colour = encoded(Image.fromarray(np.repeat(np.eye(4, dtype=np.uint8)[..., None] * 255, 3, axis=2)), "PNG")
    picture = encoded(Image.new("RGB", (4, 4)), "PNG")
    for data in (one_bit, colour):
        np.testing.assert_array_equal(decode_mask(data, Fit("crop", 4), picture)[..., 0], np.eye(4) * 255)


@pytest.mark.parametrize("data", [b"", b"no picture", MASK[:40]])
def test_a_mask_that_cannot_be_read_is_said_to_be_one(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^its mask: "):
        decode_mask(data, Fit("crop", 8), PNG)


def test_a_plan_tells_masks_by_their_sizes_and_older_plans_mean_the_same() -> None:
    plain = Source("k", "/a/k.png", 3, 0, "fox")
    masked = Source("k", "/a/k.png", 3, 0, "fox", mask="/a/m.png", mask_size=7)
    larger = Source("k", "/b/k.png", 3, 0, "fox", mask="/b/m.png", mask_size=8)
    assert len({sources_digest([s]) for s in (plain, masked, larger)}) == 3

    def unit(source: Source):  # type: ignore[no-untyped-def]
        (found,) = named_by_content(cut_units([PlannedSource(source, "a fox", ())], 4), "hash")
        return found

    assert len({unit(s).unit_id for s in (plain, masked, larger)}) == 3
    assert "mask" not in unit_to_json(unit(plain))
    for source in (plain, masked):
        assert unit_from_json(json.loads(unit_to_json(unit(source)))) == unit(source)
    moved = relocate(unit(masked), {"k": "/c/k.png"}, {"k": "/c/m.png"})
    assert (moved.sources[0].source.locator, moved.sources[0].source.mask) == ("/c/k.png", "/c/m.png")
    assert relocate(unit(plain), {"k": "/a/k.png"}, {}) == unit(plain)
