"""The snippets of docs/training.md do what the page says, with the real libraries."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from augment.training.loader import mixed_loader
from tests.training.snippets import PAGE, TRANSFORM, run_snippet, write_data
from tests.training.toy import NAMES, SIZE

# Of large libraries about each other and about this machine.
library_warnings = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.fixture(autouse=True)
def in_folder_with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, len(NAMES)))


def test_pytorch() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = model[0].weight.detach().clone()
    found = run_snippet("Plain PyTorch", model=model, optimizer=optimizer)
    assert len(found["loader"]) == 6 and found["loss"].isfinite() and not torch.equal(before, model[0].weight)
    assert found["loader"].state_dict() == torch.load("out/loader.pt", weights_only=True)


def test_webdataset() -> None:
    found = run_snippet("webdataset", transform=TRANSFORM)
    batches = list(found["loader"])
    assert sum(len(labels) for _, labels in batches) == 48 and batches[0][0].shape == (8, 3, SIZE, SIZE)


def test_map_style() -> None:
    found = run_snippet("Map-style dataset", transform=TRANSFORM)
    assert len(found["mixed"]) == 48 and set(found["edits"].groups("background")) == {"dark", "light"}
    assert sum(found["mixed"][i][1] >= 0 for i in range(48)) == 48


@pytest.mark.slow
@library_warnings
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
    found = run_snippet("Lightning", module=module)
    assert len(module.seen) == 6
    resumed = Module()
    found["lightning"].Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(
        resumed, found["Photos"](), ckpt_path="middle.ckpt", weights_only=True
    )
    assert len(resumed.seen) == 3
    assert all(torch.equal(a, b) for a, b in zip(resumed.seen, module.seen[3:], strict=True))


@pytest.mark.slow
@library_warnings
def test_lightning_goes_on_from_the_end_of_an_epoch() -> None:
    """It does not load the state of a loader then, which only says where in an epoch it stands."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.seen = small_network(), list[torch.Tensor]()

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            images, labels = batch
            self.seen.append(images)
            return nn.functional.cross_entropy(self.network(images), labels)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    def fit(path: str | None = None) -> list[torch.Tensor]:
        module, photos = Module(), photos_of()
        every = ModelCheckpoint(".", "{epoch}", save_top_k=-1)
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(max_epochs=4, accelerator="cpu", callbacks=[every], **options)
        trainer.fit(module, photos, ckpt_path=path, weights_only=True)
        return module.seen

    photos_of = run_snippet("Lightning", module=Module())["Photos"]
    whole = fit()
    plain = photos_of().train_dataloader()
    own = [images for _ in range(4) for images, _ in plain]
    assert len(whole) == 4 * 6 and all(torch.equal(a, b) for a, b in zip(whole, own, strict=True))
    resumed = fit("epoch=1.ckpt")
    assert len(resumed) == 2 * 6 and all(torch.equal(a, b) for a, b in zip(resumed, own[12:], strict=True))


@pytest.mark.slow
@library_warnings
def test_timm() -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=len(NAMES))
    found = run_snippet("timm", device=torch.device("cpu"))
    images, labels = next(iter(found["loader"]))
    assert len(found["loader"]) == 6 and images.shape == (8, 3, SIZE, SIZE) and images.dtype == torch.float32
    assert nn.functional.cross_entropy(model(images), labels).isfinite()


@pytest.mark.slow
@library_warnings
def test_hugging_face() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=len(NAMES))
    model = ResNetForImageClassification(config)
    found = run_snippet("Hugging Face Trainer", model=model, transform=TRANSFORM)
    assert found["trainer"].state.global_step == 6 and found["trainer"].state.epoch == 1


def test_the_loader_takes_what_the_page_says() -> None:
    """Every argument of the table is one of `mixed_loader`, and the other way round."""
    table = PAGE.partition("| argument | meaning |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0])
    }
    required = {"real", "synthetic", "batch_size", "image_size"}
    assert named | required == set(inspect.signature(mixed_loader).parameters)
