"""The font that the renderer needs. The shipped splits need none, so a machine without it runs all other tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from augment.tiny.glyphs import find_font

NEEDED = "AUGMENT_TESTS_NEED_FONT"  # set by .ci/run, which installs the font: there a missing one is a failure


@pytest.fixture(scope="session")
def emoji_font() -> Path:
    """Path of the font; without it the test is skipped, with the package to install as the reason."""
    try:
        return find_font()
    except FileNotFoundError as error:
        if os.environ.get(NEEDED):
            raise
        pytest.skip(str(error))
