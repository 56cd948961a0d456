"""Masks of real segmentation models at toy size, against transformers' own pipeline or the model itself."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor, pipeline

from augment.errors import ModelError
from augment.models.segmentation import load_segmenter
from augment.models.segmentation_files import SegmentationConfig, names, pinned_segmentation, unnamed_classes
from tests.segmentation_models import MODELS, clipseg, dpt, segformer

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.mark.parametrize("make", [segformer, dpt])
def test_a_mask_is_where_the_label_names_the_word_as_the_librarys_pipeline_sees_it(make, tmp_path):
    segmenter = load_segmenter(SegmentationConfig(name=str(make(tmp_path / "model")), words={"sapling": "tree"}))
    found = {label: segmenter.mask(PIXELS, word) for label, word in (("fox, vulpes", "Fox"), ("tree", "sapling"))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pipeline's own, of Pillow
        theirs = pipeline("image-segmentation", str(tmp_path / "model"))(Image.fromarray(PIXELS), subtask="semantic")
    expected = {one["label"]: np.asarray(one["mask"]) for one in theirs}
    assert len(expected) > 1
    for label, mask in found.items():
        assert mask.shape == (40, 56, 1) and mask.dtype == np.uint8
        np.testing.assert_array_equal(mask[..., 0], expected.get(label, np.zeros((40, 56))))
    assert any(mask.any() for mask in found.values())


def test_clipseg_is_asked_for_the_word(tmp_path):
    folder = clipseg(tmp_path / "model")
    segmenter = load_segmenter(SegmentationConfig(name=str(folder), words={"vulpes": "a fox"}))
    network, processor = (
        CLIPSegForImageSegmentation.from_pretrained(folder).eval(),
        CLIPSegProcessor.from_pretrained(folder),
    )
    inputs = processor(text=["a fox"], images=Image.fromarray(PIXELS), return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits.view(1, 1, 32, 32)
    share = torch.nn.functional.interpolate(logits, (40, 56), mode="bilinear")[0, 0].sigmoid()
    expected = (share * 255).round().to(torch.uint8).numpy()
    np.testing.assert_array_equal(segmenter.mask(PIXELS, "vulpes")[..., 0], expected)
    assert not np.array_equal(segmenter.mask(PIXELS, "owl")[..., 0], expected)


def test_a_class_without_a_label_keeps_nothing_which_is_said_once(tmp_path, caplog):
    segmenter = load_segmenter(SegmentationConfig(name=str(segformer(tmp_path / "model"))))
    assert not segmenter.mask(PIXELS, "owl").any() and not segmenter.mask(PIXELS, "owl").any()
    said = [r.getMessage() for r in caplog.records if r.name == "augment.models.segmentation"]
    assert len(said) == 1 and "has no label for 'owl'" in said[0]


@pytest.mark.parametrize(
    ("label", "word", "found"),
    [
        ("airplane, aeroplane, plane", "aeroplane", True),
        ("traffic-light", "Traffic light", True),
        ("dining-table-merged", "dining table", False),
        ("dog", "hot dog", False),
        ("Füchse", "füchse", True),
    ],
)
def test_labels_name_words_as_a_whole(label, word, found):
    assert names(label, word) == found


def test_classes_without_a_label_are_known_before_a_run(tmp_path):
    config = SegmentationConfig(name=str(segformer(tmp_path / "a")), words={"oak": "tree"})
    assert unnamed_classes(config, {0: "fox", 1: "oak", 2: "owl"}) == ["owl"]
    assert unnamed_classes(SegmentationConfig(name=str(clipseg(tmp_path / "b"))), {0: "owl"}) == []


def test_the_revision_is_that_of_the_weights(tmp_path):
    first, second = (pinned_segmentation(SegmentationConfig(name=str(segformer(tmp_path / f"{i}", i)))) for i in (0, 1))
    assert first.revision and first.revision != second.revision
    assert pinned_segmentation(first) == first
    with pytest.raises(ModelError, match=r"segmentation\.revision 'abc' was asked for, but the weights of"):
        pinned_segmentation(first.model_copy(update={"revision": "abc"}))


@pytest.mark.parametrize("name", MODELS)
def test_weights_that_do_not_fit_are_refused(name, tmp_path):
    folder = MODELS[name](tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file(dict(list(weights.items())[1:]), folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"segmentation\.name '.*': the weights of its network do not fit"):
        load_segmenter(SegmentationConfig(name=str(folder)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "names no architecture"),
        (
            lambda folder: rewritten(folder, "ViTForImageClassification"),
            "is a ViTForImageClassification, which does not",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\.safetensors"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_it_is_loaded(change, message, tmp_path):
    folder = segformer(tmp_path / "model")
    change(folder)
    with pytest.raises(ModelError, match=rf"segmentation\.name '.*'.*{message}"):
        pinned_segmentation(SegmentationConfig(name=str(folder)))


def rewritten(folder, architecture):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": [architecture]}))
