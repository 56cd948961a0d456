"""Small files that ask for much: memory or time that a decoder is not given."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from augment.errors import ImageError
from augment.inputs import images
from augment.inputs.images import decode_image
from tests.malformed import encoded, webp_of_one_colour
from tests.run.runs import ROOT


def with_scans(count: int) -> bytes:
    """A progressive JPEG file, grey, 256x256, that goes over its pixels so many times more than it has to."""
    data = encoded(Image.new("L", (256, 256), 99), "JPEG", progressive=True)
    start, end = data.rindex(b"\xff\xda"), len(data) - 2
    assert data[end:] == b"\xff\xd9"
    return data[:end] + data[start:end] * count + data[end:]


def test_a_jpeg_of_thousands_of_scans_is_left_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_scans(30_000)
    assert len(data) < 2**19
    monkeypatch.setattr(images, "DECODE_SECONDS", 0.01)
    with pytest.raises(ImageError, match=r"it takes longer to decode than the 0\.01 s allowed"):
        decode_image(data, 64)
    monkeypatch.setattr(images, "DECODE_SECONDS", 60.0)
    np.testing.assert_array_equal(np.asarray(decode_image(with_scans(3), 64)), 99)


def test_of_ten_thousand_frames_one_is_decoded() -> None:
    """What follows the first frame is never looked at: it may as well be garbage."""
    frames = [Image.new("P", (64, 64), colour) for colour in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60])
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    second = gif.rindex(b"\x21\xf9")
    assert b"," in gif[:second]  # where a frame begins
    many = gif[:second] + gif[second:-1] * 10_000 + b";"
    with Image.open(io.BytesIO(many)) as file:
        assert file.n_frames == 10_001
    np.testing.assert_array_equal(np.asarray(decode_image(many)), np.full((64, 64, 3), (10, 20, 30)))
    garbage = gif[:second] + bytes(range(256)) * 4000
    np.testing.assert_array_equal(np.asarray(decode_image(garbage)), np.full((64, 64, 3), (10, 20, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_largest_picture_that_is_decoded_takes_less_than_two_gigabytes(kind: str) -> None:
    script = f"""
    import zlib
    from augment.inputs.images import MAX_PIXELS, decode_image
    from tests.malformed import png, webp_of_one_colour
    from tests.peak_memory import peak_bytes, reset_peak

    side = int(MAX_PIXELS**0.5)
    data = webp_of_one_colour(side, side)
    if {kind!r} == "png":
        pack = zlib.compressobj()
        data = png(side, side, b"".join([*(pack.compress(bytes(1 + side * 3)) for _ in range(side)), pack.flush()]))
    reset_peak()
    before = peak_bytes()
    decode_image(data, 64)
    print(peak_bytes() - before)
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 500 * 2**20 < int(done.stdout) < 2 * 2**30


def test_a_webp_of_forty_bytes_is_what_it_says() -> None:
    assert np.asarray(decode_image(webp_of_one_colour(300, 200))).shape == (200, 300, 3)
