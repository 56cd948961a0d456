"""What val says of a value counts for it, however val writes its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from augment.loop.run import run_loop
from augment.storage.tar import iter_tar, write_tar
from tests.loop.toy_loop import MAKE_WORKER, toy_loop

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def test_groups_of_val_are_values_of_the_prompts_in_other_letters(tmp_path: Path) -> None:
    config = toy_loop(tmp_path, budget={"edits": 2})
    val = tmp_path / "val.tar"
    about = [(key, files, json.loads(files["json"])) for key, files in iter_tar(val)]
    write_tar(
        val,
        [
            (key, files | {"json": json.dumps(said | {"background": f"{said['background'].title()}_"}).encode()})
            for key, files, said in about
        ],
    )
    report = run_loop(config, tmp_path / "out", make_worker=MAKE_WORKER)
    # Six pictures of each class on each background.
    assert {row["n"] for row in report["rows"][0]["weakest"]} == {6}
