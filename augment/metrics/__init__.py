"""Metrics: tensors in, one number per sample out. No thresholds, no files."""

from augment.metrics.autocorrelation import autocorrelation
from augment.metrics.patches import patch_distance
from augment.metrics.psnr import psnr

__all__ = ["autocorrelation", "patch_distance", "psnr"]
