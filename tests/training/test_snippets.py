"""The snippets of docs/training.md, run as they stand there against the real libraries, only with smaller numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from augment.training.loader import mixed_loader
from tests.run.runs import ROOT
from tests.training.output import write_output
from tests.training.toy import NAMES, files_of, picture, write_split

SIZE = 16
TRANSFORM = v2.Compose([v2.ToImage(), v2.Resize((SIZE, SIZE)), v2.ToDtype(torch.float32, scale=True)])

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of these libraries among each other
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def snippet(title: str) -> str:
    """The first Python block of docs/training.md below a heading, with toy sizes."""
    page = (ROOT / "docs" / "training.md").read_text()
    found = re.search(rf"^### {re.escape(title)}\n.*?```python\n(.*?)```", page, flags=re.DOTALL | re.MULTILINE)
    assert found, title
    toy = {"10_000": "48", "224": str(SIZE), "64": "8", "90": "1"}
    return re.sub(rf"\b({'|'.join(toy)})\b", lambda number: toy[number[0]], found[1])


def run(title: str, **names: Any) -> dict[str, Any]:
    """Run a snippet with some names given, and return all its names."""
    exec(compile(snippet(title), f"docs/training.md: {title}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the snippets read: `photos/train`, a folder for each class, the same as tars, and the edits of these."""
    sources = files_of("train", 8)
    for label, name in enumerate(NAMES):
        folder = tmp_path / "photos" / "train" / f"{label}_{name}"
        folder.mkdir(parents=True)
        for number in range(8):
            (folder / f"{number}.png").write_bytes(picture(label, number, "train"))
    (tmp_path / "data" / "train").mkdir(parents=True)
    write_split(tmp_path / "data" / "train", "000", 8)
    write_split(tmp_path, "val", 2)
    write_output(tmp_path / "out" / "photos", sources, count=8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, len(NAMES)))


def test_pytorch() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = model[0].weight.detach().clone()
    found = run("Plain PyTorch", model=model, optimizer=optimizer)
    assert len(found["loader"]) == 6 and found["loss"].isfinite() and not torch.equal(before, model[0].weight)
    assert found["loader"].state_dict() == torch.load("out/loader.pt", weights_only=True)


def test_webdataset() -> None:
    found = run("webdataset", transform=TRANSFORM)
    batches = list(found["loader"])
    assert sum(len(labels) for _, labels in batches) == 48 and batches[0][0].shape == (8, 3, SIZE, SIZE)


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_ray_data() -> None:
    import ray

    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    try:
        found = run("Ray Data")
        assert found["images"].shape[1:] == (SIZE, SIZE, 3)
    finally:
        ray.shutdown()


def test_map_style() -> None:
    found = run("Map-style dataset", transform=TRANSFORM)
    assert len(found["mixed"]) == 48 and set(found["edits"].groups("background")) == {"dark", "light"}
    assert sum(found["mixed"][i][1] >= 0 for i in range(48)) == 48


@pytest.mark.slow
def test_lightning() -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self, stop_after: int = 100) -> None:
            super().__init__()
            self.network, self.stop_after, self.seen = small_network(), stop_after, list[torch.Tensor]()

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            images, labels = batch
            self.seen.append(images)
            if len(self.seen) == self.stop_after:
                self.trainer.save_checkpoint("middle.ckpt")
            return nn.functional.cross_entropy(self.network(images), labels)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    module = Module(stop_after=3)
    found = run("Lightning", module=module)
    assert len(module.seen) == 6
    resumed = Module()
    found["lightning"].Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(
        resumed, found["Photos"](), ckpt_path="middle.ckpt", weights_only=True
    )
    assert len(resumed.seen) == 3
    assert all(torch.equal(a, b) for a, b in zip(resumed.seen, module.seen[3:], strict=True))


@pytest.mark.slow
def test_timm() -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=len(NAMES))
    found = run("timm", device=torch.device("cpu"))
    images, labels = next(iter(found["loader"]))
    assert len(found["loader"]) == 6 and images.shape == (8, 3, SIZE, SIZE) and images.dtype == torch.float32
    assert nn.functional.cross_entropy(model(images), labels).isfinite()


@pytest.mark.slow
def test_hugging_face() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=len(NAMES))
    model = ResNetForImageClassification(config)
    found = run("Hugging Face Trainer", model=model, transform=TRANSFORM)
    assert found["trainer"].state.global_step == 6 and found["trainer"].state.epoch == 1


def test_the_loader_takes_what_the_page_says() -> None:
    """Every argument of the table is one of `mixed_loader`, and the other way round."""
    import inspect

    page = (ROOT / "docs" / "training.md").read_text()
    table = page.partition("| argument | meaning |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0])
    }
    required = {"real", "synthetic", "batch_size", "image_size"}
    assert named | required == set(inspect.signature(mixed_loader).parameters)
