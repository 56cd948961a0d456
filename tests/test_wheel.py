"""What a user installs: one package, whose command works outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.run.shapes import folders

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy: setuptools leaves a `build` folder behind, and packs what an earlier build left there.
    for name in tracked():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, timeout=500)
    (built,) = folder.glob("*.whl")
    return built


def tracked() -> list[str]:
    """Return the files of the repository as git lists them, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_it_holds_one_package_and_all_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"augment"}
    ours = {name for name in tracked() if name.startswith("augment/")}
    assert ours == {n for n in names if ".dist-info/" not in n}


def test_the_command_works_outside_of_the_repository(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(tmp_path / "site"),
            str(wheel),
        ],
        check=True,
        timeout=500,
    )
    (tmp_path / "prompts.yaml").write_text((ROOT / "configs" / "prompts" / "emoji.yaml").read_text())
    (tmp_path / "expand.yaml").write_text(
        "input: {path: 'embedded:train', format: webdataset, image_size: 64}\n"
        "output: {path: out}\nprompts: prompts.yaml\n"
    )

    def augment(*arguments: str) -> str:
        # Isolated from the repository: `-P` keeps the working directory, and PYTHONPATH the editable install, behind.
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, "-P", "-m", "augment", *arguments]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "validate" in augment("--help")
    assert augment("validate", "expand.yaml").startswith("ok: 384 images of 16 classes, 1536 edits")
    # A folder of pictures needs nothing else, neither a config nor a file of the repository.
    folders("red_fox", "snow_owl")(tmp_path / "photos")
    assert "written         made/expand.yaml, made/prompts.yaml" in augment("init", "photos", "--out", "made")
    assert augment("validate", "made/expand.yaml").startswith("ok: 4 images of 2 classes, 16 edits")
    toy = ["-o", "variants_per_image=1", "-o", "editing.num_steps=2", "-o", "run.executor=local"]
    any_psnr = ["-o", "filters.max_psnr_gap=null"]
    grid = ["--images", "2", "--strengths", "0.5,1", "--guidance", "2"]
    before = (tmp_path / "made" / "expand.yaml").read_text()
    assert "recommended" in augment("tune", "made/expand.yaml", *grid, *toy)
    assert (tmp_path / "made" / "expand.yaml").read_text() == before
    augment("tune", "made/expand.yaml", *grid, *toy, "--write")
    assert "guidance_scale: 2.0" in (tmp_path / "made" / "expand.yaml").read_text()
    assert "out/tuned" in augment("expand", "made/expand.yaml", *toy, "-o", "output.path=out/tuned", *any_psnr)
    assert "out/photos" in augment("expand", "--data", "photos", *toy, *any_psnr)
    assert augment("verify", "out/photos").startswith("4 planned = 4 accepted")
    where = [sys.executable, "-P", "-c", "import augment.cli.main as m; print(m.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(where, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip().startswith(str(tmp_path / "site"))
