"""A class that a model has seldom seen: make the model, make pictures of the class in several ways, compare them.

The model is the shipped one with the words of all classes forgotten and taught again from long-tailed scenes, where
some classes are rare. All classes lose the same and learn the same way, so what the rare ones lack afterwards, they
lack because they are rare. What stays is what their pictures look like: as in a large model that has seen a thing, but
seldom read its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.diffusion import lerp, slerp
from augment.editing import EditConfig, text_to_image
from augment.editing.interpolate import InvertedNoise, generate, invert_images
from augment.models.clip import ClipScorer
from augment.models.interface import LatentDiffusion
from augment.models.stable_diffusion import StableDiffusion
from augment.models.strict import quiet
from augment.seeding import seed_for
from augment.tiny import networks, stages
from augment.tiny.captions import canonical_caption
from augment.tiny.evaluate import Pictures, accuracy, lost_among
from augment.tiny.packaged import WEIGHTS
from augment.tiny.stages import SceneCache
from augment.tiny.training import TrainConfig, train_stage, weights_digest
from augment.tiny.world import BACKGROUNDS, CLASSES
from augment.training.classifier import AttributeClassifier

MODEL_ID = "embedded, long-tailed"
METHODS = ("random", "inverted", "slerp", "lerp")


def long_tail(cache: SceneCache, rare: Sequence[str], rarity: int) -> SceneCache:
    """Return the scenes without all but every `rarity`-th, at least one, of each rare class."""
    objects = cache.labels[:, 0]
    keep = torch.ones(len(objects), dtype=torch.bool)
    for name in rare:
        places = torch.nonzero(objects == CLASSES.index(name))[:, 0]
        keep[places] = torch.arange(len(places)) % rarity == 0
    return SceneCache(cache.images[keep], cache.labels[keep])


@dataclass(frozen=True)
class LongTailed:
    """A model that has seldom seen some classes, and how many scenes of each class it was trained on."""

    model: LatentDiffusion
    scenes: dict[str, int]


def long_tailed_model(rare: Sequence[str], rarity: int, config: TrainConfig) -> LongTailed:
    """Train the shipped teacher's class words again on long-tailed scenes.

    Trains `config.unet.steps` steps, or goes on from the checkpoint in `config.work_dir`.

    Raises:
        FileNotFoundError: if there is no emoji font to render the scenes with. ValueError: if the checkpoint was made
            with other settings.
    """
    scenes = long_tail(stages.render_scenes(config.work_dir, config.num_scenes, config.seed), rare, rarity)
    quiet()
    pipeline = networks.load_pipeline(WEIGHTS / "pipeline", config.device)
    scenes = scenes.to(config.device)
    latents = stages.encode_scenes(pipeline.vae, scenes, factor=pipeline.vae.config.scaling_factor)
    denoiser = stages.ConditionedDenoiser(pipeline.unet, pipeline.text_encoder)
    upstream = f"{weights_digest(denoiser)} {sorted(rare)} {rarity}"
    forget_class_words(pipeline.text_encoder.get_input_embeddings().weight, pipeline.tokenizer, config.seed)
    loss = stages.unet_loss(
        latents,
        scenes,
        pipeline.tokenizer,
        networks.build_scheduler(),
        caption_dropout=config.caption_dropout,
        snr_gamma=config.snr_gamma,
    )
    trained = train_stage("long_tailed", denoiser.requires_grad_(True), loss, config.unet, config, upstream=upstream)
    pipeline.unet, pipeline.text_encoder = trained.unet, trained.text_encoder
    counts = scenes.labels[:, 0].bincount(minlength=len(CLASSES)).tolist()
    model = StableDiffusion(pipeline, model_id=MODEL_ID, revision=weights_digest(trained)[:16])
    return LongTailed(model, dict(zip(CLASSES, counts, strict=True)))


def forget_class_words(word_embeddings: Tensor, tokenizer: object, seed: int) -> None:
    """Draw the token of each class word anew, as it was before training."""
    words = [int(networks.tokenize(tokenizer, [name])[0, 1]) for name in CLASSES]  # after the start of the text
    drawn = torch.randn(len(words), word_embeddings.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        word_embeddings[words] = 0.02 * drawn.to(word_embeddings)  # the initial spread of a CLIP text model


# --- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """Pictures of one class: for each of P prompts N pictures, [P, N, 3, H, W] in -1..1, by method."""

    object: str
    prompts: list[str]
    by_method: dict[str, Float[Tensor, "P N 3 H W"]]


def class_prompts(name: str) -> list[str]:
    """Return one prompt per background."""
    return [canonical_caption(name, background, "clear") for background in BACKGROUNDS]


def random_pictures(
    model: LatentDiffusion, name: str, count: int, config: EditConfig, seed: int
) -> Float[Tensor, "P N 3 H W"]:
    """Make pictures from text and random noise, `count` per prompt."""
    seeds = [[seed_for("rare", seed, prompt, i) for i in range(count)] for prompt in class_prompts(name)]
    return torch.stack(
        [text_to_image(model, [p] * count, s, config) for p, s in zip(class_prompts(name), seeds, strict=True)]
    )


def make_pictures(
    model: LatentDiffusion, real: Pictures, count: int, weight: float, config: EditConfig, seed: int
) -> Made:
    """Make pictures of the class of some real ones, `count` per prompt, from different noise at the same prompts.

    `random` from random noise; `inverted` from the noise of a real picture; `slerp` and `lerp` from noise between it
    and that of a second one, by the sphere and by the straight line. No real picture serves twice at a prompt.

    Args:
        real: pictures of one class, at least 2 `count`.
        weight: share of the second picture in the interpolation, in 0..1.
        config: settings with strength 1, so that sampling starts from pure noise.
    """
    name, prompts = real.sources[0].class_name, class_prompts(real.sources[0].class_name)
    seeds = [seed_for("rare", seed, source.key) for source in real.sources]
    noise = invert_images(model, real.images, real.captions, config, seeds=seeds)
    made: dict[str, list[Tensor]] = {method: [] for method in METHODS if method != "random"}
    for prompt in prompts:
        rng = np.random.default_rng(seed_for("rare pairs", seed, prompt))
        first, second = rng.permutation(len(real.sources))[: 2 * count].reshape(2, count).tolist()
        a, b = noise.select(first), noise.select(second)
        starts: dict[str, InvertedNoise] = {
            "inverted": a,
            "slerp": a.towards(b, weight, slerp),
            "lerp": a.towards(b, weight, lerp),
        }
        for method, start in starts.items():
            made[method].append(generate(model, start, [prompt] * count, config, config.guidance_scale))
    by_method = {"random": random_pictures(model, name, count, config, seed)}
    return Made(name, prompts, by_method | {method: torch.stack(parts) for method, parts in made.items()})


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RareScores:
    """Of n pictures; shares in 0..1 by the judge, distances by CLIP (1 - cosine) and by pixels (root mean square).

    `*_diversity` is the mean distance of two pictures of the same prompt, `right_*` that of two in which the judge sees
    the class, because failures differ, too; None if there are no such two. `*_to_real` is the mean distance to the
    nearest real picture of the class: near zero for copies.
    """

    accuracy: float
    background_accuracy: float
    clip_diversity: float | None
    pixel_diversity: float | None
    right_clip_diversity: float | None
    right_pixel_diversity: float | None
    clip_to_real: float
    pixel_to_real: float
    n: int


def score_pictures(
    images: Float[Tensor, "P N 3 H W"], real: Pictures, judge: AttributeClassifier, clip: ClipScorer
) -> RareScores:
    """Score the pictures of one class, one prompt per background, against the real ones."""
    flat, groups = images.flatten(0, 1), images.shape[:2]
    name = real.sources[0].class_name
    is_class = judge.predict(flat)["object"] == judge.attributes["object"].index(name)
    right = (is_class & ~lost_among(flat).cpu()).view(groups)
    embeds, real_embeds = clip.image_embeds(flat).cpu(), clip.image_embeds(real.images).cpu()
    pixels, real_pixels = flat.flatten(1), real.images.flatten(1)
    scale = pixels.shape[1] ** 0.5  # from Euclidean distance to root mean square
    everything = torch.ones_like(right)
    of_prompt, values = embeds.view(*groups, -1), images.flatten(2)
    clip_within, pixel_within = 1.0 - of_prompt @ of_prompt.mT, torch.cdist(values, values) / scale
    return RareScores(
        accuracy=float(right.float().mean()),
        background_accuracy=accuracy(judge, flat, "background", [b for b in BACKGROUNDS for _ in range(groups[1])]),
        clip_diversity=mean_of_pairs(clip_within, everything),
        pixel_diversity=mean_of_pairs(pixel_within, everything),
        right_clip_diversity=mean_of_pairs(clip_within, right),
        right_pixel_diversity=mean_of_pairs(pixel_within, right),
        clip_to_real=float((1.0 - embeds @ real_embeds.T).amin(dim=1).mean()),
        pixel_to_real=float((torch.cdist(pixels, real_pixels) / scale).amin(dim=1).mean()),
        n=len(flat),
    )


def mean_of_pairs(distances: Float[Tensor, "P N N"], counted: Bool[Tensor, "P N"]) -> float | None:
    """Return the mean over all pairs of two different, counted members of one group; None if there are none."""
    pairs = (counted[:, :, None] & counted[:, None, :]).triu(diagonal=1)
    return float(distances[pairs].mean()) if pairs.any() else None
