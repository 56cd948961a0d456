"""Edits of images: invert once, sample under other prompts. Loaded on first use, because its config needs no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
