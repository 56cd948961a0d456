"""Metrics: tensors in, one number per sample out. No thresholds, no files."""

from augment.metrics.psnr import psnr

__all__ = ["psnr"]
