"""The untrained parts: one token per word, and an autoencoder that begins as the one it starts from."""

from __future__ import annotations

import torch

from augment.tiny.captions import vocabulary
from augment.tiny.networks import (
    LATENT_CHANNELS,
    build_tokenizer,
    build_vae,
    load_vae,
    save_vae,
    start_from,
    tokenize,
)
from augment.tiny.packaged import WEIGHTS
from augment.tiny.world import CLASSES

SHIPPED = WEIGHTS / "pipeline" / "vae"


def test_every_word_is_one_token_and_what_is_no_word_is_spelt() -> None:
    words = vocabulary(CLASSES)
    tokenizer = build_tokenizer(words)
    for word in words:
        ids = tokenizer(word).input_ids
        assert tokenizer.convert_ids_to_tokens(ids)[1:-1] == [f"{word}</w>"], word
    assert {"rocket", "snowfall", "something", "scene"} <= set(words)
    spelt = tokenizer.convert_ids_to_tokens(tokenizer("zebra").input_ids)[1:-1]
    assert "".join(spelt) == "zebra</w>" and len(spelt) > 1


def test_the_longest_caption_fits() -> None:
    ids = tokenize(
        build_tokenizer(vocabulary(CLASSES)), ["a picture of something in front of a brick wall on a clear day"]
    )
    assert ids.shape == (1, 16) and int((ids == ids[0, -1]).sum()) >= 1


def test_an_autoencoder_begins_as_the_one_it_starts_from(tmp_path) -> None:
    torch.manual_seed(0)
    shipped = load_vae(SHIPPED)
    vae, old = start_from(build_vae(), SHIPPED), shipped.config.latent_channels
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        ours, theirs = vae.encode(images).latent_dist, shipped.encode(images).latent_dist
        torch.testing.assert_close(ours.mean[:, :old], theirs.mean)
        torch.testing.assert_close(ours.logvar[:, :old], theirs.logvar)
        rest = torch.zeros(2, LATENT_CHANNELS - old, 8, 8)
        torch.testing.assert_close(
            vae.decode(torch.cat([theirs.mean, rest], 1)).sample, shipped.decode(theirs.mean).sample
        )
        save_vae(tmp_path, vae)
        assert load_vae(tmp_path).config.latent_channels == LATENT_CHANNELS
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 3_500_000
