from __future__ import annotations

from pathlib import Path

import pytest

from augment.data.locate import InputError, expand_shards
from augment.data.tar import write_tar


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
