"""What the package carries of emoji world: two models, a judge and three splits. No torch here.

`pyproject.toml` registers the functions as entry points, so that no module of the job knows emoji world.
"""

from __future__ import annotations

from pathlib import Path

from augment.models.packaged import PackagedModel

WEIGHTS = Path(__file__).parent / "weights"
TEACHER, STUDENT = "embedded", "embedded-lcm"  # names in configs


def embedded_revision() -> str:
    """Return the identity of the shipped weights: the hash that their training recipe wrote beside them."""
    return (WEIGHTS / "revision.txt").read_text().strip()


def teacher() -> PackagedModel:
    """Return the model `embedded`, with its CLIP pair."""
    return PackagedModel(WEIGHTS / "pipeline", embedded_revision(), clip=WEIGHTS / "clip")


def student() -> PackagedModel:
    """Return the model `embedded-lcm`: its own UNet and scheduler, everything else its teacher's."""
    return PackagedModel(
        WEIGHTS / "pipeline",
        embedded_revision(),
        pipeline_class="LatentConsistencyModelPipeline",
        parts={name: WEIGHTS / "student" / name for name in ("unet", "scheduler")},
        clip=WEIGHTS / "clip",
    )
