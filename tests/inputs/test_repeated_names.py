"""docs/data.md says whose keys change when new images have the names of old ones."""

from __future__ import annotations

from augment.inputs.keys import unique_keys


def keys(*files: str) -> list[str]:
    return unique_keys([file.rpartition(".")[0] for file in files], lambda i: files[i], lambda i: files[i])


def test_other_names_change_no_key_and_the_same_name_changes_both() -> None:
    assert keys("cat/0.jpg") == ["cat/0"]
    assert keys("cat/0.jpg", "cat/1.png") == ["cat/0", "cat/1"]
    first, second = keys("cat/0.jpg", "cat/0.png")
    assert first.startswith("cat/0-") and second.startswith("cat/0-") and first != second
    assert keys("cat/0.png", "cat/0.jpg", "cat/0.gif")[:2] == [second, first]
