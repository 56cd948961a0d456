"""A benchmark of a model that does not read the captions to their end says so, before it loads the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from augment.errors import ConfigError
from augment.evaluation.benchmark import BenchmarkConfig, run_benchmark
from augment.tiny.packaged import WEIGHTS


@pytest.mark.parametrize(("tokens", "words"), [(5, "a picture of"), (16, "")])
def test_captions_that_are_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture, tokens: int, words: str) -> None:
    model = shutil.copytree(WEIGHTS / "pipeline", tmp_path / "model")
    settings = model / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": tokens}))
    section = {"num_steps": [4], "methods": [{"solver": {"name": "ddim"}}], "samplers": ["none of these"]}
    config = {"model": {"name": str(model)}, "num_images": 3, "inversion": section}
    with pytest.raises(ConfigError, match="none of these"):  # nothing is measured
        run_benchmark(BenchmarkConfig.model_validate(config), tmp_path / "out")
    said = [m for m in caplog.messages if m.startswith("warning: model.name")]
    assert len(said) == (1 if words else 0)
    for text in said:
        assert text.startswith("warning: model.name: 3 of the 3 prompts of the split 'val' are longer than")
        assert f"it reads '{words}', and is measured on that" in text
