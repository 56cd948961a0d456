"""What lies in folders: links without circles, kinds of files by name or by content, counts of what is left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torchvision
from PIL import Image

from augment.errors import InputError
from augment.inputs import walk
from augment.inputs.images import decode_image
from augment.inputs.locate import open_file
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.walk import files_below
from tests.inputs.test_readers import make_folder
from tests.malformed import NOISE, encoded

PNG = encoded(NOISE, "PNG")


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def keys(root: Path | str, **settings: Any) -> tuple[list[str], dict[str, int]]:
    listing = list_sources(root, settings.pop("format", "imagefolder"), **settings)
    return [s.key for s in listing.sources], dict(listing.left_out)


# --- links


def test_linked_folders_are_followed_as_torchvision_does(tmp_path: Path) -> None:
    put(tmp_path / "data/fox", {"a.png": PNG, "b.jpg": encoded(NOISE, "JPEG"), "c.jfif": encoded(NOISE, "JPEG")})
    put(tmp_path / "elsewhere", {"deep/e.png": PNG})
    (tmp_path / "data/fox/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/owl").symlink_to(tmp_path / "elsewhere")
    found, left_out = keys(tmp_path / "data")
    assert found == ["fox/a", "fox/b", "fox/c", "fox/more/deep/e", "owl/deep/e"] and left_out == {}
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "data")).samples
    assert len(theirs) == len(found) - 1  # it does not know .jfif


def test_circles_of_links_end(tmp_path: Path) -> None:
    put(tmp_path / "data/fox", {"a.png": PNG, "x/b.png": PNG})
    put(tmp_path / "away", {"c.png": PNG, "y/d.png": PNG})
    links = {
        "data/fox/up": tmp_path / "data",
        "data/fox/self": tmp_path / "data/fox",
        "data/fox/away": tmp_path / "away",
        "away/back": tmp_path / "away",
        "away/y/round": tmp_path / "away",
        "away/y/home": tmp_path / "data/fox/x",
        "away/above": tmp_path,
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found, left_out = keys(tmp_path / "data")
    assert found == ["fox/a", "fox/away/c", "fox/away/y/d", "fox/x/b"]
    assert left_out == {"folder linked twice": 3, "link that leads back up": 3}


def test_many_folders_that_link_to_each_other_are_listed_once(tmp_path: Path) -> None:
    for i in range(12):
        put(tmp_path / f"web/{i:02}", {"p.png": PNG})
    for i in range(12):
        for j in range(12):
            (tmp_path / f"web/{i:02}/to{j}").symlink_to(tmp_path / f"web/{j:02}")
    (tmp_path / "data/fox").mkdir(parents=True)
    (tmp_path / "data/fox/in").symlink_to(tmp_path / "web/00")
    found, left_out = keys(tmp_path / "data")  # every path without a circle would be more than 12! of them
    assert len(found) == 12 and left_out == {"folder linked twice": 144 - 11}


def test_real_files_keep_their_names_whatever_links_there_are(tmp_path: Path) -> None:
    put(tmp_path / "fox", {"z/a.png": PNG})
    before = keys(tmp_path)[0]
    (tmp_path / "fox/b").symlink_to(tmp_path / "fox/z")  # sorts before z
    assert keys(tmp_path) == (before, {"folder linked twice": 1})


def test_a_class_that_is_a_link_to_nowhere_is_no_smaller_dataset(tmp_path: Path) -> None:
    put(tmp_path / "fox", {"a.png": PNG})
    (tmp_path / "eel").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="eel is a link that leads nowhere; mend or remove it, because labels are"):
        keys(tmp_path)


def test_broken_links_and_what_is_no_file_are_counted(tmp_path: Path) -> None:
    put(tmp_path / "fox", {"a.png": PNG})
    (tmp_path / "fox/b.png").symlink_to("gone.png")
    (tmp_path / "fox/c.png").symlink_to("c.png")
    os.mkfifo(tmp_path / "fox/d.png")  # to read it would wait for ever
    os.mkfifo(tmp_path / "fox/e")
    assert keys(tmp_path) == (["fox/a"], {"broken link": 2, "no file": 2})


# --- kinds


def test_the_content_decides_where_the_name_says_nothing(tmp_path: Path) -> None:
    files = {
        "fox/0001": PNG,
        "fox/2.dat": encoded(NOISE, "WEBP"),
        "fox/3.heic": encoded(NOISE, "JPEG"),
        "fox/4.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "fox/5.png": b"no picture: becomes an error row",
        "fox/6": b"",
        "fox/7": b"some words",
        "fox/8.txt": PNG,  # surely meant as text
        "fox/9.npy": b"\x93NUMPY",
        "fox/10.mp4": b"",
        "fox/Thumbs.db": b"",
        "fox/.DS_Store": b"",
        "fox/.cache/x.png": PNG,
        "fox/11.dng": encoded(NOISE, "TIFF"),
        "README.md": b"",
        "LICENSE": b"free",
    }
    found, left_out = keys(put(tmp_path, files))
    assert found == ["fox/0001", "fox/2", "fox/3", "fox/5"]
    assert left_out == {
        "hidden": 3,
        "image format that is not read": 2,
        "text": 2,
        "unknown": 2,
        "data": 1,
        "empty": 1,
        "video": 1,
    }
    assert list(left_out.values()) == sorted(left_out.values(), reverse=True)


def test_a_loose_image_without_an_extension_is_found_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 image file\(s\) outside any class folder, the first is stray"):
        keys(put(tmp_path, {"fox/a.png": PNG, "stray": PNG}))


def test_flat_folders_count_as_well(tmp_path: Path) -> None:
    put(
        tmp_path, {"a": PNG, "b/c.jp2": encoded(NOISE, "JPEG2000"), "notes.txt": b"", ".git/config": b"", ".git/x": b""}
    )
    assert keys(tmp_path, format="flat", class_names={0: "fox"}) == (["a", "b/c"], {"hidden": 1, "text": 1})


def test_a_store_gives_what_a_disk_gives(tmp_path: Path) -> None:
    files = {"fox/a": PNG, "fox/b.png": PNG, "fox/c": b"text", "fox/d.txt": b"", "fox/.h/1": b"", "fox/.h/2": b""}
    put(tmp_path, files | {"owl/e.tga": encoded(NOISE, "TGA"), ".git/x": b"", ".hidden": b"", "README": b"x"})
    fs = fsspec.filesystem("memory")
    fs.put(f"{tmp_path}/", "/walk", recursive=True)
    assert keys("memory://walk") == keys(tmp_path)
    assert keys(tmp_path) == (["fox/a", "fox/b", "owl/e"], {"hidden": 3, "unknown": 2, "text": 1})
    fs.rm("/walk", recursive=True)


@pytest.mark.parametrize(("all_images", "listed", "left_out"), [(True, 6, {}), (False, 2, {"not looked at": 3})])
def test_a_store_is_asked_for_few_beginnings(
    monkeypatch: pytest.MonkeyPatch, all_images: bool, listed: int, left_out: dict[str, int]
) -> None:
    monkeypatch.setattr(walk, "MAX_REMOTE_HEADS", 3)
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/few/fox/{i}": PNG for i in range(6)})
    if not all_images:
        fs.pipe("/few/fox/1", b"words")
        left_out = left_out | {"unknown": 1}
    found, others = keys("memory://few")
    fs.rm("/few", recursive=True)
    assert (len(found), others) == (listed, left_out)


def test_counting_does_not_read_pixels(tmp_path: Path) -> None:
    """A sparse file of a terabyte is listed at once."""
    make_folder(tmp_path, ["fox/a.png"])
    with (tmp_path / "fox/huge").open("wb") as file:
        file.truncate(2**40)
    files, _ = files_below(str(tmp_path / "fox"))
    assert ("huge", 2**40) in files
    assert keys(tmp_path) == (["fox/a"], {"unknown": 1})


def test_pictures_without_their_right_extension_are_decoded_by_what_they_are(tmp_path: Path) -> None:
    put(tmp_path, {"fox/a.jpg": PNG, "fox/b": PNG, "fox/c.png": encoded(NOISE, "TGA")})
    for source in list_sources(tmp_path, "imagefolder").sources:
        assert decode_image(read_bytes(source)).tobytes() == Image.Image.tobytes(NOISE)


def test_a_pipe_or_device_is_an_error_row_and_no_wait(tmp_path: Path) -> None:
    """A manifest may name one: reading it would never end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "rows.csv").write_text("path,label\npipe.png,fox\nzero.png,fox\n")
    for source in list_sources(tmp_path / "rows.csv", "manifest").sources:
        for read in (read_bytes, lambda s: open_file(s.locator)):
            with pytest.raises(InputError, match="is a device or a pipe, not a file"):
                read(source)
