"""The job that renders the splits: what it prints, and what it says without a font."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.storage.tar import sha256_file
from augment.tiny.glyphs import find_font, sprite
from jobs.render_splits import main


def test_it_names_every_tar_with_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        find_font()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    monkeypatch.setattr("augment.tiny.dataset.PER_CLASS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr("sys.argv", ["render_splits", str(tmp_path)])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{tmp_path}/{name}.tar  16 records  sha256 {sha256_file(tmp_path / f'{name}.tar')}"
        for name in ("train", "val", "test")
    ]


def test_without_the_font_it_says_what_to_install_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprite.cache_clear()
    monkeypatch.setattr("augment.tiny.glyphs.FONT_PATHS", ("/no/such/font.ttf",))
    monkeypatch.setattr("sys.argv", ["render_splits", str(tmp_path)])
    with pytest.raises(SystemExit, match="apt-get install fonts-noto-color-emoji"):
        main()
    assert list(tmp_path.iterdir()) == []
