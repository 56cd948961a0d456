"""What is compared: classical augmentation, and who makes the synthetic pictures, if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augment.editing.config import EditConfig
from augment.inversion.settings import (
    DDIMSettings,
    FixedPointSettings,
    RNRIReleasedSettings,
    RNRISettings,
    SolverSettings,
    Stop,
)
from augment.study.config import ArmName
from augment.training.config import (
    CLASS,
    AugmentationConfig,
    MixRecipe,
    RandAugmentConfig,
    Recipe,
    RepeatedRealRecipe,
    TargetedRecipe,
    TwoStageRecipe,
    WeightedRecipe,
)

MakerName = Literal[
    "round_trip",
    "image_to_image",
    "text_to_image",
    "ddim",
    "fixed_point",
    "rnri",
    "rnri_released",
    "default_plain",
    "default",
    "oracle",
]
NO_AUGMENTATION = AugmentationConfig()
MIX = MixRecipe()
FLIPS_CROPS = AugmentationConfig(flip=0.5, crop=0.6)
TWO_STAGE = TwoStageRecipe(name="two_stage", balance=(CLASS, "background"))
TARGETED = TargetedRecipe(name="targeted")
TRIVIAL = AugmentationConfig(trivial_augment=True)


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        augmentation: classical, of all pictures.
        maker: of the synthetic ones.
        recipe: how these are used beside the real ones.
        scored: whether they carry the score of their label, or those below the threshold are left out.
    """

    augmentation: AugmentationConfig = NO_AUGMENTATION
    maker: MakerName | None = None
    recipe: Recipe = MIX
    scored: Literal["", "scored", "filtered"] = ""


ARMS: dict[ArmName, Arm] = {
    "none": Arm(),
    "flips_crops": Arm(FLIPS_CROPS),
    "rand_augment": Arm(AugmentationConfig(rand_augment=RandAugmentConfig())),
    "trivial_augment": Arm(TRIVIAL),
    "cutmix_mixup": Arm(AugmentationConfig(cutmix=1.0, mixup=0.2)),
    "round_trip": Arm(maker="round_trip"),
    "image_to_image": Arm(maker="image_to_image"),
    "text_to_image": Arm(maker="text_to_image"),
    "ddim": Arm(maker="ddim"),
    "fixed_point": Arm(maker="fixed_point"),
    "rnri": Arm(maker="rnri"),
    "rnri_released": Arm(maker="rnri_released"),
    "default_plain": Arm(maker="default_plain"),
    "default": Arm(maker="default"),
    "image_to_image_flips_crops": Arm(FLIPS_CROPS, "image_to_image"),
    "text_to_image_flips_crops": Arm(FLIPS_CROPS, "text_to_image"),
    "default_flips_crops": Arm(FLIPS_CROPS, "default"),
    "image_to_image_trivial_augment": Arm(TRIVIAL, "image_to_image"),
    "text_to_image_trivial_augment": Arm(TRIVIAL, "text_to_image"),
    "default_trivial_augment": Arm(TRIVIAL, "default"),
    "default_filtered": Arm(maker="default", scored="filtered"),
    "default_weighted": Arm(maker="default", recipe=WeightedRecipe(name="weighted"), scored="scored"),
    "default_targeted": Arm(maker="default", recipe=TARGETED),
    "default_two_stage": Arm(maker="default", recipe=TWO_STAGE),
    "default_repeated_real": Arm(maker="default", recipe=RepeatedRealRecipe(name="repeated_real")),
    "default_two_stage_flips_crops": Arm(FLIPS_CROPS, "default", TWO_STAGE),
    "default_targeted_flips_crops": Arm(FLIPS_CROPS, "default", TARGETED),
    "oracle": Arm(maker="oracle"),
    "oracle_flips_crops": Arm(FLIPS_CROPS, "oracle"),
}

# As published, each with two iterations a step: two evaluations of the network, and as many derivatives where
# the method has them. With one, RNRI's answer is that of DDIM inversion, which has no more than one.
_SOLVERS: dict[str, tuple[SolverSettings, int]] = {
    "ddim": (DDIMSettings(), 1),
    "fixed_point": (FixedPointSettings(), 2),
    "rnri": (RNRISettings(), 2),
    "rnri_released": (RNRIReleasedSettings(), 2),
}


def edit_config(maker: MakerName, default: EditConfig) -> EditConfig:
    """Return the settings of a maker's edits: those of the default, with the maker's own inversion if it has one.

    Published inversions, and the default as `default_plain`, put nothing of the object back.
    """
    plain = default.model_copy(update={"preserve": "none", "self_replace_steps": 0.0, "cross_replace_steps": 0.0})
    if maker == "default_plain":
        return plain
    if maker not in _SOLVERS:
        return default
    solver, iterations = _SOLVERS[maker]
    stop = Stop(max_steps=iterations, tolerance=0.0)
    return plain.model_copy(update={"solver": solver, "warm_start": "none", "stop": stop})
