"""Listing: stable keys, labels and captions; every kind of unusable input as a message that says what to do."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.readers import InputFormat, list_sources, read_bytes
from augment.storage.tar import write_bytes_atomic, write_tar
from augment.types import Source


def make_folder(root: Path, names: list[str]) -> Path:
    for name in names:
        write_bytes_atomic(root / name, f"bytes of {name}".encode())
    return root


def record(label: int = 0, class_name: str = "fox", **details: object) -> dict[str, bytes]:
    described = json.dumps({"class_name": class_name, **details}).encode()
    return {"png": b"picture", "cls": str(label).encode(), "json": described}


# --- image folders


def test_image_folder(tmp_path: Path) -> None:
    names = ["owl/b.JPG", "owl/deep/a.webp", "fox/1.png", "fox/notes.txt", "fox/.hidden.png", ".git/x.png", "README"]
    sources = list_sources(make_folder(tmp_path, names), "imagefolder").sources
    assert [(s.key, s.label, s.class_name, s.size) for s in sources] == [
        ("fox/1", 0, "fox", 18),
        ("owl/b", 1, "owl", 18),
        ("owl/deep/a", 1, "owl", 24),
    ]
    assert read_bytes(sources[2]) == b"bytes of owl/deep/a.webp"
    assert {(s.caption, len(s.attributes)) for s in sources} == {("", 0)}


def test_keys_are_safe_distinct_and_do_not_depend_on_their_neighbours(tmp_path: Path) -> None:
    names = ["fox/x.png", "fox/x.jpg", "fox/my photo.v2.png", "fox/\u732b.png", "fox/\u72ac.png"]
    sources = list_sources(make_folder(tmp_path / "many", names), "imagefolder").sources
    keys = {os.path.relpath(s.locator, tmp_path / "many"): s.key for s in sources}
    assert len(set(keys.values())) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_/-]+", key) for key in keys.values())
    assert keys["fox/my photo.v2.png"].startswith("fox/my_photo_v2-")
    alone = list_sources(make_folder(tmp_path / "alone", ["fox/\u732b.png"]), "imagefolder").sources
    assert alone[0].key == keys["fox/\u732b.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "it holds no file at all"),
        (["fox/a.txt", "fox/b.txt"], r"no image in .*2 file\(s\) with \.txt"),
        (["a/0.tar"], "set the format to 'webdataset'"),
        (["fox/a.png", "stray.png"], "outside any class folder, the first is stray.png"),
        (["fox/a.png", "owl/readme.md"], r"class folder\(s\) owl"),
    ],
)
def test_unusable_image_folders(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list_sources(make_folder(tmp_path, names), "imagefolder")


def test_a_missing_path_is_named_with_the_nearest_folder(tmp_path: Path) -> None:
    formats: tuple[InputFormat, ...] = ("imagefolder", "webdataset")
    for format in formats:
        with pytest.raises(InputError, match=f"does not exist .*{re.escape(str(tmp_path))}\\)"):
            list_sources(tmp_path / "no" / "where", format)


def test_other_formats_and_lists_of_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known are"):
        list_sources(tmp_path, "parquet")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a list"):
        list_sources([str(tmp_path)], "imagefolder")


# --- tars


def test_tars(tmp_path: Path) -> None:
    details = {"class_name": "fox", "background": "snow", "seed": 3, "object": "fox"}
    full = {"jpg": b"jpeg", "cls": b"5\n", "txt": b" a fox on snow\n", "json": json.dumps(details).encode()}
    write_tar(tmp_path / "1.tar", [("b/2", full), ("b/1", {"webp": b"", "cls": b"5"})])
    sources = list_sources(tmp_path, "webdataset").sources
    assert sources == [
        Source("b/1", f"{tmp_path}/1.tar::b/1.webp@5632", 0, 5, "fox"),  # as the other sample of that class is called
        Source(
            "b/2",
            f"{tmp_path}/1.tar::b/2.jpg@1536",
            size=4,
            label=5,
            class_name="fox",
            caption="a fox on snow",
            attributes={"background": "snow", "object": "fox"},
        ),
    ]
    assert [read_bytes(s) for s in sources] == [b"", b"jpeg"]


def test_classes_without_a_word_are_refused_until_they_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", {"png": b"", "cls": b"3"}), ("b", record(1, "owl"))])
    with pytest.raises(InputError, match=r"no name for the label\(s\) 3, .*Give input\.class_names .*\{3: fox\}"):
        list_sources(tmp_path, "webdataset")
    with pytest.raises(InputError, match=r"input\.class_names lacks the label\(s\) 1 \('owl'\),"):
        list_sources(tmp_path, "webdataset", {3: "fox"})
    named = list_sources(tmp_path, "webdataset", {3: "fox", 1: "eagle owl", 7: "not there"}).sources
    assert {s.key: s.class_name for s in named} == {"a": "fox", "b": "eagle owl"}


def test_class_folders_can_be_named_too(tmp_path: Path) -> None:
    sources = list_sources(
        make_folder(tmp_path, ["n01/a.png", "n02/b.png"]), "imagefolder", {0: "fox", 1: "owl"}
    ).sources
    assert [(s.key, s.class_name) for s in sources] == [("n01/a", "fox"), ("n02/b", "owl")]


def test_file_names_are_bytes_and_need_not_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "fox").mkdir()
    os.close(os.open(os.fsencode(tmp_path / "fox") + b"/\xff.png", os.O_CREAT))
    (source,) = list_sources(tmp_path, "imagefolder").sources
    assert re.fullmatch("fox/_-[0-9a-f]{8}", source.key) and read_bytes(source) == b""
    os.rename(tmp_path / "fox", os.fsencode(tmp_path) + b"/\xff")
    with pytest.raises(InputError, match="is not UTF-8"):
        list_sources(tmp_path, "imagefolder")


def test_a_tar_cut_between_two_members_is_not_a_small_dataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", record()), ("b", record())])
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[: 3 * 1024])
    with pytest.raises(InputError, match="no end-of-archive mark"):
        list_sources(tmp_path, "webdataset")


def test_a_key_that_two_tars_share_is_made_distinct_and_survives_a_move(tmp_path: Path) -> None:
    def keys(root: Path) -> dict[str, str]:
        for name in ("a/0.tar", "b/0.tar"):
            write_tar(root / name, [("0001", record()), (name[0], record())])
        sources = list_sources([str(root / "b"), str(root / "a")], "webdataset").sources
        return {os.path.relpath(s.place, root): s.key for s in sources}

    first = keys(tmp_path / "here")
    assert first == keys(tmp_path / "there")
    assert len(set(first.values())) == 4
    assert first["a/0.tar::a.png"] == "a" and first["b/0.tar::0001.png"].startswith("0001-")


def test_a_foreign_tar_with_odd_names_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        for name, data in {"./my cat.jpeg": b"\xff\xd8cat", "./my cat.cls": b"1", "LICENSE": b""}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (source,) = list_sources(tmp_path / "odd.tar", "webdataset", {1: "cat"}).sources
    assert re.fullmatch("__my_cat-[0-9a-f]{8}", source.key.replace("/", "_")) and read_bytes(source) == b"\xff\xd8cat"


def test_a_member_is_read_where_the_listing_found_it(tmp_path: Path) -> None:
    """Images are read in an order that is random over all tars: going through a tar for each would take too long."""
    # Long names have blocks of their own, and so have letters that are not ASCII.
    names = {"b@7": b"0", "deep/" * 30 + "a": b"1", "\u00fc/\u00f6": b"2"}
    for format, name in ((tarfile.GNU_FORMAT, "gnu.tar"), (tarfile.PAX_FORMAT, "pax.tar")):
        with tarfile.open(tmp_path / name, "w", format=format) as tar:
            for key, data in names.items():
                for extension, content in (("cls", b"0"), ("png", data)):
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        sources = list_sources(tmp_path / name, "webdataset", {0: "fox"}).sources
        with (tmp_path / name).open("r+b") as file:
            file.write(bytes(512))  # without its first header nobody finds a way through
        assert sorted(read_bytes(s) for s in sources) == [b"0", b"1", b"2"]


def test_a_tar_that_changes_is_indexed_anew(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    write_tar(path, [("a", record())])
    (source,) = list_sources(path, "webdataset").sources
    write_tar(path, [("0", {"png": b"x" * 9999, "cls": b"0"}), ("a", record() | {"png": b"other"})])
    assert read_bytes(source) == b"other"
    write_tar(path, [("b", record())])
    with pytest.raises(InputError, match=r"has no member 'a\.png'"):
        read_bytes(source)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        read_bytes(source)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no sample in 1 tar"),
        ([("a", {"cls": b"0", "txt": b""})], r"sample 'a' has no image .*it has cls, txt"),
        ([("a", {"png": b""})], "no .cls with the class index"),
        ([("a", {"png": b"", "cls": b"cat"})], "its .cls is b'cat', expected a class index"),
        ([("a", {"png": b"", "cls": b"-1"})], "expected a class index"),
        ([("a", {"png": b"", "cls": b"0", "json": b"{"})], "expected a JSON object"),
        ([("a", {"png": b"", "cls": b"0", "json": b"[]"})], "expected a JSON object"),
        ([("a", {"png": b"", "cls": b"0", "txt": b"\xff"})], "expected UTF-8 text"),
        ([("a", record(0, class_name="fox")), ("b", record(0, class_name="owl"))], "'owl' here, but 'fox'"),
    ],
)
def test_unusable_tars(tmp_path: Path, samples: list[tuple[str, dict[str, bytes]]], message: str) -> None:
    write_tar(tmp_path / "0.tar", samples)
    with pytest.raises(InputError, match=message):
        list_sources(tmp_path, "webdataset")


def test_unreadable_and_compressed_tars(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InputError, match=r"bad\.tar: not a readable, uncompressed tar"):
        list_sources(tmp_path, "webdataset")
    (tmp_path / "0.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match="only uncompressed files"):
        list_sources(tmp_path / "0.tar.gz", "webdataset")
    make_folder(tmp_path / "images", ["fox/a.png"])
    with pytest.raises(InputError, match="set the format to 'imagefolder'"):
        list_sources(tmp_path / "images", "webdataset")


# --- one class in a folder


def test_a_flat_folder_is_of_one_class_at_any_depth(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png", "deep/er/b.jpg", "deep/a.png", "notes.txt", ".hidden/c.png"])
    sources = list_sources(tmp_path, "flat", {7: "fox"}).sources
    assert [(s.key, s.label, s.class_name, s.size) for s in sources] == [
        ("a", 7, "fox", 14),
        ("deep/a", 7, "fox", 19),
        ("deep/er/b", 7, "fox", 22),
    ]
    assert read_bytes(sources[1]) == b"bytes of deep/a.png"


def test_unusable_flat_folders(tmp_path: Path) -> None:
    make_folder(tmp_path, ["notes.txt"])
    for class_names in (None, {}, {0: "fox", 1: "owl"}):
        with pytest.raises(InputError, match=f"input.class_names must give.*it gives {len(class_names or ())}"):
            list_sources(tmp_path, "flat", class_names)
    with pytest.raises(InputError, match=r"no image in .*1 file\(s\) with \.txt"):
        list_sources(tmp_path, "flat", {0: "fox"})
    with pytest.raises(InputError, match=r"notes\.txt is a file, not a folder"):
        list_sources(tmp_path / "notes.txt", "flat", {0: "fox"})
    with pytest.raises(InputError, match="does not exist"):
        list_sources(tmp_path / "nowhere", "flat", {0: "fox"})


def test_only_manifests_have_splits(tmp_path: Path) -> None:
    for format in ("imagefolder", "webdataset", "flat"):
        with pytest.raises(InputError, match=r"input\.split is 'train', but only the format 'manifest'"):
            list_sources(tmp_path, format, {0: "fox"}, split="train")  # type: ignore[arg-type]


def test_folders_may_be_called_like_images_and_links_may_be_broken_or_circular(tmp_path: Path) -> None:
    make_folder(tmp_path, ["fox.png/a.png/b.png", "fox.png/c.png"])
    (tmp_path / "fox.png" / "loop").symlink_to(tmp_path)
    (tmp_path / "fox.png" / "gone.png").symlink_to(tmp_path / "nowhere")
    sources = list_sources(tmp_path, "imagefolder").sources
    assert [(s.key.partition("-")[0], s.size, s.class_name) for s in sources] == [
        ("fox_png/a_png/b", 28, "fox.png"),
        ("fox_png/c", 22, "fox.png"),
    ]
    assert list_sources(tmp_path, "imagefolder").left_out == {"broken link": 1, "link that leads back up": 1}
