from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from augment.errors import InputError
from augment.inputs.locate import open_file, read_file, relative_names
from augment.inputs.patterns import expand_files, expand_shards
from augment.inputs.walk import files_below, list_folder, what_is_in
from augment.storage.tar import write_tar


def test_expand_shards(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{name}.tar") for name in ("a-0", "a-1", "b-0")]
    for name in names:
        write_tar(name, [("x", {"cls": b"0"})])
    assert expand_shards(tmp_path) == names
    assert expand_shards(f"{tmp_path}/a-*.tar") == names[:2]
    assert expand_shards(f"{tmp_path}/a-{{0..1}}.tar") == names[:2]
    assert expand_shards([names[2], f"{tmp_path}/*-0.tar"]) == [names[0], names[2]]
    assert expand_shards("s3://b/{0..1}.tar") == ["s3://b/0.tar", "s3://b/1.tar"]
    with pytest.raises(InputError, match=r"a-2\.tar does not exist"):
        expand_shards(f"{tmp_path}/a-{{0..2}}.tar")
    with pytest.raises(InputError, match="list of shards is empty"):
        expand_shards([])
    with pytest.raises(InputError, match=r"a-\{0\.\.1: .*a set of shards is written like"):
        expand_shards(f"{tmp_path}/a-{{0..1")


def test_urls_are_expanded_in_their_store() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/place/{name}": b"" for name in ("a-0.tar", "a-1.tar", "b-0.tar", "x/c-0.tar", "a.csv", ".h.tar")})
    names = [f"memory://place/{name}.tar" for name in ("a-0", "a-1", "b-0")]
    for place in ("memory://place", "memory://place/", "memory://place/*.tar"):
        assert expand_shards(place) == names
    assert expand_shards("memory://place/a-*.tar") == expand_shards("memory://place/a-{0,1}*.tar") == names[:2]
    assert expand_shards("memory://place/*/c-*") == ["memory://place/x/c-0.tar"]
    assert expand_files("memory://place/a*", (".csv", ".tar"), "files")[0] == [*names[:2], "memory://place/a.csv"]
    with pytest.raises(
        InputError, match=r"no \.jsonl file in the folder memory://place: it holds 4 file\(s\) with \.tar"
    ):
        expand_files("memory://place", (".jsonl",), "manifests")
    memory.rm("/place", recursive=True)


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("x", {"cls": b"0"})])
    assert expand_shards([f"file://{tmp_path}", f"file://{tmp_path}/0.tar"]) == [str(tmp_path / "0.tar")]


def test_names_are_relative_to_the_deepest_common_folder() -> None:
    assert relative_names(["s3://b/x/0.tar", "s3://b/y/0.tar"]) == ["x/0.tar", "y/0.tar"]
    assert relative_names(["/d/x/0.tar"]) == relative_names(["s3://b/x/0.tar"]) == ["0.tar"]
    assert relative_names(["/d/x/0.tar", "/d/xy/1.tar", "/d/2.tar"]) == ["x/0.tar", "xy/1.tar", "2.tar"]


def test_what_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert what_is_in(str(tmp_path)) == "it holds no file at all"
    for name in ("README", "a/1.TXT", "a/2.txt"):
        (tmp_path / name).touch()
    assert what_is_in(str(tmp_path)).startswith("it holds 2 file(s) with .txt, 1 file(s) with no extension; images are")


def test_links_that_lead_nowhere_are_counted(tmp_path: Path) -> None:
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "0.png").write_bytes(b"x")
    (tmp_path / "fox" / "1.png").symlink_to("1.png")
    (tmp_path / "fox" / "2.png").symlink_to("nowhere.png")
    assert files_below(str(tmp_path)) == ([("fox/0.png", 1)], {"broken link": 2})
    assert list_folder(str(tmp_path / "fox")) == {"0.png": 1, "1.png": 0, "2.png": 0}
    with pytest.raises(InputError, match=r"1\.png: Too many levels of symbolic links"):
        read_file(str(tmp_path / "fox" / "1.png"))


def test_a_server_that_is_not_there_is_not_called_a_missing_file_only() -> None:
    with pytest.raises(InputError, match=r"No such file or directory \(or not reachable: .*127\.0\.0\.1"):
        open_file("http://127.0.0.1:9/x.tar")
