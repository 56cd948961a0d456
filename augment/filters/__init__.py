"""Scores in, a verdict with a reason out. Scores are measured by the workers; what is good enough is decided here."""

from augment.filters.thresholds import FilterConfig, judge_edit

__all__ = ["FilterConfig", "judge_edit"]
