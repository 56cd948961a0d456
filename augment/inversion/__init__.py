"""Inversion of first-order samplers: one method per file, one loop for all of them.

Names are imported when they are first used, so that `augment.inversion.settings`, which a config is checked against,
does not import torch. What there is stands in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
