"""The config to begin with for a dataset and a model: what was seen of the one, and the preset of the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from augment.config import inline_yaml
from augment.errors import ConfigError
from augment.inputs.fit import Fit
from augment.inputs.locate import is_url
from augment.models.config import ClipConfig, ModelConfig
from augment.models.presets import Preset, preset_of
from augment.models.text_readers import TextReader, clip_reader, model_readers
from augment.prompts import AttributeValue
from augment.prompts.domains import domains
from augment.prompts.words import word_key
from augment.run.domain import guess_domain
from augment.run.survey import Survey, survey

PROMPTS = "prompts.yaml"
_MUCH_LOST = 0.3  # of the area of the picture in the middle; where `augment validate` begins to warn
_SHOWN = 5


@dataclass(frozen=True)
class Starter:
    """A config for a dataset and a model.

    Attributes:
        seen: of the dataset.
        preset: of the model.
        domain: name of the attribute grid, and why it was taken.
        expand: text of the config, whose prompts are in `PROMPTS` beside it.
        prompts: text of that file.
        notes: what to know about the choices, one text each.
    """

    seen: Survey
    preset: Preset
    domain: str
    why: str
    expand: str
    prompts: str
    notes: tuple[str, ...]


def starter(dataset: str, model: str, domain: str = "", *, file: str = "expand.yaml") -> Starter:
    """Look at a dataset and write a config for it, into no file.

    Args:
        dataset: folder, tar, manifest, pattern or URL.
        model: as for `augment.models.presets.preset_of`.
        domain: name of an attribute grid; "" to guess it.
        file: where the config will stand, for the command in its first lines.

    Raises:
        ConfigError, InputError, ModelError: if there is no such domain, dataset or model.
    """
    if domain and domain not in domains():
        raise ConfigError("--domain", [f"{domain!r} is none of {', '.join(domains())}"])
    preset, about_model = preset_of(model)
    seen = survey(dataset)
    guessed, reason = guess_domain(seen.name, seen.words.values(), seen.appearance)
    chosen, why = (domain, "as asked") if domain else (guessed, f"guessed: {reason}")
    if preset.grid and not domain:
        why = f"{preset.name} knows no other words; the pictures look {chosen} ({why})"
        chosen = preset.grid
    readers = model_readers(ModelConfig(name=preset.name))
    unknown = [w for key, w in seen.words.items() if key in seen.codes or any(r.unknown_words(w) for r in readers)]
    scene_only = bool(preset.grid and unknown and domains()[chosen].scene_template)
    grid = domains()[chosen].scene_only() if scene_only else domains()[chosen].prompts
    clip = clip_reader(ClipConfig(name=preset.clip))
    no_label = _why_no_label(seen, clip)
    fit, why_fit = _fit(seen, preset)
    output = _output(seen)
    expand = _environment().get_template("expand.yaml.j2")
    prompts = _environment().get_template("prompts.yaml.j2")
    notes = [*seen.notes(), *filter(None, [about_model]), *_notes(seen, preset, unknown if scene_only else [])]
    return Starter(
        seen,
        preset,
        chosen,
        why,
        expand.render(
            **{"seen": seen, "preset": preset, "file": file, "output": output, "prompts": PROMPTS, "fit": fit},
            **{"why_fit": why_fit, "median": seen.appearance.median_size, "codes": set(seen.codes)},
            **{"scene_only": scene_only},
            **{"label_templates": domains()[chosen].label_templates, "why_no_label": no_label},
        ),
        prompts.render(
            **{"name": seen.name, "domain": chosen, "grid": domains()[chosen], "why": why, "prompts": grid},
            names=list(domains()),
        ),
        tuple(notes + ([f"filters.min_label_probability is off: {no_label}"] if no_label else [])),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("augment.run"),
        autoescape=False,  # YAML: every value goes through a filter
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": inline_yaml, "line": _line, "value": _value}
    return environment


def _line(text: str) -> str:
    """Return a text in one line, for a comment."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _value(value: AttributeValue) -> str:
    weight = {} if value.weight == 1 else {"weight": int(value.weight) if value.weight.is_integer() else value.weight}
    return inline_yaml({"name": value.name, "text": value.text, **weight})


def _notes(seen: Survey, preset: Preset, unknown: Sequence[str]) -> list[str]:
    """Return what is to be known about this model with this dataset.

    Args:
        unknown: words that the model does not know, so that prompts name the scene only.
    """
    notes = []
    if unknown:
        notes.append(
            f"{preset.name} has no word for {_some(unknown)}, so the prompts name the scene only, and the "
            "inversion keeps of the object what it can. For photographs name another --model, such as sdxl-turbo"
        )
    median = seen.appearance.median_size
    if median and 2 * min(median) <= preset.image_size:
        notes.append(f"most pictures are small ({median[0]}x{median[1]}), and enlarged to {preset.image_size} pixels")
    return notes


def _why_no_label(seen: Survey, clip: TextReader | None) -> str:
    """Return why the label score would decide nothing, or wrongly; "" if it can be used."""
    if len({word_key(word) for word in seen.words.values()}) == 1:
        return "with one class there is nothing to compare; set min_text_alignment to what `augment preview` suggests"
    if seen.codes:
        return "class names that are codes say nothing to the scoring model; 0.5 once class_names has words"
    if clip and any(clip.unknown_words(word) for word in seen.words.values()):
        return "the scoring model does not know the words of these classes; 0.5 with one that does"
    return ""


def _fit(seen: Survey, preset: Preset) -> tuple[str, str]:
    median = seen.appearance.median_size
    lost = Fit("crop", preset.image_size).share_lost(*median) if median else 0.0
    if lost <= _MUCH_LOST:
        return "crop", "the centre; bucket, pad and stretch keep more"
    if preset.buckets:
        return "bucket", f"sizes of several aspects: the centre alone would lose {lost:.0%}"
    return "pad", f"the whole picture: the centre alone would lose {lost:.0%}"


def _output(seen: Survey) -> str:
    """Return the output folder: below the working directory, or beside the dataset if that is inside of it."""
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in seen.name).strip(".") or "edits"
    place = f"out/{name}"
    if is_url(seen.dataset) or not Path(seen.dataset).is_dir():
        return place
    inside = Path(os.path.realpath(seen.dataset))
    return str(inside.parent / f"{name}-edits") if Path(os.path.realpath(place)).is_relative_to(inside) else place


def _some(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:_SHOWN])) + (", ..." if len(words) > _SHOWN else "")
