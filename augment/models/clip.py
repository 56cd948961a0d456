"""A CLIP pair: images and texts on one unit sphere, for filters and editing metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from augment.models.config import ClipConfig, pinned_clip
from augment.models.files import check_clip_folder
from augment.models.packaged import packaged_model
from augment.models.rows import in_rows, padded_chunks
from augment.models.strict import explained, load_network, quiet

EMBEDDED_CLIP = ClipConfig()
TEXT_BATCH = 128  # texts embedded together; on one CPU thread faster than 64 or 256, and 4 times as fast as one by one


class ClipScorer:
    """Embed images and texts with a transformers `CLIPModel`.

    Attributes:
        name: what was loaded; recorded with the scores.
        logit_scale: the temperature the pair was trained with: softmax over `logit_scale * cosine` is a probability.
        rows: rows of every call of the towers but that for class words, see `augment.models.rows`; None: any number.
    """

    rows: int | None = None

    def __init__(self, name: str, model: CLIPModel, tokenizer: CLIPTokenizer, processor: CLIPImageProcessor) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.logit_scale = float(model.logit_scale.exp())
        self._size = (int(processor.crop_size["height"]), int(processor.crop_size["width"]))
        self._mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1).to(model.device)
        self._std = torch.tensor(processor.image_std).view(1, 3, 1, 1).to(model.device)

    @torch.no_grad()
    def image_embeds(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return unit vectors of images in -1..1, resized to the model's input without cropping.

        Images that are no squares are seen whole, and distorted. On wide pictures of emoji world that finds the class
        more often than a square with padding does, in which the object is small.
        """

        def embed(pixels: Tensor) -> Tensor:
            features = self.model.get_image_features(pixel_values=self._pixels(pixels)).pooler_output
            return F.normalize(features.float(), dim=1)

        return in_rows(embed, self.rows, images)

    @torch.no_grad()
    def patch_embeds(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
        """Return unit vectors of the image's patches, row by row.

        They are the vision tower's last layer without its class token: what the tower sees at each place, not a place
        in the space that images and texts share.
        """
        hidden = self.model.vision_model(pixel_values=self._pixels(images)).last_hidden_state
        return F.normalize(hidden[:, 1:].float(), dim=2)

    @torch.no_grad()
    def text_embeds(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Return unit vectors of texts, cut to the text tower's length and padded to it."""
        length = self.model.config.text_config.max_position_embeddings
        chunks = padded_chunks(texts, self.rows)
        return torch.cat([self._text_features(self._tokens(chunk), length) for chunk in chunks])[: len(texts)]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        length = self.model.config.text_config.max_position_embeddings
        tokens: list[list[int]] = self.tokenizer(list(texts), max_length=length, truncation=True).input_ids
        return tokens

    def _text_features(self, tokens: Sequence[Sequence[int]], length: int) -> Float[Tensor, "N D"]:
        """Return unit vectors of tokenized texts, padded to `length`."""
        ids = torch.tensor([[*text, *[self.tokenizer.pad_token_id] * (length - len(text))] for text in tokens])
        mask = torch.arange(length) < torch.tensor([[len(text)] for text in tokens])  # [N, length]
        device = self.model.device
        features = self.model.get_text_features(input_ids=ids.to(device), attention_mask=mask.long().to(device))
        return F.normalize(features.pooler_output.float(), dim=1)

    def _pixels(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
        """Return images in -1..1 as the vision tower takes them."""
        pixels = (images.to(self.model.device).float() + 1.0) / 2.0
        if pixels.shape[-2:] != self._size:
            pixels = F.interpolate(pixels, self._size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        return ((pixels - self._mean) / self._std).to(self.model.dtype)

    @torch.no_grad()
    def class_embeds(self, texts: Sequence[Sequence[str]]) -> Float[Tensor, "N D"]:
        """Return one unit vector per class, the normalised mean over its several descriptions: prompt ensembling.

        (Radford et al. 2021, section 3.1.4.) Texts of several classes share a batch, and those of one length do, which
        are then padded no further: the tower is causal, so what follows a text changes nothing in it. One by one, the
        texts of 10,000 classes would take a minute.
        """
        tokens = self._tokens([text for of_one in texts for text in of_one])
        by_length = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        embeds = torch.empty(len(tokens), self.model.config.projection_dim, device=self.model.device)
        for start in range(0, len(tokens), TEXT_BATCH):
            batch = by_length[start : start + TEXT_BATCH]
            embeds[batch] = self._text_features([tokens[i] for i in batch], len(tokens[batch[-1]]))
        of_class = embeds.split([len(of_one) for of_one in texts])
        return F.normalize(torch.stack([of_one.mean(dim=0) for of_one in of_class]), dim=1)


def load_clip(config: ClipConfig = EMBEDDED_CLIP, device: str = "cpu") -> ClipScorer:
    """Load the embedded pair, a folder, or a Hugging Face model id such as `openai/clip-vit-base-patch32`.

    Args:
        config: with `revision` pinned, see `pinned_clip`, or empty for what is there now.
        device: as torch names it.

    Raises:
        ModelError: if it cannot be found or read, or its weights do not fit its config.
    """
    quiet()
    packaged, local = packaged_model(config.name), Path(config.name).is_dir()
    if packaged is None and local and config.revision:  # a folder's weights are not hashed again in every worker
        check_clip_folder(Path(config.name), config.name)
    else:
        config = pinned_clip(config)
    in_package = packaged.clip if packaged is not None else None
    source = str(in_package or config.name)
    of_hub = {} if in_package or local else {"revision": config.revision}
    what = f"clip.name {config.name!r}"
    model = load_network(CLIPModel, source, what, "network", dtype=torch.float32, **of_hub)
    with explained(what, "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(source, **of_hub)
    with explained(what, "image processor"):
        processor = CLIPImageProcessor.from_pretrained(source, **of_hub)
    model = model.to(device)
    with explained(what, "config"):
        return ClipScorer(config.name, model, tokenizer, processor)
