"""CLIP embeddings against transformers' own processor and model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel

from augment.errors import ModelError
from augment.inputs.tensors import to_images
from augment.models.clip import load_clip
from augment.models.config import ClipConfig
from augment.scoring import patch_distance
from augment.tiny.packaged import WEIGHTS

TEXTS = ["a picture of a fox on snow", "an owl, forest, fog"]


@pytest.fixture(scope="module")
def clip():
    return load_clip()


def pictures(size):
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)


def test_similarities_equal_those_of_transformers(clip):
    pixels = pictures(64)
    model = CLIPModel.from_pretrained(WEIGHTS / "clip", dtype=torch.float32).eval()
    processor = CLIPImageProcessor.from_pretrained(WEIGHTS / "clip")
    values = processor([Image.fromarray(p) for p in pixels], return_tensors="pt").pixel_values
    tokens = clip.tokenizer(TEXTS, padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        theirs = model(pixel_values=values, **tokens).logits_per_image
    ours = clip.logit_scale * clip.image_embeds(to_images(pixels)) @ clip.text_embeds(TEXTS).T
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_embeddings_are_unit_vectors_at_any_image_size(clip):
    for size in (32, 64, 100):
        embeds = clip.image_embeds(to_images(pictures(size)))
        torch.testing.assert_close(embeds.norm(dim=1), torch.ones(3))


def test_patches_are_those_of_the_vision_tower_without_its_class_token(clip):
    pixels = pictures(64)
    processor = CLIPImageProcessor.from_pretrained(WEIGHTS / "clip")
    values = processor([Image.fromarray(p) for p in pixels], return_tensors="pt").pixel_values
    with torch.no_grad():
        hidden = clip.model.vision_model(pixel_values=values).last_hidden_state
    assert hidden.shape[1] == 65  # 8 x 8 patches of 8 x 8 pixels, and the class token in front
    expected = hidden[:, 1:] / hidden[:, 1:].norm(dim=2, keepdim=True)
    torch.testing.assert_close(clip.patch_embeds(to_images(pixels)), expected, rtol=1e-4, atol=1e-4)


def test_patch_distance_grows_with_the_share_of_the_picture_that_changed(clip):
    picture = to_images(pictures(64)[:1])
    changed = [picture.clone() for _ in range(3)]
    changed[1][..., :16] = 1.0
    changed[2][..., :48] = 1.0
    found = patch_distance(clip.patch_embeds(torch.cat(changed)), clip.patch_embeds(picture.expand(3, -1, -1, -1)))
    same, quarter, most = found.tolist()
    assert same == pytest.approx(0.0, abs=1e-6)
    assert 0.01 < quarter < most


def test_a_class_is_the_normalised_mean_of_its_descriptions(clip):
    embeds = clip.class_embeds([TEXTS, TEXTS[:1]])
    mean = clip.text_embeds(TEXTS).mean(dim=0)
    torch.testing.assert_close(embeds[0], mean / mean.norm())
    torch.testing.assert_close(embeds[1], clip.text_embeds(TEXTS[:1])[0])


def test_many_classes_are_embedded_in_batches_to_the_same_numbers(clip):
    texts = [[f"a picture of a fox number {i}", *(["an owl"] if i % 3 == 0 else [])] for i in range(600)]
    one_by_one = torch.stack([clip.text_embeds(of_one).mean(dim=0) for of_one in texts])
    batched = clip.class_embeds(texts)  # 800 texts: a class has its texts in two batches
    assert len({tuple(row) for row in batched.tolist()}) == 600
    torch.testing.assert_close(batched, one_by_one / one_by_one.norm(dim=1, keepdim=True), rtol=0, atol=1e-6)


def test_a_missing_model_is_explained():
    with pytest.raises(ModelError, match=r"clip.name 'someone/absent' is neither a folder.*hf download someone/absent"):
        load_clip(ClipConfig(name="someone/absent"))
