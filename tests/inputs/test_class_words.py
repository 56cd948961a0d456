"""Words for classes, by label and by the dataset's own name; labels never move."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.class_words import given_words, misread_keys
from augment.inputs.readers import list_sources
from augment.storage.tar import write_bytes_atomic


def words(root: Path, names: list[str], given: dict[str, str] | None = None) -> dict[int, str]:
    for name in names:
        write_bytes_atomic(root / name / "1.png", name.encode())
    return {s.label: s.class_name for s in list_sources(root, "imagefolder", given).sources}


def test_words_by_folder_name(tmp_path: Path) -> None:
    names = ["n02119789", "n01440764"]
    assert words(tmp_path, names, {"n02119789": "kit fox", "n01440764": "tench", "n9": "of a larger dataset"}) == {
        0: "tench",
        1: "kit fox",
    }


def test_words_by_label_and_by_name_together(tmp_path: Path) -> None:
    assert words(tmp_path, ["n01440764", "n02119789"], {"0": "tench", "n02119789": "kit fox"}) == {
        0: "tench",
        1: "kit fox",
    }


def test_numbered_folders_are_meant_by_their_numbers(tmp_path: Path) -> None:
    names = [str(i) for i in range(11)]  # sorted as text: 0, 1, 10, 2, ...
    given = {str(i): f"word{i}" for i in range(11)}
    found = words(tmp_path, names, given)
    assert found == {0: "word0", 1: "word1", 2: "word10", **{i: f"word{i - 1}" for i in range(3, 11)}}
    own = {0: "0", 1: "1", 2: "10", 3: "2"}
    assert misread_keys(given, own) == ["2"]
    assert misread_keys(given, {0: "0", 1: "1"}) == []


def test_a_name_and_a_label_for_one_class(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"label 0 \(called '1' by the dataset\) two words, 'a' by .*'0' and 'b' by '1'"
    ):
        words(tmp_path, ["1", "2"], {"0": "a", "1": "b"})


def test_composed_and_decomposed_names_are_one() -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert given_words({composed: "coffee house"}, {3: decomposed}) == {3: "coffee house"}
    both = {0: decomposed, 1: composed}
    assert given_words({composed: "one", decomposed: "two"}, both) == {1: "one", 0: "two"}


def test_a_misspelt_name_is_said_with_the_nearest_key(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"lacks the label\(s\) 0 \('n01440764'\).*did you mean 'n01440764' by 'n01440763'"
    ):
        words(tmp_path, ["n01440764", "n02119789"], {"n01440763": "tench", "n02119789": "kit fox"})


def test_numbers_before_every_name_are_left_out(tmp_path: Path) -> None:
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "010-Sooty"]
    assert words(tmp_path / "all", names) == {0: "Black_footed_Albatross", 1: "Laysan_Albatross", 2: "Sooty"}
    assert words(tmp_path / "all", names, {name: name for name in names}) == dict(enumerate(names))
    assert words(tmp_path / "some", ["1.FC_Koeln", "Arsenal"]) == {0: "1.FC_Koeln", 1: "Arsenal"}
    assert words(tmp_path / "plain", ["7up", "4x4"]) == {0: "4x4", 1: "7up"}


def test_names_in_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("path,label\na.png,n02119789\nb.png,n01440764\n")
    sources = list_sources(tmp_path / "rows.csv", "manifest", {"n02119789": "kit fox", "n01440764": "tench"}).sources
    assert [(s.key, s.label, s.class_name) for s in sources] == [("a", 1, "kit fox"), ("b", 0, "tench")]
