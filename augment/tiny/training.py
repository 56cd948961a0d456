"""One training loop for every part of the embedded model: checkpoints, resumes, logs, deterministic given its seed.

A step's random numbers depend on (seed, stage, step) and the kind of device only, so a run that was interrupted and
resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from augment.errors import TrainingError


class StageConfig(BaseModel):
    """How one part is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(gt=0, description="optimizer steps")
    batch_size: int = Field(gt=0, description="pictures per step")
    learning_rate: float = Field(gt=0, description="peak of the cosine schedule (AdamW)")
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(default=0.01, ge=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1, description="decay of the averaged weights that are kept")


class VaeTerms(BaseModel):
    """Weights of the terms of the autoencoder's loss beside the squared error in -1..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kl: float = Field(default=5e-4, ge=0, description="mean KL divergence per latent dimension")
    edges: float = Field(default=0.0, ge=0, description="mean absolute difference of first differences")
    energy: float = Field(
        default=0.0, ge=0, description="the same of their means over 8x8 pixels: how sharp, not where"
    )
    perceptual: float = Field(default=0.0, ge=0, description="distance in the features of the glyph classifier")
    contrast: float = Field(default=0.0, ge=0, le=1, description="power of a picture's weight: mean edges over its own")


class TrainConfig(BaseModel):
    """`configs/train/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    device: str = Field(default="cpu", description="`cpu` or `cuda`")
    work_dir: Path = Field(description="scene cache, checkpoints and logs; may be deleted afterwards")
    output_dir: Path = Field(description="where the finished folders are written")
    num_scenes: int = Field(gt=0, description="rendered training pictures")
    checkpoint_every: int = Field(default=500, gt=0, description="steps between checkpoints")
    record: bool = Field(default=True, description="on a GPU: record a step's kernels once and replay them")
    caption_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of empty captions, for guidance")
    anonymous: float = Field(default=0.1, ge=0, lt=1, description="share of the known objects captioned without a word")
    vae_terms: VaeTerms = VaeTerms()
    decoder_terms: VaeTerms = VaeTerms(kl=0.0, energy=0.8, contrast=1.0)
    compile_vae: bool = Field(default=False, description="torch.compile the autoencoder's step")
    vae_init: Path | None = Field(
        default=None, description="autoencoder to begin with, of as many latent channels or fewer"
    )
    denoiser_init: Path | None = Field(
        default=None,
        description="pipeline whose UNet and text encoder to begin with, of as many latent channels or fewer",
    )
    least_std: float = Field(default=0.0, ge=0, description="what no latent's standard deviation is taken to be below")
    keep_text_encoder: bool = Field(default=False, description="train the UNet alone: a student of it stays a student")
    vae_from: Path | None = Field(default=None, description="finished autoencoder, taken instead of training one")
    snr_gamma: float = Field(default=5.0, gt=0, description="min-SNR loss weighting (Hang et al. 2023, eq. 9)")
    glyphs: StageConfig = StageConfig(steps=1400, batch_size=48, learning_rate=2e-3, ema_decay=0.99)
    vae: StageConfig
    decoder: StageConfig | None = Field(default=None, description="more steps for the decoder, with `decoder_terms`")
    judge: StageConfig
    clip: StageConfig
    unet: StageConfig
    student: StageConfig
    guidance_max: float = Field(default=5.0, ge=1, description="the student learns guidance scales from 1 to this")
    distillation_stride: int = Field(
        default=100, gt=0, multiple_of=20, description="training timesteps of one of its teacher's steps"
    )


class StepRandom:
    """The random numbers of one training step, drawn on the device that trains."""

    def __init__(self, seed: int, stage: str, step: int = 0, device: str = "cpu") -> None:
        self._seed, self._stage, self._device = seed, stage, device
        self.generator = torch.Generator(device)
        self.begin(step)

    def begin(self, step: int) -> None:
        """Turn to the numbers of a step."""
        digest = hashlib.sha256(f"{self._seed}/{self._stage}/{step}".encode()).digest()
        self.generator.manual_seed(int.from_bytes(digest[:7], "big"))

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """Draw int64 [count], uniform over low..high-1."""
        return torch.randint(low, high, (count,), generator=self.generator, device=self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw float32 numbers, uniform in 0..1."""
        return torch.rand(shape, generator=self.generator, device=self._device)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal float32 numbers."""
        return torch.randn(shape, generator=self.generator, device=self._device)


M = TypeVar("M", bound=nn.Module)
LossFn = Callable[[nn.Module, StepRandom, int], Tensor]


def learning_rate(config: StageConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to zero."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def identity(stage: StageConfig, config: TrainConfig, upstream: str) -> str:
    """Return the digest of everything a stage's weights depend on; a checkpoint of another digest is not resumed."""
    shared = ("seed", "device", "num_scenes", "caption_dropout", "anonymous", "snr_gamma", "least_std")
    parts = [stage.model_dump(), {name: getattr(config, name) for name in shared}, upstream]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def weights_digest(model: nn.Module) -> str:
    """Return the digest of a model's weights, for stages that learn on top of it."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_stage(
    name: str, model: M, loss_fn: LossFn, stage: StageConfig, config: TrainConfig, *, upstream: str = ""
) -> M:
    """Train `model` and return its averaged copy; takes up where the last checkpoint in `config.work_dir` stands.

    Args:
        loss_fn: (model, random numbers of the step, batch size) -> scalar loss.
        upstream: digest of weights that the loss depends on.

    Raises:
        TrainingError: if the checkpoint was made with other settings.
    """
    config.work_dir.mkdir(parents=True, exist_ok=True)
    model.to(config.device).train()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=stage.learning_rate,
        weight_decay=stage.weight_decay,
        betas=(0.9, 0.99),
    )
    checkpoint = _Checkpoint(config.work_dir / f"{name}.pt", identity(stage, config, upstream))
    start = checkpoint.load(model, average, optimizer, config.device)
    random = StepRandom(config.seed, name, device=config.device)
    gradients = _gradients(model, loss_fn, random, stage.batch_size, config)
    total, counted = torch.zeros((), device=config.device), 0
    began = time.monotonic()
    for step in range(start, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step)
        random.begin(step)
        total, counted = total + gradients(), counted + 1
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # The decay rises with the step count: the first, random weights must not stay in the average.
        decay = min(stage.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            parameters = [p.detach() for p in model.parameters()]
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - decay)
        done = step + 1
        if done % 50 == 0 or done == stage.steps:
            seconds = time.monotonic() - began
            row = {
                "stage": name,
                "step": done,
                "steps": stage.steps,
                "loss": float(total) / counted,
                "samples_per_second": (done - start) * stage.batch_size / seconds,
            }
            _log(config.work_dir / f"{name}.jsonl", row)
            total, counted = torch.zeros_like(total), 0
        if done % config.checkpoint_every == 0 or done == stage.steps:
            checkpoint.save(model, average, optimizer, done)
    return average.eval()


def _gradients(
    model: nn.Module, loss_fn: LossFn, random: StepRandom, batch_size: int, config: TrainConfig
) -> Callable[[], Tensor]:
    """Return what sets the gradients of one step and returns its loss.

    On a GPU the step is recorded once and replayed: launching its kernels one by one takes longer than they do.
    """

    def evaluate() -> Tensor:
        model.zero_grad(set_to_none=True)
        with _attention(config.device), torch.autocast(config.device, torch.bfloat16):
            loss = loss_fn(model, random, batch_size)
        loss.backward()
        return loss.detach()

    if config.device == "cpu" or not config.record:
        return evaluate
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):  # libraries choose their kernels and buffers before the recording
            evaluate()
    torch.cuda.current_stream().wait_stream(beside)
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(random.generator)
    with torch.cuda.graph(graph):
        recorded = evaluate()

    def replay() -> Tensor:
        graph.replay()
        return recorded

    return replay


def _attention(device: str) -> AbstractContextManager[object]:
    """Make a CPU attend by matrix products: there the fused kernel's backward pass takes 45 % of a UNet's step."""
    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()


@dataclass(frozen=True)
class _Checkpoint:
    """The file a stage resumes from.

    Attributes:
        path: where it is, if it was saved already.
        identity: digest of what its weights depend on.
    """

    path: Path
    identity: str

    def load(self, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> int:
        """Set the three to the saved state and return the steps done; 0 if there is no checkpoint.

        Raises:
            TrainingError: if the checkpoint was made with other settings.
        """
        if not self.path.exists():
            return 0
        state = torch.load(self.path, map_location=device, weights_only=True)
        if state.get("identity") != self.identity:
            raise TrainingError(
                f"{self.path} was made with other settings, data or autoencoder; delete it to train this part again, "
                "or choose another work_dir"
            )
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def save(self, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Write the state after `step` steps, whole or not at all."""
        states = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        partial = self.path.with_suffix(".tmp")
        torch.save(states | {"step": step, "identity": self.identity}, partial)
        partial.replace(self.path)


def _log(path: Path, row: Mapping[str, object]) -> None:
    """Append a row to a JSON-lines file and print it."""
    line = json.dumps(row)
    with path.open("a") as log:
        log.write(line + "\n")
    print(line, flush=True)
