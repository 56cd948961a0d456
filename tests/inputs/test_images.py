"""What the modes of a file become; damaged files and odd ones are in `test_malformed.py`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from augment.errors import ImageError
from augment.inputs import images
from augment.inputs.images import decode_image, encode_png


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = decode_image(data)
    assert image.mode == "RGB"
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return tuple(int(v) for v in value)


def test_png_round_trip_is_exact_and_deterministic() -> None:
    array = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    for optimize in (False, True):
        data = encode_png(array, optimize=optimize)
        assert data == encode_png(array.copy(), optimize=optimize)
        np.testing.assert_array_equal(np.asarray(decode_image(data)), array)


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_encode_png_refuses_other_arrays(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(array)


def test_exif_orientation_is_applied() -> None:
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    data = encode(picture, "JPEG", exif=exif, quality=95)
    assert decode_image(data).size == (20, 40)
    assert min(pixel(data, (10, 5))) > 250 and max(pixel(data, (10, 35))) < 5


def test_transparency_is_laid_over_white() -> None:
    assert pixel(encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))) == (255, 255, 255)
    assert pixel(encode(Image.new("RGBA", (4, 4), (255, 0, 0, 51)))) == (255, 204, 204)
    assert pixel(encode(Image.new("LA", (4, 4), (0, 0)))) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(encode(palette)) == (40, 50, 60)
    assert pixel(encode(palette, transparency=1)) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    red, green, blue = pixel(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert red > 250 and green < 5 and blue < 5


def test_sixteen_bit_grey_keeps_its_range() -> None:
    values = np.array([[0, 128 * 257, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values))))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 128, 255])


def test_floating_point_grey_is_read_as_zero_to_one() -> None:
    assert pixel(encode(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")) == (128, 128, 128)
    for bad in (7.0, -0.5, float("nan")):
        with pytest.raises(ImageError, match="expected 0 to 1"):
            decode_image(encode(Image.fromarray(np.full((4, 4), bad, np.float32)), "TIFF"))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert pixel(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)
    assert pixel(encode(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95))[2] < 5


def test_size_resizes_the_shorter_side_and_crops_the_centre() -> None:
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    decoded = np.asarray(decode_image(encode(picture), 50))
    assert decoded.shape == (50, 50, 3)
    np.testing.assert_array_equal(decoded[:, 2:-2], np.broadcast_to([0, 0, 255], (50, 46, 3)))


def test_an_image_of_the_size_wanted_is_untouched() -> None:
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decode_image(encode_png(array), 32)), array)


def photograph(width: int, height: int) -> Image.Image:
    """Shapes of all sizes and some grain, as a photograph has."""
    rng = np.random.default_rng(3)
    layers = [Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)) for n in (3, 8, 20, 60)]
    sums = sum(np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC), float) for layer in layers) / 4
    return Image.fromarray((sums + rng.normal(0, 4, sums.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1000, 704), (1032, 1024), (516, 2000)])
def test_large_jpegs_at_a_reduced_scale_are_close_to_the_whole(
    width: int, height: int, progressive: bool, subsampling: int
) -> None:
    data = encode(photograph(width, height), "JPEG", quality=92, progressive=progressive, subsampling=subsampling)
    whole = decode_image(data)
    assert whole.size == (width, height)
    size = 64
    expected = np.asarray(ImageOps.fit(whole, (size, size), method=Image.Resampling.BICUBIC), float)
    error = np.asarray(decode_image(data, size), float) - expected
    assert np.sqrt((error**2).mean()) < 1.5  # of 255: 44 dB
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.2


@pytest.mark.parametrize(
    ("width", "height", "reduced"),
    [
        (1032, 1024, (129, 128)),
        (1016, 1024, (254, 256)),  # an eighth of 1016 would be less than 128
        (516, 2000, (129, 500)),
        (257, 256, (257, 256)),  # no half of 257
        (254, 256, (254, 256)),
        (64, 64, (64, 64)),
    ],
)
def test_a_jpeg_is_reduced_evenly_and_to_no_less_than_twice_the_size_wanted(
    width: int, height: int, reduced: tuple[int, int]
) -> None:
    data = encode(photograph(width, height), "JPEG", quality=92)
    with Image.open(io.BytesIO(data)) as file:
        images._reduce(file, (64, 64), (width, height))
        file.load()
        assert file.size == reduced
    if reduced == (width, height):  # decoded whole: nothing has changed
        expected = ImageOps.fit(decode_image(data), (64, 64), method=Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(decode_image(data, 64), np.asarray(expected))


def test_a_reduced_jpeg_is_turned_upright() -> None:
    picture = Image.new("RGB", (800, 400), "black")
    picture.paste("white", (0, 0, 400, 400))
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = np.asarray(decode_image(encode(picture, "JPEG", exif=exif, quality=95), 50))
    assert decoded[:20].min() > 250 and decoded[-20:].max() < 5
