"""`augment train`: what its YAML file says. Needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from augment.config import PathText
from augment.inputs.fit import FitName
from augment.inputs.readers import InputFormat

CLASS = "class"  # the group of a sample that is its class; every other group is an attribute
Share = Annotated[float, Field(ge=0, le=1)]
Mean = Share | tuple[Share, Share, Share]  # of all colours, or of red, green and blue
Deviation = PositiveFloat | tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PicturesConfig(_Section):
    """A set of labelled pictures."""

    path: PathText | tuple[PathText, ...] = Field(
        description="folder, tar(s) or manifest, relative to the working directory, or a URL; `embedded:train` ships"
    )
    format: InputFormat = Field(
        default="webdataset", description="`webdataset`, `imagefolder`, `manifest` or `flat` (one class)"
    )
    split: str | None = Field(default=None, description="of a manifest with that column: only the rows of this split")
    class_names: dict[Annotated[str, BeforeValidator(str)], str] = Field(
        default={}, description="the word for every class, where the dataset has none"
    )


class SyntheticConfig(_Section):
    """Edits to train on beside the real pictures."""

    path: PathText = Field(description="output folder of `augment expand`, or its URL; its `shards/` are read")
    ratio: Share = Field(default=0.5, description="share of the samples that are synthetic: an exact count, no chance")
    soft_labels: str | None = Field(
        default=None,
        min_length=1,
        description="field of an edit's record that replaces its class: a number, the share of its class "
        "(`label_probability`), or a mapping of class names to shares",
    )


class DataConfig(_Section):
    """What is trained on, chosen on and tested on."""

    real: PicturesConfig | None = Field(default=None, description="real pictures; may be left out at ratio 1")
    synthetic: SyntheticConfig | None = None
    val: PicturesConfig = Field(description="chooses the checkpoint; never trained on")
    test: PicturesConfig | None = Field(default=None, description="only looked at in the end")
    groups: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(CLASS,),
        min_length=1,
        description="attributes whose values divide val and test into groups, such as `background`: a column of the "
        "manifest or a text of a sample's JSON; `class` is the class",
    )
    image_size: int = Field(gt=0, description="side in pixels of the square that every picture becomes")
    fit: FitName = Field(default="crop", description="how it becomes one: `crop`, `stretch` or `pad`")
    mean: Mean = Field(default=0.5, description="subtracted from values in 0..1: one number, or three for the colours")
    std: Deviation = Field(default=0.5, description="divides what is left: one number, or three for the colours")
    num_workers: int = Field(default=0, ge=0, description="processes that decode; 0 decodes in the training process")
    cache_mb: int = Field(default=512, ge=0, description="decoded pictures that a process keeps of each set")

    @model_validator(mode="after")
    def _has_what_the_ratio_asks_for(self) -> Self:
        if self.fit == "bucket":
            raise ValueError("fit: 'bucket' gives many sizes, and a batch has one; take crop, pad or stretch")
        if self.real is None and (self.synthetic is None or self.synthetic.ratio < 1):
            raise ValueError("real: there are no real pictures, so it needs `synthetic` with ratio: 1")
        return self


class LeakConfig(_Section):
    """The check that nothing of val or test is trained on. Equal files, and edits of such, are always refused."""

    near_duplicates: bool = Field(
        default=True, description="also other versions of a picture; decodes every picture before training"
    )


class NetworkConfig(_Section):
    """The classifier."""

    name: str = Field(
        default="small_resnet",
        min_length=1,
        description="`small_resnet` (for 64 pixels), a classifier of torchvision (`resnet18`, `resnet50`, "
        "`convnext_tiny`, `vit_b_16`, ...), or one of timm",
    )
    weights: PathText | None = Field(
        default=None,
        description="file (.safetensors, .pth) with weights to begin with; the head may have other classes",
    )


class ColorJitterConfig(_Section):
    """Random brightness, contrast, saturation (factors 1 -+ x) and hue (-+ x of the circle)."""

    brightness: float = Field(default=0.4, ge=0)
    contrast: float = Field(default=0.4, ge=0)
    saturation: float = Field(default=0.4, ge=0)
    hue: float = Field(default=0.1, ge=0, le=0.5)


class RandAugmentConfig(_Section):
    """Cubuk et al. 2020."""

    num_ops: int = Field(default=2, ge=1)
    magnitude: int = Field(default=9, ge=0, le=30)


class AugMixConfig(_Section):
    """Hendrycks et al. 2020, the mixing alone: without the consistency loss."""

    severity: int = Field(default=3, ge=1, le=10)
    mixture_width: int = Field(default=3, ge=1)


class AugmentationConfig(_Section):
    """Classical augmentation by torchvision; what is left out is off. Real and synthetic pictures get the same."""

    flip: Share = Field(default=0.0, description="probability of a mirrored picture")
    crop: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="smallest share of the area of a random, resized crop"
    )
    color_jitter: ColorJitterConfig | None = None
    rand_augment: RandAugmentConfig | None = None
    trivial_augment: bool = Field(default=False, description="TrivialAugmentWide (Mueller and Hutter 2021)")
    augmix: AugMixConfig | None = None
    random_erasing: Share = Field(default=0.0, description="probability of an erased rectangle (Zhong et al. 2020)")
    mixup: float = Field(default=0.0, ge=0, description="alpha of MixUp (Zhang et al. 2018); 0 is off")
    cutmix: float = Field(default=0.0, ge=0, description="alpha of CutMix (Yun et al. 2019); with both, batches draw")

    @model_validator(mode="after")
    def _has_one_policy(self) -> Self:
        on = [name for name in ("rand_augment", "trivial_augment", "augmix") if getattr(self, name)]
        if len(on) > 1:
            raise ValueError(f"{' and '.join(on)} are on together; each is a whole policy of its own, keep one")
        return self


class OptimizerConfig(_Section):
    """AdamW with linear warm-up, then a cosine to zero."""

    learning_rate: float = Field(default=2e-3, gt=0, description="peak")
    warmup: int = Field(default=50, ge=0, description="steps")
    weight_decay: float = Field(default=0.05, ge=0, description="of weights of two or more dimensions: all but vectors")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1, description="of the averaged weights that are kept; 0: the last")
    clip_norm: float | None = Field(default=1.0, gt=0, description="of the gradient; null: any")


class ExecutorConfig(_Section):
    """Where it trains. A batch is the same whatever the number of workers; sums over it are rounded otherwise."""

    executor: Literal["local", "ray"] = Field(
        default="local",
        description="`local`: in this process, or in those that torchrun has started; `ray`: on workers of Ray Train",
    )
    num_workers: PositiveInt | Literal["all"] = Field(
        default="all", description="Ray workers, one GPU each (CPUs without GPUs); `all` that the cluster has"
    )
    threads_per_worker: int = Field(default=1, gt=0, description="CPUs of each worker without a GPU")
    max_failures: int = Field(default=3, ge=0, description="times that dead workers start again, at the checkpoint")
    address: str = Field(
        default="local",
        pattern=r"^(local|auto|.+:\d+)$",
        description="`local` starts a Ray on this machine; `auto` or host:port joins a cluster",
    )

    def ignored(self) -> list[str]:
        """Return what of the section is not used although it was set, as warnings."""
        return [] if self.executor == "ray" else unused_by_local(self)


def unused_by_local(run: BaseModel) -> list[str]:
    """Return what of a section `run` was set although the executor `local` uses nothing of it, as warnings."""
    fields = type(run).model_fields
    names = [name for name in fields if name != "executor" and getattr(run, name) != fields[name].default]
    if not names:
        return []
    return [f"run.executor is local, which uses no {', '.join(names)}; set run.executor: ray, or leave them out"]


class MixRecipe(_Section):
    """Real pictures and edits in every batch, at `data.synthetic.ratio`."""

    name: Literal["mix"] = "mix"


class TwoStageRecipe(_Section):
    """Balanced edits alone first, then real pictures alone; after "From Fake to Real" (Qraitem et al. 2024).

    Theirs are pictures from text alone. Each stage warms up and has a cosine to zero of its own; the optimizer's
    moments and the averaged weights go on. Val chooses among the looks of both stages. `data.synthetic.ratio` has no
    meaning.
    """

    name: Literal["two_stage"]
    first: float = Field(default=0.5, gt=0, lt=1, description="share of the steps that the first stage has")
    balance: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(CLASS,),
        description="what edits of the first stage are balanced over, all combinations: `class`, and attributes that "
        "their prompts or records name",
    )


class TargetedRecipe(_Section):
    """The edits of those real pictures alone that are not learned early, mixed in at `data.synthetic.ratio`.

    After "Do We Need All the Synthetic Data?" (Nguyen et al. 2025). Which pictures are not learned early is told
    here by their loss after a short run on the real pictures: in each class, those with the highest.
    """

    name: Literal["targeted"]
    steps: int = Field(default=50, gt=0, description="of the short run: the first of the whole schedule")
    share: float = Field(default=0.4, gt=0, le=1, description="of each class's real pictures whose edits are used")


class WeightedRecipe(_Section):
    """Mixed as by `mix`; the loss of an edit counts (s / m)^power, its score s and the mean m of all edits' scores.

    That of a real picture counts 1, and so do the weights of all edits on average, at power 1.
    """

    name: Literal["weighted"]
    score: str = Field(default="label_probability", min_length=1, description="number in an edit's record, 0 or more")
    power: float = Field(default=1.0, ge=0, description="0: all count alike")


class RepeatedRealRecipe(_Section):
    """As `mix`, with the real picture that it was made of in place of each edit: a control without new content."""

    name: Literal["repeated_real"]


Recipe = Annotated[
    MixRecipe | TwoStageRecipe | TargetedRecipe | WeightedRecipe | RepeatedRealRecipe, Field(discriminator="name")
]


class TrainingConfig(_Section):
    """`configs/train_classifier/*.yaml`."""

    data: DataConfig
    leaks: LeakConfig = LeakConfig()
    recipe: Recipe = Field(default=MixRecipe(), description="how edits are used beside the real pictures")
    network: NetworkConfig = NetworkConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(gt=0, description="optimizer steps, whatever the data: so that runs can be compared")
    batch_size: int = Field(default=64, gt=1)
    eval_every: int = Field(default=100, gt=0, description="steps between two looks at val, and two checkpoints")
    select_by: Literal["accuracy", "worst_group"] = Field(
        default="accuracy", description="what chooses the checkpoint, on val; of equal ones the lower loss"
    )
    patience: int | None = Field(default=None, gt=0, description="stop after so many looks at val without a better one")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="`cpu`, `cuda` or `cuda:N`")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="of the arithmetic; `auto`: bfloat16 where the device computes it in hardware, else float32",
    )
    log: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        default=("tensorboard",), description="where curves go; TensorBoard is left out where it is not installed"
    )
    run: ExecutorConfig = ExecutorConfig()
    seed: int = Field(default=0, ge=0, description="of the first weights, the order and the augmentation")

    @model_validator(mode="after")
    def _has_what_the_recipe_asks_for(self) -> Self:
        if self.recipe.name == "mix":
            return self
        if self.data.synthetic is None or self.data.real is None:
            raise ValueError(f"recipe: {self.recipe.name!r} needs data.synthetic and data.real; leave it out without")
        if not 0 < self.data.synthetic.ratio < 1:
            raise ValueError(f"recipe: {self.recipe.name!r} needs both kinds: data.synthetic.ratio within 0 and 1")
        if self.recipe.name == "repeated_real" and self.data.synthetic.soft_labels:
            raise ValueError("recipe: 'repeated_real' trains on no edit, so data.synthetic.soft_labels has no meaning")
        if self.recipe.name == "two_stage" and not 0 < self.first_stage < self.steps:
            raise ValueError(f"recipe.first: of {self.steps} steps one stage would have none; take more steps")
        return self

    @property
    def first_stage(self) -> int:
        """Return the steps of the first of two stages; 0 if there is one stage."""
        return round(self.steps * self.recipe.first) if isinstance(self.recipe, TwoStageRecipe) else 0

    def place_in_stage(self, step: int) -> tuple[int, int]:
        """Return the number of a step within its stage, and the steps of that stage: what its learning rate follows."""
        if step < self.first_stage:
            return step, self.first_stage
        return step - self.first_stage, self.steps - self.first_stage
