"""Networks by name, and weights from files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from augment.errors import ModelError
from augment.training.config import NetworkConfig
from augment.training.networks import build_network, check_bfloat16_on_cpu


@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "resnet50", "convnext_tiny", "vit_b_16"])
def test_a_network_of_each_name_gives_logits(name: str) -> None:
    with torch.device("meta"):  # shapes without numbers
        network = build_network(NetworkConfig(name=name), 7, 64)
        assert network(torch.empty(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:owner/model", "nothing is loaded from a hub"),
        ("vit_b_16", "patches of 16 pixels, and data.image_size 40 is no multiple of it; take 32 or 48"),
        ("resnet19", "did you mean 'resnet1[08]'"),
    ],
)
def test_names_that_cannot_be_used(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(NetworkConfig(name=name), 3, 40)


@pytest.mark.parametrize(("name", "image_size"), [("alexnet", 32), ("maxvit_t", 64)])
def test_pictures_that_a_network_cannot_take_are_said_at_once(name: str, image_size: int) -> None:
    with pytest.raises(ModelError, match=rf"{name} cannot take pictures of {image_size} pixels \("):
        build_network(NetworkConfig(name=name), 3, image_size)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "inception_v3"])
def test_names_of_timm_say_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it was not installed
    with pytest.raises(ModelError, match=rf"'{name}' is .* pip install 'rnri-augment\[timm\]'"):
        build_network(NetworkConfig(name=name), 3, 224)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:timm", "ignore::FutureWarning:timm")
def test_names_of_timm_are_its_networks() -> None:
    network = build_network(NetworkConfig(name="convnext_atto"), 5, 32)
    assert type(network).__module__ == "timm.models.convnext"
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(
        ModelError, match=r"'resnet_18' is no classifier of torchvision or timm; did you mean 'resnet18'"
    ):
        build_network(NetworkConfig(name="resnet_18"), 5, 32)


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_come_from_a_file_and_a_head_for_other_classes_stays_random(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    first = build_network(NetworkConfig(), 5, 64).state_dict()
    path = tmp_path / f"w.{kind}"
    save_file(first, path) if kind == "safetensors" else torch.save(first, path)
    same = build_network(NetworkConfig(weights=str(path)), 5, 64).state_dict()
    assert all(torch.equal(same[key], first[key]) for key in first)
    other = build_network(NetworkConfig(weights=str(path)), 3, 64).state_dict()
    assert {key for key in first if not torch.equal(other[key], first[key])} == {"head.weight", "head.bias"}
    assert other["head.weight"].shape == (3, 128)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = build_network(NetworkConfig(), 5, 64).state_dict()
    save_file({k: v for k, v in state.items() if k != "stem.bias"}, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"1 weights are missing \(stem.bias\), 0 are foreign"):
        build_network(NetworkConfig(weights=str(tmp_path / "part.safetensors")), 5, 64)
    save_file(state | {"stem.bias": torch.zeros(7)}, tmp_path / "shape.safetensors")
    with pytest.raises(ModelError, match=r"stem.bias is \[7\] instead of \[32\]"):
        build_network(NetworkConfig(weights=str(tmp_path / "shape.safetensors")), 5, 64)
    (tmp_path / "no.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"no\.pth cannot be read"):
        build_network(NetworkConfig(weights=str(tmp_path / "no.pth")), 5, 64)


@pytest.mark.parametrize(
    ("name", "image_size", "reached"),
    [
        ("resnet18", 16, "layer4.0.conv1"),
        ("resnet18", 32, ""),  # its last stride meets 2 x 2 positions
        ("mobilenet_v3_small", 16, "features.9.block.1.0"),
        ("small_resnet", 8, "blocks.3.conv1"),
        ("small_resnet", 16, ""),
        ("convnext_tiny", 32, ""),
    ],
)
def test_bfloat16_is_refused_where_its_gradients_are_wrong_on_a_cpu(name: str, image_size: int, reached: str) -> None:
    network = build_network(NetworkConfig(name=name), 3, image_size).train()
    if not reached:
        check_bfloat16_on_cpu(network, name, image_size)
    else:
        with pytest.raises(ModelError, match=rf"where {reached} of {name} halves .* Set dtype: float32"):
            check_bfloat16_on_cpu(network, name, image_size)
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())
