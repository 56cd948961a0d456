"""Calls of a fixed number of rows: what a row gives does not depend on how many others there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from augment.editing import EditConfig, edit
from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.tensors import to_images
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.models.rows import in_rows, padded_chunks
from augment.scoring.edit_scores import EditScorer
from augment.tiny.dataset import split_path

SOURCES = list_sources(split_path("val"), "webdataset").sources[::20][:6]
WORDS = {s.label: s.class_name for s in SOURCES}


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_every_call_has_the_same_number_of_rows(count: int) -> None:
    seen = []

    def call(a: Tensor, b: Tensor) -> Tensor:
        seen.append(len(a))
        return 10 * a + b

    a, b = torch.arange(count), torch.arange(count) % 3
    assert in_rows(call, 4, a, b).tolist() == (10 * a + b).tolist()
    assert seen == [4] * -(-count // 4)


def test_without_a_number_of_rows_the_batch_is_whole() -> None:
    assert in_rows(lambda a: torch.full_like(a, len(a)), None, torch.arange(5)).tolist() == [5] * 5


def test_texts_are_filled_up_with_the_last_one() -> None:
    assert padded_chunks(["a", "b", "c"], 2) == [["a", "b"], ["c", "c"]]
    assert padded_chunks(["a", "b", "c"], None) == [["a", "b", "c"]]
    assert padded_chunks([], 2) == [[]]


def test_gradients_pass_through_filled_up_calls() -> None:
    z = torch.arange(3.0, requires_grad=True)
    in_rows(torch.square, 2, z).sum().backward()
    assert z.grad is not None and z.grad.tolist() == [0.0, 2.0, 4.0]


def test_an_edit_has_the_same_bits_whatever_shares_its_batch() -> None:
    model, clip = load_model(ModelConfig()), load_clip()
    model.rows = clip.rows = 4
    scorer = EditScorer(clip, ["a picture of {a_class}"], WORDS)
    config = EditConfig(num_steps=4, guidance_scale=3.0)
    scenes = ["on snow", "at night", "in a desert"]

    def made(places: list[int], variants: int) -> dict[tuple[int, int], tuple[Tensor, Tensor, dict[str, float]]]:
        chosen = [SOURCES[i] for i in places]
        images = to_images(np.stack([np.asarray(decode_image(read_bytes(s), 64)) for s in chosen]))
        prompts = [[f"a picture of a {s.class_name} {scene}" for scene in scenes[:variants]] for s in chosen]
        result = edit(model, images, [s.caption for s in chosen], prompts, config, seeds=places)
        owners = [i for i in range(len(places)) for _ in range(variants)]
        scores = scorer.score(
            images,
            torch.cat(result.edits),
            owners=owners,
            labels=[chosen[i].label for i in owners],
            prompts=[prompt for of_one in prompts for prompt in of_one],
        )
        return {
            (place, v): (result.edits[i][v], result.reconstruction[i], scores[i * variants + v])
            for i, place in enumerate(places)
            for v in range(variants)
        }

    whole = made(list(range(6)), 3)
    for places, variants in (([3], 1), ([2, 5], 3), ([4, 0, 5, 3, 1], 2)):
        for name, (picture, reconstruction, scores) in made(places, variants).items():
            assert torch.equal(picture, whole[name][0]), name
            assert torch.equal(reconstruction, whole[name][1]), name
            assert scores == whole[name][2], name
