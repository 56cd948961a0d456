"""A denoiser that begins with the weights of the shipped one: it says what that one says about what both know."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from augment.tiny import networks
from augment.tiny.captions import vocabulary
from augment.tiny.packaged import WEIGHTS
from augment.tiny.transfer import start_text_encoder_from, start_unet_from
from augment.tiny.world import CLASSES

PIPELINE = WEIGHTS / "pipeline"


def test_a_unet_hears_and_predicts_the_channels_it_knew() -> None:
    old = UNet2DConditionModel.from_pretrained(PIPELINE / "unet", low_cpu_mem_usage=False).float().eval()
    new = start_unet_from(networks.build_unet(), PIPELINE / "unet").eval()
    channels = old.config.in_channels
    assert channels <= networks.LATENT_CHANNELS
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, networks.LATENT_CHANNELS, 8, 8, generator=generator)
    t, hidden = torch.tensor([100, 700]), torch.randn(2, 16, 128, generator=generator)
    with torch.no_grad():
        expected = old(z[:, :channels], t, hidden).sample
        found = new(z, t, hidden).sample
    torch.testing.assert_close(found[:, :channels], expected, atol=1e-5, rtol=1e-4)
    assert not found[:, channels:].any()


def test_a_text_encoder_reads_a_caption_as_before() -> None:
    """All of these words were one token each before."""
    before = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer")
    old = CLIPTextModel.from_pretrained(PIPELINE / "text_encoder").float().eval()
    tokenizer = networks.build_tokenizer(vocabulary(CLASSES))
    new = start_text_encoder_from(networks.build_text_encoder(tokenizer), tokenizer, PIPELINE).eval()
    caption = ["a picture of a fox on snow at night"]
    with torch.no_grad():
        expected = old(networks.tokenize(before, caption)).last_hidden_state
        found = new(networks.tokenize(tokenizer, caption)).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
