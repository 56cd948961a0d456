"""What is wrong with an output folder, in words for its owner."""

from __future__ import annotations


class OutputError(ValueError):
    """The output folder cannot be used as asked; the message says why and what to do."""
