"""Metrics: tensors in, one number per sample out. No thresholds, no files."""

from augment.scoring.autocorrelation import autocorrelation
from augment.scoring.psnr import psnr
from augment.scoring.structure import patch_distance

__all__ = ["autocorrelation", "patch_distance", "psnr"]
